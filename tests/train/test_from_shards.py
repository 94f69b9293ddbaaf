# SPDX-License-Identifier: Apache-2.0
"""Prepared shards as mini's cache: the very pictures and codes, people, and clear refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("imagehash")

from facex.errors import OptionError, OutputError
from facex.models.hub import BUNDLED
from facex.prepare.index import Index
from facex.prepare.options import PrepareOptions
from facex.prepare.read import PreparedShards
from facex.prepare.run import Engine, run
from facex.prepare.sources import plan_jobs
from facex.train.codes import Codes
from facex.train.facecache import FaceCache
from facex.train.from_shards import convert, main
from facex.train.samples import PLANS, SampleMaker


@pytest.fixture(scope="module")
def shards(
    tmp_path_factory: pytest.TempPathFactory, astronaut: Image.Image, hopper: Image.Image
) -> Path:
    """Two faces in two shards; the index calls them one person."""
    photos, out = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("faces")
    astronaut.resize((768, 768)).save(photos / "a.png")  # else its face is too small
    hopper.save(photos / "b.png")
    about = {"person": "anna", "licence": "PD"}
    index = Index({"a.png": about, "b.png": about})
    plan = plan_jobs([photos], index=index, photos=1)
    run(plan, PrepareOptions(str(out), str(BUNDLED), latents=False), engine=Engine(workers=1))
    return out


def test_a_cache_holds_what_was_prepared_and_gives_samples(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "cache"
    assert main([str(shards), str(out)]) == 0
    assert [path.name for path in out.parent.iterdir()] == ["cache"]
    cache, codes = FaceCache.open(out, out / "index.csv"), Codes.load(str(out / "codes.npz"))
    faces = list(PreparedShards.open(shards).faces())
    assert len(codes) == len(cache.faces) == len(faces) == 2
    for number, face in enumerate(faces):
        assert cache.names[number] == face.record["key"]
        assert cache.rows[number]["licence"] == "PD"
        crop = torch.from_numpy(np.array(cache.faces[number])).permute(2, 0, 1) / 127.5 - 1
        torch.testing.assert_close(crop, face.crop[0])
        for name in ("landmarks", "rotation", "shape", "parsing"):
            value = getattr(face.representation, name)[0].numpy()
            np.testing.assert_array_equal(codes.arrays[name][number], value)
        tokens, wanted = codes.inputs(number)["identity"], face.representation.identity_tokens[0]
        torch.testing.assert_close(tokens, wanted, atol=1e-6, rtol=1e-3)  # half precision
    maker = SampleMaker(cache, codes, seed=0)
    assert maker.same == {0: [1], 1: [0]}
    for kind in range(len(PLANS)):
        sample = maker.sample(row=0, kind=kind)
        assert torch.isfinite(sample["reference"]).all()


def test_what_cannot_become_a_cache_is_one_sentence(
    shards: Path, tmp_path: Path, capsys: Any
) -> None:
    assert main([str(tmp_path), str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("facex: ")
    with pytest.raises(OutputError, match="is there already"):
        convert(shards, shards)
    other = tmp_path / "other"
    other.mkdir()
    manifest = json.loads((shards / "manifest.json").read_text())
    for change, message in (({"crop_size": 512}, "have 512 px"), ({"faces": 0}, "holds no face")):
        (other / "manifest.json").write_text(json.dumps(manifest | change))
        with pytest.raises(OptionError, match=message):
            convert(other, tmp_path / "out")
    assert not (tmp_path / "out").exists()
