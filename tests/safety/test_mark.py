# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import io
import math

import cv2
import numpy as np
import pytest
from PIL import Image

from facex.errors import OptionError
from facex.safety.lattice import lattice
from facex.safety.mark import (
    P_LIMIT,
    Payload,
    detect,
    embed,
    p_value,
    payload_of,
)

PAYLOAD = Payload(edit_id=0x5EED42)


def textured(seed: int, height: int, width: int) -> np.ndarray:
    """Clouds over five octaves, like a photo: amplitude falls with frequency; grain on top."""
    rng = np.random.default_rng(seed)
    plane = np.full((height, width, 3), 128.0)
    for octave in range(2, 8):
        coarse = rng.normal(size=(2**octave, 2**octave, 3)).astype(np.float32)
        plane += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * 80 / 2**octave
    plane += rng.normal(0, 1.5, plane.shape)
    cv2.circle(plane, (width // 3, height // 3), height // 5, (60, 90, 140), -1)
    return np.clip(plane, 0, 255).astype(np.uint8)


def jpeg(rgb: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def resized(rgb: np.ndarray, factor: float) -> np.ndarray:
    size = round(rgb.shape[1] * factor), round(rgb.shape[0] * factor)
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))


def oval(height: int, width: int, diameter: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    radius = np.hypot((x - width / 2) / (diameter / 2), (y - height / 2) / (diameter * 0.65))
    return np.clip((1 - radius) * 8, 0, 1).astype(np.float32)


def psnr(before: np.ndarray, after: np.ndarray, area: float) -> float:
    square = ((after.astype(np.float64) - before) ** 2).mean(2).sum()
    return 10 * math.log10(255**2 * area / square)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return textured(0, 500, 460)


@pytest.fixture(scope="module")
def marked(photo: np.ndarray) -> np.ndarray:
    return embed(photo, PAYLOAD)


@pytest.fixture(scope="module")
def face_marked(photo: np.ndarray) -> np.ndarray:
    return embed(photo, PAYLOAD, oval(500, 460, 280))


CHANGES = {
    "nothing": lambda rgb: rgb,
    "JPEG 70": lambda rgb: jpeg(rgb, 70),
    "half": lambda rgb: resized(rgb, 0.5),
    "three quarters": lambda rgb: resized(rgb, 0.75),
    "larger": lambda rgb: resized(rgb, 1.5),
    "crop top": lambda rgb: rgb[50:],
    "crop left": lambda rgb: rgb[:, 46:],
    "crop all": lambda rgb: rgb[50:-50, 46:-46],
    "crop, smaller, JPEG": lambda rgb: jpeg(resized(rgb[50:], 0.75), 80),
    "darker": lambda rgb: (rgb * 0.8).astype(np.uint8),
    "grey": lambda rgb: np.repeat(rgb[..., 1:2], 3, axis=2),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("area", ["whole", "face"])
def test_mark_survives(marked: np.ndarray, face_marked: np.ndarray, area: str, change: str) -> None:
    reading = detect(CHANGES[change](marked if area == "whole" else face_marked))
    assert reading.found
    assert reading.payload == PAYLOAD
    assert reading.p_value < P_LIMIT
    assert 0.3 < reading.confidence <= 1


@pytest.mark.parametrize(("factor", "change"), [(0.5, "half"), (1.0, "crop top"), (1.5, "larger")])
def test_scale_is_told(marked: np.ndarray, factor: float, change: str) -> None:
    scale = detect(CHANGES[change](marked)).scale
    assert scale == pytest.approx(factor, rel=0.01)


def test_quality(photo: np.ndarray, marked: np.ndarray, face_marked: np.ndarray) -> None:
    assert psnr(photo, marked, photo.shape[0] * photo.shape[1]) >= 42
    assert psnr(photo, face_marked, float(oval(500, 460, 280).sum())) >= 42
    assert np.abs(marked.astype(int) - photo).max() <= 16


def test_mask_is_respected_exactly(photo: np.ndarray) -> None:
    mask = oval(500, 460, 200)
    mask[:, :200] = 0
    result = embed(photo, PAYLOAD, mask)
    changed = (result != photo).any(2)
    assert not changed[mask == 0].any()
    assert changed[mask > 0.5].mean() > 0.5
    assert (embed(photo, PAYLOAD, np.zeros_like(mask)) == photo).all()


def test_half_transparent_mask_halves_the_change(photo: np.ndarray) -> None:
    mask = np.ones(photo.shape[:2], dtype=np.float32)
    mask[:, 230:] = 0.4
    change = np.abs(embed(photo, PAYLOAD, mask).astype(int) - photo)
    assert change[:, 235:].mean() < 0.7 * change[:, :225].mean()


def test_each_of_two_faces_carries_the_mark(photo: np.ndarray) -> None:
    wide = np.concatenate([photo, photo[::-1]], axis=1)
    mask = np.concatenate([oval(500, 460, 220)] * 2, axis=1)
    result = embed(wide, PAYLOAD, mask)
    for half in (result[:, :460], result[:, 460:]):
        assert detect(half).payload == PAYLOAD


def test_marking_twice_gives_the_last_word(marked: np.ndarray) -> None:
    # Chained edits: the later mark was fitted to a picture that holds the earlier one.
    other = Payload(edit_id=1)
    assert detect(embed(marked, other)).payload == other


def test_embedding_is_deterministic_and_leaves_its_input(photo: np.ndarray) -> None:
    before = photo.copy()
    assert (embed(photo, PAYLOAD) == embed(photo, PAYLOAD)).all()
    assert (photo == before).all()


def test_large_photo_is_marked_for_reduction() -> None:
    photo = resized(textured(3, 900, 1000), 2.0)  # 3.6 megapixels
    result = embed(photo, PAYLOAD, oval(1800, 2000, 1100))
    assert detect(resized(result, 0.4)).payload == PAYLOAD


def unmarked() -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:96, :96]
    pictures = []
    for number in range(50):
        angle, period = rng.uniform(0, math.pi), rng.uniform(3, 30)
        wave = np.sin(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / period)
        checks = np.sign(np.sin(2 * math.pi * x / period) * np.sin(2 * math.pi * y / period))
        noise = rng.normal(128, rng.uniform(1, 60), (96, 96, 1))
        gradient = np.outer(y[:, 0], rng.uniform(-1, 1, 96))[..., None] + 128
        pictures += [noise, gradient, (128 + 60 * (wave if number % 2 else checks))[..., None]]
        pictures.append(textured(100 + number, 96, 96).astype(np.float64))
    return [np.clip(picture + np.zeros((1, 1, 3)), 0, 255).astype(np.uint8) for picture in pictures]


def test_no_false_alarm_on_200_unmarked_pictures() -> None:
    pictures = unmarked()
    assert len(pictures) == 200
    assert not any(detect(picture).found for picture in pictures)


@pytest.mark.parametrize("value", [0, 255])
def test_flat_pictures_are_marked_or_left_in_peace(value: int) -> None:
    flat = np.full((200, 300, 3), value, dtype=np.uint8)
    assert not detect(flat).found
    assert embed(flat, PAYLOAD).shape == flat.shape


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1), (16, 16), (60, 900)])
def test_odd_sizes(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert embed(picture, PAYLOAD).shape == picture.shape
    assert not detect(picture).found


def test_p_value_is_the_stated_bound() -> None:
    assert p_value(0.0) == 1.0
    assert p_value(9.0) == pytest.approx(28 * 2**32 * math.exp(-40.5))
    limit = math.sqrt(2 * math.log(28 * 2**32 / P_LIMIT))
    assert limit < math.sqrt(384) / 2, "half of the possible correlation must be enough"


def test_payload_round_trip_and_limits() -> None:
    for payload in (PAYLOAD, Payload(0, 0, 0), Payload(0xFFFFFF, 0xFF, 0xF), Payload.new()):
        assert Payload.from_bits(payload.to_bits()) == payload
    assert payload_of(7) == Payload(edit_id=7)
    for bad in ({"edit_id": -1}, {"edit_id": 1 << 24}, {"edit_id": 0, "tool": 256}):
        with pytest.raises(OptionError):
            Payload(**bad)


@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        (np.zeros((64, 64), np.uint8), None),
        (np.zeros((64, 64, 4), np.uint8), None),
        (np.zeros((64, 64, 3), np.float32), None),
        (np.zeros((64, 64, 3), np.uint8), np.zeros((64, 63), np.float32)),
    ],
)
def test_wrong_arrays(picture: np.ndarray, mask: np.ndarray | None) -> None:
    with pytest.raises(OptionError):
        embed(picture, PAYLOAD, mask)
    if mask is None:
        with pytest.raises(OptionError):
            detect(picture)


def test_the_format_never_changes() -> None:
    # Marks in pictures outlive releases. Other numbers here need another MARK_VERSION.
    points = lattice()
    arrays = (points.kx, points.ky, points.signs, points.bit)
    text = b"".join(np.ascontiguousarray(array.astype(np.int32)).tobytes() for array in arrays)
    assert len(points.kx) == 252
    assert points.sync == 60
    assert hashlib.sha256(text).hexdigest()[:16] == "8d4a9642bd89e8bf"
