# SPDX-License-Identifier: Apache-2.0
"""From factors to f_SD: missing is a learned token, order is fixed, nothing leaks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from facex.errors import OptionError
from facex.fors.conditioner import Conditioner
from facex.fors.representation_assembler import GROUPS, drop_groups
from tests.tiny import seeded

INPUTS = {
    "identity": (4, 6), "pose": (1, 9), "expression": (1, 5), "gaze": (1, 4), "texture": (1, 3),
    "light": (1, 27), "region:skin": (1, 7), "region:lips": (1, 7),
}  # fmt: skip
COUNT = sum(count for count, _ in INPUTS.values())


def make(kind: str = "latents", **options: object) -> Conditioner:
    numbers = {"reference_channels": 4, "reference_tokens": 4, "fold": 2} | options
    with seeded():
        return Conditioner(INPUTS, 16, 12, reference_kind=kind, **numbers).eval()  # type: ignore[arg-type]


def draw(batch: int = 2, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn((batch, *shape), generator=generator) for name, shape in INPUTS.items()
    }


def reference(batch: int = 2) -> Tensor:
    return torch.randn((batch, 6, 8, 8), generator=torch.Generator().manual_seed(9))


def span(name: str) -> slice:
    names = sorted(INPUTS)
    start = sum(INPUTS[n][0] for n in names[: names.index(name)])
    return slice(start, start + INPUTS[name][0])


@torch.no_grad()
def test_shape_and_fixed_order() -> None:
    conditioner, inputs = make(), draw()
    found = conditioner(inputs, {}, reference())
    assert found.shape == (2, COUNT + 4, 16)
    shuffled = dict(reversed(inputs.items()))
    assert torch.equal(conditioner(shuffled, {}, reference()), found)
    assert conditioner.representation.token_count == COUNT


@torch.no_grad()
@pytest.mark.parametrize("name", INPUTS)
def test_an_input_changes_its_own_tokens_and_no_others(name: str) -> None:
    conditioner, inputs = make(), draw()
    before = conditioner(inputs, {}, reference())
    after = conditioner({**inputs, name: inputs[name] + 1}, {}, reference())
    changed = (before != after).any(2)
    expected = torch.zeros_like(changed)
    expected[:, span(name)] = True
    assert torch.equal(changed, expected)


@torch.no_grad()
@pytest.mark.parametrize("group", GROUPS)
def test_a_dropped_group_is_its_null_tokens(group: str) -> None:
    conditioner, inputs = make(), draw()
    representation = conditioner.representation
    dropped = representation(inputs, drop_groups({}, inputs, [group]))
    full = representation(inputs, {})
    for name in INPUTS:
        if name in GROUPS[group]:
            null = representation.nulls[name].expand(2, -1, -1)
            assert torch.equal(dropped[:, span(name)], null), name
            assert not torch.equal(full[:, span(name)], null), name
        else:
            assert torch.equal(dropped[:, span(name)], full[:, span(name)]), name


def test_groups_cover_every_input_but_identity_belongs_to_one() -> None:
    named = [name for names in GROUPS.values() for name in names]
    assert set(INPUTS) <= set(named)
    assert len(named) == len(set(named))


@torch.no_grad()
def test_missing_is_the_same_as_marked_absent_and_absent_values_do_not_matter() -> None:
    conditioner, inputs = make(), draw()
    gone = {"texture": torch.tensor([False, False])}
    marked = conditioner(inputs, gone, reference())
    left_out = {name: value for name, value in inputs.items() if name != "texture"}
    assert torch.equal(conditioner(left_out, {}, reference()), marked)
    rubbish = {**inputs, "texture": torch.full_like(inputs["texture"], float("nan"))}
    assert torch.equal(conditioner(rubbish, gone, reference()), marked)


def test_absent_rubbish_reaches_no_gradient() -> None:
    conditioner, inputs = make(), draw()
    inputs["texture"][1] = float("nan")
    conditioner(inputs, {"texture": torch.tensor([True, False])}, reference()).sum().backward()
    for name, parameter in conditioner.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


@torch.no_grad()
def test_presence_is_per_item() -> None:
    conditioner, inputs = make(), draw()
    mixed = conditioner(
        inputs,
        {"pose": torch.tensor([True, False]), "reference": torch.tensor([False, True])},
        reference(),
    )
    whole = conditioner(inputs, {}, reference())
    no_pose = conditioner(inputs, {"pose": torch.tensor([False, False])}, reference())
    no_reference = conditioner(inputs, {}, None)
    torch.testing.assert_close(mixed[0, :COUNT], whole[0, :COUNT])
    torch.testing.assert_close(mixed[1, :COUNT], no_pose[1, :COUNT])
    torch.testing.assert_close(mixed[0, COUNT:], no_reference[0, COUNT:])
    torch.testing.assert_close(mixed[1, COUNT:], whole[1, COUNT:])


@torch.no_grad()
def test_regions_share_a_network_but_are_told_apart() -> None:
    conditioner, inputs = make(), draw()
    assert "region" in conditioner.representation.networks
    assert not any(name.startswith("region:") for name in conditioner.representation.networks)
    same = {**inputs, "region:lips": inputs["region:skin"]}
    found = conditioner.representation(same, {})
    assert not torch.equal(found[:, span("region:lips")], found[:, span("region:skin")])


@torch.no_grad()
def test_statistics_normalise_and_are_saved(tmp_path: Path) -> None:
    conditioner, inputs = make(), draw()
    mean, std = torch.arange(9.0), torch.full((9,), 3.0)
    moved = {**inputs, "pose": inputs["pose"] * std + mean}
    before = conditioner(inputs, {}, reference())
    conditioner.representation.set_statistics("pose", mean, std)
    torch.testing.assert_close(conditioner(moved, {}, reference()), before, atol=1e-5, rtol=1e-5)
    conditioner.save_pretrained(tmp_path)
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"config.json", "diffusion_pytorch_model.safetensors"}
    again = Conditioner.from_pretrained(tmp_path, local_files_only=True).eval()
    # JSON sorts the names; the order of the tokens must survive all the same.
    assert torch.equal(again(moved, {}, reference()), conditioner(moved, {}, reference()))


@torch.no_grad()
def test_reference_tokens_see_latents_and_both_masks() -> None:
    conditioner, inputs, seen = make(), draw(), reference()
    before = conditioner(inputs, {}, seen)
    for channel in range(seen.shape[1]):
        changed = seen.clone()
        changed[:, channel] += 1
        after = conditioner(inputs, {}, changed)
        assert torch.equal(after[:, :COUNT], before[:, :COUNT])
        assert not torch.equal(after[:, COUNT:], before[:, COUNT:])


@torch.no_grad()
def test_other_sizes_of_reference_and_feature_references() -> None:
    inputs = draw()
    assert make()(inputs, {}, torch.randn(2, 6, 16, 16)).shape[1] == COUNT + 16
    assert make(fold=1)(inputs, {}, torch.randn(2, 6, 4, 4)).shape[1] == COUNT + 4
    features = make("features", reference_channels=5)
    assert features(inputs, {}, torch.randn(2, 4, 5)).shape == (2, COUNT + 4, 16)
    assert features(inputs, {}, None).shape == (2, COUNT + 4, 16)
    gone = {"reference": torch.tensor([False, True])}
    assert features(inputs, gone, torch.randn(2, 9, 5)).shape == (2, COUNT + 9, 16)


@torch.no_grad()
def test_tokens_are_normalised_for_the_base() -> None:
    found = make()(draw(), {}, reference())
    torch.testing.assert_close(found.mean(2), torch.zeros(2, COUNT + 4), atol=1e-5, rtol=0)
    assert (found.std(2) - 1).abs().max() < 0.1


def test_errors_say_what_was_expected() -> None:
    conditioner, inputs = make(), draw()
    with pytest.raises(OptionError, match="unknown"):
        conditioner({**inputs, "mood": torch.zeros(2, 1, 3)}, {}, None)
    with pytest.raises(OptionError, match=r"'pose'.*\(2, 1, 9\)"):
        conditioner({**inputs, "pose": torch.zeros(2, 1, 8)}, {}, None)
    with pytest.raises(OptionError, match="reference_kind"):
        make("pictures")
