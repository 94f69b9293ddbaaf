# SPDX-License-Identifier: Apache-2.0
"""All graphs of a model as one folder with a manifest, checked before it appears."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

import facex
from facex.errors import OutputError
from facex.export.check import Compared, compare
from facex.export.onnx import OPSET, check_installed, export_stage
from facex.export.stages import Stage, build_stages, presence_names
from facex.models.folder import LoadedModel, load_model
from facex.types import PARSING_CLASSES, REGIONS

MANIFEST: Final = "manifest.json"
FORMAT_VERSION: Final = 1


@dataclass(frozen=True)
class Exported:
    """A written graph.

    Attributes:
        name: of the stage.
        bytes: size of the file.
        compared: against torch.
    """

    name: str
    bytes: int
    compared: Compared


def export_model(
    folder: Path,
    out: Path,
    only: tuple[str, ...] = (),
    *,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> list[Exported]:
    """Export a model folder; every graph is checked against torch first.

    Args:
        folder: of a mini model.
        out: must not exist yet, be empty, or be an earlier export, which is replaced.
        only: names of stages; empty takes all.
        progress: called with (done, total, name of the stage).

    Raises:
        MissingExtra: onnx, onnxscript or onnxruntime is not installed.
        OptionError: a stage is unknown, or the model is no mini model.
        OutputError: ``out`` is something else, or cannot be written.
        FaceXError: a graph is not the same as torch.
    """
    check_installed()
    _check_free(out)
    # Translated and compared in full precision, whatever the weights are stored in.
    model = load_model(folder, torch.device("cpu"), torch.float32)
    stages = build_stages(model, only)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".facex-") as scratch:
            fresh = Path(scratch) / "onnx"
            fresh.mkdir()
            written, entries = [], []
            for number, stage in enumerate(stages):
                progress(number, len(stages), stage.name)
                path = fresh / f"{stage.name}.onnx"
                export_stage(stage, path)
                compared = compare(stage, path)
                entries.append(_entry(stage, path, compared))
                written.append(Exported(stage.name, path.stat().st_size, compared))
            progress(len(stages), len(stages), "done")
            manifest = _manifest(model, entries)
            text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
            (fresh / MANIFEST).write_text(text, encoding="utf-8")
            _put(fresh, out, Path(scratch) / "before")
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror or error}") from error
    return written


def _put(fresh: Path, out: Path, before: Path) -> None:
    """Rename into place; what was there goes to ``before``, and back if that fails."""
    there = out.exists()
    if there:
        os.replace(out, before)
    try:
        os.replace(fresh, out)
    except OSError:
        if there:
            os.replace(before, out)
        raise


def _check_free(out: Path) -> None:
    """Refuse a folder that holds anything but an export; it would be replaced as a whole."""
    try:
        if not out.exists() or (out.is_dir() and not any(out.iterdir())):
            return
        found = {path.name for path in out.iterdir()} if out.is_dir() else {out.name}
    except OSError as error:
        raise OutputError(f"{out} cannot be read: {error.strerror or error}") from error
    ours = _files_of_export(out)
    if not ours:
        raise OutputError(f"{out} exists and is no export of facex; choose another folder")
    if foreign := sorted(found - ours):
        raise OutputError(
            f"{out} holds {foreign[0]}, which is no part of an export; choose another folder"
        )


def _files_of_export(out: Path) -> set[str]:
    """Names of an earlier export's files; empty if there was none: others write manifests, too."""
    try:
        manifest = json.loads((out / MANIFEST).read_bytes())
        files = {str(stage["file"]) for stage in manifest["stages"]} if manifest["opset"] else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {MANIFEST, *files} if files else set()


def _entry(stage: Stage, path: Path, compared: Compared) -> dict[str, Any]:
    about = {port.name: port.about for port in (*stage.inputs, *stage.outputs)}

    def described(ports: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"name": n, **values, "about": about[n]} for n, values in ports.items()]

    return {
        "name": stage.name,
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "about": stage.about,
        "free_sizes_multiple_of": stage.multiple,
        "inputs": described(compared.inputs),
        "outputs": described(compared.outputs),
        "largest_relative_difference": compared.difference,
    }


def _manifest(model: LoadedModel, entries: list[dict[str, Any]]) -> dict[str, Any]:
    index, scheduler = model.index, model.base.scheduler
    return {
        "format_version": FORMAT_VERSION,
        "facex": facex.__version__,
        "opset": OPSET,
        "model": index.name,
        "licence": index.licence,
        "crop_size": index.crop_size,
        "steps": index.steps,
        "present": presence_names(model),
        "regions": [region.value for region in REGIONS],
        "parsing_classes": list(PARSING_CLASSES),
        "timestep_spacing": str(scheduler.config.timestep_spacing),
        # `noisy = sqrt(a) * clean + sqrt(1 - a) * noise` with a of the timestep
        "alphas_cumprod": [float(a) for a in scheduler.alphas_cumprod],
        "stages": entries,
    }
