# SPDX-License-Identifier: Apache-2.0
"""What ``facex evaluate ford`` does, from folders to reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import facex
from facex.api import FaceX
from facex.errors import OptionError
from facex.evaluate.analysis.detector import measure_detector
from facex.evaluate.analysis.reader import FordReader, half_precision_megabytes
from facex.evaluate.analysis.report import NAME, as_data, markdown, write_page
from facex.evaluate.analysis.run import Analyst, Progress
from facex.evaluate.analysis.synthetic import FOLDER
from facex.evaluate.bootstrap import Interval
from facex.evaluate.faces import FaceSet
from facex.evaluate.judges import Judge
from facex.evaluate.store import Store, folder_digest
from facex.imaging.write import write_bytes_atomic


def measure_ford(
    faces: Path,
    teachers: Path | None,
    model: str | None,
    out: Path,
    *,
    photos: Path | None,
    masks: Path | None,
    count: int | None,
    subset: int,
    split: str,
    force: bool,
    progress: Progress,
) -> tuple[dict[str, Any], list[Path]]:
    """Measure the extractors of a model and write the reports.

    Args:
        faces: aligned faces.
        teachers: networks that label them; without, only what needs no labels means anything.
        model: folder or hub id; None for the bundled one.
        out: folder of the reports.
        photos: whole photos for the detector.
        masks: faces with true masks; None looks into ``faces``.
        count: faces at most.
        subset: faces that are disturbed.
        split: of the index.
        force: forget results of something else.
        progress: called with (done, total, what).

    Returns:
        The data of the report and the files.

    Raises:
        OptionError: a folder is missing.
    """
    for folder in (photos, masks, teachers):
        if folder is not None and not folder.is_dir():
            raise OptionError(f"there is no folder {folder}")
    face_set = FaceSet.open(faces, split=split)
    judge = Judge.load(teachers)
    loaded = FaceX.from_pretrained(model)
    ford_folder = Path(loaded.model.folder) / "ford"
    reader = FordReader(loaded.model.ford, loaded.model.index.crop_size, loaded.locator.device)
    digest = folder_digest(ford_folder)
    store = Store(out, {"ford": digest, "faces": face_set.digest}, force=force)
    analyst = Analyst(face_set, judge, reader, store, progress)
    analysis = analyst.run(count, subset)

    more: dict[str, Interval] = {}
    masks = masks or faces / FOLDER
    if masks.is_dir():
        more |= analyst.parser(masks)
    notes: list[str] = []
    if photos is not None and teachers is not None:
        found, notes = measure_detector(loaded.locator.detector, photos, teachers)
        more |= found
    more["ford_ms"] = _single(reader.milliseconds(face_set.image(analysis.names[0])))
    more["ford_mb"] = _single(half_precision_megabytes(ford_folder))
    about = {
        "extractors": f"{loaded.model.ford.name} ({digest})",
        "faces": f"{len(analysis.names)} ({face_set.digest}), split {split}",
        "labels": judge.names["motion"],
        "threads": torch.get_num_threads(),
        "facex": facex.__version__,
    }
    data = as_data(analysis, more, notes, about)
    return data, [*_written(data, out), write_page(data, analysis, analyst, out)]


def _single(value: float) -> Interval:
    return Interval(value, float("nan"), float("nan"), 1)


def _written(data: Mapping[str, Any], out: Path) -> list[Path]:
    paths = [out / f"{NAME}.json", out / f"{NAME}.md"]
    texts = [json.dumps(data, indent=1, ensure_ascii=False), "\n".join(markdown(data))]
    for path, text in zip(paths, texts, strict=True):
        write_bytes_atomic(path, f"{text}\n".encode())
    return paths
