# SPDX-License-Identifier: Apache-2.0
"""A picture of every factor that FORD finds."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from facex.ford.representation import FaceRepresentation
from facex.geometry.light_texture import irradiance
from facex.geometry.pose import euler_from_rotation
from facex.geometry.shape_model import bundled_mesh
from facex.geometry.texture_map import render_normals
from facex.imaging.tensors import to_array
from facex.types import BLENDSHAPES, PARSING_CLASSES

_PALETTE: Final = np.array(
    [
        (30, 30, 34), (235, 190, 160), (220, 150, 110), (90, 200, 250), (60, 90, 220),
        (80, 120, 250), (110, 70, 40), (130, 90, 50), (200, 120, 180), (220, 140, 200),
        (150, 20, 40), (220, 60, 80), (240, 100, 110), (90, 60, 30), (250, 200, 60),
        (180, 240, 120), (120, 220, 180), (190, 170, 120), (90, 140, 90),
    ],
    np.uint8,
)  # fmt: skip
"""Colour of each parsing class."""


def show_factors(crop: Tensor, representation: FaceRepresentation) -> dict[str, Image.Image]:
    """Draw what was found in one face.

    Args:
        crop: ``(1, 3, S, S)`` in [-1, 1].
        representation: batch of one.

    Returns:
        Pictures by factor name: ``mesh``, ``regions``, ``pose_gaze``, ``expression``, ``light``.
    """
    pixels = to_array(crop)
    return {
        "mesh": _mesh(pixels, representation),
        "regions": _regions(pixels, representation),
        "pose_gaze": _arrows(pixels, representation),
        "expression": _bars(representation),
        "light": _light(representation),
    }


def _mesh(pixels: NDArray[np.uint8], rep: FaceRepresentation) -> Image.Image:
    zoom = 3
    canvas = cv2.resize(pixels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    points = rep.landmarks[0, :, :2].cpu().numpy() * zoom
    for triangle in bundled_mesh().triangles:
        corners = np.round(points[triangle]).astype(np.int32)
        cv2.polylines(canvas, [corners], True, (90, 230, 160), 1, cv2.LINE_AA)
    for x, y in points[468:]:
        cv2.circle(canvas, (round(float(x)), round(float(y))), 2, (255, 220, 60), -1, cv2.LINE_AA)
    return Image.fromarray(canvas)


def _regions(pixels: NDArray[np.uint8], rep: FaceRepresentation) -> Image.Image:
    colours = _PALETTE[rep.parsing[0].cpu().numpy()]
    picture = Image.fromarray((pixels * 0.35 + colours * 0.65).astype(np.uint8))
    picture = picture.resize((768, 768), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(picture)
    seen = np.unique(rep.parsing[0].cpu().numpy())
    for row, index in enumerate(seen):
        y = 8 + 18 * row
        draw.rectangle((8, y, 22, y + 14), tuple(int(v) for v in _PALETTE[index]))
        draw.text((28, y + 1), PARSING_CLASSES[index], "white")
    return picture


def _arrows(pixels: NDArray[np.uint8], rep: FaceRepresentation) -> Image.Image:
    zoom = 3
    picture = Image.fromarray(pixels).resize((pixels.shape[1] * zoom, pixels.shape[0] * zoom))
    draw = ImageDraw.Draw(picture)
    points = rep.landmarks[0].cpu().numpy() * zoom
    yaw, pitch, roll = (float(a[0]) for a in euler_from_rotation(rep.rotation))
    length = 0.28 * picture.width

    def arrow(start: NDArray[np.floating], turn: float, lift: float, colour: str) -> None:
        x = start[0] + length * np.sin(turn) * np.cos(lift)
        y = start[1] - length * np.sin(lift)
        draw.line((start[0], start[1], x, y), colour, 5)
        draw.ellipse((x - 6, y - 6, x + 6, y + 6), colour)

    arrow(points[1], yaw, pitch, "#ffcc33")
    for eye, iris in enumerate((468, 473)):
        lift, turn = (float(v) for v in rep.gaze[0, eye])
        arrow(points[iris], turn, lift, "#33ddff")
    degrees = [round(float(np.degrees(v))) for v in (yaw, pitch, roll)]
    draw.text((10, 10), f"yaw {degrees[0]}  pitch {degrees[1]}  roll {degrees[2]}", "white")
    return picture


def _bars(rep: FaceRepresentation) -> Image.Image:
    values = rep.expression[0].cpu().numpy()
    named = len(values) == len(BLENDSHAPES)
    names = BLENDSHAPES if named else [f"exp {i}" for i in range(len(values))]
    order = np.argsort(-np.abs(values))[:24]
    picture = Image.new("RGB", (420, 18 * len(order) + 16), "#1c1c20")
    draw = ImageDraw.Draw(picture)
    for row, index in enumerate(order):
        y = 8 + 18 * row
        draw.text((8, y), f"{names[index]}  {values[index]:.2f}", "white")
        draw.rectangle(
            (230, y + 2, 230 + 170 * min(1.0, abs(float(values[index]))), y + 12), "#5ad0a0"
        )
    return picture


def _light(rep: FaceRepresentation) -> Image.Image:
    size = 256
    points = rep.landmarks[0].double().cpu().numpy() * (size / rep.crop_size)
    normals, inside = render_normals(points, size)
    flat = torch.from_numpy(normals).flatten(1).T[None].float()
    shade = irradiance(rep.light.cpu().float(), flat)[0].reshape(size, size, 3).numpy()
    grey = np.clip(shade * 0.5, 0, 1) ** (1 / 2.2) * inside[..., None]
    return Image.fromarray((grey * 255).astype(np.uint8))
