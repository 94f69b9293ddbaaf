# SPDX-License-Identifier: Apache-2.0
"""Metrics, one idea a file, found by the file's name.

Every file has ``measures()`` (what its numbers mean), ``measure(view)`` (numbers of one case) and,
where the numbers of all cases together say more, ``summarise(rows, ...)``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from facex.errors import OptionError


def metric(name: str) -> Any:
    """The module of a metric.

    Raises:
        OptionError: there is none of that name.
    """
    try:
        return cast(Any, import_module(f"facex.evaluate.metrics.{name}"))
    except ModuleNotFoundError as error:
        raise OptionError(f"there is no metric {name!r}") from error
