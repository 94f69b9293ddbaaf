# SPDX-License-Identifier: Apache-2.0
"""Turn a public checkpoint into a component folder: safetensors, checked name by name.

Public face networks come as pickles, which may run code when they are opened. They are read here
with ``weights_only=True``, which builds tensors and plain containers and refuses all else, and
never again after that.
"""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from facex.errors import ModelNotFound, OptionError, OutputError, WeightsCorrupt
from facex.ford.sd15.arcface import IRESNET50, IRESNET100, ArcFaceNet
from facex.ford.sd15.bisenet import BiSeNet
from facex.ford.sd15.d3dfr import D3DFRNet
from facex.ford.sd15.gaze_l2cs import L2CSNet
from facex.ford.sd15.loading import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    check_layout,
    on_meta,
    read_weights,
)
from facex.models.registry import KIND, SOURCE_SHA256, file_sha256

MAX_BYTES: Final = 4 * 2**30
"""Larger files are none of these networks."""


@dataclass(frozen=True)
class Kind:
    """A public network.

    Attributes:
        build: its class.
        config: arguments that differ from the class's defaults.
        nests: names under which a checkpoint may hold the network's own tensors.
    """

    build: type[nn.Module]
    config: Mapping[str, Any] = field(default_factory=dict)
    nests: tuple[str, ...] = ("state_dict",)


KINDS: Final[dict[str, Kind]] = {
    "arcface_r50": Kind(ArcFaceNet, {"layers": IRESNET50}),
    "arcface_r100": Kind(ArcFaceNet, {"layers": IRESNET100}),
    "bisenet": Kind(BiSeNet),
    "d3dfr": Kind(D3DFRNet, nests=("net_recon", "state_dict")),
    "l2cs": Kind(L2CSNet),
    "l2cs_mpiigaze": Kind(L2CSNet, {"bins": 28, "bin_degrees": 3.0}),
}
"""What :func:`convert_checkpoint` knows."""


def convert_checkpoint(
    kind: str,
    src: str | Path,
    dst: str | Path,
    *,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Convert a public checkpoint.

    Args:
        kind: one of :data:`KINDS`.
        src: the published file (.pth, .pt, .pkl), or a safetensors file with the same names.
        dst: the component folder to make, for example ``MODEL/ford/arcface``; an existing one of
            ours is replaced. Written whole or not at all.
        config: arguments of the network that differ from the published ones (other widths).

    Returns:
        The safetensors file inside ``dst``.

    Raises:
        OptionError: the kind is unknown.
        ModelNotFound: ``src`` does not exist.
        WeightsCorrupt: ``src`` is damaged, holds more than tensors, or is another network; the
            first missing, unexpected or misshapen tensor is named.
        OutputError: ``dst`` cannot be written.
    """
    if kind not in KINDS:
        raise OptionError(f"unknown kind {kind!r}, use one of: {', '.join(KINDS)}")
    src, dst = Path(src), Path(dst)
    entry = KINDS[kind]
    net: Any = on_meta(entry.build, {**entry.config, **(config or {})})
    expected = net.state_dict()
    found = _flatten(read_checkpoint(src), entry.nests, src)
    for name, tensor in expected.items():
        # Checkpoints from before PyTorch 0.4.1 have no batch counters; they are not used.
        if name.endswith("num_batches_tracked") and name not in found:
            found[name] = torch.zeros(tensor.shape, dtype=tensor.dtype)
    check_layout(expected, found, src.name)
    tensors = {name: found[name].to(tensor.dtype).contiguous() for name, tensor in expected.items()}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise WeightsCorrupt(f"{src.name}: {name} holds values that are not finite")
    metadata = {"format": "pt", KIND: kind, SOURCE_SHA256: file_sha256(src)}
    _write_folder(dst, net.to_json_string(), tensors, metadata)
    return dst / WEIGHTS_NAME


def read_checkpoint(path: Path) -> Any:
    """Read a checkpoint without running anything that is in it.

    Raises:
        ModelNotFound: there is no such file.
        WeightsCorrupt: it is no checkpoint, damaged, too large, or holds more than tensors.
    """
    if not path.is_file():
        raise ModelNotFound(f"there is no file {path}")
    if path.stat().st_size > MAX_BYTES:
        raise WeightsCorrupt(f"{path.name} is larger than 4 GiB: none of the known networks is")
    if path.suffix == ".safetensors":
        return read_weights(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsCorrupt(
            f"{path.name} is refused: it is damaged, or holds more than tensors and could run code"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError,
            IndexError, MemoryError, zipfile.BadZipFile) as error:  # fmt: skip
        raise WeightsCorrupt(f"{path.name} is damaged or no PyTorch checkpoint") from error


def _flatten(checkpoint: Any, nests: tuple[str, ...], path: Path) -> dict[str, Tensor]:
    """The network's tensors by name, without wrappers and without ``module.``."""
    for nest in nests:
        if isinstance(checkpoint, Mapping) and isinstance(checkpoint.get(nest), Mapping):
            checkpoint = checkpoint[nest]
    if not isinstance(checkpoint, Mapping) or not checkpoint:
        raise WeightsCorrupt(f"{path.name} holds no named tensors")
    tensors: dict[str, Tensor] = {}
    wrapped = all(str(name).startswith("module.") for name in checkpoint)
    for name, tensor in checkpoint.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise WeightsCorrupt(f"{path.name}: {name} is no tensor; not the expected network")
        tensors[name.removeprefix("module.") if wrapped else name] = tensor.detach()
    return tensors


def _write_folder(
    folder: Path, config: str, tensors: dict[str, Tensor], metadata: dict[str, str]
) -> None:
    """Write a component folder beside its place, then move it there."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file, but a component is a folder")
    inside = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if foreign := [name for name in inside if name not in (CONFIG_NAME, WEIGHTS_NAME)]:
        raise OutputError(f"{folder} holds {foreign[0]}, which is not ours; choose another folder")
    draft: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        draft.chmod(0o755)
        (draft / CONFIG_NAME).write_text(config, encoding="utf-8")
        save_file(tensors, draft / WEIGHTS_NAME, metadata=metadata)
        folder.mkdir(exist_ok=True)
        # The weights last: a new folder that has weights also has their config.
        os.replace(draft / CONFIG_NAME, folder / CONFIG_NAME)
        os.replace(draft / WEIGHTS_NAME, folder / WEIGHTS_NAME)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
