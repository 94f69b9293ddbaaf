# SPDX-License-Identifier: Apache-2.0
"""The photos of a job, one after the other; what cannot be read is named and passed over."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from facex.errors import ImageRejected
from facex.imaging.read import ImageSource
from facex.prepare.index import CARRIED, Row
from facex.prepare.sources import PICTURES, Job, content_of, group_of


class Item(NamedTuple):
    """One photo, not decoded yet.

    Attributes:
        name: what the records call it.
        source: path, bytes or picture; None if it cannot be had.
        row: what is known about it.
        error: why it cannot be had.
    """

    name: str
    source: ImageSource | None
    row: Row
    error: str = ""


def items_of(job: Job) -> Iterator[Item]:
    """Every photo of a job.

    Raises:
        ImageRejected: the tar file or video cannot be opened at all.
    """
    if job.kind == "files":
        for path, name in zip(job.paths, job.names, strict=True):
            yield Item(name, Path(path), job.rows.get(name, {}))
    elif job.kind == "tar":
        yield from _tar_items(job)
    else:
        yield from _frames(job)


def _tar_items(job: Job) -> Iterator[Item]:
    left = job.count
    try:
        with open(job.paths[0], "rb") as file:
            file.seek(job.start)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                files = (member for member in tar if member.isfile())
                for _, group in groupby(files, lambda member: group_of(member.name)):
                    pictures: list[tuple[str, bytes | None]] = []
                    beside: Row = {}
                    for member in group:
                        suffix = PurePosixPath(member.name).suffix.lower()
                        if suffix in PICTURES:
                            pictures.append((member.name, content_of(tar, member)))
                        elif suffix == ".json":
                            beside = _json_row(content_of(tar, member))
                        tar.members = []  # type: ignore[attr-defined]  # else every header stays
                    for name, data in pictures:
                        full = f"{job.names[0]}/{name}"
                        error = "" if data is not None else "larger than a photo may be"
                        yield Item(full, data, {**beside, **job.rows.get(full, {})}, error)
                        left -= 1
                    if left <= 0:
                        return
    except (OSError, tarfile.TarError) as error:
        raise ImageRejected(f"{job.names[0]} cannot be read: {error}") from error


def _json_row(data: bytes | None) -> Row:
    """The carried columns of a webdataset's own JSON; anything else in it is not ours."""
    try:
        values: Any = json.loads(data or b"{}")
    except ValueError:
        return {}
    if not isinstance(values, dict):
        return {}
    if "license" in values:
        values.setdefault("licence", values["license"])
    known = {name: values[name] for name in CARRIED if name in values}
    return {name: str(v).strip() for name, v in known.items() if isinstance(v, str | int | bool)}


def _frames(job: Job) -> Iterator[Item]:
    """Every n-th frame of a video, named ``VIDEO#NUMBER``."""
    import av

    name = job.names[0]
    row = job.rows.get(name, {})
    try:
        with av.open(job.paths[0]) as video:
            stream = video.streams.video[0]
            stream.thread_type = "SLICE"  # frame threads would be more than the one core of a job
            for number, frame in enumerate(video.decode(stream)):
                if number % job.every == 0:
                    yield Item(f"{name}#{number:06d}", frame.to_image(), row)
    except (av.FFmpegError, OSError, IndexError) as error:
        raise ImageRejected(f"the video {name} cannot be read to its end: {error}") from error
