# SPDX-License-Identifier: Apache-2.0
"""The page: whole, self-contained, and (where there is a browser) usable."""

from __future__ import annotations

import io
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image

from facex.server.app import create_app
from facex.server.routes_page import page_files
from tests.server.talk import MakeService

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


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


@pytest.fixture
def address(make_service: MakeService, tmp_path: Path) -> Iterator[str]:
    config = uvicorn.Config(create_app(make_service(tmp_path)), port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join(20)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_person_turns_a_head(
    address: str, astronaut: Image.Image, tmp_path: Path, width: int
) -> None:
    api = pytest.importorskip("playwright.sync_api")
    photo = tmp_path / "woman.png"
    astronaut.save(photo)
    errors: list[Any] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 844})
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(address)
        page.set_input_files("#files", str(photo))
        page.wait_for_selector(".faces button[aria-pressed=true]")
        page.click("#tasks button:has-text('Gaze')")
        page.click("summary:has-text('More')")
        page.fill("#more-steps", "1")
        # By keyboard: the preview follows each key, and the edit begins when it is let go.
        page.focus("#s-Look-aside")
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        page.wait_for_selector("#actions:not([hidden])", timeout=60_000)
        assert page.get_attribute("#views [data-view=compare]", "aria-pressed") == "true"
        assert page.locator("#history li").count() == 1
        wide = page.locator("html").evaluate("e => e.scrollWidth")
        assert wide <= width
        browser.close()
    assert not errors


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_every_task_by_clicking(
    address: str, astronaut: Image.Image, hopper: Image.Image, tmp_path: Path
) -> None:
    """Each task once, as a person would; what comes back is the photo, changed where it should."""
    api = pytest.importorskip("playwright.sync_api")
    files = []
    for name, picture in (("woman.png", astronaut), ("admiral.png", hopper)):
        picture.save(tmp_path / name)
        files.append(str(tmp_path / name))
    steps: dict[str, Callable[[Any], None]] = {
        "Swap": lambda page: None,
        "Head swap": lambda page: None,
        "Attribute": lambda page: page.click("#form label:has-text('Lips')"),
        "Pose": lambda page: turn(page, "#s-Turn", 8),
        "Expression": lambda page: turn(page, "#s-Mouth-open", 10),
        "Gaze": lambda page: turn(page, "#s-Look-aside", 8),
        "Reenact": lambda page: None,
        "Inpaint": lambda page: page.click("text=Cover the face"),
        "Stylize": lambda page: page.click("#form label:has-text('Pencil')"),
        "Mix": lambda page: page.select_option("select[aria-label='Nose']", label="admiral.png"),
    }
    errors: list[Any] = []
    before = np.asarray(astronaut, np.float32)
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(address)
        page.set_input_files("#files", files)
        page.wait_for_selector("#photos li >> nth=1")
        page.wait_for_selector(".faces button[aria-pressed=true]")
        shown = [each.inner_text() for each in page.locator("#tasks button").all()]
        assert sorted(shown) == sorted(steps)
        for number, (task, prepare) in enumerate(steps.items(), 1):
            page.click("#photos button:has-text('woman.png')")
            page.click(f"#tasks button:text-is('{task}')")
            prepare(page)
            if page.is_visible("#auto"):
                page.uncheck("#auto")
            page.click("#run")
            if number == 1:
                page.click("#consent button[value=yes]")
            page.wait_for_function(
                "n => document.querySelectorAll('#history li').length >= n", arg=number,
                timeout=120_000,
            )  # fmt: skip
            page.wait_for_selector("#actions:not([hidden])", timeout=120_000)
            result = page.request.get(page.locator("#download").evaluate("e => e.href")).body()
            with Image.open(io.BytesIO(result)) as picture:
                after = np.asarray(picture.convert("RGB"), np.float32)
            assert after.shape == before.shape, task
            change = np.abs(after - before).max(2)
            assert change.max() > 20, task
            assert task == "Stylize" or (change == 0).mean() > 0.2, task
        browser.close()
    assert not errors


def turn(page: Any, slider: str, times: int) -> None:
    """Move a slider by keys."""
    page.focus(slider)
    for _ in range(times):
        page.keyboard.press("ArrowRight")
