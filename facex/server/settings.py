# SPDX-License-Identifier: Apache-2.0
"""What a service may do and how much, with the rule that a network address needs a token."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch

from facex.api import FaceX
from facex.config import choose_device
from facex.errors import FaceXError, OptionError
from facex.locate import FaceLocator, load_locator
from facex.models.folder import read_index
from facex.models.hub import resolve_model_folder
from facex.models.styles import style_names

LEAST_TOKEN: Final = 16
"""Characters of the shortest token that is accepted."""


@dataclass(frozen=True)
class ServiceSettings:
    """Settings of one service.

    Attributes:
        data: folder of photos, results and the job list.
        host: address to listen on; anything but loopback needs a token.
        port: TCP port.
        token: what clients must show; None lets every program of this machine in.
        allowed_hosts: further names under which the service may be addressed.
        devices: one worker each, as ``FaceX.from_pretrained`` names them.
        dtype: number format of the networks.
        model: model folder or hub id; None is the bundled one.
        local_files_only: never touch the network for a model.
        max_bytes: of one uploaded file.
        max_pixels: of one photo.
        max_photos: kept at the same time; as many masks.
        max_faces: photos with more are refused.
        max_jobs: finished edits that are kept.
        max_queue: jobs that may wait; one more is answered with 429.
        max_seconds: of one edit, looked at between sampling steps; a process that says nothing
            for longer is ended.
        max_steps: sampling steps of one step of a recipe.
        keep_hours: older photos and results are deleted; None keeps them.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("auto",)
    dtype: str = "auto"
    model: str | None = None
    local_files_only: bool = True
    max_bytes: int = 40_000_000
    max_pixels: int = 40_000_000
    max_photos: int = 200
    max_faces: int = 30
    max_jobs: int = 500
    max_queue: int = 32
    max_seconds: float = 900.0
    max_steps: int = 100
    keep_hours: float | None = 24.0

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < LEAST_TOKEN:
            raise OptionError(f"the token is too short, use at least {LEAST_TOKEN} characters")
        if self.token is None and not is_loopback(self.host):
            raise OptionError(
                f"{self.host} can be reached from outside, which needs a token: set FACEX_TOKEN to "
                f"{LEAST_TOKEN} or more characters, or listen on 127.0.0.1"
            )
        if not self.devices:
            raise OptionError("a service needs at least one device")

    def load_model(self, device: str) -> FaceX:
        """The model on a device.

        Raises:
            ModelNotFound, WeightsCorrupt, OptionError: as ``FaceX.from_pretrained``.
        """
        return FaceX.from_pretrained(
            self.model, device=device, dtype=self.dtype, local_files_only=self.local_files_only
        )

    @property
    def scale(self) -> str:
        """``mini`` or ``sd15``; empty when the model cannot be found."""
        try:
            return read_index(self._folder).scale
        except FaceXError:
            return ""

    @property
    def styles(self) -> tuple[str, ...]:
        """Names of the model's personalised bases; none when the model cannot be found."""
        try:
            return style_names(self._folder)
        except FaceXError:
            return ()

    @property
    def _folder(self) -> Path:
        return resolve_model_folder(self.model, local_files_only=self.local_files_only)

    def load_locator(self) -> FaceLocator:
        """The model's analysis on the first device.

        Raises:
            ModelNotFound, WeightsCorrupt, OptionError: as ``FaceX.from_pretrained``.
        """
        device, _ = choose_device(self.devices[0])
        return load_locator(self._folder, torch.device(device))

    @property
    def hosts(self) -> frozenset[str]:
        """Names that a Host header may hold, in lower case and without the port."""
        own = () if self.host in ("0.0.0.0", "::", "") else (self.host.lower(),)
        names = (name.lower() for name in self.allowed_hosts)
        return frozenset({"localhost", "127.0.0.1", "[::1]", *own, *names})


def is_loopback(host: str) -> bool:
    """Whether an address can only be reached from this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(24)
