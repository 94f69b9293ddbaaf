# SPDX-License-Identifier: Apache-2.0
"""The page: whole, self-contained, and (where there is a browser) usable."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import facex
from facex.geometry.pose import euler_from_rotation
from facex.server.app import create_app
from facex.server.routes_page import page_files
from facex.types import BLENDSHAPES
from tests.server.browser import add_photos, downloaded, draw, needs_browser, opened, served
from tests.server.talk import MakeService


def text_of(name: str) -> str:
    return page_files()[name][0].decode("utf-8")


def test_every_file_that_is_mentioned_is_there() -> None:
    page = text_of("index.html")
    for name in re.findall(r"/static/([\w.]+)", page):
        assert name in page_files()
    for name in page_files():
        if name.endswith(".js"):
            for other in re.findall(r'from "\./([\w.]+)"', text_of(name)):
                assert other in page_files()


def test_every_element_that_the_scripts_ask_for_is_on_the_page() -> None:
    there = set(re.findall(r'id="([\w-]+)"', text_of("index.html")))
    for name in page_files():
        if name.endswith(".js"):
            assert set(re.findall(r'\$\("([\w-]+)"\)', text_of(name))) <= there, name


def test_nothing_comes_from_elsewhere_and_nothing_needs_a_weaker_policy() -> None:
    page = text_of("index.html")
    assert not re.search(r"<style|style=|<script(?! type=\"module\" src=)| on\w+=", page)
    for name in page_files():
        found = set(re.findall(r"https?://[^\s\"')]+", text_of(name)))
        assert found <= {"http://www.w3.org/2000/svg"}, name


def test_every_control_has_a_name() -> None:
    page = text_of("index.html")
    for tag in re.findall(r"<(?:input|progress)[^>]*>", page):
        labelled = "aria-label=" in tag or "hidden" in tag
        assert labelled or re.search(r"<label[^>]*>[^<]*" + re.escape(tag), page), tag
    assert all("alt=" in tag for tag in re.findall(r"<img[^>]*>", page))
    assert 'lang="en"' in page


@pytest.mark.slow
@pytest.mark.timeout(900)
@needs_browser
def test_every_task_by_clicking(
    make_service: MakeService,
    mini: facex.FaceX,
    astronaut: Image.Image,
    hopper: Image.Image,
    tmp_path: Path,
) -> None:
    """Each task once, as a person would; what comes back shows what was asked for."""
    files = []
    for name, picture in (("woman.png", astronaut), ("admiral.png", hopper)):
        picture.save(tmp_path / name)
        files.append(tmp_path / name)
    steps: dict[str, Callable[[Any], None]] = {
        "Swap": lambda page: None,
        "Head swap": lambda page: None,
        "Attribute": lambda page: page.click("#form label:has-text('Lips')"),
        "Pose": lambda page: turn(page, "#s-Turn", 12),
        "Expression": lambda page: turn(page, "#s-Mouth-open", 30),
        "Gaze": lambda page: turn(page, "#s-Look-aside", 15),
        "Reenact": lambda page: None,
        "Inpaint": lambda page: page.click("text=Cover the face"),
        "Stylize": lambda page: page.click("#form label:has-text('Pencil')"),
        "Mix": lambda page: page.select_option("select[aria-label='Nose']", label="admiral.png"),
    }
    before = np.asarray(astronaut, np.float32)
    own, other = (mini.decompose(picture)[0] for picture in (astronaut, hopper))
    service = make_service(tmp_path / "data")
    with served(create_app(service)) as address, opened(address) as page:
        add_photos(page, *files)
        shown = [each.inner_text() for each in page.locator("#tasks button").all()]
        assert sorted(shown) == sorted(steps)
        for task, prepare in steps.items():
            page.click("#photos button:has-text('woman.png')")
            page.click(f"#tasks button:text-is('{task}')")
            if page.is_visible("#auto"):
                page.uncheck("#auto")
            prepare(page)
            draw(page, confirm=task == "Swap")
            after = downloaded(page)
            assert after.shape == before.shape, task
            change = np.abs(after - before).max(2)
            assert change[60:200, 170:290].max() > 20, task
            if task == "Stylize":
                continue
            assert not change[400:].any(), task
            got = mini.decompose(Image.fromarray(after.astype(np.uint8)))[0]
            if task in ("Swap", "Head swap"):
                assert (got.identity * other.identity).sum() > (own.identity * other.identity).sum()
            elif task == "Pose":
                assert yaw(got) > yaw(own) + 4
            elif task == "Gaze":
                assert float((got.gaze - own.gaze)[0, :, 1].mean()) > 0.06
            elif task == "Expression":
                jaw = list(BLENDSHAPES).index("jawOpen")
                assert got.expression[0, jaw] > own.expression[0, jaw] + 0.05


def turn(page: Any, slider: str, times: int) -> None:
    """Move a slider by keys."""
    page.focus(slider)
    for _ in range(times):
        page.keyboard.press("ArrowRight")


def yaw(face: facex.FaceRepresentation) -> float:
    """Degrees."""
    return math.degrees(float(euler_from_rotation(face.rotation)[0][0]))
