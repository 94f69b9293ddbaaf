# SPDX-License-Identifier: Apache-2.0
"""How old a face looks, in years: a small network of our own, with a file of its own.

It reads the proportions of the face (the coefficients of the shape model, which hold no pose and
no expression) and the edges of the aligned crop (histograms of gradients, Dalal and Triggs 2005).
Neither depends on a network that is replaced when the model is. What it was trained on, and how
often it is wrong, stands in ``POLICY.md``; ``scripts/train_age.py`` makes the file again.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load
from torch import Tensor

from facex.errors import WeightsCorrupt

SIDE: Final = 128
"""The crop is made this small, so that sharpness and noise of a photo say little."""
CELLS: Final = 16
BINS: Final = 9
SHAPE_SIZE: Final = 80
FEATURES: Final = SHAPE_SIZE + CELLS * CELLS * BINS
FILE: Final = "age.safetensors"
LEAST_YEARS: Final = 20.0
"""Estimates below this are refused: 2 years over 18, as estimates are 7 years off on average."""

Floats = NDArray[np.float32]


def gradient_histograms(crop: NDArray[np.uint8]) -> Floats:
    """Histograms of the directions of edges in a grid of cells.

    Args:
        crop: ``(S, S, 3)`` RGB of an aligned face.

    Returns:
        ``(CELLS * CELLS * BINS,)``, 0 to about 1: square roots of shares of the edges around, so
        that contrast and brightness cancel out.
    """
    small = cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=1)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=1)
    strength = np.hypot(across, down)
    place = np.mod(np.arctan2(down, across) / np.pi, 1.0) * BINS
    low = np.floor(place).astype(np.int64) % BINS
    share = place - np.floor(place)
    planes = np.zeros((SIDE, SIDE, BINS), np.float32)
    rows, columns = np.indices(low.shape, sparse=True)
    planes[rows, columns, low] = strength * (1 - share)
    planes[rows, columns, (low + 1) % BINS] += strength * share
    cells = cv2.resize(planes, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    around = cv2.blur(cells.sum(axis=2), (3, 3), borderType=cv2.BORDER_REFLECT)
    return np.asarray(np.sqrt(cells / (around[..., None] + 2.0)), np.float32).ravel()


def age_features(crop: NDArray[np.uint8], shape: Floats) -> Floats:
    """What the network reads of one face: ``(FEATURES,)``.

    Args:
        crop: ``(S, S, 3)`` RGB of the aligned face.
        shape: ``(SHAPE_SIZE,)`` coefficients of the shape model.
    """
    return np.concatenate([shape, gradient_histograms(crop)])


class AgeNet:
    """Two layers in plain numpy.

    Args:
        tensors: ``hidden.weight`` (H, FEATURES), ``hidden.bias`` (H,), ``out.weight`` (H,),
            ``out.bias`` (1,), any float type; inputs need no normalising.

    Raises:
        WeightsCorrupt: a tensor is missing or has another shape.
    """

    def __init__(self, tensors: dict[str, NDArray[np.floating]]) -> None:
        try:
            weight, bias, last, shift = (
                tensors[name].astype(np.float32)
                for name in ("hidden.weight", "hidden.bias", "out.weight", "out.bias")
            )
        except KeyError as error:
            raise WeightsCorrupt(f"the age network lacks {error}; reinstall facex") from error
        units = len(bias)
        if weight.shape != (units, FEATURES) or last.shape != (units,) or shift.shape != (1,):
            raise WeightsCorrupt("the age network has another layout; reinstall facex")
        self._hidden, self._out = (weight, bias), (last, shift)

    def __call__(self, features: Floats) -> Floats:
        """Years ``(B,)`` of features ``(B, FEATURES)``."""
        weight, bias = self._hidden
        last, shift = self._out
        years = np.maximum(features @ weight.T + bias, 0) @ last + shift
        return np.asarray(np.clip(years, 0, 100), np.float32)


@cache
def bundled_age_net() -> AgeNet:
    """The network that comes with FaceX.

    Raises:
        WeightsCorrupt: its file is missing or damaged.
    """
    try:
        data = resources.files("facex.server").joinpath(FILE).read_bytes()
        return AgeNet(load(data))
    except (OSError, SafetensorError) as error:
        raise WeightsCorrupt(
            f"the age network cannot be read ({error}); reinstall facex"
        ) from error


def years_of(crop: Tensor, shape: Tensor) -> float:
    """How old a face looks, in years.

    Args:
        crop: ``(1, 3, S, S)`` RGB in [-1, 1], as ``LocatedFace.crop``.
        shape: ``(1, SHAPE_SIZE)``, as ``FaceRepresentation.shape``.

    Raises:
        WeightsCorrupt: the file is damaged, or the model has another shape model.
    """
    if shape.shape[-1] != SHAPE_SIZE:
        raise WeightsCorrupt(
            f"the age network reads {SHAPE_SIZE} coefficients of shape, the model has "
            f"{shape.shape[-1]}; make it again with scripts/train_age.py"
        )
    pixels = ((crop[0].float().clamp(-1, 1) + 1) * 127.5 + 0.5).byte().permute(1, 2, 0).numpy()
    features = age_features(np.ascontiguousarray(pixels), shape[0].float().numpy())
    return float(bundled_age_net()(features[None])[0])
