# SPDX-License-Identifier: Apache-2.0
"""Contact sheets: rows of pictures in one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def write_sheet(rows: Sequence[Tensor], path: Path) -> None:
    """Write rows of ``(N, 3, S, S)`` pictures in [-1, 1] under each other."""
    lines = [torch.cat(list(row.float().cpu()), -1) for row in rows]
    picture = torch.cat(lines, -2).clamp(-1, 1).permute(1, 2, 0)
    Image.fromarray(((picture + 1) * 127.5).round().byte().numpy().astype(np.uint8)).save(path)
