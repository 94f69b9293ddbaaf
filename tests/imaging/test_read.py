# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from facex.errors import ImageRejected, MissingExtra
from facex.imaging.read import read_mask, read_photo


def picture(width: int = 40, height: int = 24) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    array = np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], -1)
    return Image.fromarray(array.astype(np.uint8))


def encoded(image: Image.Image, fmt: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def swapped_profile() -> bytes:
    """A matrix profile whose red and blue primaries are exchanged: conversion must be visible."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = {}
    for i in range(struct.unpack_from(">I", data, 128)[0]):
        tag, offset, _ = struct.unpack_from(">4sII", data, 132 + 12 * i)
        at[tag] = offset
    red, blue = at[b"rXYZ"], at[b"bXYZ"]
    data[red : red + 20], data[blue : blue + 20] = data[blue : blue + 20], data[red : red + 20]
    return bytes(data)


@pytest.mark.parametrize(
    ("fmt", "options", "tolerance"),
    [
        ("PNG", {}, 0), ("BMP", {}, 0), ("TIFF", {}, 0), ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 98, "subsampling": 0}, 6),
        ("AVIF", {"quality": 98, "subsampling": "4:4:4"}, 8), ("GIF", {}, 60),
    ],
)  # fmt: skip
def test_formats(tmp_path: Path, fmt: str, options: dict[str, object], tolerance: int) -> None:
    path = tmp_path / "picture.bin"  # the name means nothing, the content decides
    path.write_bytes(encoded(picture(), fmt, **options))
    photo = read_photo(path)
    assert (photo.format, photo.path, photo.size) == (fmt, path, (40, 24))
    assert photo.image.mode == "RGB"
    difference = np.abs(photo.array.astype(int) - np.asarray(picture()))
    assert difference.max() <= tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turn(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    undo = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    stored = picture() if undo is None else picture().transpose(undo)
    photo = read_photo(encoded(stored, "PNG", exif=exif.tobytes()))
    assert np.array_equal(photo.array, np.asarray(picture()))
    assert photo.original.size == photo.size


def test_profile_is_converted_and_a_broken_one_ignored() -> None:
    profile = swapped_profile()
    photo = read_photo(encoded(picture(), "PNG", icc_profile=profile))
    assert photo.icc_profile == profile
    swapped = np.asarray(picture())[..., ::-1].astype(int)
    assert np.abs(photo.array - swapped).max() <= 2
    assert np.array_equal(np.asarray(photo.original), np.asarray(picture()))
    with pytest.warns(UserWarning, match="profile is unusable"):
        broken = read_photo(encoded(picture(), "PNG", icc_profile=b"no profile at all" * 20))
    assert broken.icc_profile is None
    assert np.array_equal(broken.array, np.asarray(picture()))


def test_srgb_profile_moves_nothing() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = read_photo(encoded(picture(), "PNG", icc_profile=srgb))
    assert np.array_equal(photo.array, np.asarray(picture()))
    assert photo.icc_profile == srgb


def test_deep_grey_is_scaled() -> None:
    values = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    for fmt in ("PNG", "TIFF"):
        photo = read_photo(encoded(Image.fromarray(values), fmt))
        assert photo.bits == 16
        assert np.abs(photo.array[..., 0] - values / 257).max() <= 0.51


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "LAB", "I", "F", "YCbCr"])
def test_modes(mode: str) -> None:
    source = picture() if mode == "LAB" else picture().convert(mode)
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        source = ImageCms.profileToProfile(
            source, ImageCms.createProfile("sRGB"), lab, outputMode="LAB"
        )
    photo = read_photo(source)
    assert photo.image.mode == "RGB"
    assert photo.size == (40, 24)
    if mode == "LAB":
        assert np.abs(photo.array.astype(int) - np.asarray(picture())).mean() <= 3
    if mode in ("RGBA", "CMYK", "YCbCr"):
        assert np.abs(photo.array.astype(int) - np.asarray(picture())).max() <= 8
    if mode in ("I", "F"):
        assert photo.bits == 32


def test_alpha_is_kept_also_from_palettes() -> None:
    alpha = Image.linear_gradient("L").resize((40, 24))
    image = picture()
    image.putalpha(alpha)
    photo = read_photo(encoded(image, "PNG"))
    assert photo.alpha is not None
    assert np.array_equal(np.asarray(photo.alpha), np.asarray(alpha))
    palette = picture().convert("P")
    photo = read_photo(encoded(palette, "PNG", transparency=0))
    assert photo.alpha is not None
    assert photo.image.info == {}
    assert read_photo(encoded(picture(), "PNG")).alpha is None


def test_frames_and_dpi() -> None:
    others = [picture().rotate(180)]
    photo = read_photo(encoded(picture(), "GIF", save_all=True, append_images=others))
    assert photo.frames == 2
    assert photo.array[-1, -1, 0] > 200  # the first frame
    x, _ = read_photo(encoded(picture(), "JPEG", dpi=(300, 300))).dpi or (0, 0)
    assert x == pytest.approx(300, abs=0.5)


def test_arrays() -> None:
    array = np.asarray(picture())
    assert np.array_equal(read_photo(array).array, array)
    assert np.array_equal(read_photo(array / 255).array, array)
    assert np.array_equal(read_photo(array[..., 0]).array[..., 2], array[..., 0])
    four = np.dstack([array, array[..., 0]])
    alpha = read_photo(four).alpha
    assert alpha is not None
    assert np.array_equal(np.asarray(alpha), array[..., 0])
    for bad in (
        array[None], array[..., :2], array.astype(np.int64), array.astype(float),
        np.full((20, 20), np.nan), array[:8], np.zeros((0, 0, 3), np.uint8),
    ):  # fmt: skip
        with pytest.raises(ImageRejected):
            read_photo(bad)


def bomb(width: int, height: int) -> bytes:
    """A PNG header of that size and next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


JPEG = encoded(picture(200, 200), "JPEG")
PNG = encoded(picture(200, 200), "PNG")
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"hello, this is text", "no picture"),
        (b"%PDF-1.7 ...", "no picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture"),
        (JPEG[: len(JPEG) // 2], "damaged"),
        (PNG[: len(PNG) // 2], "damaged"),
        (PNG[:200] + bytes(40) + PNG[240:], "damaged"),
        (JPEG[:30], None),
        (encoded(picture(), "WEBP")[:100], None),
        (encoded(picture(), "TIFF")[:60], None),
        (encoded(picture(), "AVIF")[:150], None),
        (bomb(25_000, 25_000), "million pixels"),
        (bomb(40_000, 100), "at most 30000"),
        (bomb(2**31 - 1, 2**31 - 1), "million pixels"),
        (encoded(picture(8, 100), "PNG"), "at least 16"),
        (encoded(picture(), "PPM"), "no picture"),
    ],
)
def test_bad_files_get_one_sentence_that_names_them(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(data)
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageRejected, match=said) as caught:
        read_photo(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert ":" in message
    assert limit == Image.MAX_IMAGE_PIXELS


def test_other_bad_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageRejected, match="does not exist"):
        read_photo(tmp_path / "none.png")
    with pytest.raises(ImageRejected, match="folder"):
        read_photo(tmp_path)
    with pytest.raises(ImageRejected, match="cannot be read"):
        read_photo("a\0b")
    with pytest.raises(ImageRejected, match="is no picture"):
        read_photo(42)  # type: ignore[arg-type]
    with pytest.raises(ImageRejected, match="more than"):
        read_photo(PNG, max_pixels=100)
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(MissingExtra, match=r"facex\[heic\]"):
        read_photo(HEIC)


def test_damaged_heic() -> None:
    pytest.importorskip("pi_heif")
    with pytest.raises(ImageRejected, match="damaged"):
        read_photo(HEIC)


def test_mask(tmp_path: Path) -> None:
    grey = np.zeros((24, 40), np.uint8)
    grey[5:10, 5:20] = 255
    mask = read_mask(Image.fromarray(grey), (40, 24))
    assert mask.dtype == np.float32
    assert np.array_equal(mask, grey / 255)
    white = Image.new("RGB", (40, 24), "white")
    white.putalpha(Image.fromarray(grey))
    assert np.array_equal(read_mask(white, (40, 24)), grey / 255)
    assert np.array_equal(read_mask(grey > 0, (40, 24)), grey / 255)
    fine = np.full((24, 40), 0.123456, np.float32)
    assert np.array_equal(read_mask(fine, (40, 24)), fine)
    with pytest.warns(UserWarning, match="rescaled"):
        double = read_mask(Image.fromarray(grey), (80, 48))
    assert double.shape == (48, 80)
    assert double.mean() == pytest.approx(mask.mean(), abs=0.01)
    with pytest.raises(ImageRejected, match="photo's size"):
        read_mask(Image.fromarray(grey), (40, 40))
