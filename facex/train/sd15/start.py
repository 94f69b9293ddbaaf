# SPDX-License-Identifier: Apache-2.0
"""``python -m facex.train.sd15.start FOLDER``: make a Stable Diffusion folder ready for FaceX.

The user brings ``unet/ vae/ scheduler/`` and the public extractors under ``ford/``. This adds what
comes with FaceX (landmark network and mesh), fresh branches for phi^Reg, and the index. What is
there already stays as it is.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import torch

from facex.errors import EXIT_DONE, FaceXError, ModelNotFound, OutputError
from facex.ford.sd15.clip_regions import RegionAdapter
from facex.ford.sd15.loading import read_config
from facex.imaging.write import write_bytes_atomic
from facex.models.folder import INDEX_NAME, ModelIndex
from facex.models.hub import BUNDLED

_BROUGHT = ("unet", "vae", "scheduler", "ford/arcface", "ford/bisenet", "ford/d3dfr")
_BROUGHT_LAST = ("ford/l2cs", "ford/clip")


def make_ready(folder: Path, *, crop_size: int = 512, seed: int = 0) -> list[str]:
    """Add what is missing.

    Args:
        folder: the model folder.
        crop_size: side of the crops.
        seed: of the fresh weights.

    Returns:
        Names of what was added.

    Raises:
        ModelNotFound: a part that the user has to bring is missing; all are named.
        OutputError: the folder cannot be written.
    """
    missing = [name for name in (*_BROUGHT, *_BROUGHT_LAST) if not (folder / name).is_dir()]
    if missing:
        raise ModelNotFound(
            f"{folder} lacks {', '.join(missing)}; see docs/train-sd15.md for where they come from"
        )
    added = []
    try:
        for name in ("ford/motion", "ford/shape_model"):
            if not (folder / name).is_dir():
                shutil.copytree(BUNDLED / name, folder / name)
                added.append(name)
        if not (folder / "ford" / "region_adapter").is_dir():
            config = read_config(folder / "ford" / "clip")
            width = int(config.get("vision_config", config)["hidden_size"])
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                adapter = RegionAdapter(in_channels=width)
            adapter.save_pretrained(folder / "ford" / "region_adapter")
            added.append("ford/region_adapter")
        if not (folder / INDEX_NAME).is_file():
            index = ModelIndex(
                name=folder.name, scale="sd15", crop_size=crop_size, steps=25, licence="not stated"
            )
            text = index.model_dump_json(indent=2) + "\n"
            write_bytes_atomic(folder / INDEX_NAME, text.encode())
            added.append(INDEX_NAME)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error
    return added


def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m facex.train.sd15.start", description="Make a folder ready for FaceX."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--crop-size", type=int, default=512, help="pixels (512)")
    given = parser.parse_args(arguments)
    try:
        added = make_ready(given.folder, crop_size=given.crop_size)
    except FaceXError as error:
        print(f"facex: {error}", file=sys.stderr)
        return error.exit_code
    print(f"added: {', '.join(added) or 'nothing'}")
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
