# SPDX-License-Identifier: Apache-2.0
"""Put trained parts together as a model folder in half precision or eight bits.

``python -m facex.train.bundle --generator runs/mini/model --vae runs/vae --ford runs --out DIR``

Mesh and albedo are copied from ``runs`` if they were fitted anew, else from the package.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any, Final

from diffusers import UNet2DConditionModel

from facex.detect.net import DetectorNet
from facex.ford.gaze import GazeNet
from facex.ford.identity import IdentityNet
from facex.ford.motion import MotionNet
from facex.ford.parsing import ParsingNet
from facex.ford.refine import LandmarkRefiner
from facex.fors.conditioner import Conditioner
from facex.frc.controller import FaceXController
from facex.frc.harmonizer import Harmonizer
from facex.models.folder import HARMONIZER, INDEX_NAME, INPAINTER, ModelIndex
from facex.models.hub import BUNDLED
from facex.models.int8 import save_int8
from facex.models.klt import KLTAutoencoder
from facex.models.mini_ford import load_network
from facex.models.styles import STYLES

GENERATOR_PARTS: Final[dict[str, type[Any]]] = {
    "unet": UNet2DConditionModel,
    "controller": FaceXController,
    "conditioner": Conditioner,
}
FORD_PARTS: Final[dict[str, type[Any]]] = {
    "detector": DetectorNet,
    "motion": MotionNet,
    "gaze": GazeNet,
    "identity": IdentityNet,
    "parsing": ParsingNet,
    "refine": LandmarkRefiner,
}


EIGHT_BITS: Final = frozenset(
    {*GENERATOR_PARTS, "identity", "parsing", "refine", "gaze", HARMONIZER, INPAINTER}
)
"""Parts that lose nothing in eight bits; the landmarks of ``motion`` do (2.93 to 3.01 %)."""


def store(kind: type[Any], source: Path, destination: Path) -> None:
    """Load one part and write it, small: matrices in eight bits or half precision."""
    part = load_network(kind, source)
    if destination.name in EIGHT_BITS:
        destination.mkdir(parents=True, exist_ok=True)
        save_int8(part, destination)
    else:
        for parameter in part.parameters():
            parameter.data = parameter.data.half()
        part.save_pretrained(destination)
    # Where the weights were trained is nobody's business.
    path = destination / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generator", required=True, type=Path)
    parser.add_argument("--vae", required=True, type=Path)
    parser.add_argument("--ford", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--harmonizer", type=Path, help="model folder of its run")
    parser.add_argument("--inpainter", type=Path, help="likewise")
    parser.add_argument("--styles", type=Path, help="run folder of kind style")
    parser.add_argument("--name", default="facex-mini")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument(
        "--licence",
        default="non-commercial research (trained on photos of mixed terms); see MODEL_CARD.md",
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, kind in GENERATOR_PARTS.items():
        store(kind, args.generator / name, args.out / name)
    shutil.copytree(args.generator / "scheduler", args.out / "scheduler", dirs_exist_ok=True)
    store(KLTAutoencoder, args.vae, args.out / "vae")
    for name, kind in FORD_PARTS.items():
        store(kind, args.ford / name, args.out / "ford" / name)
    for name in ("shape_model", "albedo"):
        fitted = args.ford / name
        fitted = fitted if fitted.is_dir() else BUNDLED / "ford" / name
        if fitted.resolve() != (args.out / "ford" / name).resolve():
            shutil.copytree(fitted, args.out / "ford" / name, dirs_exist_ok=True)
    for source, name in ((args.harmonizer, HARMONIZER), (args.inpainter, INPAINTER)):
        if source is not None:
            store(Harmonizer, source, args.out / name)
    if args.styles is not None:
        shutil.copytree(args.styles / STYLES, args.out / STYLES, dirs_exist_ok=True)
    index = ModelIndex(
        name=args.name, scale="mini", crop_size=256, steps=args.steps, licence=args.licence
    )
    (args.out / INDEX_NAME).write_text(index.model_dump_json(indent=2) + "\n", encoding="utf-8")
    total = sum(f.stat().st_size for f in args.out.rglob("*") if f.is_file())
    print(f"{args.out}: {total / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
