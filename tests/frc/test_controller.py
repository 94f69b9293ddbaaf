# SPDX-License-Identifier: Apache-2.0
"""FRC beside a base: nothing at initialisation, nothing left behind, only its own to train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

from facex.errors import OptionError
from facex.frc.base import Base
from facex.frc.controller import FaceXController, controlled_blocks
from tests.frc import scenes
from tests.frc.scenes import SCALES

Inputs = dict[str, Tensor]


def draw(base: Base, batch: int = 2, seed: int = 0) -> Inputs:
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    channels = base.latent_channels
    return {
        "latents": noise(batch, channels, 16, 16),
        "t": torch.tensor([700, 30][:batch]),
        "context": noise(batch, 9, base.context_dim),
        "reference": noise(batch, channels, 16, 16),
        "masks": torch.rand((batch, 2, 128, 128), generator=generator),
        "geometry": noise(batch, 3, 128, 128),
    }


def features_of(controller: FaceXController, given: Inputs) -> Any:
    known, edit = given["masks"].split(1, 1)
    return controller.spatial(given["reference"], known, edit, given["geometry"])


def steered(base: Base, controller: FaceXController, given: Inputs) -> Any:
    with torch.no_grad(), controller.attached(base.unet):
        features = features_of(controller, given)
        return controller(base, given["latents"], given["t"], given["context"], features)


def bare(base: Base, given: Inputs) -> Tensor:
    with torch.no_grad():
        return base.predict(given["latents"], given["t"], given["context"])


@pytest.mark.parametrize("scale", SCALES)
def test_controlled_unet_at_initialisation_is_the_base_exactly(scale: str) -> None:
    base = scenes.make_base(scale)
    controller, given = scenes.make_controller(base), draw(base)
    answer = steered(base, controller, given)
    assert (answer.output - bare(base, given)).abs().max() == 0
    assert not answer.correction.any()
    assert (answer.confidence == 1).all()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("trained", ["frc", "spatial"])
def test_each_path_steers_once_it_is_trained(scale: str, trained: str) -> None:
    base = scenes.make_base(scale)
    controller, given = scenes.make_controller(base), draw(base)
    scenes.stir(getattr(controller, trained))
    difference = (steered(base, controller, given).output - bare(base, given)).abs()
    assert difference.flatten(1).amax(1).min() > 1e-4


@pytest.mark.parametrize("scale", SCALES)
def test_every_frc_block_has_a_say(scale: str) -> None:
    base = scenes.make_base(scale)
    controller, given = scenes.make_controller(base), draw(base, batch=1)
    before = bare(base, given)
    for index in range(len(controlled_blocks(base.unet))):
        scenes.stir(controller.frc[index])
        after = steered(base, controller, given).output
        assert not torch.equal(after, before), index
        before = after


@pytest.mark.parametrize("scale", SCALES)
def test_attach_and_detach_leave_the_base_untouched(scale: str) -> None:
    base = scenes.make_base(scale)
    controller, given = scenes.make_controller(base), draw(base)
    scenes.stir(controller)
    state = {name: value.clone() for name, value in base.unet.state_dict().items()}
    processors, expected = dict(base.unet.attn_processors), bare(base, given)
    for _ in range(2):
        controller.attach(base.unet)
        assert controller.is_attached(base.unet)
        assert scenes.hooks(base.unet)
        assert list(base.unet.state_dict()) == list(state)
        controller.detach()
        controller.detach()
        assert not controller.is_attached(base.unet)
        assert scenes.hooks(base.unet) == []
        found = base.unet.attn_processors
        assert found.keys() == processors.keys()
        assert all(one is processors[name] for name, one in found.items())
        after = base.unet.state_dict()
        assert list(after) == list(state)
        assert all(torch.equal(value, after[name]) for name, value in state.items())
        assert torch.equal(bare(base, given), expected)


def test_an_exception_inside_the_unet_leaves_nothing_behind() -> None:
    base = scenes.make_base("sd15")
    controller, given = scenes.make_controller(base), draw(base)
    scenes.stir(controller)
    processors, expected = dict(base.unet.attn_processors), bare(base, given)
    before = steered(base, controller, given).output
    with pytest.raises(RuntimeError, match="shape"):
        steered(base, controller, {**given, "context": torch.zeros(2, 9, base.context_dim + 1)})
    assert scenes.hooks(base.unet) == []
    assert all(one is processors[name] for name, one in base.unet.attn_processors.items())
    assert torch.equal(bare(base, given), expected)
    assert torch.equal(steered(base, controller, given).output, before)


def test_attaching_inside_attached_is_one_attachment_and_twice_is_refused() -> None:
    base, other = scenes.make_base("mini"), scenes.make_base("mini", 1)
    controller = scenes.make_controller(base)
    with controller.attached(base.unet):
        count = scenes.hooks(base.unet)
        with controller.attached(base.unet):
            assert scenes.hooks(base.unet) == count
        assert controller.is_attached(base.unet)
        with pytest.raises(OptionError, match="detach"):
            controller.attach(other.unet)
    assert not controller.is_attached(base.unet)


def test_one_controller_steers_any_base_of_its_shape_and_refuses_others() -> None:
    base, tuned = scenes.make_base("sd15"), scenes.make_base("sd15", 5)
    controller, given = scenes.make_controller(base), draw(base)
    assert torch.equal(steered(tuned, controller, given).output, bare(tuned, given))
    assert not torch.equal(bare(tuned, given), bare(base, given))
    mini = scenes.make_base("mini")
    with pytest.raises(OptionError, match="made for"):
        controller.attach(mini.unet)
    assert scenes.hooks(mini.unet) == []
    with pytest.raises(OptionError, match="not attached"):
        controller(base, given["latents"], given["t"], given["context"], None)


@pytest.mark.parametrize("scale", SCALES)
def test_cached_keys_and_values_change_no_bit_and_are_computed_once(scale: str) -> None:
    base = scenes.make_base(scale)
    controller, given = scenes.make_controller(base), draw(base)
    scenes.stir(controller)
    contexts = [given["context"], given["context"].flip(1)]
    blocks = [m for m in base.unet.modules() if isinstance(m, BasicTransformerBlock)]
    keys = [frc.to_k for frc in controller.frc] + [block.attn2.to_k for block in blocks]

    def run() -> list[Tensor]:
        features = features_of(controller, given)
        return [
            controller(base, given["latents"], torch.tensor(t), context, features).output
            for t in (900, 500, 100)
            for context in contexts
        ]

    with torch.inference_mode(), controller.attached(base.unet):
        with scenes.counted(*keys) as calls:
            plain = run()
        assert len(calls) == len(keys) * 6
        with controller.cache.enabled(), scenes.counted(*keys) as calls:
            cached = run()
        assert len(calls) == len(keys) * len(contexts)
        assert not controller.cache._entries
    assert all(torch.equal(one, two) for one, two in zip(plain, cached, strict=True))


def test_a_context_changed_in_place_is_not_taken_from_the_cache() -> None:
    base = scenes.make_base("mini")
    controller, given = scenes.make_controller(base), draw(base)
    scenes.stir(controller)
    with torch.no_grad(), controller.attached(base.unet), controller.cache.enabled():
        features = features_of(controller, given)
        context = given["context"].clone()
        controller(base, given["latents"], given["t"], context, features)
        context.mul_(0.5)
        again = controller(base, given["latents"], given["t"], context, features).output
    assert torch.equal(again, steered(base, controller, {**given, "context": context}).output)


def test_the_cache_is_off_while_gradients_are_recorded() -> None:
    base = scenes.make_base("mini")
    controller, given = scenes.make_controller(base), draw(base)
    with controller.attached(base.unet), controller.cache.enabled():
        features = features_of(controller, given)
        with scenes.counted(controller.frc[0].to_k) as calls:
            for _ in range(2):
                controller(base, given["latents"], given["t"], given["context"], features)
        assert len(calls) == 2
        assert not controller.cache._entries


@pytest.mark.parametrize("scale", SCALES)
def test_frc_has_no_part_in_the_middle_stage(scale: str) -> None:
    base = scenes.make_base(scale)
    controller, given = scenes.make_controller(base), draw(base)
    scenes.stir(controller)
    middle = [m for m in base.unet.mid_block.modules() if isinstance(m, BasicTransformerBlock)]
    everywhere = [m for m in base.unet.modules() if isinstance(m, BasicTransformerBlock)]
    assert middle
    assert len(controller.frc) == len(everywhere) - len(middle)
    assert not any(block in middle for block in controlled_blocks(base.unet))
    seen: list[tuple[Any, ...]] = []
    handle = base.unet.mid_block.register_forward_hook(
        lambda _m, args, kwargs, output: seen.append((args, kwargs, output)), with_kwargs=True
    )
    steered(base, controller, given)
    handle.remove()
    args, kwargs, output = seen[0]
    with torch.no_grad():
        assert torch.equal(base.unet.mid_block(*args, **kwargs), output)


@pytest.mark.parametrize("scale", SCALES)
def test_gradients_reach_all_that_is_trained_and_nothing_that_is_frozen(scale: str) -> None:
    pipe = scenes.make_pipeline(scale, stirred=True)
    base, controller, conditioner = pipe.base, pipe.controller, pipe.conditioner
    base.unet.requires_grad_(False)
    base.vae.requires_grad_(False)
    condition = scenes.make_condition(2)
    # Every second item lacks everything, so that the null tokens are asked for too.
    condition.present.update({name: torch.tensor([True, False]) for name in scenes.INPUTS})
    condition.present["reference"] = torch.tensor([True, False])
    with controller.attached(base.unet):
        encoded = pipe.encode(condition)
        noisy = torch.randn_like(encoded.reference)
        clean, _ = pipe.clean(encoded, encoded.context, noisy, torch.tensor([500, 800]), 0.5)
        clean.square().mean().backward()
    for name, part in (("controller", controller), ("conditioner", conditioner)):
        for key, parameter in part.named_parameters():
            assert parameter.grad is not None, f"{name}.{key}"
            assert parameter.grad.any(), f"{name}.{key}"
    assert all(p.grad is None for p in base.unet.parameters())
    counts = {
        part: sum(p.numel() for p in net.parameters() if p.requires_grad)
        for part, net in (("unet", base.unet), ("frc", controller), ("fors", conditioner))
    }
    assert counts["unet"] == 0
    assert counts["frc"] == controller.num_parameters()
    assert counts["fors"] == conditioner.num_parameters()


def test_zero_initialisation_lets_the_first_gradient_through() -> None:
    pipe = scenes.make_pipeline("mini")
    with pipe.controller.attached(pipe.base.unet):
        encoded = pipe.encode(scenes.make_condition(1))
        noisy = torch.randn_like(encoded.reference)
        clean, _ = pipe.clean(encoded, encoded.context, noisy, torch.tensor([500]), 0.5)
        (clean - 1).square().mean().backward()
    assert all(frc.to_out.weight.grad.any() for frc in pipe.controller.frc)
    assert all(out.weight.grad.any() for out in pipe.controller.spatial.outs)
    assert pipe.controller.spatial.to_entry.weight.grad.any()
    assert pipe.controller.anchor.out.weight.grad.any()


@pytest.mark.parametrize("scale", SCALES)
def test_save_and_load_in_diffusers_layout(scale: str, tmp_path: Path) -> None:
    base = scenes.make_base(scale)
    controller, given = scenes.make_controller(base, "zero"), draw(base)
    scenes.stir(controller)
    with controller.attached(base.unet):
        controller.save_pretrained(tmp_path / "controller")
    found = {path.name for path in (tmp_path / "controller").iterdir()}
    assert found == {"config.json", "diffusion_pytorch_model.safetensors"}
    again = FaceXController.from_pretrained(tmp_path / "controller", local_files_only=True).eval()
    names = [name for name in controller.config if not name.startswith("_")]
    assert all(list_of(controller.config[name]) == list_of(again.config[name]) for name in names)
    assert set(again.state_dict()) == set(controller.state_dict())
    assert not any(key.startswith("unet") for key in again.state_dict())
    one, two = steered(base, controller, given), steered(base, again, given)
    assert torch.equal(one.output, two.output)
    assert torch.equal(one.correction, two.correction)
    assert torch.equal(one.confidence, two.confidence)


def list_of(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def test_gradient_checkpointing_is_exact() -> None:
    grads: list[list[Tensor]] = []
    for checkpointing in (False, True):
        base = scenes.make_base("mini")
        controller, given = scenes.make_controller(base), draw(base)
        scenes.stir(controller)
        base.unet.train()
        if checkpointing:
            base.unet.enable_gradient_checkpointing()
        with controller.attached(base.unet):
            features = features_of(controller, given)
            answer = controller(base, given["latents"], given["t"], given["context"], features)
            answer.output.square().mean().backward()
        grads.append([p.grad for p in controller.frc.parameters()])
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two)


def test_a_base_from_elsewhere_draws_from_nothing_and_ours_from_the_reference() -> None:
    base = scenes.make_base("sd15")
    assert scenes.make_controller(base, "known").config["draw_from_reference"] is True
    assert scenes.make_controller(base, "zero").config["draw_from_reference"] is False


def test_unfit_shapes_are_refused() -> None:
    base = scenes.make_base("mini")
    with pytest.raises(OptionError, match="channels"):
        FaceXController.for_unet(base.unet, latent_channels=7)
    with pytest.raises(OptionError, match="anchor_init"):
        scenes.make_controller(base, "maybe")
    assert isinstance(base.unet, nn.Module)
