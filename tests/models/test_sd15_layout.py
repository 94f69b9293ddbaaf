# SPDX-License-Identifier: Apache-2.0
"""Stable Diffusion 1.5: the published names and shapes, and the tiny folder of the same layout."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel

from tests import tiny

KEYS = Path(__file__).parents[1] / "formats" / "sd15_keys.txt"


def published() -> dict[str, tuple[int, ...]]:
    layout = {}
    for line in KEYS.read_text().splitlines():
        if not line.startswith("#"):
            name, shape = line.split()
            layout[name] = tuple(int(n) for n in shape.split(","))
    return layout


def test_the_list_is_complete() -> None:
    layout = published()
    assert len(layout) == 686
    assert sum(math.prod(shape) for shape in layout.values()) == 859_520_964


def test_full_size_unet_has_exactly_the_published_names_and_shapes() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**tiny.SD15_UNET)
    assert {k: tuple(v.shape) for k, v in unet.state_dict().items()} == published()


def test_tiny_folder_has_the_published_names_and_loads_offline(tmp_path: Path) -> None:
    folder = tiny.make_tiny_sd15_folder(tmp_path / "base", extractors=False)
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", local_files_only=True)
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", local_files_only=True)
    PNDMScheduler.from_pretrained(folder, subfolder="scheduler", local_files_only=True)
    assert set(unet.state_dict()) == set(published())
    with torch.no_grad():
        latent = vae.encode(torch.zeros(1, 3, 64, 64)).latent_dist.mode()
        assert latent.shape == (1, 4, 8, 8)
        out = unet(latent, 10, torch.zeros(1, 3, tiny.CONTEXT_DIM)).sample
    assert out.shape == latent.shape


def test_tiny_folder_is_the_same_for_a_seed_and_another_for_another(tmp_path: Path) -> None:
    def weight(seed: int) -> torch.Tensor:
        return tiny.tiny_unet(seed).state_dict()["conv_in.weight"]

    assert torch.equal(weight(1), weight(1))
    assert not torch.equal(weight(1), weight(2))
