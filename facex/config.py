# SPDX-License-Identifier: Apache-2.0
"""Settings from the environment, and the choice of device and number format with a reason.

Nothing here imports torch before a choice has to be made, so that a misspelt device is
reported at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from facex.errors import OptionError

DEVICE_NAMES: Final = ("auto", "cpu", "cuda", "mps")
"""What ``--device`` accepts; ``cuda:N`` names one of several cards."""

DTYPE_NAMES: Final = ("auto", "float32", "float16", "bfloat16")
"""What ``--dtype`` accepts."""

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True)
class Settings:
    """Defaults that a user sets once, in the environment.

    Attributes:
        device: ``FACEX_DEVICE``, one of :data:`DEVICE_NAMES` or ``cuda:N``.
        dtype: ``FACEX_DTYPE``, one of :data:`DTYPE_NAMES`.
        offline: ``FACEX_OFFLINE``; True (the default) never touches the network.
        model: ``FACEX_MODEL``, a model folder or a hub id; None is the bundled model.
        debug: ``FACEX_DEBUG``; True shows tracebacks at the command line.
    """

    device: str = "auto"
    dtype: str = "auto"
    offline: bool = True
    model: str | None = None
    debug: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the ``FACEX_*`` variables.

        Args:
            environment: variables by name; None reads the process environment.

        Raises:
            OptionError: a variable holds something else than what it may.
        """
        variables = os.environ if environment is None else environment
        device = variables.get("FACEX_DEVICE") or "auto"
        dtype = variables.get("FACEX_DTYPE") or "auto"
        check_device_name(device, where="FACEX_DEVICE")
        check_dtype_name(dtype, where="FACEX_DTYPE")
        return cls(
            device=device,
            dtype=dtype,
            offline=_flag(variables, "FACEX_OFFLINE", default=True),
            model=variables.get("FACEX_MODEL") or None,
            debug=_flag(variables, "FACEX_DEBUG", default=False),
        )


def _flag(variables: Mapping[str, str], name: str, *, default: bool) -> bool:
    if name not in variables:
        return default
    text = variables[name].strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise OptionError(f"{name} is {variables[name]!r}, but must be 1 or 0")


def check_device_name(name: str, *, where: str = "--device") -> None:
    """Check the spelling of a device; whether it exists is asked later.

    Raises:
        OptionError: the name is none of :data:`DEVICE_NAMES` and not ``cuda:N``.
    """
    if name not in DEVICE_NAMES and not re.fullmatch(r"cuda:\d+", name):
        raise OptionError(f"{where} {name!r} is unknown, use auto, cpu, cuda, cuda:N or mps")


def check_dtype_name(name: str, *, where: str = "--dtype") -> None:
    """Check the spelling of a number format.

    Raises:
        OptionError: the name is none of :data:`DTYPE_NAMES`.
    """
    if name not in DTYPE_NAMES:
        raise OptionError(f"{where} {name!r} is unknown, use {_or(DTYPE_NAMES)}")


def choose_device(name: str = "auto") -> tuple[str, str]:
    """Choose where to compute.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Returns:
        The device as ``torch.device`` understands it, and the reason in a few words.

    Raises:
        OptionError: the name is unknown, or this machine has no such device.
    """
    check_device_name(name)
    import torch

    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    apple = torch.backends.mps.is_available()
    if name == "auto":
        if cards:
            return "cuda", f"auto: {torch.cuda.get_device_name(0)} found"
        return ("mps", "auto: Apple GPU found") if apple else ("cpu", "auto: no GPU found")
    if name.startswith("cuda") and not cards:
        raise OptionError(f"--device {name} is not possible, no CUDA card is usable here; use cpu")
    if ":" in name and int(name.split(":")[1]) >= cards:
        raise OptionError(f"--device {name} does not exist, the last card is cuda:{cards - 1}")
    if name == "mps" and not apple:
        raise OptionError("--device mps is not possible, no Apple GPU is usable here; use cpu")
    return name, "asked for"


def choose_dtype(name: str = "auto", device: str = "cpu") -> tuple[str, str]:
    """Choose the number format of the networks.

    Args:
        name: ``auto`` or the name of a torch floating-point type.
        device: a device as :func:`choose_device` returns it.

    Returns:
        The attribute name of the type in torch (``"float32"``...), and the reason.

    Raises:
        OptionError: the name is unknown.
    """
    check_dtype_name(name)
    if name != "auto":
        return name, "asked for"
    if not device.startswith("cuda"):
        # Half precision is slower on most CPUs, and seeds are promised to be exact there.
        return "float32", f"auto: exact on {device}"
    import torch

    if torch.cuda.is_bf16_supported():
        return "bfloat16", "auto: fast on this card"
    return "float16", "auto: fast on this card"


def _or(names: tuple[str, ...]) -> str:
    return ", ".join(names[:-1]) + " or " + names[-1]
