# SPDX-License-Identifier: Apache-2.0
"""From a folder or a hub id to a model folder on this machine; never online unless allowed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from facex.config import Settings
from facex.errors import MissingExtra, ModelNotFound

BUNDLED: Final = Path(__file__).parent / "mini"
"""The model folder that comes with the package."""

DOWNLOADED: Final = ("*.json", "*diffusion_pytorch_model*.safetensors", "ford/*.safetensors")
"""Only these files are ever taken from a hub: configs and safetensors, never pickles or code."""

_SKIPPED: Final = (
    "*.fp16.*", "*.non_ema.*", "safety_checker/*", "text_encoder/*", "tokenizer/*",
    "feature_extractor/*",
)  # fmt: skip
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_TRUE: Final = frozenset({"1", "true", "yes", "on"})


def is_offline(local_files_only: bool | None = None) -> bool:
    """Whether the network must not be touched.

    Args:
        local_files_only: what the caller wants; None asks ``FACEX_OFFLINE`` (default 1). With
            ``HF_HUB_OFFLINE`` set it is always offline.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in _TRUE:
        return True
    return Settings.from_environment().offline if local_files_only is None else local_files_only


def resolve_model_folder(
    folder_or_id: str | Path | None = None, *, local_files_only: bool | None = None
) -> Path:
    """Find a model folder.

    Args:
        folder_or_id: a folder; or a hub id ``owner/name``, looked up in the local hub cache and,
            unless offline, downloaded; None: the bundled model.
        local_files_only: as in :func:`is_offline`.

    Returns:
        An existing folder.

    Raises:
        ModelNotFound: there is no such folder, or the id cannot be had.
    """
    if folder_or_id is None:
        return BUNDLED
    path = Path(folder_or_id).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ModelNotFound(f"{folder_or_id} is a file, but a model is a folder")
    if isinstance(folder_or_id, Path) or not _HUB_ID.fullmatch(folder_or_id):
        raise ModelNotFound(f"there is no model folder {folder_or_id}")
    return _from_hub(folder_or_id, offline=is_offline(local_files_only))


def _from_hub(hub_id: str, *, offline: bool) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtra("a model from the hub", "sd15") from error
    try:
        folder = snapshot_download(
            hub_id,
            allow_patterns=list(DOWNLOADED),
            ignore_patterns=list(_SKIPPED),
            local_files_only=offline,
        )
    # The hub's client raises its own errors, those of its HTTP library and plain OSError.
    except Exception as error:
        if offline:
            raise ModelNotFound(
                f"{hub_id} is neither a folder nor in the local hub cache, and FaceX is offline: "
                "give a folder, or allow the download with FACEX_OFFLINE=0"
            ) from error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelNotFound(f"{hub_id} cannot be had from the hub: {reason}") from error
    return Path(folder)
