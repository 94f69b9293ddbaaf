# SPDX-License-Identifier: Apache-2.0
"""Face recognisers that judge identity: ours, teachers' TorchScript files, the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from facex.errors import MissingExtra, ModelNotFound, WeightsCorrupt
from facex.ford.identity import align_for_identity

OWN: Final = "facex"
"""Name of the bundled recogniser; it steers the model under test, so it never judges alone."""


@dataclass(frozen=True)
class Embedder:
    """A recogniser.

    Attributes:
        name: in reports.
        size: side of the recognition crop in pixels.
        net: crops ``(B, 3, size, size)`` to embeddings ``(B, D)``, or a tuple that begins so.
        signed: crops in [-1, 1] as ArcFace takes them; otherwise in [0, 1].
    """

    name: str
    size: int
    net: Callable[[Tensor], Any]
    signed: bool

    @torch.inference_mode()
    def __call__(self, images: Tensor, points: Tensor) -> Tensor:
        """Unit embeddings ``(B, D)`` of faces ``(B, 3, H, W)`` in [0, 1] with their landmarks."""
        crops = align_for_identity(images, points, self.size)
        found = self.net(crops * 2 - 1 if self.signed else crops)
        first = found[0] if isinstance(found, tuple | list) else found
        return F.normalize(first.flatten(1).float(), dim=1)


_TEACHERS: Final = {"id_edgeface_xs": 112, "id_faceres1024": 224}
"""Crop side of the known files of a teachers' folder; both take [0, 1]."""


def teacher_embedders(folder: Path) -> list[Embedder]:
    """The recognisers of a teachers' folder: every file ``id_*.ts.pt``; unknown ones take 112."""
    found = []
    for path in sorted(folder.glob("id_*.ts.pt")):
        name = path.name.removesuffix(".ts.pt")
        found.append(Embedder(name, _TEACHERS.get(name, 112), load_script(path), signed=False))
    return found


def user_embedder(path: Path) -> Embedder:
    """A user's recogniser, which takes aligned crops in [-1, 1].

    Args:
        path: TorchScript (112 px), an ONNX file (its own size), or a folder with our ArcFace.

    Raises:
        ModelNotFound: there is no such file or folder.
        WeightsCorrupt: it cannot be read.
        MissingExtra: ONNX without onnxruntime.
    """
    if path.suffix == ".onnx":
        return _onnx_embedder(path)
    if path.is_dir():
        from facex.ford.sd15.arcface import ArcFaceNet

        if not (path / "config.json").is_file():
            raise ModelNotFound(f"{path} holds no config.json; give a converted ArcFace folder")
        try:
            net: Any = ArcFaceNet.from_pretrained(path, local_files_only=True).float().eval()
        except Exception as error:
            raise WeightsCorrupt(f"{path} cannot be read as an ArcFace ({error})") from error
        return Embedder(path.name, 112, lambda crops: _embedding(net(crops)), signed=True)
    name = path.name.removesuffix(".pt").removesuffix(".ts")
    return Embedder(name, 112, load_script(path), signed=True)


def _onnx_embedder(path: Path) -> Embedder:
    if not path.is_file():
        raise ModelNotFound(f"there is no file {path}")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("a recogniser in ONNX", "export") from error
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise WeightsCorrupt(f"{path} is no ONNX file that onnxruntime can read") from error
    port, first = session.get_inputs()[0], session.get_outputs()[0].name
    size = port.shape[-1] if isinstance(port.shape[-1], int) else 112

    def net(crops: Tensor) -> Tensor:
        # One by one: many published files have a fixed batch of one.
        fed = crops.float().cpu().numpy()
        found = [session.run([first], {port.name: fed[i : i + 1]})[0] for i in range(len(fed))]
        return torch.from_numpy(np.concatenate(found))

    return Embedder(path.stem, size, net, signed=True)


def _embedding(found: Tensor | Sequence[Tensor]) -> Tensor:
    """The flat one of what a recogniser returns."""
    if isinstance(found, Tensor):
        return found
    return next(part for part in found if part.ndim == 2)


def load_script(path: Path) -> Any:
    """A TorchScript network that the user trusts.

    Raises:
        ModelNotFound: there is no such file.
        WeightsCorrupt: it is no TorchScript.
    """
    if not path.is_file():
        raise ModelNotFound(f"there is no file {path}")
    try:
        return torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError as error:
        raise WeightsCorrupt(f"{path} is no TorchScript file that this torch can read") from error
