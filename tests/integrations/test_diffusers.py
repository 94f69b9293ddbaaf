# SPDX-License-Identifier: Apache-2.0
"""The example pipeline: saved, loaded by diffusers itself, and the same edit as the library's."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import DDIMScheduler, DiffusionPipeline
from PIL import Image

import facex
from facex.api import EditOptions

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "diffusers_pipeline.py"


@pytest.fixture(scope="module")
def loaded(
    mini: facex.FaceX, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, DiffusionPipeline]:
    spec = importlib.util.spec_from_file_location("diffusers_pipeline_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("pipeline") / "model"
    module.FaceXDiffusionPipeline.from_facex(mini).save_pretrained(folder)
    # Diffusers copies the file of a pipeline into its cache.
    with pytest.MonkeyPatch.context() as patch:
        for name in ("diffusers.utils.constants", "diffusers.utils.dynamic_modules_utils"):
            patch.setattr(f"{name}.HF_MODULES_CACHE", str(folder.parent / "modules"))
        pipe = DiffusionPipeline.from_pretrained(
            folder, custom_pipeline=str(EXAMPLE), trust_remote_code=True, local_files_only=True
        )
    return folder, pipe


def test_diffusers_loads_the_folder_and_edits_the_same(
    loaded: tuple[Path, Any], mini: facex.FaceX, astronaut: Image.Image
) -> None:
    folder, pipe = loaded
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    assert index["vae"] == ["facex.models.klt", "KLTAutoencoder"]
    assert pipe.components.keys() == {"unet", "vae", "scheduler", "controller", "conditioner"}
    recipe = facex.Recipe.for_task("pose", sliders={"yaw": 12.0})
    found = pipe(astronaut, recipe, num_inference_steps=2, seed=3).images[0]
    expected = mini.edit(astronaut, recipe, options=EditOptions(seed=3, steps=2)).image
    # Two copies of the weights lie differently in memory, so sums may round differently.
    difference = np.asarray(found).astype(int) - np.asarray(expected)
    assert np.abs(difference).max() <= 2
    assert not np.array_equal(np.asarray(found), np.asarray(astronaut))


def test_an_exchanged_scheduler_is_the_one_that_draws(
    loaded: tuple[Path, Any], astronaut: Image.Image
) -> None:
    pipe = loaded[1]
    before = pipe.editor
    assert pipe.editor is before
    own = pipe.scheduler
    try:
        pipe.scheduler = DDIMScheduler.from_config(own.config)
        assert pipe.editor.model.base.scheduler is pipe.scheduler
        recipe = facex.Recipe.for_task("gaze", sliders={"gaze_yaw": 9.0})
        output = pipe([astronaut], recipe, num_inference_steps=1)
        assert output.results[0].marked
    finally:
        pipe.scheduler = own


def test_facex_reads_the_same_folder(loaded: tuple[Path, Any]) -> None:
    assert facex.FaceX.from_pretrained(loaded[0], device="cpu").model.index.scale == "mini"
