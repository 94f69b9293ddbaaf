# SPDX-License-Identifier: Apache-2.0
"""A browser on the page of a running service, for the tests that use it as a person does."""

from __future__ import annotations

import io
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import uvicorn
from numpy.typing import NDArray
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NEEDED = os.environ.get("FACEX_NEEDS_BROWSER") == "1"
"""Set where these tests must not be passed over."""

needs_browser = pytest.mark.skipif(CHROMIUM is None and not NEEDED, reason="no chromium here")


@contextmanager
def served(app: Any) -> Iterator[str]:
    """An application behind a real socket, in a thread; its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join(20)


@contextmanager
def opened(address: str, width: int = 1280, **context: Any) -> Iterator[Any]:
    """The page in a fresh browser; errors of its scripts fail the test."""
    api = pytest.importorskip("playwright.sync_api") if not NEEDED else _playwright()
    errors: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        page = browser.new_page(viewport={"width": width, "height": 844}, **context)
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#status:text-is('Ready')")
        yield page
        browser.close()
    assert not errors


def _playwright() -> Any:
    from playwright import sync_api

    return sync_api


def add_photos(page: Any, *files: Any) -> None:
    """Upload photos and wait until all of them are there."""
    before = page.locator("#photos li").count()
    page.set_input_files("#files", [str(file) for file in files])
    page.wait_for_selector(f"#photos li >> nth={before + len(files) - 1}")
    page.wait_for_selector("#status:text-is('Ready')")


def quick(page: Any, steps: int = 1) -> None:
    """Few sampling steps, and no edit that begins by itself."""
    page.locator("summary:has-text('More')").click()
    page.fill("#more-steps", str(steps))
    if page.is_visible("#auto"):
        page.uncheck("#auto")


def draw(page: Any, confirm: bool = False) -> None:
    """Press the button, and wait until the edit is done and shown."""
    count = page.locator("#history li").count()
    page.click("#run")
    if confirm:
        page.click("#consent button[value=yes]")
    page.wait_for_selector(f"#history li >> nth={count}")
    page.wait_for_selector("#work", state="hidden")
    page.wait_for_selector("#views:not([hidden])")


def downloaded(page: Any) -> NDArray[np.float32]:
    """The pixels of the result that is shown."""
    data = page.request.get(page.locator("#download").evaluate("e => e.href")).body()
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"), np.float32)


def opacity_over(page: Any, x: float, y: float) -> int:
    """How opaque the painted mask is at a place of the photo, 0 to 255; 0 where it is hidden."""
    script = """([x, y]) => {
        const mask = document.getElementById("mask");
        return mask.checkVisibility() ? mask.getContext("2d").getImageData(x, y, 1, 1).data[3] : 0;
    }"""
    return int(page.evaluate(script, [x, y]))
