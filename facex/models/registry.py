# SPDX-License-Identifier: Apache-2.0
"""Every weight that FaceX can use: what for, from where, under which licence, whether present.

The list itself is data: ``weights.yaml`` beside this file.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from ruamel.yaml import YAML
from safetensors import SafetensorError, safe_open

from facex.models.hub import BUNDLED

WEIGHTS_FILE: Final = Path(__file__).with_name("weights.yaml")
SOURCE_SHA256: Final = "source_sha256"
"""Metadata key of a converted file: the digest of the published file that it was made from."""
KIND: Final = "kind"
"""Metadata key of a converted file: what it was converted as."""

Commercial = Literal["yes", "no", "conditions", "unclear"]


class WeightSpec(BaseModel):
    """One row of the list.

    Attributes:
        name: unique; what ``facex models`` calls it.
        scale: the model that needs it.
        purpose: what it is for, one phrase.
        path: where it is expected, relative to the model folder.
        source: where a user gets it: a project page, a hub id, or ``bundled``.
        hub_id: the hub id, if it has one.
        published_file: name of the file at the source.
        licence: of the weights.
        commercial: whether the licence allows commercial use; ``conditions``: yes, under rules of
            use; ``unclear``: nothing is stated, or the training data say otherwise.
        note: what else to know about the licence.
        convert: kind for ``facex models convert``; None: usable as it is.
        size: bytes of the published file; None: not known here.
        sha256: digest of the published file; None: not known here.
        optional: another row serves the same purpose.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    scale: Literal["mini", "sd15"]
    purpose: str
    path: str
    source: str
    hub_id: str | None = None
    published_file: str
    licence: str
    commercial: Commercial
    note: str = ""
    convert: str | None = None
    size: int | None = Field(default=None, gt=0)
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    optional: bool = False


@dataclass(frozen=True)
class WeightStatus:
    """A row and what is on this machine.

    Attributes:
        spec: the row.
        path: where the file is expected; None: no model folder of that scale was given.
        present: the file is there.
        size: its size in bytes; None: not present.
        sha256_ok: True and False: compared with the published digest (a converted file through
            the digest it carries); None: not present, not checked or no digest known.
    """

    spec: WeightSpec
    path: Path | None
    present: bool
    size: int | None
    sha256_ok: bool | None


@functools.lru_cache(maxsize=1)
def weight_specs() -> tuple[WeightSpec, ...]:
    """All rows of the list, in its order."""
    rows = YAML(typ="safe").load(WEIGHTS_FILE.read_text(encoding="utf-8"))["weights"]
    return tuple(WeightSpec.model_validate(row) for row in rows)


def list_weights(
    model_folder: str | Path | None = None, *, verify: bool = True
) -> list[WeightStatus]:
    """Look for every weight of the list.

    Args:
        model_folder: a model folder; the rows of its scale are looked up there. The mini rows are
            otherwise looked up in the bundled folder.
        verify: compare digests; reads the files whole.

    Returns:
        One status for each row.
    """
    given = None if model_folder is None else Path(model_folder)
    scale = None if given is None else _scale_of(given)
    folders = {"mini": BUNDLED, "sd15": None}
    if scale is not None:
        folders[scale] = given
    return [_status(spec, folders[spec.scale], verify) for spec in weight_specs()]


def _scale_of(folder: Path) -> str:
    """The scale a folder is of; a plain Stable Diffusion folder is a base for sd15."""
    try:
        index = json.loads((folder / "facex_index.json").read_text(encoding="utf-8"))
        return "mini" if index.get("scale") == "mini" else "sd15"
    except (OSError, ValueError, AttributeError):
        return "sd15"


def _status(spec: WeightSpec, folder: Path | None, verify: bool) -> WeightStatus:
    if folder is None:
        return WeightStatus(spec, None, False, None, None)
    path = folder / spec.path
    if not path.is_file():
        return WeightStatus(spec, path, False, None, None)
    metadata = _metadata(path)
    # Two checkpoints may share a place; a converted file says which one it is.
    if spec.convert is not None and metadata.get(KIND, spec.convert) != spec.convert:
        return WeightStatus(spec, path, False, None, None)
    matches: bool | None = None
    if verify and spec.sha256 is not None:
        matches = spec.sha256 == (metadata.get(SOURCE_SHA256) or file_sha256(path))
    return WeightStatus(spec, path, True, path.stat().st_size, matches)


def _metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself; empty for other files."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError):
        return {}


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
