# SPDX-License-Identifier: Apache-2.0
"""``facex prepare``: photos, tar shards, lists and videos to training shards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from facex.cli.console import Reporter
from facex.cli.edit import check_settings
from facex.cli.inspect import check_folder
from facex.cli.options import Debug, Device, Json, Model, Quiet
from facex.errors import EXIT_DONE, EXIT_NOTHING_DONE, EXIT_SOME_FAILED, MissingExtra, OptionError

if TYPE_CHECKING:
    from facex.prepare.options import PrepareOptions

_NAMED: Final = 10
"""Failures that are named on stderr; the report names more."""

Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT",
        help="Folders, photos, .tar shards, .txt lists of them, videos.",
        show_default=False,
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        metavar="DIR",
        help="Folder of the shards; finished shards in it are kept.",
        show_default=False,
    ),
]
IndexFile = Annotated[
    Path | None,
    typer.Option(
        "--index", metavar="CSV", help="Licence, consent, person, source and more of each file."
    ),
]
EngineName = Annotated[str, typer.Option("--engine", metavar="NAME", help="local or ray.")]
Address = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Ray cluster; without: one on this machine.")
]
Workers = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Processes; default: every core.")
]
Photos = Annotated[int, typer.Option(min=1, metavar="N", help="Photos of one shard.")]
Every = Annotated[int, typer.Option(min=1, metavar="N", help="Of videos take every n-th frame.")]
WhichFaces = Annotated[
    str, typer.Option("--face", metavar="WHICH", help="all faces of a photo, or the largest.")
]
Crops = Annotated[str, typer.Option(metavar="KIND", help="Lossless png or webp.")]
NoLatents = Annotated[bool, typer.Option("--no-latents", help="Do not cache latents.")]
MinScore = Annotated[float, typer.Option(metavar="X", help="Least score of the detector.")]
MinSize = Annotated[
    float, typer.Option(metavar="X", help="Least size in the photo, as a share of the crop's.")
]
MinSharpness = Annotated[float, typer.Option(metavar="X", help="Least share of fine detail.")]
MaxYaw = Annotated[float, typer.Option(metavar="DEGREES", help="Largest turn to a side.")]
MaxPitch = Annotated[float, typer.Option(metavar="DEGREES", help="Largest nod.")]
MaxOutside = Annotated[
    float, typer.Option(metavar="X", help="Largest share of the crop beyond the photo.")
]
SamePhoto = Annotated[
    int, typer.Option(metavar="BITS", help="Hashes of one picture differ in no more bits.")
]
SameFace = Annotated[
    float, typer.Option(metavar="X", help="Identity cosine of near-duplicates; 1: none.")
]
SamePerson = Annotated[
    float, typer.Option(metavar="X", help="Identity cosine of one person's photos.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Replace shards in DIR of other photos or options.")
]


def prepare(
    inputs: Inputs,
    out: Out,
    index: IndexFile = None,
    engine: EngineName = "local",
    address: Address = None,
    workers: Workers = None,
    photos: Photos = 256,
    every: Every = 30,
    face: WhichFaces = "all",
    crops: Crops = "png",
    no_latents: NoLatents = False,
    min_score: MinScore = 0.1,
    min_size: MinSize = 0.7,
    min_sharpness: MinSharpness = 0.004,
    max_yaw: MaxYaw = 60.0,
    max_pitch: MaxPitch = 40.0,
    max_outside: MaxOutside = 0.25,
    same_photo: SamePhoto = 4,
    same_face: SameFace = 0.95,
    same_person: SamePerson = 0.5,
    device: Device = None,
    model: Model = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Make training data: detect, choose, align, take apart, drop duplicates, group by person.

    A run that was stopped goes on where it was. report.json says what was left out and why.
    """
    from importlib.util import find_spec

    settings = check_settings({"device": device, "dtype": None, "model": model})
    reporter = Reporter(json_lines=json, quiet=quiet, debug=debug)
    if find_spec("imagehash") is None:
        raise MissingExtra("facex prepare", "prepare")
    from facex.prepare.index import Index
    from facex.prepare.options import MergeOptions, PrepareOptions, QualityLimits
    from facex.prepare.run import Engine, run
    from facex.prepare.sources import plan_jobs

    limits = QualityLimits(min_score, min_size, min_sharpness, max_yaw, max_pitch, max_outside)
    merge = MergeOptions(same_photo, same_face, same_person)
    options = PrepareOptions(
        str(out.absolute()), "", face=face, crops=crops, latents=not no_latents, limits=limits
    )
    chosen = Engine(engine, workers, address)
    _check_out(out, inputs)
    known = Index() if index is None else Index.open(index)
    with reporter.bars(1) as bars:
        bars.begin("looking for photos")
        plan = plan_jobs(inputs, index=known, photos=photos, every=every)
        options = _with_model(options, settings.model, settings.device)
        report = run(plan, options, merge, chosen, force=force, progress=bars.step)
    if known.unused():
        reporter.note(f"{known.unused()} rows of {index} are about no photo of the input")
    return _tell(report, out, reporter)


def _check_out(out: Path, inputs: list[Path]) -> None:
    check_folder(out)
    for path in inputs:
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise OptionError(f"-o {out} lies in {path}: its shards would be taken for photos")


def _with_model(options: PrepareOptions, model: str | None, device: str) -> PrepareOptions:
    import dataclasses

    from facex.config import choose_device
    from facex.models.folder import read_index
    from facex.models.hub import resolve_model_folder

    folder = resolve_model_folder(model)
    read_index(folder)
    return dataclasses.replace(
        options, model=str(folder.absolute()), device=choose_device(device)[0]
    )


def _tell(report: dict[str, Any], out: Path, reporter: Reporter) -> int:
    """Say what came of it; the exit code counts photos and shards that failed."""
    failures = [f"{item['file']}: {item['error']}" for item in report["failures"]]
    failures += [f"shard {item['shard']}: {item['error']}" for item in report["failed_shards"]]
    for text in failures[:_NAMED]:
        reporter.note(text)
    if len(failures) > _NAMED:
        reporter.note(f"{len(failures) - _NAMED} more failures in {out / 'report.json'}")
    lines = [
        f"{report['kept']} faces of {report['people']['count']} people from {report['photos']} "
        f"photos, in {report['shards']} shards in {out}"
    ]
    lines += [f"  dropped, {reason}: {count}" for reason, count in report["dropped"].items()]
    if report["photos_per_core_second"]:
        lines.append(f"  {report['photos_per_core_second']:.2f} photos a second and core")
    if report["estimate"]:
        cost = report["estimate"]
        lines.append(
            f"  10^7 faces like these: {cost['core_hours']:,.0f} core hours "
            f"({cost['last_pass_hours']:.1f} of them one core's alone), {cost['terabytes']:.1f} TB"
        )
    reporter.say("\n".join(lines), report)
    if report["kept"] == 0:
        reporter.note(f"no face is left; {out / 'report.json'} says why")
        return EXIT_NOTHING_DONE
    return EXIT_SOME_FAILED if failures else EXIT_DONE
