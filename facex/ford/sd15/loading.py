# SPDX-License-Identifier: Apache-2.0
"""Strict loading of the sd15 extractors: every name and every shape, or an error that names one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from facex.errors import ModelNotFound, WeightsCorrupt

CONFIG_NAME: Final = "config.json"
WEIGHTS_NAME: Final = "diffusion_pytorch_model.safetensors"


Net = TypeVar("Net", bound=nn.Module)


class FrozenExtractor(nn.Module):
    """An extractor that is never trained, but lets gradients through to the crop.

    Args:
        net: the network; put into evaluation mode for good.
    """

    provides: tuple[str, ...] = ()

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: batch statistics must not move."""
        return super().train(False)

    def _fit(self, crop: Tensor) -> Tensor:
        """The crop in the number format of the network."""
        return crop.to(next(self.net.parameters()).dtype)


def check_layout(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str | Path
) -> None:
    """Compare names and shapes of two sets of tensors.

    Raises:
        WeightsCorrupt: a tensor is missing, unexpected or of another shape; the first is named.
    """
    for name, tensor in expected.items():
        if name not in found:
            raise WeightsCorrupt(f"{where} lacks {name} (and maybe more): not the expected network")
        if found[name].shape != tensor.shape:
            raise WeightsCorrupt(
                f"{where}: {name} has shape {tuple(found[name].shape)}, "
                f"expected {tuple(tensor.shape)}"
            )
    if extra := [name for name in found if name not in expected]:
        raise WeightsCorrupt(
            f"{where} holds {extra[0]}, which the expected network does not have "
            f"({len(extra)} such)"
        )


def on_meta(net_class: type[Net], config: Mapping[str, Any] | None = None) -> Net:
    """Build a network without memory for its weights.

    Args:
        net_class: a ``ConfigMixin``.
        config: arguments of its ``__init__``; None: the published sizes.
    """
    with torch.device("meta"):
        return net_class(**(config or {}))


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json`` of a component folder, without the fields that begin with ``_``.

    Raises:
        ModelNotFound: there is no such file.
        WeightsCorrupt: the file is no JSON object.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise ModelNotFound(f"{path} is missing; `facex models` tells where to get this part")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsCorrupt(f"{path} is no valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise WeightsCorrupt(f"{path} is no JSON object")
    return {key: value for key, value in config.items() if not key.startswith("_")}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file into memory.

    Raises:
        ModelNotFound: there is no such file.
        WeightsCorrupt: it is damaged or no safetensors.
    """
    if not path.is_file():
        raise ModelNotFound(f"{path} is missing; `facex models` tells where to get this part")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsCorrupt(f"{path} is damaged or no safetensors file: {error}") from error


def load_net(net_class: type[Net], folder: str | Path, dtype: torch.dtype = torch.float32) -> Net:
    """Load a network from its component folder, strictly.

    Args:
        net_class: class of the network, a ``ConfigMixin``.
        folder: holds ``config.json`` and ``diffusion_pytorch_model.safetensors``.
        dtype: number format of the result.

    Raises:
        ModelNotFound: a file is missing.
        WeightsCorrupt: the files do not fit the class.
    """
    folder = Path(folder)
    config = read_config(folder)
    try:
        net = on_meta(net_class, config)
    except (TypeError, ValueError, KeyError) as error:
        raise WeightsCorrupt(
            f"{folder / CONFIG_NAME} does not fit {net_class.__name__}: {error}"
        ) from error
    tensors = read_weights(folder / WEIGHTS_NAME)
    check_layout(net.state_dict(), tensors, folder / WEIGHTS_NAME)
    net.load_state_dict(tensors, strict=True, assign=True)
    return net.to(dtype=dtype).eval()
