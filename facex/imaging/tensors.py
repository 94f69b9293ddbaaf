# SPDX-License-Identifier: Apache-2.0
"""PIL images and arrays to float tensors and back, without loss for 8 bit pictures."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def to_tensor(image: Image.Image | NDArray[np.uint8]) -> Tensor:
    """A picture as the library computes with it.

    Args:
        image: PIL image (made RGB) or array (H, W, 3) uint8.

    Returns:
        (1, 3, H, W) float32 in [-1, 1].
    """
    if isinstance(image, Image.Image):
        image = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
    pixels = torch.from_numpy(np.array(image))  # a copy: PIL's pixels are read-only
    return pixels.permute(2, 0, 1)[None].contiguous().float().div_(127.5).sub_(1)


def to_array(tensor: Tensor) -> NDArray[np.uint8]:
    """The 8 bit pixels of one picture.

    Args:
        tensor: (3, H, W) or (1, 3, H, W) in [-1, 1] on any device; values beyond are clipped.

    Returns:
        (H, W, 3) uint8.
    """
    if tensor.ndim == 4 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim != 3 or tensor.shape[0] != 3:
        raise ValueError(f"expected one picture (1, 3, H, W), got {tuple(tensor.shape)}")
    levels = (tensor.detach().float().cpu() + 1).mul_(127.5).round_().clamp_(0, 255)
    return levels.byte().permute(1, 2, 0).contiguous().numpy()


def to_pil(tensor: Tensor) -> Image.Image:
    """One picture (3, H, W) or (1, 3, H, W) in [-1, 1] as an 8 bit RGB image."""
    return Image.fromarray(to_array(tensor))
