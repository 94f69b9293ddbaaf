# SPDX-License-Identifier: Apache-2.0
"""From files, folders and OUT to a list of jobs; running them; what was done already is skipped.

All checks that need no pixel are made here, before the model is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Final

from facex.cli.console import Reporter, StepCallback
from facex.errors import (
    EXIT_DONE,
    EXIT_NOTHING_DONE,
    EXIT_SOME_FAILED,
    ImageRejected,
    Interrupted,
    OptionError,
    OutputError,
)

PICTURE_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif", ".tif", ".tiff", ".bmp"}
)
"""Files of a folder that are taken for photos; a file that is named is read whatever its name."""

MASK_ROLE: Final = "--mask"
"""The role whose folder is matched by file name; other folders are combined with every target.
No picture of a recipe can have this name."""


@dataclass(frozen=True)
class Job:
    """One picture to make.

    Attributes:
        target: the photo that is edited.
        output: the file to write.
        others: further pictures by role (source, driver, mask, ...).
    """

    target: Path
    output: Path
    others: Mapping[str, Path] = field(default_factory=dict)


def expand(paths: Sequence[Path]) -> list[Path]:
    """Files in the order given, folders replaced by the pictures in them, sorted.

    Raises:
        ImageRejected: a path does not exist, or a folder holds no picture.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise ImageRejected(f"{path} does not exist")
            found.append(path)
            continue
        inside = sorted(
            entry
            for entry in path.iterdir()
            if entry.suffix.lower() in PICTURE_SUFFIXES and not entry.name.startswith(".")
        )
        if not inside:
            raise ImageRejected(f"the folder {path} holds no pictures")
        found.extend(inside)
    return list(dict.fromkeys(found))


def plan(
    targets: Sequence[Path], others: Mapping[str, Path], out: Path, *, force: bool = False
) -> tuple[list[Job], bool]:
    """The jobs for photos, further pictures and OUT.

    Every target is combined with every picture of a folder among ``others``; a folder of masks is
    matched by file name.

    Args:
        targets: files or folders, at least one.
        others: a file or a folder for each role.
        out: the file to write; with several jobs a folder.
        force: allow an output to replace an input.

    Returns:
        The jobs, and True if ``out`` is a folder that was meant as one (several jobs, or a folder
        among the inputs).

    Raises:
        ImageRejected: an input does not exist.
        OptionError, OutputError: ``out`` cannot be what it would have to be.
    """
    files = expand(targets)
    free = {role: expand([path]) for role, path in others.items() if role != MASK_ROLE}
    masks = others.get(MASK_ROLE)
    if masks is not None and not masks.exists():
        raise ImageRejected(f"the mask {masks} does not exist")
    combinations = [dict(zip(free, picks, strict=True)) for picks in product(*free.values())]
    several = (
        len(files) * len(combinations) > 1
        or any(path.is_dir() for path in targets)
        or any(path.is_dir() for path in others.values())
    )
    jobs = []
    for file in files:
        for combination in combinations:
            extra = dict(combination)
            if masks is not None:
                extra[MASK_ROLE] = _mask_of(file, masks)
            names = list(combination.values()) if len(combinations) > 1 else []
            folder_like = several or out.is_dir()
            output = out / output_name(file, names) if folder_like else out
            jobs.append(Job(target=file, output=output, others=extra))
    _check_folder(out, several=several)
    _check_outputs(jobs, force=force)
    return jobs, several


def output_name(target: Path, others: Iterable[Path] = ()) -> str:
    """File name of an output in OUT: the target's, and the names of what was combined with it.

    Formats that cannot be written become PNG.
    """
    suffix = target.suffix if is_picture_name(target) else ".png"
    return "--".join([target.stem, *(other.stem for other in others)]) + suffix


def _mask_of(target: Path, masks: Path) -> Path:
    if not masks.is_dir():
        return masks
    matching = sorted(
        entry
        for entry in masks.iterdir()
        if entry.stem == target.stem and entry.suffix.lower() in PICTURE_SUFFIXES
    )
    if not matching:
        raise ImageRejected(f"the folder {masks} holds no mask named like {target.name}")
    return matching[0]


def _check_folder(out: Path, *, several: bool) -> None:
    """The folder that will hold the outputs exists (or can be made) and may be written to."""
    if several and not out.is_dir():
        if out.exists() or is_picture_name(out):
            raise OptionError(f"with several inputs -o must be a folder, {out} is a file name")
        folder = out.absolute().parent
    else:
        folder = out if out.is_dir() else out.absolute().parent
    if not folder.is_dir():
        raise OutputError(f"the folder {folder} for -o does not exist; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {folder} for -o may not be written to")


def _check_outputs(jobs: Sequence[Job], *, force: bool) -> None:
    from facex.imaging.write import output_format

    by_output: dict[Path, Job] = {}
    inputs = {path.resolve() for job in jobs for path in (job.target, *job.others.values())}
    for job in jobs:
        output_format(job.output)
        if job.output.is_dir():
            raise OutputError(f"-o {job.output} is a folder, not a picture")
        place = job.output.resolve()
        if place in inputs and not force:
            raise OptionError(f"-o {job.output} would replace an input; add --force to allow it")
        if place in by_output:
            first = by_output[place].target
            raise OptionError(f"{first} and {job.target} would both become {job.output}")
        by_output[place] = job


def is_picture_name(path: Path) -> bool:
    """Whether the suffix is one of the formats that can be written."""
    from facex.imaging.write import OUTPUT_FORMATS  # numpy and Pillow: not for --help

    return path.suffix.lower() in OUTPUT_FORMATS


def split_done(jobs: Sequence[Job], *, force: bool) -> tuple[list[Job], list[Job]]:
    """Jobs still to do, and jobs whose output is there already.

    Outputs appear complete or not at all, so a file that exists is a finished one.
    """
    if force:
        return list(jobs), []
    done = [job for job in jobs if job.output.exists()]
    finished = {job.output for job in done}
    return [job for job in jobs if job.output not in finished], done


Work = Callable[[Job, StepCallback], tuple[str, dict[str, Any]]]
"""Does one job; returns the words and the JSON record for it."""


def run_jobs(
    jobs: Sequence[Job], work: Work, reporter: Reporter, *, skipped: int = 0, several: bool = False
) -> int:
    """Do every job, name each that fails, and go on.

    Args:
        jobs: what to do.
        work: does one of them.
        reporter: where to report.
        skipped: number of inputs that were done before.
        several: failures name their input, and a summary closes the run.

    Returns:
        The exit code: 0 all done, 1 some failed, 2 nothing done.
    """
    failed = 0
    with reporter.bars(len(jobs)) as bars:
        for job in jobs:
            bars.begin(job.target.name)
            try:
                words, record = work(job, bars.step)
            except (KeyboardInterrupt, Interrupted):
                raise
            except Exception as error:  # one bad photo must not end a folder of good ones
                failed += 1
                record = {"input": str(job.target), "output": None, "status": "failed"}
                reporter.failed(error, record, str(job.target) if several else None)
            else:
                reporter.say(words, record)
            bars.end()
    done = len(jobs) - failed
    if several:
        reporter.note(f"{done} done, {failed} failed, {skipped} skipped")
    if not failed:
        return EXIT_DONE
    return EXIT_SOME_FAILED if done or skipped else EXIT_NOTHING_DONE
