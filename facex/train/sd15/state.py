# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: a model folder of averaged weights, and the exact state to go on from.

``OUT/step-00001000/`` holds ``model/``, ``state.safetensors`` (weights, averages and the
optimizer's tensors, by name) and ``state.json`` (counters, random states). It is made beside its
place and renamed, so one that is there is whole. Nothing that is read back can run code. Tensors
that are spread over machines (FSDP) are gathered to be written and spread again when read.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from facex.errors import OutputError, WeightsCorrupt

FORMAT_VERSION: Final = 1
TENSORS, VALUES = "state.safetensors", "state.json"
_PREFIX: Final = "step-"

Tensors = dict[str, Tensor]


def whole(tensor: Tensor) -> Tensor:
    """A tensor on the CPU, gathered where it is spread; every process must take part."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().to("cpu", copy=True).contiguous()


def spread_like(value: Tensor, like: Tensor) -> Tensor:
    """A tensor on the device of another, spread as that one is where the shapes agree."""
    value = value.to(like.device)
    if isinstance(like, DTensor) and value.shape == like.shape:
        return distribute_tensor(value, like.device_mesh, like.placements)
    return value


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trained parameters by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def gather(
    model: nn.Module, optimizer: torch.optim.Optimizer, averages: list[Tensor]
) -> tuple[Tensors, dict[str, Any]]:
    """Everything that the run changes: tensors, and the optimizer's plain values."""
    tensors: Tensors = {}
    values: dict[str, Any] = {}
    for (name, parameter), average in zip(trained(model).items(), averages, strict=True):
        tensors[f"model/{name}"] = whole(parameter)
        tensors[f"average/{name}"] = whole(average)
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{name}/{key}"] = whole(value)
            else:
                values[f"{name}/{key}"] = value
    return tensors, values


@torch.no_grad()
def restore(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    averages: list[Tensor],
    plain: Mapping[str, Any],
) -> None:
    """Bring back what `gather` found, to the last bit.

    Raises:
        WeightsCorrupt: the file is damaged or of another model.
    """
    path = folder / TENSORS
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            for (name, parameter), average in zip(trained(model).items(), averages, strict=True):
                parameter.copy_(spread_like(file.get_tensor(f"model/{name}"), parameter))
                average.copy_(spread_like(file.get_tensor(f"average/{name}"), average))
                prefix = f"optimizer/{name}/"
                found: dict[str, Any] = {}
                for key in sorted(n for n in names if n.startswith(prefix)):
                    value = file.get_tensor(key)
                    short = key.removeprefix(prefix)
                    # Adam's counter stays on the CPU, as Adam itself keeps it.
                    found[short] = value if value.ndim == 0 else spread_like(value, parameter)
                own = f"{name}/"
                found |= {k.removeprefix(own): v for k, v in plain.items() if k.startswith(own)}
                if found:
                    optimizer.state[parameter] = found
    except (OSError, SafetensorError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise WeightsCorrupt(
            f"{path} does not belong to this run or is damaged ({first}); name another out folder"
        ) from error


def random_state() -> dict[str, Any]:
    """The random states of this process, as JSON holds them."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    version, words, following = random.getstate()
    state: dict[str, Any] = {
        "torch": base64.b64encode(torch.get_rng_state().numpy().tobytes()).decode(),
        "numpy": [kind, np.asarray(keys).tolist(), int(position), int(has_gauss), float(gauss)],
        "python": [version, list(words), following],
    }
    if torch.cuda.is_available():
        state["cuda"] = base64.b64encode(torch.cuda.get_rng_state().numpy().tobytes()).decode()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Bring `random_state` back."""
    torch.set_rng_state(_bytes(state["torch"]))
    kind, keys, position, has_gauss, gauss = state["numpy"]
    packed = (kind, np.asarray(keys, np.uint32), position, has_gauss, gauss)
    np.random.set_state(packed)  # noqa: NPY002
    version, words, following = state["python"]
    random.setstate((version, tuple(words), following))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(_bytes(state["cuda"]))


def _bytes(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), np.uint8).copy())


def checkpoints(out: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    found = [path for path in out.glob(f"{_PREFIX}*") if (path / VALUES).is_file()]
    return sorted(found, key=lambda path: path.name)


def read_values(folder: Path) -> dict[str, Any]:
    """Counters and random states of a checkpoint.

    Raises:
        WeightsCorrupt: they are damaged or written by a newer program.
    """
    path = folder / VALUES
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = values["format_version"] == FORMAT_VERSION
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsCorrupt(f"{path} is damaged ({error}); remove {folder}") from error
    if not known:
        raise WeightsCorrupt(f"{path} is of another version of facex; update facex")
    return values


def write(
    out: Path,
    step: int,
    tensors: Tensors,
    values: Mapping[str, Any],
    write_model: Callable[[Path], None],
    keep: int,
) -> Path:
    """Write a checkpoint in one piece and remove those that are too old.

    Args:
        out: run folder.
        step: its name.
        tensors: from `gather`.
        values: for JSON.
        write_model: fills the model folder that it is given.
        keep: checkpoints that stay.

    Raises:
        OutputError: it cannot be written.
    """
    folder = out / f"{_PREFIX}{step:08d}"
    fresh = out / f".{folder.name}.part"
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        write_model(fresh / "model")
        save_file(tensors, fresh / TENSORS, metadata={"format": "pt"})
        text = json.dumps({"format_version": FORMAT_VERSION, "step": step, **values})
        (fresh / VALUES).write_text(text, encoding="utf-8")
        for path in _files(fresh):
            with path.open("rb") as file:
                os.fsync(file.fileno())
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(fresh, folder)
        for old in checkpoints(out)[:-keep]:
            shutil.rmtree(old)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error
    return folder


def _files(folder: Path) -> Iterator[Path]:
    """Files that were written now; links to the base's own are on disk already."""
    return (path for path in folder.rglob("*") if path.is_file() and path.stat().st_nlink == 1)


def link_tree(source: Path, target: Path) -> None:
    """A copy of a folder that takes no room where links can be made: weights never change."""

    def place(src: str, dst: str) -> str:
        try:
            os.link(os.path.realpath(src), dst)
        except OSError:
            shutil.copy2(src, dst)
        return dst

    shutil.copytree(source, target, copy_function=place)
