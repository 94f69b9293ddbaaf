# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facex.errors import OptionError, OutputError
from facex.imaging.read import read_photo
from facex.imaging.write import encode_photo, write_bytes_atomic, write_photo
from tests.imaging.test_read import encoded, picture, swapped_profile

XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>made by a machine</x:xmpmeta>"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".tif", ".tiff", ".bmp")


def painted(image: Image.Image) -> Image.Image:
    changed = image.copy()
    changed.paste((200, 30, 30), (10, 5, 20, 15))
    return changed


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".JPG"])
def test_formats_keep_colours_and_drop_private_data(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    exif.get_ifd(0x8825)[2] = (48.0, 1.0, 2.0)
    data = encoded(picture(), "PNG", exif=exif.tobytes(), dpi=(300, 300))
    photo = read_photo(data)
    path = write_photo(painted(photo.image), tmp_path / f"out{suffix}", like=photo, xmp=XMP)
    assert b"SecretCamera" not in path.read_bytes()
    with Image.open(path) as stored:
        assert not stored.getexif().get_ifd(0x8825)
    again = read_photo(path)
    difference = np.abs(again.array.astype(int) - np.asarray(painted(photo.image)))
    assert difference.mean() < 4
    if suffix in (".png", ".tif", ".tiff", ".bmp"):
        assert difference.max() == 0
    if suffix != ".bmp":
        assert XMP in path.read_bytes()
    if suffix not in (".webp", ".avif"):
        assert again.dpi == pytest.approx((300, 300), abs=0.5)
    assert os.listdir(tmp_path) == [path.name]


def test_jpeg_comment_is_dropped_and_chroma_is_full() -> None:
    photo = read_photo(encoded(picture(), "JPEG", comment=b"my secret"))
    data = encode_photo(photo.image, ".jpg", like=photo)
    assert b"my secret" not in data
    assert [layer[1:3] for layer in Image.open(io.BytesIO(data)).layer] == [(1, 1)] * 3


def test_unchanged_pixels_are_the_originals_in_their_profile() -> None:
    profile = swapped_profile()
    photo = read_photo(encoded(picture(), "PNG", icc_profile=profile))
    stored = Image.open(io.BytesIO(encode_photo(painted(photo.image), ".png", like=photo)))
    assert stored.info["icc_profile"] == profile
    pixels, original = np.asarray(stored), np.asarray(picture())
    outside = np.ones(pixels.shape[:2], bool)
    outside[5:15, 10:20] = False
    assert np.array_equal(pixels[outside], original[outside])
    # (200, 30, 30) in a profile with red and blue exchanged
    assert np.abs(pixels[10, 15].astype(int) - (30, 30, 200)).max() <= 2
    assert np.array_equal(read_photo(encoded(stored, "PNG")).array.shape, photo.array.shape)


def test_an_edit_that_changes_nothing_keeps_every_mode() -> None:
    values = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    alpha = picture()
    alpha.putalpha(77)
    sources = [
        picture().convert("L"), picture().convert("LA"), alpha, picture().convert("CMYK"),
        Image.fromarray(values),
    ]  # fmt: skip
    for source in sources:
        photo = read_photo(encoded(source, "TIFF"))
        stored = Image.open(io.BytesIO(encode_photo(photo.image, ".tif", like=photo)))
        assert stored.mode == source.mode
        assert np.array_equal(np.asarray(stored), np.asarray(source))


def test_grey_stays_grey_until_it_gets_colour() -> None:
    photo = read_photo(encoded(picture().convert("L"), "PNG"))
    grey = photo.image.copy()
    grey.paste((9, 9, 9), (10, 5, 20, 15))
    assert Image.open(io.BytesIO(encode_photo(grey, ".png", like=photo))).mode == "L"
    data = encode_photo(painted(photo.image), ".png", like=photo)
    assert np.array_equal(read_photo(data).array, np.asarray(painted(photo.image)))


def test_deep_grey_edit_keeps_16_bit() -> None:
    values = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    photo = read_photo(encoded(Image.fromarray(values), "PNG"))
    edited = photo.image.copy()
    edited.paste((9, 9, 9), (0, 0, 4, 4))
    stored = np.asarray(Image.open(io.BytesIO(encode_photo(edited, ".png", like=photo))))
    assert (np.rint(stored[:4, :4] / 257) == 9).all()
    assert stored[0, 0] == 9 * 257
    assert np.array_equal(stored[4:], values[4:])
    assert np.array_equal(stored[:, 4:], values[:, 4:])


def test_alpha_and_cmyk_where_the_format_can() -> None:
    source = picture()
    source.putalpha(Image.linear_gradient("L").resize((40, 24)))
    photo = read_photo(encoded(source, "PNG"))
    for suffix in (".png", ".tif", ".webp"):
        again = read_photo(encode_photo(painted(photo.image), suffix, like=photo))
        assert again.alpha is not None
        assert np.array_equal(np.asarray(again.alpha), np.asarray(photo.alpha))
    assert read_photo(encode_photo(photo.image, ".jpg", like=photo)).alpha is None
    photo = read_photo(picture().convert("CMYK"))
    again = read_photo(encode_photo(painted(photo.image), ".png", like=photo))
    assert np.array_equal(again.array, np.asarray(painted(photo.image)))


def test_another_size_is_plain_srgb() -> None:
    photo = read_photo(encoded(picture(), "PNG", icc_profile=swapped_profile()))
    again = read_photo(encode_photo(picture(64, 64), ".png", like=photo))
    assert again.icc_profile is None
    assert np.array_equal(again.array, np.asarray(picture(64, 64)))


def test_refusals_leave_nothing(tmp_path: Path) -> None:
    image = picture()
    kept = tmp_path / "kept.png"
    kept.write_bytes(b"old")
    (tmp_path / "folder.png").mkdir()
    before = sorted(os.listdir(tmp_path))
    for path, said in (
        (tmp_path / "a.xyz", "suffix"), (tmp_path / "a", "suffix"),
        (tmp_path / "no" / "a.png", "create it"), (tmp_path / "folder.png", "is a folder"),
        (kept / "a.png", "no folder"), (tmp_path / ("a" * 300 + ".png"), "cannot be written"),
    ):  # fmt: skip
        with pytest.raises(OutputError, match=said):
            write_photo(image, path)
    with pytest.raises(OutputError, match="exists already"):
        write_photo(image, kept, overwrite=False)
    with pytest.raises(OptionError):
        write_photo(image, tmp_path / "a.png", quality=0)
    with pytest.raises(OutputError, match="WEBP encoder"):
        write_photo(Image.new("RGB", (17_000, 16)), tmp_path / "a.webp")
    assert sorted(os.listdir(tmp_path)) == before
    assert kept.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (OSError(errno.ENOSPC, "No space left"), OutputError, "disk is full"),
        (PermissionError(errno.EACCES, "denied"), OutputError, "rights"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_a_failure_in_between_leaves_the_old_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    raised: type[BaseException],
    said: str | None,
) -> None:
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")

    def fail(descriptor: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(raised, match=said):
        write_bytes_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.bin"]


def test_links_are_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link, real = tmp_path / "link.bin", tmp_path / "real" / "file.bin"
    real.write_bytes(b"old")
    link.symlink_to(real)
    write_bytes_atomic(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    with pytest.raises(OutputError, match="ordinary"):
        write_bytes_atomic(os.devnull, b"new")
