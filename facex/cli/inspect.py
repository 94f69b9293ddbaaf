# SPDX-License-Identifier: Apache-2.0
"""The commands that look and change nothing: decompose and verify."""

from __future__ import annotations

import json as json_module
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from facex.cli.batch import Job, expand, run_jobs
from facex.cli.console import Reporter, StepCallback
from facex.cli.edit import check_face, check_settings, load_model
from facex.cli.options import Debug, Device, Dtype, Face, Force, Json, Model, Quiet
from facex.errors import EXIT_DONE, OptionError, OutputError

if TYPE_CHECKING:
    from facex.api import FaceX
    from facex.ford.representation import FaceRepresentation
    from facex.imaging.read import Photo

Photos = Annotated[
    list[Path],
    typer.Argument(metavar="PHOTO", help="Files or folders.", show_default=False),
]
OutFolder = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        metavar="DIR",
        help="Folder to write to; with several photos one folder in it for each.",
        show_default=False,
    ),
]

REPRESENTATION: Final = "representation.safetensors"
SUMMARY: Final = "summary.json"


def decompose(
    photo: Photos,
    out: OutFolder,
    face: Face = "largest",
    device: Device = None,
    dtype: Dtype = None,
    model: Model = None,
    json: Json = False,
    quiet: Quiet = False,
    force: Force = False,
    debug: Debug = False,
) -> int:
    """Take a face apart: its representation, the numbers in it, and a picture of every factor.

    A saved representation (.safetensors) in place of a photo is checked and summed up.
    """
    settings = check_settings({"device": device, "dtype": dtype, "model": model})
    reporter = Reporter(json_lines=json, quiet=quiet, debug=debug)
    files = expand(photo)
    several = len(files) > 1 or any(path.is_dir() for path in photo)
    check_folder(out)
    names = [f"{file.stem}{file.suffix.replace('.', '-')}" for file in files]
    if several and len(set(names)) < len(names):
        raise OptionError("two of the photos have the same name, do them one after the other")
    jobs = [
        Job(target=file, output=out / name if several else out)
        for file, name in zip(files, names, strict=True)
    ]
    # The summary is written last, so a folder that has one is complete.
    pending = [job for job in jobs if force or not several or not (job.output / SUMMARY).exists()]
    for job in jobs:
        if job not in pending:
            record = {"input": str(job.target), "output": str(job.output), "status": "skipped"}
            reporter.say(f"{job.output} (done before)", record)
    if not pending:
        return EXIT_DONE
    known = {}
    if not several and not _is_representation(files[0]):
        from facex.imaging.read import read_photo

        known[files[0]] = read_photo(files[0])
    check_face(face)
    needs_model = any(not _is_representation(job.target) for job in pending)
    editor = load_model(settings) if needs_model else None

    def work(job: Job, step: StepCallback) -> tuple[str, dict[str, Any]]:
        return _decompose_one(editor, job, known, face, step)

    skipped = len(jobs) - len(pending)
    return run_jobs(pending, work, reporter, skipped=skipped, several=several)


def check_folder(folder: Path) -> None:
    """Check that a folder exists or can be made, before anything slow is done.

    Raises:
        OutputError: it is a file, or its parent does not exist.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"-o {folder} is a file, a folder is needed")
    if not folder.absolute().parent.is_dir():
        raise OutputError(f"the folder {folder.absolute().parent} for -o does not exist")


def _is_representation(path: Path) -> bool:
    return path.suffix.lower() == ".safetensors"


def _decompose_one(
    editor: FaceX | None, job: Job, known: dict[Path, Photo], face: str, step: StepCallback
) -> tuple[str, dict[str, Any]]:
    from facex.ford.representation import FaceRepresentation
    from facex.imaging.read import read_photo

    begin = time.perf_counter()
    pictures: dict[str, Any] = {}
    if editor is None or _is_representation(job.target):
        found = FaceRepresentation.load(job.target)
    else:
        photo = known.get(job.target) or read_photo(job.target)
        step(0, 2, "extractors")
        found = FaceRepresentation.cat(editor.decompose(photo, face=face))
        step(1, 2, "pictures")
        pictures = _pictures(photo, found)
    faces = summarise(found)
    summary = {"input": job.target.name, "extractors": found.extractors, "faces": faces}
    _write_folder(job.output, found, summary, pictures)
    seconds = time.perf_counter() - begin
    record = {
        "input": str(job.target),
        "output": str(job.output),
        "status": "done",
        "faces": faces,
        "warnings": [],
        "timings": {"all": seconds},
    }
    lines = [f"{job.output} ({len(faces)} face{'s' * (len(faces) != 1)}, {seconds:.1f} s)"]
    for number, numbers in enumerate(faces, 1):
        yaw, pitch, roll = (numbers["pose_degrees"][name] for name in ("yaw", "pitch", "roll"))
        lines.append(f"  face {number}: yaw {yaw:+.1f}, pitch {pitch:+.1f}, roll {roll:+.1f}")
    return "\n".join(lines), record


def summarise(found: FaceRepresentation) -> list[dict[str, Any]]:
    """The numbers that a person can read, one entry per face; all angles in degrees."""
    import numpy as np

    from facex.geometry.pose import euler_from_rotation
    from facex.types import BLENDSHAPES, REGIONS

    angles = [part.tolist() for part in euler_from_rotation(found.rotation.double().cpu())]
    faces = []
    names = np.array([str(region) for region in REGIONS])
    for index in range(found.batch_size):
        gaze = found.gaze[index].double().cpu().tolist()
        shapes = found.expression[index].double().cpu().tolist()
        present = found.region_present[index].cpu().numpy()
        pose = zip(("yaw", "pitch", "roll"), angles, strict=True)
        entry: dict[str, Any] = {
            "pose_degrees": {name: _degrees(values[index]) for name, values in pose},
            "gaze_degrees": {
                eye: {"pitch": _degrees(pitch), "yaw": _degrees(yaw)}
                for eye, (pitch, yaw) in zip(("right", "left"), gaze, strict=True)
            },
            "regions": names[present].tolist(),
            "photo_from_crop": found.photo_from_crop[index].tolist(),
            "crop_size": found.crop_size,
        }
        if len(shapes) == len(BLENDSHAPES):
            pairs = zip(BLENDSHAPES, shapes, strict=True)
            entry["blendshapes"] = {name: round(value, 4) for name, value in pairs}
        faces.append(entry)
    return faces


def _degrees(radians: float) -> float:
    return round(math.degrees(radians), 2)


def _pictures(photo: Photo, found: FaceRepresentation) -> dict[str, Any]:
    """A PIL picture of every factor of every face, by file name without suffix."""
    try:
        from facex.ford.show import show_factors
    except ImportError:
        return {}
    from facex.imaging.tensors import to_tensor
    from facex.imaging.warp import Similarity, crop_image

    pictures: dict[str, Any] = {}
    for index in range(found.batch_size):
        place = Similarity(found.photo_from_crop[index].double().numpy())
        crop = to_tensor(crop_image(photo.array, place, found.crop_size))
        for name, picture in show_factors(crop, found[index]).items():
            pictures[f"face{index + 1}-{name}"] = picture
    return pictures


def _write_folder(
    folder: Path, found: FaceRepresentation, summary: dict[str, Any], pictures: dict[str, Any]
) -> None:
    """Write every file in one piece, the summary last."""
    from facex.imaging.write import write_bytes_atomic, write_photo

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror}") from error
    for name, picture in pictures.items():
        write_photo(picture, folder / f"{name}.png")
    write_bytes_atomic(folder / REPRESENTATION, found.to_bytes())
    text = json_module.dumps(summary, indent=1, ensure_ascii=False) + "\n"
    write_bytes_atomic(folder / SUMMARY, text.encode())


def verify(photo: Photos, json: Json = False, quiet: Quiet = False, debug: Debug = False) -> int:
    """Say whether pictures carry the invisible mark or the metadata of FaceX."""
    reporter = Reporter(json_lines=json, quiet=quiet, debug=debug)
    files = expand(photo)
    several = len(files) > 1 or any(path.is_dir() for path in photo)
    jobs = [Job(target=file, output=file) for file in files]
    return run_jobs(jobs, _verify_one, reporter, several=several)


def _verify_one(job: Job, step: StepCallback) -> tuple[str, dict[str, Any]]:
    from facex.safety.verify import verify_image
    from facex.video.clip import is_clip
    from facex.video.verify import verify_clip

    report = verify_clip(job.target) if is_clip(job.target) else verify_image(job.target)
    record = {"input": str(job.target), "status": "done", **report.to_dict()}
    return f"{job.target}: {report.verdict}", record
