# SPDX-License-Identifier: Apache-2.0
"""Export: graphs say what torch says, through the real command; nothing is half written."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from facex.errors import FaceXError, MissingExtra, OptionError, OutputError
from facex.export import onnx as onnx_module
from facex.export.check import TOLERANCE, compare, open_graph
from facex.export.onnx import _solve, export_stage
from facex.export.stages import LAST_LOOKS, STAGES, Port, Stage, build_stages, presence_names
from facex.export.write import MANIFEST, export_model
from facex.ford.outlines import mended_outlines
from facex.frc.condition import EditCondition
from facex.frc.harmonizer import Harmonizer
from facex.frc.pipeline import FaceXPipeline
from facex.models.folder import LoadedModel, load_model
from facex.models.hub import BUNDLED

GUIDE = Path(__file__).parents[2] / "docs" / "export.md"


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(BUNDLED, torch.device("cpu"), torch.float32)


def run_cli(*words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "facex", "models", "export", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_the_command_writes_graphs_and_a_manifest(tmp_path: Path) -> None:
    out = tmp_path / "onnx"
    done = run_cli("--out", str(out), "--only", "encoder", "--only", "decoder", "--only", "spatial")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((out / MANIFEST).read_text())
    assert [stage["name"] for stage in manifest["stages"]] == ["encoder", "decoder", "spatial"]
    assert {path.name for path in tmp_path.iterdir()} == {"onnx"}
    for stage in manifest["stages"]:
        content = (out / stage["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == stage["sha256"]
        assert stage["largest_relative_difference"] <= TOLERANCE
        session = open_graph(out / stage["file"])
        assert [i.name for i in session.get_inputs()] == [i["name"] for i in stage["inputs"]]
        for port, value in zip(stage["inputs"], session.get_inputs(), strict=True):
            assert value.shape[1:] == port["shape"][1:]
            assert isinstance(value.shape[0], str)  # any batch
        low, high = zip(*(port["seen"] for port in stage["outputs"]), strict=True)
        assert all(a < b for a, b in zip(low, high, strict=True))


def test_a_graph_that_lies_is_refused(tmp_path: Path) -> None:
    class Shift(nn.Module):
        def __init__(self, by: float) -> None:
            super().__init__()
            self.by = by

        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (x.sin() + self.by,)

    def stage(by: float) -> Stage:
        return Stage(
            "shift", "", Shift(by), (Port("x", ""),), (Port("y", ""),),
            lambda batch, random: (torch.randn(batch, 4, generator=random),),
        )  # fmt: skip

    export_stage(stage(0.0), tmp_path / "shift.onnx")
    assert compare(stage(0.0), tmp_path / "shift.onnx").difference < 1e-5
    with pytest.raises(FaceXError, match="shift: y differs"):
        compare(stage(0.01), tmp_path / "shift.onnx")
    with pytest.raises(FaceXError, match="differs"):
        compare(stage(float("nan")), tmp_path / "shift.onnx")


def test_stages_are_what_the_library_does(model: LoadedModel) -> None:
    """The stage modules against the extractors themselves, so that the graphs mean the same."""
    random = torch.Generator().manual_seed(0)
    stages = {stage.name: stage for stage in build_stages(model)}
    assert tuple(stages) == tuple(n for n in STAGES if getattr(model, n, True))
    (images,) = stages["motion"].example(2, random)
    fields: dict[str, Tensor] = {}
    for extractor in model.ford.extractors:
        fields |= extractor(images, fields)
    with torch.no_grad():
        landmarks, expression = stages["motion"].module(images)
        (gaze,) = stages["gaze"].module(images, landmarks)
        tokens, identity = stages["identity"].module(images, landmarks)
        logits = stages["parsing"].module(images)[0]
    torch.testing.assert_close(landmarks, fields["landmarks"])
    torch.testing.assert_close(expression, fields["expression"])
    torch.testing.assert_close(gaze, fields["gaze"])
    torch.testing.assert_close(tokens, fields["identity_tokens"])
    torch.testing.assert_close(identity, fields["identity"])
    labels, points = logits.argmax(1).byte().numpy(), landmarks.numpy()
    for label, own, parsing in zip(labels, points, fields["parsing"], strict=True):
        np.testing.assert_array_equal(mended_outlines(label, own), parsing)


@pytest.mark.parametrize("name", LAST_LOOKS)
def test_a_last_look_is_a_stage_of_the_models_that_have_one(
    model: LoadedModel, tmp_path: Path, name: str
) -> None:
    with pytest.raises(OptionError, match=f"has no {name}"):
        build_stages(replace(model, **{name: None}), (name,))
    torch.manual_seed(0)
    small = Harmonizer(widths=(8, 8, 16), blocks=(1, 1, 1), heads=2)
    last = small.exit[-1]
    nn.init.normal_(last.weight, std=0.1)  # a fresh one changes nothing
    (stage,) = build_stages(replace(model, **{name: small.eval()}), (name,))
    export_stage(stage, tmp_path / "last.onnx")
    compared = compare(stage, tmp_path / "last.onnx")
    assert compared.difference <= TOLERANCE
    assert compared.outputs["change"]["seen"][1] > 0.01


def test_two_by_two_systems() -> None:
    matrix, right = torch.randn(5, 2, 2).double(), torch.randn(5, 2, 7).double()
    torch.testing.assert_close(_solve(matrix, right), torch.linalg.solve(matrix, right))


def test_errors_are_one_sentence_and_leave_nothing(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OptionError, match="no stage 'painter'"):
        build_stages(model, ("painter",))
    large = replace(model, index=model.index.model_copy(update={"scale": "sd15"}))
    with pytest.raises(OptionError, match="only mini models"):
        build_stages(large)
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="choose another folder"):
        export_model(BUNDLED, full)
    with pytest.raises(OutputError, match="choose another folder"):
        export_model(BUNDLED, full / "mine.txt")
    monkeypatch.setattr(onnx_module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"facex\[export\]"):
        export_model(BUNDLED, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
    assert (full / "mine.txt").read_text() == "mine"


def test_only_an_export_is_replaced(tmp_path: Path) -> None:
    """Prepared shards have a manifest.json, too."""
    prepared = tmp_path / "faces"
    (prepared / "shards").mkdir(parents=True)
    (prepared / "shards" / "faces-000000.tar").write_bytes(b"years of work")
    for text in (
        '{"format_version": 1, "shards": []}', '{"opset": 20, "stages": []}', "[]", "no JSON",
    ):  # fmt: skip
        (prepared / MANIFEST).write_text(text)
        with pytest.raises(OutputError, match="is no export of facex"):
            export_model(BUNDLED, prepared, only=("encoder",))
    assert (prepared / "shards" / "faces-000000.tar").is_file()
    out = tmp_path / "onnx"
    export_model(BUNDLED, out, only=("encoder",))
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds notes\.txt"):
        export_model(BUNDLED, out, only=("encoder",))
    (out / "notes.txt").unlink()
    (out / "encoder.onnx").write_bytes(b"")  # what stands there is replaced
    export_model(BUNDLED, out, only=("encoder",))
    assert (out / "encoder.onnx").stat().st_size > 0
    assert {path.name for path in tmp_path.iterdir()} == {"faces", "onnx"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_graphs_and_the_guides_chain(
    model: LoadedModel, astronaut: Image.Image, tmp_path: Path
) -> None:
    """All stages equal torch (export_model refuses others), and chained they equal the sampler."""
    out, photo, drawn = tmp_path / "onnx", tmp_path / "crop.png", tmp_path / "out.png"
    written = export_model(BUNDLED, out)
    assert {item.name for item in written} == {stage.name for stage in build_stages(model)}
    assert all(item.compared.difference <= TOLERANCE for item in written)
    astronaut.crop((130, 10, 330, 210)).resize((256, 256)).save(photo)
    (block,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    blocked = "import sys\nsys.modules['torch'] = None\n" + block  # it must not need torch
    command = [sys.executable, "-c", blocked, str(out), str(photo), str(drawn)]
    subprocess.run(command, check=True, capture_output=True)
    difference = np.abs(np.asarray(Image.open(drawn), np.float32) - expected(model, photo))
    assert difference.max() <= 2
    assert difference.mean() < 0.1


def expected(model: LoadedModel, photo: Path) -> np.ndarray:
    """The guide's edit by FaceX itself, from the same noise."""
    crop = torch.from_numpy(np.asarray(Image.open(photo), np.float32)).permute(2, 0, 1)[None]
    crop = crop / 127.5 - 1
    edit = torch.zeros(1, 1, 256, 256)
    edit[..., 128:192, 64:192] = 1
    known = 1 - edit
    colour = (crop * known).sum((2, 3), keepdim=True) / known.sum()
    fields: dict[str, Tensor] = {}
    for extractor in model.ford.extractors:
        fields |= extractor(crop, fields)
    names = presence_names(model)
    layout = model.conditioner.representation.layout
    inputs = {name: torch.zeros(1, *layout[name]) for name in names}
    inputs["identity"] = fields["identity_tokens"]
    condition = EditCondition(
        inputs=inputs,
        present={name: torch.tensor([name == "identity"]) for name in names},
        reference=crop * known + colour * edit,
        known=known,
        edit=edit,
        geometry=torch.zeros_like(crop),
        target=crop,
    )
    noise = np.random.default_rng(0).standard_normal((1, 32, 32, 32)).astype(np.float32)
    pipeline = FaceXPipeline(model.base, model.controller, model.conditioner)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("facex.frc.pipeline._noise", lambda *_: torch.from_numpy(noise))
        result = pipeline(condition, num_inference_steps=model.index.steps)
    assert result.images is not None
    pixels = (result.images[0].permute(1, 2, 0) * 127.5 + 127.5).clamp(0, 255)
    return np.asarray(pixels.round())
