# SPDX-License-Identifier: Apache-2.0
"""From folders, tar shards, lists and videos to jobs: each becomes one shard of faces.

A job is small: a tar job is a place in a file, not its photos. Jobs are cut the same way every
time, so a run that was stopped finds its finished shards again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from facex.errors import ImageRejected, MissingExtra, OptionError
from facex.imaging.read import MAX_FILE_BYTES
from facex.prepare.index import Index, Row

PICTURES: Final = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif", ".tif", ".tiff", ".bmp"}
)
VIDEOS: Final = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"})
LISTS: Final = frozenset({".txt", ".lst"})
_PACKED: Final = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip")


@dataclass(frozen=True)
class Job:
    """What one shard is made from.

    Attributes:
        number: of the shard, from 0.
        kind: ``files``, ``tar`` or ``video``.
        paths: the photos; or the one tar or video file.
        names: what records call the photos; for tar and video one name for the file.
        sizes: bytes of the files, so that a changed photo is noticed; -1 if missing.
        start: byte of the tar file at which to begin.
        count: number of photos of the tar file.
        every: take every n-th frame of a video.
        rows: what the index says, by name of the photo.
        content: digest of what the tar file holds of these photos: names and sizes of all its
            files, and the text of those that may speak of consent.
    """

    number: int
    kind: Literal["files", "tar", "video"]
    paths: tuple[str, ...]
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    start: int = 0
    count: int = 0
    every: int = 1
    rows: dict[str, Row] = field(default_factory=dict)
    content: str = ""

    @property
    def label(self) -> str:
        """What to call the job in messages."""
        more = f" and {len(self.names) - 1} more" if len(self.names) > 1 else ""
        return f"shard {self.number} ({self.names[0]}{more})"

    def digest(self) -> str:
        """Sixteen hex digits; another photo, size or row gives others."""
        values = asdict(self)
        del values["paths"]  # a folder may be moved
        if not self.content:
            del values["content"]  # of loose files the sizes say it
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


@dataclass
class Plan:
    """All jobs, and what could not become one.

    Attributes:
        jobs: in order.
        failures: name and reason of inputs that cannot be read.
    """

    jobs: list[Job] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)


def plan_jobs(
    inputs: Sequence[Path], *, index: Index | None = None, photos: int = 256, every: int = 30
) -> Plan:
    """Cut the inputs into jobs.

    Args:
        inputs: folders (searched to any depth), photos, ``.tar`` files in webdataset layout, text
            lists of such files (one a line, relative to the list), videos.
        index: what is known about the photos.
        photos: of one shard.
        every: take every n-th frame of a video.

    Raises:
        ImageRejected: an input does not exist, is of no known kind, or there is no photo at all.
        OptionError: a number is out of range, or the index is ambiguous.
        MissingExtra: a video without PyAV.
    """
    if photos < 1 or every < 1:
        raise OptionError("photos of a shard and every n-th frame are numbers from 1")
    index, plan = index or Index(), Plan()
    loose: list[tuple[str, str]] = []
    for path, name in _files(inputs):
        suffix = path.suffix.lower()
        if suffix == ".tar":
            _plan_tar(plan, path, name, index, photos)
        elif suffix in VIDEOS:
            _plan_video(plan, path, name, index, every)
        else:
            loose.append((str(path), name))
    for begin in range(0, len(loose), photos):
        paths, names = zip(*loose[begin : begin + photos], strict=True)
        rows = {name: row for name in names if (row := index.take(name))}
        sizes = tuple(_size(path) for path in paths)
        plan.jobs.append(Job(len(plan.jobs), "files", paths, names, sizes, rows=rows))
    if not plan.jobs and not plan.failures:
        given = ", ".join(str(path) for path in inputs)
        raise ImageRejected(f"there is no photo, tar shard or video in {given}")
    return plan


def _files(inputs: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Every file once, with the name that records use: its path below what was given."""
    seen: dict[str, Path] = {}
    places: set[Path] = set()
    for given in inputs:
        for path, name in _expand(given):
            place = path.absolute()
            if place in places:
                continue
            places.add(place)
            if name in seen:  # two folders with the same file names
                name = f"{given.name}/{name}"
            if name in seen:
                raise OptionError(
                    f"{seen[name]} and {path} would both be called {name}; give the folder above"
                )
            seen[name] = path
            yield path, name


def _expand(given: Path) -> Iterator[tuple[Path, str]]:
    if given.is_dir():
        for folder, folders, files in os.walk(given):
            folders.sort()
            for file in sorted(files):
                path = Path(folder, file)
                known = path.suffix.lower() in PICTURES | VIDEOS | {".tar"}
                if known and not file.startswith("."):
                    yield path, path.relative_to(given).as_posix()
        return
    if not given.exists():
        raise ImageRejected(f"{given} does not exist")
    suffix = given.suffix.lower()
    if given.name.lower().endswith(_PACKED):
        raise ImageRejected(f"{given} is packed: give an uncompressed .tar")
    if suffix in LISTS:
        yield from _listed(given)
    elif suffix in PICTURES | VIDEOS | {".tar"}:
        yield given, given.name
    else:
        raise ImageRejected(f"{given} is no folder, photo, .tar, video or .txt list")


def _listed(path: Path) -> Iterator[tuple[Path, str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImageRejected(f"the list {path} cannot be read: {error}") from error
    for line in lines:
        text = line.strip()
        if text and not text.startswith("#"):
            # A file that is missing is found out by the job, and does not end the run.
            yield path.parent / text, PurePosixPath(Path(text).as_posix()).as_posix()


def _plan_tar(plan: Plan, path: Path, name: str, index: Index, photos: int) -> None:
    """One job for every ``photos`` photos; headers are read, and the JSON beside the photos.

    The JSON says who took consent back. Tar files are padded, so their size may stay the same.
    """
    start, count, rows = -1, 0, dict[str, Row]()
    content = hashlib.sha256()

    def close() -> None:
        if count:
            job = Job(
                len(plan.jobs), "tar", (str(path),), (name,), (_size(str(path)),), start, count,
                rows=rows, content=content.hexdigest()[:16],
            )  # fmt: skip
            plan.jobs.append(job)

    try:
        with tarfile.open(path, "r:") as tar:
            key = None
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # else it keeps every header
                if not member.isfile():
                    continue
                if group_of(member.name) != key:  # what belongs to one photo stays together
                    key = group_of(member.name)
                    if count >= photos:
                        close()
                        start, count, rows, content = -1, 0, {}, hashlib.sha256()
                if start < 0:
                    start = member.offset
                content.update(f"{member.name} {member.size}\n".encode())
                suffix = PurePosixPath(member.name).suffix.lower()
                if suffix in PICTURES:
                    count += 1
                    source = f"{name}/{member.name}"
                    if row := index.take(source):
                        rows[source] = row
                elif suffix == ".json":
                    content.update(content_of(tar, member) or b"")
    except (OSError, tarfile.TarError) as error:
        plan.failures.append({"file": name, "error": f"the tar file is damaged: {error}"})
    close()


def content_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | None:
    """A file of a tar, None if it is larger than a photo may be."""
    file = tar.extractfile(member) if member.size <= MAX_FILE_BYTES else None
    return None if file is None else file.read()


def group_of(member: str) -> str:
    """What webdataset calls the key: the path up to the first dot of the file name."""
    path = PurePosixPath(member)
    return (path.parent / path.name.split(".", 1)[0]).as_posix()


def _plan_video(plan: Plan, path: Path, name: str, index: Index, every: int) -> None:
    if find_spec("av") is None:
        raise MissingExtra(f"reading the video {path.name}", "video")
    row = index.take(name)
    rows = {name: row} if row else {}
    size = _size(str(path))
    job = Job(len(plan.jobs), "video", (str(path),), (name,), (size,), every=every, rows=rows)
    plan.jobs.append(job)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
