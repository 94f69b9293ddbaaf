# SPDX-License-Identifier: Apache-2.0
"""Weights of a network in eight bits: half the size of half precision, read back as float32.

Matrices and filters are divided by their largest value, row by row (output channel by output
channel), and rounded; everything smaller is kept as it is. The file lies where diffusers looks for
the variant ``int8``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

WEIGHTS_INT8: Final = "diffusion_pytorch_model.int8.safetensors"
_SCALE: Final = ".int8_scale"
_LEAST: Final = 2048
"""Elements from which on a tensor is worth rounding."""


def pack(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Round the large tensors of a state; others become half precision, buffers stay."""
    packed: dict[str, Tensor] = {}
    for name, value in state.items():
        if value.ndim < 2 or value.numel() < _LEAST or not value.is_floating_point():
            packed[name] = value
            continue
        rows = value.float().flatten(1)
        scale = (rows.abs().amax(1) / 127).clamp_min(1e-12)
        packed[name] = (rows / scale[:, None]).round().to(torch.int8).view(value.shape)
        packed[name + _SCALE] = scale
    return packed


def unpack(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`pack`, in float32."""
    state: dict[str, Tensor] = {}
    for name, value in packed.items():
        if name.endswith(_SCALE):
            continue
        scale = packed.get(name + _SCALE)
        if scale is not None:
            value = value.float() * scale.view(-1, *[1] * (value.ndim - 1))
        state[name] = value.float() if value.is_floating_point() else value
    return state


def save_int8(network: Any, folder: Path) -> None:
    """Write a diffusers model's configuration and its weights in eight bits."""
    network.save_config(folder)
    parameters = dict(nn.Module.named_parameters(network))
    state = {
        name: value.half() if name in parameters and value.ndim < 2 else value
        for name, value in network.state_dict().items()
    }
    tensors = {name: value.contiguous() for name, value in pack(state).items()}
    save_file(tensors, str(folder / WEIGHTS_INT8), metadata={"format": "pt"})


def load_state(folder: Path) -> dict[str, Tensor]:
    """The weights in a network's folder, however they are stored, in float32."""
    packed = folder / WEIGHTS_INT8
    file = packed if packed.is_file() else folder / "diffusion_pytorch_model.safetensors"
    return unpack(load_file(file))


def load_int8(kind: type[Any], folder: Path) -> Any:
    """A network of that class from :func:`save_int8`'s files, in float32.

    Raises:
        RuntimeError: the file belongs to another layout.
        safetensors.SafetensorError: the file is damaged.
    """
    network = kind.from_config(kind.load_config(folder, local_files_only=True))
    network.load_state_dict(load_state(folder))
    return network
