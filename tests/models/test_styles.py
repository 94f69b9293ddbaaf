# SPDX-License-Identifier: Apache-2.0
"""Personalised bases: what is stored, what is refused, and what a style draws."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import facex
from facex.api import EditOptions
from facex.errors import ModelNotFound, WeightsCorrupt
from facex.ground import MAX_SIDE, draw_ground
from facex.models.hub import BUNDLED
from facex.models.styles import (
    INDEX_NAME,
    LOW_RANK_FILE,
    STYLES,
    load_style,
    product,
    style_index,
    style_names,
)

MODULE = "vae.coarse.0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder with nothing but one style, which changes one convolution."""
    place = tmp_path / STYLES / "chalk"
    place.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tensors = {
            f"{MODULE}.lora_A.weight": torch.randn(3, 32, 3, 3),
            f"{MODULE}.lora_B.weight": torch.randn(96, 3, 1, 1),
            f"{MODULE}.lora_B.bias": torch.randn(96),
        }
    save_file(tensors, place / LOW_RANK_FILE)
    return tmp_path


def test_a_low_rank_difference_is_added_to_a_copy(mini: facex.FaceX, folder: Path) -> None:
    base = mini.model.base
    styled = load_style(base, folder, "chalk")
    assert styled.unet is base.unet
    assert styled.scheduler is base.scheduler
    tensors = load_file(folder / STYLES / "chalk" / LOW_RANK_FILE)
    down, up = tensors[f"{MODULE}.lora_A.weight"], tensors[f"{MODULE}.lora_B.weight"]
    change = torch.einsum("orxy,rihw->oihw", up, down)
    torch.testing.assert_close(product(down, up), change)
    own, new = base.vae.coarse[0], styled.vae.coarse[0]
    torch.testing.assert_close(new.weight - own.weight, change, atol=1e-4, rtol=1e-4)
    shift = tensors[f"{MODULE}.lora_B.bias"]
    torch.testing.assert_close(new.bias - own.bias, shift, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(styled.vae.fine[-1].weight, base.vae.fine[-1].weight)


def test_a_whole_part_takes_the_place_of_the_models_own(mini: facex.FaceX, folder: Path) -> None:
    mini.model.base.vae.save_pretrained(folder / STYLES / "whole" / "vae")
    assert style_names(folder) == ("chalk", "whole")
    styled = load_style(mini.model.base, folder, "whole")
    assert styled.vae is not mini.model.base.vae
    picture = torch.rand(1, 3, 64, 64) * 2 - 1
    again = styled.decode(styled.encode(picture))
    torch.testing.assert_close(again, mini.model.base.decode(mini.model.base.encode(picture)))


def test_what_does_not_fit_is_refused(mini: facex.FaceX, folder: Path) -> None:
    base, path = mini.model.base, folder / STYLES / "chalk" / LOW_RANK_FILE
    with pytest.raises(ModelNotFound, match="did you mean 'chalk'"):
        load_style(base, folder, "chak")
    tensors = load_file(path)
    for wrong in (
        {key.replace("coarse.0", "coarse.99"): value for key, value in tensors.items()},
        {**tensors, f"{MODULE}.lora_B.weight": torch.zeros(95, 3, 1, 1)},
        {key: value for key, value in tensors.items() if "lora_B" not in key},
    ):
        save_file(wrong, path)
        with pytest.raises(WeightsCorrupt, match="cannot be used"):
            load_style(base, folder, "chalk")
    path.write_bytes(b"no safetensors")
    with pytest.raises(WeightsCorrupt, match="cannot be used"):
        load_style(base, folder, "chalk")
    (path.parent / INDEX_NAME).write_text('{"strength": 3}')
    with pytest.raises(WeightsCorrupt, match="style"):
        style_index(folder, "chalk")


@pytest.mark.parametrize("style", style_names(BUNDLED))
def test_a_bundled_style_draws_the_whole_photo(
    style: str, mini: facex.FaceX, astronaut: Image.Image
) -> None:
    result = mini.stylize(astronaut, style, options=EditOptions(mark=False))
    before, after = (np.asarray(x, np.float32) for x in (astronaut, result.image))
    assert after.shape == before.shape
    assert (result.mask == 1).all()
    # Every part of the photo is drawn, also far from the face, and no part is lost.
    change = np.abs(after - before).mean(2).reshape(8, 64, 8, 64).mean((1, 3))
    assert change.min() > 1.5
    assert np.corrcoef(before.mean(2).ravel(), after.mean(2).ravel())[0, 1] > 0.5
    again = mini.stylize(astronaut, style, options=EditOptions(mark=False))
    assert np.array_equal(np.asarray(again.image), np.asarray(result.image))


def test_there_are_three_bundled_styles() -> None:
    assert style_names(BUNDLED) == ("comic", "oil", "pencil")


def test_a_style_goes_with_the_model_that_is_saved(mini: facex.FaceX, tmp_path: Path) -> None:
    mini.save_pretrained(tmp_path / "model")
    assert style_names(tmp_path / "model") == style_names(BUNDLED)
    shutil.rmtree(tmp_path / "model")


@pytest.mark.parametrize("size", [(40, 90), (300, 256), (700, 1500)])
def test_tiles_leave_no_seams(mini: facex.FaceX, size: tuple[int, int]) -> None:
    """Without noise every tile is the photo through the autoencoder: so must be the whole."""
    height, width = size
    y, x = np.mgrid[:height, :width] / max(size)
    photo = (127 + 90 * np.sin(np.stack([9 * x, 7 * y, 5 * (x + y)], -1))).astype(np.uint8)
    drawn = draw_ground(photo, mini.pipeline, 256, 1.0, steps=2, seed=0, strength=0.0)
    assert drawn.shape == photo.shape
    assert max(size) < MAX_SIDE * 2
    assert np.abs(drawn.astype(float) - photo).mean() < 2
    assert np.abs(drawn.astype(float) - photo).max() < 24
