# SPDX-License-Identifier: Apache-2.0
"""Prepared shards as the trainers of mini read them.

``python -m facex.train.from_shards SHARDS OUT``

SHARDS is a folder of ``facex prepare``, made with a mini model. OUT becomes a cache
(`facex.train.facecache`) with the codes of every face (``codes.npz``) and what the manifest says of
it (``index.csv``). Labels are those of the model that prepared the photos, so no teacher is needed.
Faces go to disk one by one; their number is not bound by memory.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facex.errors import EXIT_DONE, FaceXError, OptionError, OutputError
from facex.ford.representation import EXTRACTED_FIELDS
from facex.prepare.index import CARRIED
from facex.prepare.read import PreparedFace, PreparedShards
from facex.train.codes import SIZE
from facex.train.encode_faces import KEEP_FLOAT32

COLUMNS: Final = ("name", "split", "terms", "scale", "pad", *CARRIED)
"""Of ``index.csv``: as other caches have them, and what is carried from the photos' own index."""


def convert(shards: Path, out: Path) -> int:
    """Write the cache.

    Args:
        shards: a folder that ``facex prepare`` finished.
        out: must not exist yet, or be empty.

    Returns:
        The number of faces.

    Raises:
        OptionError: the shards are not finished, hold no face or are of another size.
        OutputError: ``out`` is in use or cannot be written, or a shard is damaged.
    """
    prepared = PreparedShards.open(shards)
    size = int(prepared.manifest["crop_size"])
    if not len(prepared):
        raise OptionError(f"{shards} holds no face; prepare more photos")
    if size != SIZE:
        raise OptionError(
            f"the crops of {shards} have {size} px, mini takes {SIZE}; prepare the photos with a "
            "mini model, or train with kind: sd15"
        )
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise OutputError(f"{out} is there already; name another folder, or delete it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".facex-") as scratch:
            fresh = Path(scratch) / "cache"
            fresh.mkdir()
            _write(prepared, fresh, Path(scratch))
            os.replace(fresh, out)
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror or error}") from error
    return len(prepared)


def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m facex.train.from_shards", description="Prepared shards as mini reads them."
    )
    parser.add_argument("shards", type=Path, help="folder of facex prepare")
    parser.add_argument("out", type=Path, help="folder of the cache")
    given = parser.parse_args(arguments)
    try:
        count = convert(given.shards, given.out)
    except FaceXError as error:
        print(f"facex: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{count} faces in {given.out}")
    return EXIT_DONE


def _write(prepared: PreparedShards, out: Path, scratch: Path) -> None:
    count = len(prepared)
    images = np.lib.format.open_memmap(
        out / "faces.npy", mode="w+", dtype=np.uint8, shape=(count, SIZE, SIZE, 3)
    )
    codes: dict[str, NDArray[Any]] = {}
    names: list[str] = []
    with open(out / "index.csv", "w", newline="", encoding="utf-8") as file:
        index = csv.writer(file)
        index.writerow(COLUMNS)
        for number, face in enumerate(prepared.faces(check=True)):
            images[number] = _pixels(face.crop)
            for name in EXTRACTED_FIELDS:
                value = _stored(name, getattr(face.representation, name)[0])
                if name not in codes:
                    codes[name] = np.lib.format.open_memmap(
                        scratch / f"{name}.npy", "w+", value.dtype, (count, *value.shape)
                    )
                codes[name][number] = value
            names.append(str(face.record["key"]))
            index.writerow(_row(face))
    if len(names) != count:
        raise OutputError(f"{prepared.folder} lacks faces of its manifest; prepare it again")
    images.flush()
    # Text of the longest name's length; `FaceCache` compares it with that of the labels.
    keys = np.array(names)
    np.save(out / "names.npy", keys)
    labels: dict[str, Any] = {"points": codes["landmarks"], "blendshapes": codes["expression"]}
    np.savez(out / "landmarks.npz", names=keys, **labels)
    stored: dict[str, Any] = {"index": np.arange(count), **codes}
    np.savez(out / "codes.npz", **stored)


def _pixels(crop: Tensor) -> NDArray[np.uint8]:
    """The picture (S, S, 3) that was prepared, exactly."""
    pixels = (crop[0].permute(1, 2, 0) * 127.5 + 127.5).round().clamp(0, 255)
    return pixels.to(torch.uint8).numpy()


def _stored(name: str, value: Tensor) -> NDArray[Any]:
    """As `facex.train.encode_faces` stores it."""
    half = value.dtype == torch.float32 and name not in KEEP_FLOAT32
    return np.asarray((value.half() if half else value).numpy())


def _row(face: PreparedFace) -> list[object]:
    record = face.record
    quality = record["quality"]
    place = [record["key"], "train", "own", quality["size"], quality["outside"]]
    return [*place, *(record[name] for name in CARRIED)]


if __name__ == "__main__":
    sys.exit(main())
