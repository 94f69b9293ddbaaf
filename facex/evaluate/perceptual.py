# SPDX-License-Identifier: Apache-2.0
"""Networks that compare pictures as people do: LPIPS, and features for distributions.

Nothing is downloaded. LPIPS is the teachers' ``lpips_squeeze.ts.pt`` or the package ``lpips`` where
somebody installed it; the same file holds the SqueezeNet whose features give "FID-squeezenet".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from facex.evaluate.embedders import load_script

LPIPS_FILE: Final = "lpips_squeeze.ts.pt"


@dataclass(frozen=True)
class Network:
    """A named function of pictures ``(B, 3, H, W)`` in [0, 1]."""

    name: str
    call: Callable[..., Tensor]

    @torch.inference_mode()
    def __call__(self, *images: Tensor) -> Tensor:
        """Distances ``(B,)`` of two batches, or features ``(B, D)`` of one."""
        return self.call(*images).float()


def find_lpips(teachers: Path | None) -> Network | None:
    """The perceptual distance that can be had here, or None."""
    if teachers is not None and (teachers / LPIPS_FILE).is_file():
        return Network("lpips-squeeze", load_script(teachers / LPIPS_FILE))
    try:
        import lpips
    except ImportError:
        return None
    net = lpips.LPIPS(net="squeeze", verbose=False).eval()
    return Network("lpips-squeeze", lambda a, b: net(a * 2 - 1, b * 2 - 1).flatten())


def find_features(teachers: Path | None, own: Path | None) -> Network | None:
    """The network whose features are compared as distributions.

    Args:
        teachers: a teachers' folder; its LPIPS file holds SqueezeNet 1.1.
        own: the user's TorchScript file, ``(B, 3, H, W)`` in [0, 1] to ``(B, D)``; named after it.
    """
    if own is not None:
        script = load_script(own)
        return Network(own.name.split(".")[0], lambda images: script(images).flatten(1))
    if teachers is None or not (teachers / LPIPS_FILE).is_file():
        return None
    weights = [value.float() for value in load_script(teachers / LPIPS_FILE).buffers()]
    if len(weights) < _LAYERS or weights[0].shape != (64, 3, 3, 3):
        return None
    return Network("squeezenet", SqueezeFeatures(weights))


_LAYERS: Final = 52
"""Tensors of the file up to the normalisation: a convolution, eight fires of six, shift, scale."""
_POOLED: Final = (0, 2, 4)
"""Fires before which maps are halved."""


class SqueezeFeatures:
    """SqueezeNet 1.1 (Iandola et al. 2016) without its classifier, averaged over the picture.

    Args:
        weights: first convolution, then six tensors a fire, then shift and scale of the input.
    """

    def __init__(self, weights: list[Tensor]) -> None:
        self.first = weights[:2]
        self.fires = [weights[2 + 6 * i : 8 + 6 * i] for i in range(8)]
        self.shift, self.scale = weights[50:52]

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(B, 512)`` of pictures ``(B, 3, H, W)`` in [0, 1]."""
        x: Any = (images * 2 - 1 - self.shift) / self.scale
        x = F.relu(F.conv2d(x, self.first[0], self.first[1], stride=2))
        for index, (a, b, c, d, e, f) in enumerate(self.fires):
            if index in _POOLED:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            x = F.relu(F.conv2d(x, a, b))
            x = torch.cat([F.relu(F.conv2d(x, c, d)), F.relu(F.conv2d(x, e, f, padding=1))], 1)
        return x.mean((2, 3))
