# SPDX-License-Identifier: Apache-2.0
"""``facex evaluate``: measure a model, pictures made by others, or compare two reports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

from facex.cli.console import Reporter, print_table
from facex.cli.options import Debug, Quiet
from facex.errors import EXIT_DONE, EXIT_SOME_FAILED, OptionError

if TYPE_CHECKING:
    from facex.evaluate.run import Runner
    from facex.evaluate.summary import ProtocolResult

HELP: Final = "Measure every task against baselines, or pictures made by others."


class _RunByDefault(TyperGroup):
    """A first word that is no command is the folder of faces of ``run``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``run`` in front where no command is named."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_RunByDefault, rich_markup_mode=None, help=HELP, no_args_is_help=True)

Faces = Annotated[
    Path, typer.Argument(metavar="FACES", help="Folder of aligned faces, with index.csv or not.")
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the report.")]
TeachersOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Independent judges as TorchScript; without: the model judges itself."
    ),
]
Embedders = Annotated[
    list[Path] | None,
    typer.Option("--embedder", metavar="PATH", help="A further face recogniser; may be repeated."),
]
Features = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A feature network for the Frechet distance (TorchScript)."),
]
Split = Annotated[str, typer.Option(help="Rows of index.csv with this split; all takes every one.")]
Force = Annotated[bool, typer.Option("--force", help="Forget results of something else in --out.")]


@app.command()
def run(
    faces: Faces,
    out: Out = Path("evaluation"),
    model: Annotated[
        str | None, typer.Option(metavar="DIR|HUB", help="Model; default: bundled.")
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Protocol or task, or all; may be repeated."),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Cases of each protocol; default: all.")
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="Your own list for one protocol: target, source (or driver)."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Sampling steps.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    teachers: TeachersOption = None,
    embedder: Embedders = None,
    features: Features = None,
    split: Split = "dev",
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Processes that share the work.")
    ] = 1,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Run the protocols; what is done already is kept, so a stopped run goes on."""
    from facex.api import FaceX
    from facex.evaluate.editor import Editor
    from facex.evaluate.faces import FaceSet
    from facex.evaluate.judges import Judge
    from facex.evaluate.pairs import read_pairs
    from facex.evaluate.protocols import cases_of, choose_protocols
    from facex.evaluate.run import Runner
    from facex.evaluate.store import Store, code_digest, identity_of
    from facex.evaluate.workers import Setup, fill_store

    reporter = Reporter(quiet=quiet, debug=debug)
    chosen = choose_protocols(protocol or ["all"])
    face_set = FaceSet.open(faces, split=split)
    if pairs is not None and len(chosen) != 1:
        raise OptionError("--pairs is the list of one protocol; name it with --protocol")
    cases = None if pairs is None else read_pairs(pairs, chosen[0], face_set)
    lists = [(item, cases or cases_of(item, face_set)) for item in chosen]
    editor = Editor(FaceX.from_pretrained(model), face_set, steps=steps, seed=seed)
    # Nobody may have two photos; a model may lack styles, or the damage that repairs are made of.
    out_of = [item.name for item, found in lists if not found or not editor.supports(item)]
    if out_of:
        reporter.note(f"not for these faces or this model: {', '.join(out_of)}")
        lists = [(item, found) for item, found in lists if item.name not in out_of]
    if not lists:
        raise OptionError(f"nothing can be measured: {', '.join(out_of)} cannot be done here")
    judge = Judge.load(teachers, embedders=embedder or (), features=features)
    made_of = {"model": editor.fingerprint, "code": code_digest(), **identity_of(face_set, lists)}
    about = {
        "model": f"{model or 'bundled'} ({editor.fingerprint})",
        "steps": editor.settings.steps,
    }
    if pairs is not None:
        about["pairs"] = pairs.name
    store = Store(out, made_of, force=force)
    with reporter.bars(1) as bars:
        runner = Runner(face_set, judge, store, editor, bars.step)
        if jobs > 1:
            setup = Setup(
                faces, split, out, made_of, model, steps, seed, teachers,
                tuple(embedder or ()), features,
            )  # fmt: skip
            fill_store(runner, setup, lists, count, jobs)
        results = [runner.run(item, count, found) for item, found in lists]
    return _report(reporter, runner, results, about, out)


@app.command("pairs")
def write_pairs(
    faces: Faces,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the lists.")
    ] = Path("pairs"),
    protocol: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Protocol or task, or all; may be repeated."),
    ] = None,
    split: Split = "dev",
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Write the fixed lists, for another system: a CSV each, the holes, and the hashes."""
    from facex.evaluate.faces import FaceSet
    from facex.evaluate.pairs import write_lists
    from facex.evaluate.protocols import choose_protocols

    reporter = Reporter(quiet=quiet, debug=debug)
    chosen = choose_protocols(protocol or ["all"])
    for path in write_lists(chosen, FaceSet.open(faces, split=split), out):
        reporter.say(str(path))
    return EXIT_DONE


@app.command()
def external(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="CSV", help="A list (see pairs) with the column output; mask may be there."
        ),
    ],
    outputs: Annotated[Path, typer.Argument(metavar="OUTPUTS", help="Folder of the outputs.")],
    faces: Faces,
    out: Out = Path("evaluation"),
    protocol: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the outputs are; default: a swap.")
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Measure the first so many of the list; default: all.")
    ] = None,
    teachers: TeachersOption = None,
    embedder: Embedders = None,
    features: Features = None,
    split: Split = "all",
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Measure pictures that another system made."""
    from facex.evaluate.external import find_outputs, take_in
    from facex.evaluate.faces import FaceSet
    from facex.evaluate.judges import Judge
    from facex.evaluate.protocols import protocol_table
    from facex.evaluate.run import Runner
    from facex.evaluate.store import Store, identity_of

    reporter = Reporter(quiet=quiet, debug=debug)
    protocol = protocol or next(iter(protocol_table()))
    if protocol not in protocol_table():
        raise OptionError(
            f"there is no protocol {protocol!r}; there are {', '.join(protocol_table())}"
        )
    chosen, face_set = protocol_table()[protocol], FaceSet.open(faces, split=split)
    if not table.is_file():
        raise OptionError(f"there is no table {table}")
    found = find_outputs(table, outputs, chosen, face_set, count)
    judge = Judge.load(teachers, embedders=embedder or (), features=features)
    made_of = {"model": "pictures of others", **identity_of(face_set, [(chosen, found.cases)])}
    made_of |= {f"protocol {protocol} output {k}": hashed for k, hashed in found.digests.items()}
    store = Store(out, made_of, force=force)
    take_in(found, chosen, face_set.side, store)
    with reporter.bars(1) as bars:
        runner = Runner(face_set, judge, store, None, bars.step)
        results = [runner.run(chosen, count, found.cases)]
    return _report(reporter, runner, results, {"outputs": outputs.name}, out)


@app.command()
def ford(
    faces: Faces,
    teachers: TeachersOption = None,
    photos: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Whole photos, to measure the detector.")
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Faces with true masks; default: FACES/synthetic."),
    ] = None,
    out: Out = Path("evaluation-ford"),
    model: Annotated[
        str | None, typer.Option(metavar="DIR|HUB", help="Model; default: bundled.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=2, help="Faces; default: all.")] = None,
    disturbed: Annotated[
        int, typer.Option(min=2, help="Faces that are also read blurred, dark, turned, ...")
    ] = 150,
    split: Split = "dev",
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Measure how faces are taken apart: landmarks, pose, gaze, identity, parser, light."""
    from facex.evaluate.analysis.command import measure_ford
    from facex.evaluate.bars import analysis_rows, as_table

    reporter = Reporter(quiet=quiet, debug=debug)
    with reporter.bars(1) as bars:
        data, paths = measure_ford(
            faces, teachers, model, out, photos=photos, masks=masks, count=count,
            subset=disturbed, split=split, force=force, progress=bars.step,
        )  # fmt: skip
    _say_bars(reporter, as_table(analysis_rows(data["measures"])))
    for path in paths:
        reporter.say(str(path))
    return EXIT_DONE


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Report: a folder or its JSON.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The other report.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Also what lies within its interval.")
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Show two reports side by side, with the differences that matter."""
    from facex.evaluate.compare import differences, table
    from facex.evaluate.report import read_report

    reporter = Reporter(quiet=quiet, debug=debug)
    found = differences(read_report(first), read_report(second))
    if not everything and not any(item.verdict for item in found):
        reporter.say(f"none of {len(found)} numbers differs by more than its interval")
        return EXIT_DONE
    for line in table(found, everything=everything):
        reporter.say(line)
    return EXIT_DONE


def _report(
    reporter: Reporter,
    runner: Runner,
    results: list[ProtocolResult],
    about: dict[str, Any],
    out: Path,
) -> int:
    import facex
    from facex.evaluate.bars import as_table, generator_rows
    from facex.evaluate.page import write_page
    from facex.evaluate.report import as_data, write_json, write_markdown
    from facex.evaluate.run import MEASURE_VERSION

    about |= {
        "faces": f"{len(runner.faces.names)} ({runner.faces.digest})",
        "measures": f"version {MEASURE_VERSION}",
        "judges": ", ".join(f"{k} {v}" for k, v in runner.judge.names.items()),
        "facex": facex.__version__,
    }
    data = as_data(results, about)
    for path in (
        write_json(data, out),
        write_markdown(data, out),
        write_page(data, results, runner, out),
    ):
        reporter.say(str(path))
    _say_bars(reporter, as_table(generator_rows(data["protocols"])))
    failed = sum(len(result.failed) for result in results)
    if failed:
        reporter.note(f"{failed} cases failed; the report names them")
    return EXIT_SOME_FAILED if failed else EXIT_DONE


def _say_bars(reporter: Reporter, rows: list[tuple[str, str, str, str, str]]) -> None:
    from facex.evaluate.bars import HEADER

    if rows:
        reporter.say(print_table(HEADER, rows))
