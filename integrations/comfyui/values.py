# SPDX-License-Identifier: Apache-2.0
"""What runs along the wires: ComfyUI's tensors to pictures and back, faces, recipes.

A ComfyUI ``IMAGE`` is a float tensor ``(B, H, W, 3)`` in [0, 1], a ``MASK`` is ``(B, H, W)`` in
[0, 1]. Here pictures are PIL images, as FaceX takes them at its edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    import facex

ROOM = 0.125
"""What is left around a chosen face, in sides of its aligned crop."""


@dataclass(frozen=True)
class Face:
    """``FACEX_FACE``: one face and the picture that it is taken from.

    Attributes:
        representation: what FaceX found in it, batch of one.
        picture: the photo, or the part around the face where it was not the photo's largest.
    """

    representation: facex.FaceRepresentation
    picture: Image.Image


@dataclass(frozen=True)
class Order:
    """``FACEX_RECIPE``: a recipe and the pictures that it takes something from, by name."""

    recipe: facex.Recipe
    photos: Mapping[str, Image.Image]


Source: TypeAlias = "Face | Tensor | None"


def pictures(images: Tensor) -> list[Image.Image]:
    """The pictures of an ``IMAGE``.

    Raises:
        FaceXError: it is something else.
    """
    if images.ndim != 4 or images.shape[-1] not in (3, 4):
        raise _wrong(f"an IMAGE must be of shape (B, H, W, 3), this one is {tuple(images.shape)}")
    pixels = (images.detach().cpu().float().clamp(0, 1) * 255).round().byte().numpy()
    return [Image.fromarray(each[..., :3]) for each in pixels]


def image_tensor(found: Sequence[Image.Image]) -> Tensor:
    """Pictures of the same size as an ``IMAGE``."""
    arrays = [np.asarray(each.convert("RGB"), np.float32) / 255 for each in found]
    return torch.from_numpy(np.stack(arrays))


def mask_arrays(mask: Tensor | None, count: int) -> list[Any]:
    """A mask ``(H, W)`` per picture; one for all is repeated, no mask is None for each.

    Raises:
        FaceXError: their number is neither 1 nor that of the pictures.
    """
    if mask is None:
        return [None] * count
    if mask.ndim < 2:
        raise _wrong(f"a MASK must be of shape (B, H, W), this one is {tuple(mask.shape)}")
    arrays = list(mask.detach().cpu().float().clamp(0, 1).reshape(-1, *mask.shape[-2:]).numpy())
    if len(arrays) == 1:
        arrays *= count
    if len(arrays) != count:
        there = "1 picture" if count == 1 else f"{count} pictures"
        raise _wrong(
            f"{len(arrays)} masks for {there} do not fit: connect one mask for all, or one for each"
        )
    return arrays


def _wrong(sentence: str) -> Exception:
    """What stops the run with a sentence; FaceX is imported late, as in the nodes."""
    import facex

    return facex.FaceXError(sentence)


def source_picture(source: Source) -> Image.Image | None:
    """The picture of a face, or the first one of an ``IMAGE``."""
    if source is None or isinstance(source, Face):
        return None if source is None else source.picture
    return pictures(source)[0]


def corners(rep: facex.FaceRepresentation, room: float = 0.0) -> np.ndarray:
    """Corners ``(4, 2)`` of the aligned crop with some room around it, in photo pixels."""
    low, high = -room * rep.crop_size, (1 + room) * rep.crop_size
    square = np.array([[low, low], [high, low], [high, high], [low, high]])
    matrix = rep.photo_from_crop[0].numpy()
    return np.asarray(square @ matrix[:, :2].T + matrix[:, 2])


def cut_around(picture: Image.Image, rep: facex.FaceRepresentation) -> Image.Image:
    """The part of a photo around a face, so that this face is the largest in it."""
    found = corners(rep, ROOM)
    x0, y0 = np.maximum(found.min(0), 0)
    x1, y1 = np.minimum(found.max(0), picture.size)
    return picture.crop((int(x0), int(y0), int(x1), int(y1)))


def aligned(picture: Image.Image, rep: facex.FaceRepresentation) -> Image.Image:
    """The aligned crop as FaceX sees it, with the 478 points in it as dots."""
    size = rep.crop_size
    frame = tuple(rep.photo_from_crop[0].numpy().ravel().tolist())
    crop = picture.transform(
        (size, size), Image.Transform.AFFINE, frame, resample=Image.Resampling.BICUBIC
    )
    for x, y in rep.landmarks[0, :, :2].round().int().tolist():
        if 0 <= x < size and 0 <= y < size:
            crop.putpixel((x, y), (90, 230, 160))
    return crop
