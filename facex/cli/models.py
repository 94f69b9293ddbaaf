# SPDX-License-Identifier: Apache-2.0
"""The commands around weights: what there is, converting public checkpoints, training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from facex.cli.console import Reporter, print_table
from facex.cli.options import Debug, Json, Quiet
from facex.errors import EXIT_DONE, ModelNotFound, OptionError

if TYPE_CHECKING:
    from facex.models.registry import WeightStatus

HELP: Final = "List the weights, convert public ones, or export a model to ONNX."
app = typer.Typer(rich_markup_mode=None, help=HELP)

Folder = Annotated[
    Path | None,
    typer.Option("--model", metavar="DIR", help="Look into this model folder as well."),
]
Digests = Annotated[bool, typer.Option("--check", help="Compare digests; reads every file.")]


@app.callback(invoke_without_command=True)
def weights(context: typer.Context) -> int:
    """List the weights, convert public ones, or export to ONNX; without a command: list."""
    return list_command() if context.invoked_subcommand is None else EXIT_DONE


@app.command("list")
def list_command(
    model: Folder = None,
    check: Digests = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """List every weight: what it is for, its licence, its size, and whether it is there."""
    from facex.models.registry import list_weights

    if model is not None and not model.is_dir():
        raise ModelNotFound(f"there is no model folder {model}")
    reporter = Reporter(json_lines=json, quiet=quiet, debug=debug)
    statuses = list_weights(model, verify=check)
    if json:
        for status in statuses:
            reporter.say("", _record(status))
        return EXIT_DONE
    header = ("name", "scale", "present", "size", "licence", "commercial", "purpose", "source")
    reporter.say(print_table(header, [_row(status) for status in statuses]))
    return EXIT_DONE


def _record(status: WeightStatus) -> dict[str, Any]:
    found = dataclasses.asdict(dataclasses.replace(status))
    found.pop("spec")
    expected = {"published_size": status.spec.size, "published_sha256": status.spec.sha256}
    spec = status.spec.model_dump(exclude={"size", "sha256"})
    return {**spec, **expected, **found}


def _row(status: WeightStatus) -> tuple[str, ...]:
    spec = status.spec
    present = "yes" if status.present else "no"
    if status.sha256_ok is not None:
        present += ", digest right" if status.sha256_ok else ", DIGEST WRONG"
    size = status.size if status.size is not None else spec.size
    megabytes = "?" if size is None else f"{size / 1e6:.1f} MB"
    return (
        spec.name,
        spec.scale,
        present,
        megabytes,
        spec.licence,
        spec.commercial,
        spec.purpose,
        spec.source,
    )


@app.command("convert")
def convert_command(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="What it is, as the list says.")],
    src: Annotated[Path, typer.Argument(metavar="SRC", help="The published checkpoint.")],
    dst: Annotated[Path, typer.Argument(metavar="DST", help="Component folder to make.")],
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Turn a public checkpoint into safetensors, without running anything that is in it."""
    from facex.models.registry import weight_specs

    kinds = sorted({spec.convert for spec in weight_specs() if spec.convert is not None})
    if not src.is_file():
        raise ModelNotFound(f"there is no file {src}")
    if not kinds:
        raise OptionError("there is nothing to convert")
    from facex.models.convert import convert_checkpoint

    written = convert_checkpoint(kind, src, dst)
    Reporter(quiet=quiet, debug=debug).say(str(written))
    return EXIT_DONE


@app.command("export")
def export_command(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the graphs.")],
    model: Annotated[
        str | None, typer.Option("--model", metavar="DIR|HUB", help="Model; default: bundled.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="STAGE", help="Only this graph; may be repeated."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Write a mini model as ONNX graphs, each checked against torch."""
    from facex.export.write import MANIFEST, export_model
    from facex.models.hub import resolve_model_folder

    reporter = Reporter(json_lines=json, quiet=quiet, debug=debug)
    with reporter.bars(1) as bars:
        written = export_model(
            resolve_model_folder(model), out, tuple(only or ()), progress=bars.step
        )
    rows = []
    for item in written:
        found = item.compared
        megabytes, times = f"{item.bytes / 1e6:.1f}", (found.torch_ms, found.onnx_ms)
        rows.append((item.name, megabytes, *(f"{t:.1f}" for t in times), f"{found.difference:.0e}"))
        if json:
            reporter.say("", {"stage": item.name, "bytes": item.bytes, "torch_ms": times[0],
                              "onnx_ms": times[1], "difference": found.difference})  # fmt: skip
    if not json:
        header = ("stage", "MB", "torch ms", "onnxruntime ms", "largest difference")
        reporter.say(print_table(header, rows))
        reporter.say(str(out / MANIFEST))
    return EXIT_DONE


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Overrides a value; may be repeated."),
    ] = None,
    debug: Debug = False,
) -> int:
    """Train a model or a part of one."""
    overrides = dict(_override(text) for text in set_ or ())
    if not config.is_file():
        raise OptionError(f"there is no config file {config}")
    from facex.train.main import train_command

    Reporter(debug=debug).say(str(train_command(config, overrides)))
    return EXIT_DONE


def _override(text: str) -> tuple[str, Any]:
    """``KEY=VALUE``, the value as YAML would read it."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise OptionError(f"--set {text!r} is not understood, give KEY=VALUE")
    try:
        return key.strip(), YAML(typ="safe", pure=True).load(value)
    except YAMLError as error:
        raise OptionError(f"--set {text!r}: {value!r} is no YAML") from error
