# SPDX-License-Identifier: Apache-2.0
"""The page in Debian's Chromium, used by mouse and by keyboard as a person does."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facex.errors import Interrupted
from facex.server.app import create_app
from facex.server.editors import Report
from facex.server.jobs import Claim
from facex.server.schemas import ResultInfo
from tests.server.browser import (
    add_photos,
    downloaded,
    draw,
    needs_browser,
    opacity_over,
    opened,
    quick,
    served,
)
from tests.server.talk import TOKEN, MakeService

pytestmark = [needs_browser, pytest.mark.slow, pytest.mark.timeout(240)]

EYES = (225, 115)
"""Between the eyes of the astronaut."""


@pytest.fixture(scope="module")
def address(make_service: MakeService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(create_app(make_service(tmp_path_factory.mktemp("page")))) as found:
        yield found


@pytest.fixture(scope="module")
def files(
    tmp_path_factory: pytest.TempPathFactory, astronaut: Image.Image, hopper: Image.Image
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("photos")
    both = Image.new("RGB", (1024, 600))
    both.paste(astronaut, (0, 0))
    both.paste(hopper, (512, 0))
    found = {}
    for name, picture in (("woman", astronaut), ("admiral", hopper), ("both", both)):
        found[name] = folder / f"{name}.png"
        picture.save(found[name])
    return found


def start_anew(page: Any) -> None:
    """Delete what other tests left."""
    while page.locator("#photos .del").count():
        count = page.locator("#photos li").count()
        page.locator("#photos .del").first.click(force=True)
        page.wait_for_selector(f"#photos li >> nth={count - 1}", state="detached")


def test_a_face_is_lent_only_after_somebody_has_confirmed_it(
    address: str, files: dict[str, Path], astronaut: Image.Image
) -> None:
    with opened(address) as page:
        start_anew(page)
        add_photos(page, files["woman"], files["both"])
        page.click("#tasks button:text-is('Mix')")
        quick(page)
        # A cell says which face of a photo of several is meant.
        page.select_option("select[aria-label='Nose']", label="both.png, face 2")
        page.wait_for_selector("#tag:has-text('after you have confirmed')")
        count = page.locator("#history li").count()
        page.click("#run")
        page.click("#consent button[value=no]")
        page.wait_for_selector("#status:text-is('Nothing was ordered')")
        assert page.locator("#history li").count() == count
        draw(page, confirm=True)
        change = np.abs(downloaded(page) - np.asarray(astronaut, np.float32)).max(2)
        assert change[60:200, 170:290].max() > 10
        assert not change[300:].any()
        # Another part of the same face in the same picture: nobody is asked again.
        page.select_option("select[aria-label='Lips']", label="both.png, face 2")
        page.wait_for_selector("#tag:has-text('striped')")
        # The table as a task fills it, with everything from one face.
        page.select_option("select[aria-label='Everything from']", label="both.png, face 1")
        page.select_option("select[aria-label='Begin like']", label="Swap")
        for cell in ("Identity", "Texture", "Glasses"):
            chosen = page.locator(f"select[aria-label='{cell}'] option:checked")
            assert chosen.inner_text() == "both.png, face 1"
        assert page.locator("select[aria-label='Pose'] option:checked").inner_text() == "as it is"
        page.wait_for_selector("#tag:has-text('after you have confirmed')")


def test_a_mask_is_painted_by_keys_and_does_not_lie_over_the_result(
    address: str, files: dict[str, Path], astronaut: Image.Image
) -> None:
    with opened(address) as page:
        start_anew(page)
        add_photos(page, files["woman"])
        page.click("#tasks button:text-is('Inpaint')")
        quick(page)
        page.focus("#mask")
        page.keyboard.press("Space")
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("Space")
        assert opacity_over(page, *EYES) == 255
        draw(page)
        assert opacity_over(page, *EYES) == 0
        change = np.abs(downloaded(page) - np.asarray(astronaut, np.float32)).max(2)
        assert change.any()
        assert not change[:60].any()
        assert not change[200:].any()
        page.click("#views [data-view=before]")
        assert opacity_over(page, *EYES) == 255


def test_history_goes_back_tries_again_and_is_taken_along(
    address: str, files: dict[str, Path]
) -> None:
    with opened(address) as page:
        start_anew(page)
        add_photos(page, files["woman"])
        page.click("#tasks button:text-is('Gaze')")
        quick(page)
        page.focus("#s-Look-aside")
        for _ in range(9):
            page.keyboard.press("ArrowRight")
        draw(page)
        first = downloaded(page)
        with page.expect_download() as saved:
            page.click("#recipe")
        with zipfile.ZipFile(io.BytesIO(Path(saved.value.path()).read_bytes())) as archive:
            assert {"recipe.yaml", "woman.png"} <= set(archive.namelist())
        page.click("#continue")
        page.wait_for_selector("#photos li >> nth=1")
        assert page.locator("#s-Look-aside").input_value() == "0"
        # The photo is a result now: undoing goes back to the one before.
        page.click("#undo")
        page.wait_for_selector("#photos [aria-pressed=true]:has-text('woman.png')")
        page.locator("#history button").first.click()
        page.click("#restore")
        page.wait_for_selector("#status:has-text('settings of that edit')")
        assert page.locator("#s-Look-aside").input_value() == "9"
        count = page.locator("#history li").count()
        page.click("#replay")
        page.wait_for_selector(f"#history li >> nth={count}")
        page.wait_for_selector("#work", state="hidden")
        assert (downloaded(page) != first).any()


def test_what_was_found_is_that_of_the_face_that_is_edited(
    address: str, files: dict[str, Path]
) -> None:
    with opened(address) as page:
        start_anew(page)
        add_photos(page, files["both"])
        page.locator(".faces button").nth(1).click()
        page.click("#factors")
        page.wait_for_selector("#found-title:text-is('What was found in face 2')")
        alt = page.locator("#found-list img").nth(2).get_attribute("alt")
        assert alt.startswith("Pose and gaze: Turned")
        page.keyboard.press("Escape")
        # A kept face can be taken from when its photo is gone.
        page.click("#keep")
        page.wait_for_selector("#kept li")
        add_photos(page, files["woman"])
        page.click("#photos button:has-text('woman.png')")
        page.click("#photos button[aria-label='Delete both.png']", force=True)
        page.wait_for_selector("#photos button:has-text('both.png')", state="detached")
        page.click("#kept button >> nth=0")
        assert page.locator(".slots input:checked").get_attribute("aria-label").startswith("both")
        page.locator("#kept .del").click(force=True)
        page.wait_for_selector("#library", state="hidden")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_swap_by_keyboard_alone_on_a_phone(
    address: str, files: dict[str, Path], tmp_path: Path, scheme: Any
) -> None:
    with opened(address, 390, color_scheme=scheme) as page:
        start_anew(page)
        add_photos(page, files["woman"], files["admiral"], files["both"])
        page.focus("#tasks [aria-checked=true]")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowLeft")
        assert page.evaluate("() => document.activeElement.innerText") == "Swap"
        page.keyboard.press("Tab")
        for name in ("both.png", "admiral.png"):  # the form is drawn again, the focus stays
            page.keyboard.press("ArrowRight")
            label = page.evaluate("() => document.activeElement.getAttribute('aria-label')")
            assert label == name
        assert page.locator("#run").is_enabled()
        page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("#consent[open]")
        page.keyboard.press("Escape")
        page.wait_for_selector("#status:text-is('Nothing was ordered')")


class Waiting:
    """An editor that waits until it is stopped, so that many jobs are there at once."""

    name = "cpu"

    def __init__(self) -> None:
        self.going_on = threading.Event()

    def start(self) -> None:
        pass

    def edit(self, claim: Claim, report: Report) -> ResultInfo:
        while not self.going_on.wait(0.05):
            report(1, 9, "waiting")
        raise Interrupted("the edit was stopped")

    def close(self) -> None:
        self.going_on.set()


def test_many_edits_do_not_freeze_the_page(
    make_service: MakeService, tmp_path: Path, files: dict[str, Path]
) -> None:
    service = make_service(tmp_path)
    service.editors = [Waiting()]
    with served(create_app(service)) as address, opened(address) as page:
        add_photos(page, files["woman"])
        page.click("#tasks button:text-is('Gaze')")
        page.uncheck("#auto")
        page.focus("#s-Look-aside")
        page.keyboard.press("ArrowRight")
        for number in range(9):
            page.click("#run")
            page.wait_for_selector(f"#history li >> nth={number}")
        page.wait_for_selector("#stage-text:has-text('8 waiting')")
        page.click("#cancel")  # the one that runs
        page.wait_for_selector("#stage-text:has-text('7 waiting')")
        page.locator("#history button").first.click()  # one that waits
        page.click("#remove:has-text('Cancel')")
        page.wait_for_selector("#stage-text:has-text('6 waiting')")
        add_photos(page, files["admiral"])


def test_a_wrong_token_is_said_where_it_is_asked_for(
    make_service: MakeService, tmp_path: Path
) -> None:
    service = make_service(tmp_path, token=TOKEN)
    code = service.new_code()
    with served(create_app(service)) as address:
        with opened(f"{address}#token={code}") as page:
            page.click("#leave")
            page.wait_for_selector("#token[open]")
            page.fill("#token-text", "a guess")
            page.keyboard.press("Enter")
            page.wait_for_selector("#token-error:has-text('not the token')")
            page.fill("#token-text", TOKEN)
            page.keyboard.press("Enter")
            page.wait_for_selector("#status:text-is('Ready')")
        assert not service.lets_in(code)
