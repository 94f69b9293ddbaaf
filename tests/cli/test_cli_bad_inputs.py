# SPDX-License-Identifier: Apache-2.0
"""Every bad input, through the real command: exit code 2, one sentence, no file left.

Columns: name, command line ({k} is the folder of files, {o} an empty folder), words of the
sentence. Swaps and poses stand for every row of the table, which share all of this code.
"""

from __future__ import annotations

from pathlib import Path
from subprocess import CompletedProcess

import pytest

from facex.models.hub import BUNDLED

EARLY = [
    ("source missing", "swap {k}/none.png {k}/photo.png -o {o}/x.png", "none.png does not exist"),
    ("target missing", "swap {k}/photo.png {k}/none.png -o {o}/x.png", "none.png does not exist"),
    ("one of many missing", "pose {k}/photo.png {k}/none.png --yaw 1 -o {o}", "none.png"),
    ("folder without pictures", "pose {k}/void --yaw 1 -o {o}", "void holds no pictures"),
    ("empty file", "pose {k}/empty.jpg --yaw 1 -o {o}/x.png", "empty.jpg is empty"),
    ("text named jpg", "pose {k}/text.jpg --yaw 1 -o {o}/x.png", "text.jpg is no picture"),
    ("cut JPEG", "pose {k}/cut.jpg --yaw 1 -o {o}/x.png", "cut.jpg is damaged or cut off"),
    ("cut PNG", "pose {k}/cut.png --yaw 1 -o {o}/x.png", "cut.png is damaged or cut off"),
    ("bomb", "pose {k}/bomb.png --yaw 1 -o {o}/x.png", "million pixels"),
    ("one pixel", "pose {k}/one.png --yaw 1 -o {o}/x.png", "one.png is only 1x1"),
    ("recipe as photo", "pose {k}/good.yaml --yaw 1 -o {o}/x.png", "good.yaml is no picture"),
    ("bad source", "swap {k}/text.jpg {k}/photo.png -o {o}/x.png", "text.jpg is no picture"),
    ("no arguments", "swap", "missing argument 'SRC'"),
    ("no target", "swap {k}/photo.png -o {o}/x.png", "missing argument 'TGT'"),
    ("no output", "swap {k}/photo.png {k}/other.jpg", "missing option '--out' / '-o'"),
    ("unknown format", "pose {k}/photo.png --yaw 1 -o {o}/x.xyz", "x.xyz has no known picture"),
    ("no format", "pose {k}/photo.png --yaw 1 -o {o}/x", "no known picture suffix"),
    ("no such folder", "pose {k}/photo.png --yaw 1 -o {o}/no/x.png", "does not exist"),
    ("output is input", "pose {k}/photo.png --yaw 1 -o {k}/photo.png", "replace an input"),
    ("output is source", "swap {k}/other.jpg {k}/photo.png -o {k}/other.jpg", "replace an input"),
    ("folder is input", "pose {k}/three --yaw 1 -o {k}/three", "replace an input"),
    ("many into a file", "pose {k}/three --yaw 1 -o {o}/x.png", "-o must be a folder"),
    ("same name twice", "pose {k}/photo.png {k}/twins --yaw 1 -o {o}", "would both become"),
    ("mask missing", "pose {k}/photo.png --yaw 1 --mask {k}/no.png -o {o}/x.png", "mask"),
    ("mask of other shape", "inpaint {k}/photo.png --mask {k}/wide.png -o {o}/x.png", "200x80"),
    ("mask no picture", "inpaint {k}/photo.png --mask {k}/text.jpg -o {o}/x.png", "no picture"),
    ("mask needed", "inpaint {k}/photo.png -o {o}/x.png", "missing option '--mask'"),
    ("no mask of that name", "inpaint {k}/three --mask {k}/masks -o {o}", "no mask named like a"),
    ("face word", "pose {k}/photo.png --yaw 1 --face biggest -o {o}/x.png", "biggest"),
    ("face zero", "pose {k}/photo.png --yaw 1 --face 0 -o {o}/x.png", "'0' is not understood"),
    ("face negative", "pose {k}/photo.png --yaw 1 --face -1 -o {o}/x.png", "'-1'"),
    ("face like nobody", "pose {k}/photo.png --yaw 1 --face like: -o {o}/x.png", "like:"),
    ("like missing", "pose {k}/photo.png --yaw 1 --face like:no.png -o {o}/x.png", "no.png does"),
    ("unknown region", "attribute {k}/other.jpg {k}/photo.png --regions lipps -o {o}/x.png",
     "did you mean 'lips'"),
    ("no region", "attribute {k}/other.jpg {k}/photo.png --regions , -o {o}/x.png", "empty"),
    ("regions needed", "attribute {k}/other.jpg {k}/photo.png -o {o}/x.png",
     "needs --regions or --place"),
    ("unknown kind", "attribute {k}/other.jpg {k}/photo.png --place tie -o {o}/x.png", "glasses"),
    ("unknown blendshape", "expression {k}/photo.png --set jawOpne=1 -o {o}/x.png",
     "did you mean 'jawOpen'"),
    ("blendshape too large", "expression {k}/photo.png --set jawOpen=2 -o {o}/x.png",
     "a number from 0 to 1"),
    ("blendshape not finite", "expression {k}/photo.png --set jawOpen=nan -o {o}/x.png", "from 0"),
    ("blendshape a word", "expression {k}/photo.png --set jawOpen=wide -o {o}/x.png", "no number"),
    ("blendshape alone", "expression {k}/photo.png --set jawOpen -o {o}/x.png", "NAME=VALUE"),
    ("too far", "pose {k}/photo.png --yaw 120 -o {o}/x.png", "'--yaw'"),
    ("yaw a word", "pose {k}/photo.png --yaw left -o {o}/x.png", "'--yaw'"),
    ("nothing to do", "pose {k}/photo.png -o {o}/x.png", "needs --driver or --yaw"),
    ("unknown mode", "pose {k}/photo.png --yaw 1 --mode sideways -o {o}/x.png", "relative"),
    ("driver missing", "pose {k}/photo.png --driver {k}/no.png -o {o}/x.png", "no.png does not"),
    ("style needed", "stylize {k}/photo.png -o {o}/x.png", "missing option '--style'"),
    ("recipe missing", "mix {k}/no.yaml -o {o}/x.png", "no.yaml"),
    ("recipe empty", "mix {k}/empty.yaml -o {o}/x.png", "empty"),
    ("recipe with tab", "mix {k}/tab.yaml -o {o}/x.png", "line 3: a tab"),
    ("recipe key", "mix {k}/key.yaml -o {o}/x.png", "line 4:"),
    ("recipe too new", "mix {k}/newer.yaml -o {o}/x.png", "line 1: format_version: found 99"),
    ("recipe photo gone", "mix {k}/gone.yaml -o {o}/x.png", "line 2:"),
    ("recipe photo unnamed", "mix {k}/unnamed.yaml -o {o}/x.png", "line 3:"),
    ("recipe without steps", "mix {k}/nosteps.yaml -o {o}/x.png", "steps: is missing"),
    ("recipe without target", "mix {k}/notarget.yaml -o {o}/x.png", "target is missing"),
    ("recipe a list", "mix {k}/list.yaml -o {o}/x.png", "list.yaml"),
    ("recipe value", "mix {k}/value.yaml -o {o}/x.png", "kappa: found 7"),
    ("recipe binary", "mix {k}/binary.yaml -o {o}/x.png", "binary.yaml"),
    ("recipe a photo", "mix {k}/photo.png -o {o}/x.png", "photo.png"),
    ("with without file", "mix {k}/good.yaml --with anna -o {o}/x.png", "NAME=FILE"),
    ("with file gone", "mix {k}/good.yaml --with anna={k}/no.png -o {o}/x.png", "no.png"),
    ("with a folder", "mix {k}/good.yaml --with anna={k}/three -o {o}/x.png", "is a folder"),
    ("device", "pose {k}/photo.png --yaw 1 --device tpu -o {o}/x.png", "--device 'tpu'"),
    ("dtype", "pose {k}/photo.png --yaw 1 --dtype int8 -o {o}/x.png", "--dtype 'int8'"),
    ("model missing", "pose {k}/photo.png --yaw 1 --model {k}/no -o {o}/x.png", "no model folder"),
    ("model a file", "pose {k}/photo.png --yaw 1 --model {k}/mask.png -o {o}/x.png", "is a file"),
    ("steps negative", "pose {k}/photo.png --yaw 1 --steps -3 -o {o}/x.png", "'--steps'"),
    ("steps a word", "pose {k}/photo.png --yaw 1 --steps many -o {o}/x.png", "'--steps'"),
    ("strength", "pose {k}/photo.png --yaw 1 --strength 1.5 -o {o}/x.png", "'--strength'"),
    ("kappa", "pose {k}/photo.png --yaw 1 --kappa -1 -o {o}/x.png", "'--kappa'"),
    ("size", "pose {k}/photo.png --yaw 1 --size 3 -o {o}/x.png", "'--size'"),
    ("seed", "pose {k}/photo.png --yaw 1 --seed -1 -o {o}/x.png", "'--seed'"),
    ("unknown command", "transmogrify {k}/photo.png", "no such command 'transmogrify'"),
    ("unknown option", "pose {k}/photo.png --yaaw 1 -o {o}/x.png", "no such option: --yaaw"),
    ("verify missing", "verify {k}/none.png", "none.png does not exist"),
    ("verify text", "verify {k}/text.jpg", "text.jpg is no picture"),
    ("decompose into file", "decompose {k}/photo.png -o {k}/mask.png", "a folder is needed"),
    ("decompose far away", "decompose {k}/photo.png -o {o}/no/where", "does not exist"),
    ("decompose text", "decompose {k}/text.jpg -o {o}/d", "text.jpg is no picture"),
    ("benchmark of nothing", "benchmark swop {k}/photo.png", "did you mean 'swap'"),
    ("benchmark missing", "benchmark pose {k}/none.png", "none.png does not exist"),
    ("convert missing", "models convert bisenet {k}/none.pth {o}/d", "no file"),
    ("model list of nothing", "models list --model {k}/none", "no model folder"),
    ("train missing", "train {k}/none.yaml", "no config file"),
    ("train setting", "train {k}/good.yaml --set steps", "KEY=VALUE"),
]  # fmt: skip

SLOW = [
    ("corrupt model", "pose {k}/photo.png --yaw 1 --model {k}/model -o {o}/x.png", "model"),
    ("no face", "pose {k}/noface.png --yaw 1 -o {o}/x.png", "no face"),
    ("corrupt representation", "decompose {k}/face.safetensors -o {o}/d", "face.safetensors"),
    ("verify cut", "verify {k}/cut.jpg", "cut.jpg is damaged"),
]
"""These import torch."""


def check(done: CompletedProcess[str], words: str, outputs: Path, kept: dict[Path, int]) -> None:
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("facex: ")
    assert words in lines[0], lines[0]
    assert "internal error" not in lines[0]
    assert done.stdout == ""
    assert list(outputs.rglob("*")) == []
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def states(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("line", "words"), [row[1:] for row in EARLY], ids=[r[0] for r in EARLY])
def test_a_bad_input_is_one_sentence(facex, kit, tmp_path, line, words):
    kept = states(kit)
    done = facex(*(word.format(k=kit, o=tmp_path) for word in line.split()))
    check(done, words, tmp_path, kept)


def test_there_are_at_least_forty_of_them():
    assert len(EARLY) >= 40
    assert len({name for name, *_ in EARLY}) == len(EARLY)


@pytest.mark.skipif(not (BUNDLED / "facex_index.json").exists(), reason="the model is not there")
@pytest.mark.parametrize(("line", "words"), [row[1:] for row in SLOW], ids=[r[0] for r in SLOW])
def test_a_bad_input_that_needs_torch_is_one_sentence(facex, kit, tmp_path, line, words):
    kept = states(kit)
    done = facex(*(word.format(k=kit, o=tmp_path) for word in line.split()))
    check(done, words, tmp_path, kept)


@pytest.mark.parametrize(
    ("name", "value"),
    [("FACEX_DEVICE", "tpu"), ("FACEX_DTYPE", "int8"), ("FACEX_OFFLINE", "maybe"),
     ("FACEX_MODEL", "/nowhere/at/all")],
)  # fmt: skip
def test_a_bad_setting_is_one_sentence(facex, kit, tmp_path, name, value):
    words = ["pose", kit / "photo.png", "--yaw", "1", "-o", tmp_path / "x.png"]
    check(facex(*words, **{name: value}), value, tmp_path, states(kit))
