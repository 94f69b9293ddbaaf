# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from facex.errors import ImageRejected, OptionError
from facex.imaging.write import write_photo
from facex.safety.provenance import (
    COMPOSITE_WITH_AI,
    MAX_PACKET_BYTES,
    build_xmp,
    parse_xmp,
    public_recipe,
    read_xmp,
)

RECIPE = {
    "format_version": 1,
    "name": "Anna's birthday",
    "photos": {"anna": "/home/anna/private.jpg"},
    "steps": [
        {
            "identity": "anna",
            "hair": "mother",
            "pose": "target",
            "regions": {"lips": "anna", "eyes": "source"},
            "mask": "/tmp/secret.png",
            "style": "/models/secret-style",
            "edit": ["face"],
            "sliders": {"yaw": 10.0, "blendshapes": {"jawOpen": 0.5}},
            "seed": 3,
        }
    ],
}


def test_recipe_is_reduced_to_roles_and_picks() -> None:
    reduced = public_recipe(RECIPE)
    assert reduced == {
        "format_version": 1,
        "steps": [
            {
                "identity": "picture 1",
                "hair": "picture 2",
                "pose": "target",
                "regions": {"lips": "picture 1", "eyes": "source"},
                "style": "personal",
                "edit": ["face"],
                "sliders": {"yaw": 10.0, "blendshapes": {"jawOpen": 0.5}},
                "seed": 3,
            }
        ],
    }


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif", ".tif"])
def test_round_trip_through_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    packet = build_xmp(json.dumps(RECIPE), 0xABC123)
    for word in (b"anna", b"secret", b"birthday", b"/home"):
        assert word not in packet
    write_photo(Image.new("RGB", (40, 30), "teal"), path, xmp=packet)
    found = read_xmp(path)
    assert found is not None
    assert found.digital_source_type == COMPOSITE_WITH_AI
    assert found.tool is not None
    assert found.tool.startswith("FaceX")
    assert found.edit_id == 0xABC123
    assert found.by_facex
    assert found.says_generated
    assert found.recipe == public_recipe(RECIPE)


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=5), st.text(max_size=20) | st.integers() | st.none(), max_size=4
    ),
    st.integers(0, (1 << 24) - 1),
)
def test_any_recipe_gives_a_packet_that_can_be_read(recipe: dict, edit_id: int) -> None:
    found = parse_xmp(build_xmp(json.dumps(recipe), edit_id))
    assert found is not None
    assert found.edit_id == edit_id
    assert found.recipe == public_recipe(recipe)


def test_long_recipe_still_fits_into_a_jpeg(tmp_path: Path) -> None:
    steps = [{"identity": f"someone {i}", "edit": ["face"] * 20} for i in range(2000)]
    packet = build_xmp(json.dumps({"steps": steps}), 1)
    assert len(packet) < 60 * 1024
    write_photo(Image.new("RGB", (40, 30)), tmp_path / "a.jpg", xmp=packet)
    found = read_xmp(tmp_path / "a.jpg")
    assert found is not None
    assert found.by_facex


@pytest.mark.parametrize(("recipe", "edit_id"), [("[]", 1), ("{", 1), ("{}", -1), ("{}", 1 << 24)])
def test_bad_arguments(recipe: str, edit_id: int) -> None:
    with pytest.raises(OptionError):
        build_xmp(recipe, edit_id)


def _wrapped(inside: str, attributes: str = "") -> str:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        f'xmlns:facex="urn:facex:provenance:1#" {attributes}>{inside}'
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    )


def test_packets_of_other_programs() -> None:
    text = "Iptc4xmpExt:DigitalSourceType"
    uri = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    found = parse_xmp(_wrapped("", f'{text}="{uri}" xmp:CreatorTool="Other 2"').encode("utf-8"))
    assert found is not None
    assert found.says_generated
    assert not found.by_facex
    assert found.tool == "Other 2"
    assert parse_xmp(_wrapped("<xmp:CreatorTool>Camera</xmp:CreatorTool>")) is None


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10 if i else "&a;" * 10}">' for i in range(9))
    + "]>"
    + _wrapped("<facex:EditId>&a8;</facex:EditId>")
)

HOSTILE = {
    "entity bomb": BOMB.encode(),
    "external entity": (
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
        + _wrapped("<facex:EditId>&e;</facex:EditId>").encode()
    ),
    "bomb in UTF-16": BOMB.encode("utf-16"),
    "huge": _wrapped("<facex:EditId>" + "a" * MAX_PACKET_BYTES + "</facex:EditId>").encode(),
    "deep": b"<a>" * 30000 + b"</a>" * 30000,
    "garbage": bytes(range(256)) * 10,
    "cut off": _wrapped("<facex:EditId>abcdef</facex:EditId>").encode()[:-20],
    "empty": b"",
    "no XML": b"hello",
    "wrong id": _wrapped("<facex:EditId>-1; rm -rf</facex:EditId>").encode(),
}


@pytest.mark.parametrize("packet", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_packets_say_nothing(packet: bytes, tmp_path: Path) -> None:
    assert parse_xmp(packet) is None
    if 0 < len(packet) < 65000:
        Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", xmp=packet)
        assert read_xmp(tmp_path / "a.jpg") is None


@pytest.mark.parametrize("recipe", ["[" * 5000, "not json", "[1]", ""])
def test_hostile_recipe_is_left_out(recipe: str) -> None:
    text = f"<facex:EditId>00000a</facex:EditId><facex:Recipe>{recipe}</facex:Recipe>"
    found = parse_xmp(_wrapped(text))
    assert found is not None
    assert found.edit_id == 10
    assert found.recipe is None


def test_compressed_text_bomb_in_png(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", " " * 30_000_000, zip=True)
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png", pnginfo=info)
    assert read_xmp(tmp_path / "a.png") is None


def test_files_that_are_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    for path in (tmp_path / "a.jpg", tmp_path / "missing.png", tmp_path):
        with pytest.raises(ImageRejected):
            read_xmp(path)
