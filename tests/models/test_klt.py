# SPDX-License-Identifier: Apache-2.0
"""The bundled autoencoder: an orthonormal transform, linear and local, and its refinement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import facex
from facex.imaging.tensors import to_tensor
from facex.models.klt import KLTAutoencoder
from tests.tiny import seeded


def smooth(count: int = 6, size: int = 64, seed: int = 0) -> Tensor:
    """Pictures whose detail is coarser than a patch, in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((count, 3, size // 8, size // 8), generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(
        coarse, size=(size, size), mode="bicubic", antialias=False
    ).clamp(-1, 1)


def fitted(channels: int = 32, power: float = 0.25) -> KLTAutoencoder:
    with seeded():
        vae = KLTAutoencoder(latent_channels=channels, width=16, blocks=(1, 1)).eval()
    vae.fit(smooth(40), power)
    return vae


def encode(vae: KLTAutoencoder, images: Tensor) -> Tensor:
    return vae.encode(images).latent_dist.mode()


def decode(vae: KLTAutoencoder, latents: Tensor) -> Tensor:
    with torch.inference_mode():
        return vae.decode(latents).sample


def test_shapes_follow_the_picture() -> None:
    vae = fitted(24)
    latents = encode(vae, torch.zeros(2, 3, 64, 48))
    assert latents.shape == (2, 24, 8, 6)
    assert decode(vae, latents).shape == (2, 3, 64, 48)
    assert vae.encode(torch.zeros(1, 3, 16, 16), return_dict=False)[0].mode().shape == (1, 24, 2, 2)
    assert vae.decode(latents, return_dict=False)[0].shape == (2, 3, 64, 48)


def test_the_basis_is_orthonormal_and_in_the_order_of_variance() -> None:
    vae = fitted()
    torch.testing.assert_close(vae.basis @ vae.basis.T, torch.eye(32), atol=1e-5, rtol=0)
    latents = encode(vae, smooth(40)) / vae.scale[:, None, None]
    variance = latents.permute(0, 2, 3, 1).flatten(0, 2).var(0)
    assert (variance.diff() <= 1e-6).all()


@pytest.mark.parametrize("power", [0.0, 0.25, 0.5])
def test_channels_are_uncorrelated_and_scaled_as_asked(power: float) -> None:
    vae = fitted(16, power)
    vectors = encode(vae, smooth(40)).permute(0, 2, 3, 1).flatten(0, 2).double()
    covariance = torch.cov(vectors.T)
    variance = covariance.diagonal()
    assert vectors.mean(0).abs().max() < 1e-4
    assert (covariance - variance.diag()).abs().max() < 1e-3
    assert variance.mean() == pytest.approx(1, abs=1e-3)
    # The plain variances, up to one common factor, to the power that is left of them.
    plain = variance / vae.scale.double() ** 2
    expected = plain ** (1 - 2 * power)
    torch.testing.assert_close(variance, expected / expected.mean(), atol=1e-3, rtol=1e-3)


def test_with_all_components_nothing_is_lost() -> None:
    """The decoder's refinement begins at zero, so it is the exact inverse of the transform."""
    vae = fitted(192)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    # Smooth pictures have no variance in most directions, so those are scaled up a lot.
    torch.testing.assert_close(decode(vae, encode(vae, images)), images, atol=2e-3, rtol=0)


def test_latents_survive_decoding_and_encoding() -> None:
    vae = fitted()
    latents = torch.randn(2, 32, 4, 4, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(encode(vae, decode(vae, latents)), latents, atol=1e-4, rtol=1e-4)


def test_a_smooth_picture_comes_back() -> None:
    vae = fitted()
    for seed in (0, 5):
        images = smooth(4, seed=seed)
        assert (decode(vae, encode(vae, images)) - images).abs().mean() < 0.02
    even = torch.full((1, 3, 32, 32), 0.3)
    assert (decode(vae, encode(vae, even)) - even).abs().max() < 0.05


def test_latents_mix_as_pixels_mix() -> None:
    vae = fitted()
    one, two = smooth(1, seed=3), smooth(1, seed=4)
    mixed = encode(vae, 0.3 * one + 0.7 * two)
    torch.testing.assert_close(
        mixed, 0.3 * encode(vae, one) + 0.7 * encode(vae, two), atol=1e-4, rtol=1e-4
    )


def test_a_patch_is_a_cell() -> None:
    vae, images = fitted(), smooth(1)
    changed = images.clone()
    changed[..., 16:24, 40:48] += 0.5
    moved = (encode(vae, changed) != encode(vae, images)).any(1)[0]
    assert moved[2, 5]
    assert moved.sum() == 1


def test_it_is_saved_and_loaded_exactly(tmp_path: Path) -> None:
    vae = fitted()
    with torch.no_grad():
        vae.fine[-1].weight.normal_(generator=torch.Generator().manual_seed(0))
    vae.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json", "diffusion_pytorch_model.safetensors",
    }  # fmt: skip
    again = KLTAutoencoder.from_pretrained(tmp_path, local_files_only=True).eval()
    assert dict(again.config)["latent_channels"] == 32
    images = smooth(2)
    assert torch.equal(encode(again, images), encode(vae, images))
    latents = encode(vae, images)
    assert torch.equal(decode(again, latents), decode(vae, latents))


def test_the_bundled_one_is_orthonormal_and_true_to_faces(
    mini: facex.FaceX, astronaut: Image.Image, hopper: Image.Image
) -> None:
    vae = mini.model.base.vae
    assert isinstance(vae, KLTAutoencoder)
    basis = vae.basis.double()
    # Buffers are stored exactly, whatever the weights are stored as.
    torch.testing.assert_close(
        basis @ basis.T, torch.eye(len(basis), dtype=torch.float64), atol=1e-5, rtol=0
    )
    faces = [
        astronaut.crop((130, 30, 322, 222)).resize((256, 256), Image.Resampling.LANCZOS),
        hopper.crop((110, 60, 430, 380)).resize((256, 256), Image.Resampling.LANCZOS),
    ]
    images = torch.cat([to_tensor(face) for face in faces])
    decoded = decode(vae, encode(vae, images)).clamp(-1, 1)
    errors = ((decoded - images) ** 2).mean((1, 2, 3))
    psnr = 10 * np.log10(4 / errors.numpy())
    assert (psnr > 30).all(), psnr
    # The refinement is worth having: without it the picture is worse.
    plain = vae.basis / vae.scale[:, None]
    bare = torch.einsum("cp,bchw->bphw", plain, encode(vae, images)) + vae.mean[:, None, None]
    bare = torch.nn.functional.pixel_shuffle(bare, 8).clamp(-1, 1)
    assert ((bare - images) ** 2).mean() > 0.9 * errors.mean()
