# SPDX-License-Identifier: Apache-2.0
"""Correction at native resolution: the model's change on the photo's own pixels."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from facex.frc.native import (
    as_it_was,
    correct_native,
    keep_placed,
    keep_tint,
    settle,
    structure_trust,
)

SIZES = (64, 100, 128, 333)


def picture(size: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((1, 3, size, size), generator=generator) * 2 - 1


@pytest.mark.parametrize("size", SIZES)
def test_an_edit_that_changes_nothing_returns_the_reference_bit_for_bit(size: int) -> None:
    reference, decoded = picture(size), picture(64, 1)
    known, kappa = torch.ones(1, 1, size, size), torch.ones(1, 1, 8, 8)
    assert torch.equal(correct_native(reference, known, decoded, decoded, kappa), reference)
    # A hole elsewhere must not disturb the rest.
    known[..., : size // 4, :] = 0
    found = correct_native(reference, known, decoded, decoded, kappa)
    assert torch.equal(found[..., size // 4 :, :], reference[..., size // 4 :, :])


@pytest.mark.parametrize("size", SIZES)
def test_without_trust_the_enlarged_answer_is_all_there_is(size: int) -> None:
    reference, decoded, redecoded = picture(size), picture(64, 1), picture(64, 2)
    enlarged = (
        decoded
        if size == 64
        else F.interpolate(decoded, size=(size, size), mode="bicubic", antialias=False)
    )
    for known, kappa in ((1.0, 0.0), (0.0, 1.0)):
        found = correct_native(
            reference, torch.full((1, 1, size, size), known), decoded, redecoded,
            torch.full((1, 1, 8, 8), kappa),
        )  # fmt: skip
        torch.testing.assert_close(found, enlarged)


@pytest.mark.parametrize("size", SIZES)
def test_a_change_of_colour_is_added_and_fine_detail_stays(size: int) -> None:
    reference, redecoded = picture(size) / 2, picture(64, 1) / 2
    decoded = redecoded + 0.25
    ones = torch.ones(1, 1, size, size)
    found = correct_native(reference, ones, decoded, redecoded, torch.ones(1, 1, 8, 8))
    torch.testing.assert_close(found, reference + 0.25)


def test_trust_blends_between_corrected_and_drawn() -> None:
    reference, decoded, redecoded = picture(64), picture(64, 1), picture(64, 2)
    kappa = torch.full((1, 1, 8, 8), 0.25)
    found = correct_native(reference, torch.ones(1, 1, 64, 64), decoded, redecoded, kappa)
    corrected = reference + decoded - redecoded
    torch.testing.assert_close(found, 0.25 * corrected + 0.75 * decoded)


def test_a_smaller_native_size_works_too() -> None:
    for size in (48, 15, 63):
        reference, decoded = picture(size), picture(64, 1)
        ones = torch.ones(1, 1, size, size)
        found = correct_native(reference, ones, decoded, decoded, torch.ones(1, 1, 8, 8))
        assert torch.equal(found, reference)


def test_items_of_a_batch_do_not_mix() -> None:
    reference, decoded = (torch.cat([picture(100, s), picture(100, s + 1)]) for s in (0, 3))
    decoded = F.interpolate(decoded, size=(64, 64))
    redecoded = decoded.flip(0)
    known = torch.ones(2, 1, 100, 100)
    known[1, ..., :30] = 0
    kappa = torch.ones(2, 1, 8, 8)
    both = correct_native(reference, known, decoded, redecoded, kappa)
    for i in range(2):
        one = slice(i, i + 1)
        alone = correct_native(reference[one], known[one], decoded[one], redecoded[one], kappa[one])
        torch.testing.assert_close(both[one], alone)


def test_detail_is_trusted_under_new_light_and_dropped_under_new_structure() -> None:
    redecoded = picture(128) / 4
    assert (structure_trust(redecoded, redecoded) == 1).all()
    ramp = torch.linspace(-0.5, 0.5, 128).expand(1, 3, 128, 128)
    lit = structure_trust(redecoded + 0.4 * ramp, redecoded)
    assert (lit[..., 16:-16] == 1).all()
    redrawn = redecoded.clone()
    redrawn[..., 32:96, 32:96] = picture(64, 5)
    trust = structure_trust(redrawn, redecoded)
    assert trust.shape == (1, 1, 128, 128)
    assert trust[..., 44:84, 44:84].max() < 0.2
    assert (trust[..., :16] == 1).all()
    assert trust.min() >= 0


def test_what_is_known_keeps_its_tint_and_takes_on_the_light() -> None:
    generator = torch.Generator().manual_seed(4)
    redecoded = torch.rand(1, 3, 8, 8, generator=generator) - 0.5
    known = torch.zeros(1, 1, 8, 8)
    known[..., :4] = 1
    tinted = redecoded + torch.tensor([-0.2, 0.0, 0.3])[:, None, None]
    kept = keep_tint(tinted, redecoded, known)
    assert torch.equal(kept[..., 4:], tinted[..., 4:])
    moved = (kept - redecoded)[..., :4]
    assert (moved.amax(1) - moved.amin(1)).max() < 0.1  # of 0.5
    lit = keep_tint(redecoded + 0.3, redecoded, known)
    assert torch.allclose(lit, redecoded + 0.3, atol=1e-6)
    assert torch.equal(keep_tint(redecoded, redecoded, known), redecoded)


@pytest.mark.parametrize(("strength", "kept"), [(0.02, 0.02), (0.4, 0.05)])
def test_what_was_placed_gains_light_and_faint_detail_and_little_else(
    strength: float, kept: float
) -> None:
    """Light and pores come; shadows, strands and creases of the base's own are held back."""
    redecoded, edit = torch.zeros(1, 3, 128, 128), torch.ones(1, 1, 128, 128)
    fine = strength * (-1.0) ** torch.arange(128).expand(1, 3, 128, 128)
    inside = keep_placed(redecoded + 0.4 + fine, redecoded, edit)[..., 8:-8, 8:-8]
    assert inside.mean() == pytest.approx(0.14, abs=1e-3), "half of the level"
    assert inside.std() == pytest.approx(kept, rel=0.25)
    assert torch.equal(keep_placed(fine, redecoded, edit, 0), fine)
    side = torch.linspace(-0.4, 0.4, 128).expand(1, 3, 128, 128)
    turned = keep_placed(redecoded + side, redecoded, edit)[..., 32:-32]
    assert torch.allclose(turned, 0.7 * side[..., 32:-32], atol=0.02), "light from one side"
    # A shadow as wide as a brow, in colour.
    shadow = torch.zeros(1, 3, 128, 128)
    shadow[:, 0, 60:68, 40:88] = -0.6
    left = keep_placed(redecoded + shadow, redecoded, edit)
    assert left.abs().max() < 0.35
    # Of an eye alone hardly any light.
    eye = torch.zeros(1, 1, 128, 128)
    eye[..., 60:66, 30:50] = 1
    seen = keep_placed(redecoded + 0.4 * eye, redecoded, eye)[..., 62:64, 38:42]
    assert seen.abs().max() < 0.25


def test_more_light_makes_skin_lighter_and_black_hair_hardly() -> None:
    redecoded = torch.zeros(1, 3, 128, 128)
    redecoded[..., :32] = -0.95
    edit = torch.ones(1, 1, 128, 128)
    side = torch.linspace(0.8, 0, 128).expand(1, 3, 128, 128)
    gained = (keep_placed(redecoded + side, redecoded, edit) - redecoded).mean((0, 1, 2))
    assert gained[32 + 4] > 0.1
    assert gained[4] < 0.07


def test_ground_that_a_head_left_stays_as_it_was_filled() -> None:
    redecoded, edit = torch.zeros(1, 3, 128, 128), torch.ones(1, 1, 128, 128)
    known = torch.ones(1, 1, 128, 128)
    known[..., :40], geometry = 0.5, torch.zeros(1, 3, 128, 128)
    geometry[..., 80:] = 0.3
    free, _ = settle(redecoded + 0.4, redecoded, known, geometry, edit, placed=False)
    placed, _ = settle(redecoded + 0.4, redecoded, known, geometry, edit, placed=True)
    assert placed.abs().mean() < 0.5 * free.abs().mean()
    assert (placed[..., :36] == 0).all()
    assert placed[..., 48:].abs().mean() > 0.05


def test_ground_that_stays_gets_no_light_of_the_edit_beside_it() -> None:
    reference, edit = torch.zeros(1, 3, 128, 128), torch.ones(1, 1, 128, 128)
    target = reference.clone()
    target[..., 48:] = 0.5
    geometry = torch.zeros(1, 3, 128, 128)
    geometry[..., 64:] = 0.3
    same = as_it_was(reference, target)
    assert (same[..., :40] == 1).all()
    assert (same[..., 48:] == 0).all()
    args = reference + 0.4, reference, torch.ones_like(edit), geometry, edit
    lit, _ = settle(*args, placed=True)
    kept, _ = settle(*args, placed=True, same=same)
    assert (kept[..., :40] == 0).all()
    assert lit[..., :40].abs().mean() > 0.05
    # What came from elsewhere takes its light as before.
    assert torch.equal(kept[..., 52:], lit[..., 52:])


def test_a_filled_forehead_takes_the_light_of_its_face_and_ground_beside_it_none() -> None:
    redecoded, edit = torch.zeros(1, 3, 128, 128), torch.ones(1, 1, 128, 128)
    geometry, known = torch.zeros(1, 3, 128, 128), torch.zeros(1, 1, 128, 128)
    geometry[..., 50:110, 40:88] = 0.3
    drawn, stays = redecoded + 0.4, torch.tensor([False])
    placed, _ = settle(drawn, redecoded, known, geometry, edit, placed=True, head=stays)
    assert placed[..., 30:50, 44:84].min() > 0.5 * placed[..., 50:110, 40:88].mean()
    assert (placed[..., 30:110, :30] == 0).all()
    assert (placed[..., 114:, :] == 0).all()
    # A base that darkens it, for there might be hair, is not believed.
    dark = drawn.clone()
    dark[..., :46, :] = -0.4
    bare, _ = settle(dark, redecoded, known, geometry, edit, placed=True, head=stays)
    assert bare[..., 30:40, 44:84].min() > 0
    goes, _ = settle(drawn, redecoded, known, geometry, edit, placed=True, head=~stays)
    assert (goes[..., 30:44, 44:84] == 0).all()
