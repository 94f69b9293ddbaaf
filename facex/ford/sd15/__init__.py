# SPDX-License-Identifier: Apache-2.0
"""FORD at the paper's scale: the public networks, loaded from a model folder (DESIGN 2, 3).

Each network lies in ``ford/<name>/`` of the model folder. ``facex models`` says where a user gets
the files and under which licence; ``facex models convert`` brings them into this form. Landmarks
and the mesh fit come from the bundled networks, before these.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from facex.ford.sd15.arcface import ArcFaceExtractor, ArcFaceNet
from facex.ford.sd15.bisenet import BiSeNet, BiSeNetExtractor
from facex.ford.sd15.clip_regions import ClipRegionExtractor, RegionAdapter, load_clip
from facex.ford.sd15.d3dfr import D3DFRExtractor, D3DFRNet
from facex.ford.sd15.gaze_l2cs import L2CSExtractor, L2CSNet
from facex.ford.sd15.loading import load_net

if TYPE_CHECKING:
    from facex.ford.extractor import Extractor

COMPONENTS: Final = ("arcface", "bisenet", "d3dfr", "l2cs", "clip", "region_adapter")
"""Folders under ``ford/`` that :func:`load_extractors` reads."""


def load_extractors(
    folder: str | Path, dtype: torch.dtype = torch.float32
) -> tuple[Extractor, ...]:
    """Load the public extractors of an sd15 model folder, in the order in which they run.

    They need ``landmarks`` and together provide everything but the mesh's own fields
    (``landmarks``, ``shape``, ``rotation``, ``scale``, ``translation``, ``residual``).

    Args:
        folder: the model folder.
        dtype: number format of the networks.

    Raises:
        ModelNotFound: a file is missing.
        WeightsCorrupt: a file does not fit its network.
        MissingExtra: transformers is not installed.
    """
    ford = Path(folder) / "ford"
    return (
        ArcFaceExtractor(load_net(ArcFaceNet, ford / "arcface", dtype)),
        BiSeNetExtractor(load_net(BiSeNet, ford / "bisenet", dtype)),
        D3DFRExtractor(load_net(D3DFRNet, ford / "d3dfr", dtype)),
        L2CSExtractor(load_net(L2CSNet, ford / "l2cs", dtype)),
        ClipRegionExtractor(
            load_clip(ford / "clip", dtype), load_net(RegionAdapter, ford / "region_adapter", dtype)
        ),
    )


__all__ = [
    "COMPONENTS",
    "ArcFaceExtractor",
    "ArcFaceNet",
    "BiSeNet",
    "BiSeNetExtractor",
    "ClipRegionExtractor",
    "D3DFRExtractor",
    "D3DFRNet",
    "L2CSExtractor",
    "L2CSNet",
    "RegionAdapter",
    "load_clip",
    "load_extractors",
    "load_net",
]
