# SPDX-License-Identifier: Apache-2.0
"""Correction at native resolution, end to end: a small model keeps a large face's fine detail."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import facex
import facex.editing
from facex.api import EditOptions
from facex.imaging.paste import paste_back
from facex.imaging.warp import Similarity

QUICK = EditOptions(steps=1, mark=False)


def fine_structure(shape: tuple[int, int], width: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), width)
    return (8 * soft / soft.std())[..., None]


def sharpness(photo: Image.Image, where: np.ndarray) -> float:
    edges = cv2.Laplacian(np.asarray(photo.convert("L"), np.float32), cv2.CV_32F)
    return float(edges[where].var())


def known_in_photo(result: facex.Result, known: np.ndarray) -> np.ndarray:
    """Where the native reference was known and shown alone, in pixels of the photo."""
    size, face = len(known), result.representation
    frame = Similarity(face.photo_from_crop[0].numpy()).compose(
        Similarity.from_parts(scale=face.crop_size / size)
    )
    black = np.zeros((*result.mask.shape, 3), np.uint8)
    pasted, _ = paste_back(black, known[..., None].repeat(3, -1), np.ones_like(known), frame)
    sure = (pasted[..., 0] >= 250) & (result.mask > 0.99)
    return cv2.erode(sure.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0


@pytest.mark.parametrize(("target_has_it", "width"), [(True, 1.0), (False, 1.2)])
def test_a_big_face_keeps_its_native_detail(
    target_has_it: bool,
    width: float,
    mini: facex.FaceX,
    astronaut: Image.Image,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model of 256 px must not blur a face of 1,000 px.

    Enlarging brings no detail, so structure a few pixels wide is drawn over the enlarged face:
    in the second case over the source only, so that all detail of the result must come from it.
    """
    large = astronaut.crop((128, 0, 328, 220)).resize((1200, 1320), Image.Resampling.LANCZOS)
    plain = np.asarray(large, np.float32)
    drawn = np.clip(plain + fine_structure(plain.shape[:2], width), 0, 255).astype(np.uint8)
    source = Image.fromarray(drawn)
    target = source if target_has_it else large
    known: list[np.ndarray] = []
    correct = facex.editing.correct_native

    def watch(reference: Any, shown: Any, *rest: Any) -> Any:
        known.append(shown[0, 0].numpy())
        return correct(reference, shown, *rest)

    monkeypatch.setattr(facex.editing, "correct_native", watch)
    result = mini.swap(source, target, options=QUICK)
    assert len(known[0]) > 950
    where = known_in_photo(result, known[0])
    assert where.mean() > 0.08
    assert sharpness(source, where) > 10 * sharpness(large, where)
    assert sharpness(result.image, where) >= 0.8 * sharpness(source, where)


def test_the_harmonizer_leaves_turned_eyes_alone(
    mini: facex.FaceX, astronaut: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has learned eyes that look ahead; the rest of an edit it may change."""
    results = []
    for change in (0.0, 0.2):

        def constant(
            composite: torch.Tensor, *masks: torch.Tensor, change: float = change
        ) -> torch.Tensor:
            return torch.full_like(composite, change)

        monkeypatch.setattr(mini.pipeline, "harmonizer", constant)
        results.append(mini.gaze(astronaut, yaw=15, options=QUICK))
    before, after = (np.asarray(result.image, np.int16) for result in results)
    gap = np.abs(after - before).max(-1)
    points = results[0].representation.landmarks[0].double().numpy()
    frame = Similarity(results[0].representation.photo_from_crop[0].numpy())
    assert gap.max() > 10
    for iris in (468, 473):
        x, y = frame.apply(points[iris, :2][None])[0]
        assert gap[int(y), int(x)] <= 2


def test_a_hole_gets_the_last_look_of_the_inpainter_and_an_edit_that_of_the_harmonizer(
    mini: facex.FaceX, astronaut: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def looker(name: str) -> Any:
        def look(composite: torch.Tensor, *masks: torch.Tensor) -> torch.Tensor:
            asked.append(name)
            return torch.zeros_like(composite)

        return look

    for name in ("harmonizer", "inpainter"):
        monkeypatch.setattr(mini.pipeline, name, looker(name))
    rep = mini.decompose(astronaut)[0]
    x, y = Similarity(rep.photo_from_crop[0].numpy()).apply(rep.landmarks[0, 1:2, :2].numpy())[0]
    mask = Image.new("L", astronaut.size)
    mask.paste(255, (int(x) - 12, int(y) - 12, int(x) + 12, int(y) + 12))
    mini.inpaint(astronaut, mask, options=QUICK)
    mini.gaze(astronaut, yaw=15, options=QUICK)
    assert asked == ["inpainter", "harmonizer"]
