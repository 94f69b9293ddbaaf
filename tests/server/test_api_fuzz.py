# SPDX-License-Identifier: Apache-2.0
"""Made-up requests to every operation of our OpenAPI document: no 5xx, no undocumented answer.

A few examples an operation; ``benchmarks/api_fuzz.py`` does the same for as long as you like.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from PIL import Image

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis (extra dev)")

from benchmarks.api_fuzz import (  # noqa: E402
    LEFT_OUT,
    SCHEMA,
    Deeper,
    Unforeseen,
    png,
    running,
    seed,
)
from facex.server.app import create_app  # noqa: E402
from tests.server.talk import MakeService  # noqa: E402

OPERATIONS = 28
EXAMPLES = 8
"""Per operation, of valid and of wrong requests each."""


@pytest.fixture(scope="module")
def service(
    make_service: MakeService,
    tmp_path_factory: pytest.TempPathFactory,
    astronaut: Image.Image,
) -> Iterator[tuple[Any, list[str]]]:
    """The API of a running service as its document describes it, and ids of what is there."""
    limits = {"max_seconds": 2.0, "max_steps": 4, "max_queue": 4}
    app = create_app(make_service(tmp_path_factory.mktemp("fuzz"), **limits))
    with running(app) as address:
        photo = astronaut.crop((80, 0, 380, 300))
        ids = seed(address, [photo, photo.rotate(8)])
        yield schemathesis.openapi.from_url(f"{address}{SCHEMA}"), ids


@pytest.fixture
def unforeseen() -> Iterator[list[str]]:
    handler = Unforeseen()
    logger = logging.getLogger("facex.server")
    logger.addHandler(handler)
    yield handler.found
    logger.removeHandler(handler)


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_every_operation_answers_as_documented(
    service: tuple[Any, list[str]], unforeseen: list[str], mode: Any
) -> None:
    schema, ids = service
    change, answers = Deeper(ids, png(Image.new("RGB", (64, 64)))), Counter[int]()
    left_out = [schemathesis.checks.CHECKS.get_one(name) for name in LEFT_OUT]
    tried = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        # Some operations take nothing that could be wrong.
        if mode.is_negative and not (operation.body or list(operation.iter_parameters())):
            continue
        tried += 1

        @settings(
            max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy(mode))
        def check(case: Any) -> None:
            change(case)
            answers[case.call_and_validate(excluded_checks=left_out, timeout=60).status_code] += 1

        check()
    assert tried >= OPERATIONS - (8 if mode.is_negative else 0)
    assert not unforeseen
    # The made-up requests get to where something happens, and to where it is refused.
    expected = {422} if mode.is_negative else {200, 201, 202, 204, 404, 422}
    assert expected <= answers.keys(), answers


def test_the_checks_would_find_something(service: tuple[Any, list[str]]) -> None:
    """An answer that the document does not describe is a failure."""
    schema = service[0]
    operation = schema["/api/v1/health"]["GET"]
    response = operation.Case().call()
    operation.Case().validate_response(response)
    response.status_code = 500
    with pytest.raises(BaseExceptionGroup, match="failure"):
        operation.Case().validate_response(response)


def test_a_path_names_all_of_its_methods(service: tuple[Any, list[str]]) -> None:
    operation = service[0]["/api/v1/photos/{photo}"]["GET"]
    case = operation.Case(path_parameters={"photo": service[1][0]}, method="OPTIONS")
    reply = case.call()
    assert reply.status_code == 405
    assert reply.headers["allow"] == ["DELETE, GET"]
