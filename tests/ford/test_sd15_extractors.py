# SPDX-License-Identifier: Apache-2.0
"""The sd15 extractors against the layouts that the public checkpoints are known to have.

The layouts are written down here a second time, from the public projects' documentation of their
networks, and not derived from the code under test.
"""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch.nn import functional as F

from facex.errors import MissingExtra, ModelNotFound, WeightsCorrupt
from facex.ford.extractor import Extractor
from facex.ford.representation import EXTRACTED_FIELDS
from facex.ford.sd15 import (
    ArcFaceNet,
    BiSeNet,
    BiSeNetExtractor,
    ClipRegionExtractor,
    D3DFRNet,
    L2CSExtractor,
    L2CSNet,
    align,
    load_clip,
    load_extractors,
    load_net,
)
from facex.ford.sd15.arcface import IRESNET50, IRESNET100
from facex.ford.sd15.bisenet import BISENET_CLASSES, CHANNEL_OF_CLASS
from facex.ford.sd15.clip_regions import pool_regions, region_masks
from facex.ford.sd15.d3dfr import rotation_from_angles, split_coefficients
from facex.ford.sd15.loading import on_meta
from facex.types import PARSING_CLASSES, REGIONS, Region
from tests import tiny

Layout = dict[str, tuple[int, ...]]


def bn(name: str, channels: int) -> Layout:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{p}": (channels,) for p in parts} | {f"{name}.num_batches_tracked": ()}


def iresnet(counts: tuple[int, ...]) -> Layout:
    layout: Layout = {"conv1.weight": (64, 3, 3, 3), "prelu.weight": (64,), **bn("bn1", 64)}
    inputs = 64
    for number, (width, count) in enumerate(zip((64, 128, 256, 512), counts, strict=True), 1):
        for index in range(count):
            block = f"layer{number}.{index}"
            layout |= bn(f"{block}.bn1", inputs)
            layout[f"{block}.conv1.weight"] = (width, inputs, 3, 3)
            layout |= bn(f"{block}.bn2", width)
            layout[f"{block}.prelu.weight"] = (width,)
            layout[f"{block}.conv2.weight"] = (width, width, 3, 3)
            layout |= bn(f"{block}.bn3", width)
            if index == 0:
                layout[f"{block}.downsample.0.weight"] = (width, inputs, 1, 1)
                layout |= bn(f"{block}.downsample.1", width)
            inputs = width
    layout |= bn("bn2", 512) | {"fc.weight": (512, 25088), "fc.bias": (512,)} | bn("features", 512)
    return layout


def resnet50(prefix: str = "") -> Layout:
    layout: Layout = {"conv1.weight": (64, 3, 7, 7), **bn("bn1", 64)}
    inputs = 64
    for number, (width, count) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True), 1):
        for index in range(count):
            block = f"layer{number}.{index}"
            shapes = ((width, inputs, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1))
            for step, shape in enumerate(shapes, 1):
                layout[f"{block}.conv{step}.weight"] = shape
                layout |= bn(f"{block}.bn{step}", shape[0])
            if index == 0:
                layout[f"{block}.downsample.0.weight"] = (4 * width, inputs, 1, 1)
                layout |= bn(f"{block}.downsample.1", 4 * width)
            inputs = 4 * width
    return {prefix + name: shape for name, shape in layout.items()}


def d3dfr() -> Layout:
    layout = resnet50("backbone.")
    for index, count in enumerate((80, 64, 80, 3, 27, 2, 1)):
        layout[f"final_layers.{index}.weight"] = (count, 2048, 1, 1)
        layout[f"final_layers.{index}.bias"] = (count,)
    return layout


def l2cs() -> Layout:
    heads: Layout = {"fc_finetune.weight": (3, 2051), "fc_finetune.bias": (3,)}
    for name in ("fc_yaw_gaze", "fc_pitch_gaze"):
        heads |= {f"{name}.weight": (90, 2048), f"{name}.bias": (90,)}
    return resnet50() | heads


def bisenet() -> Layout:
    layout: Layout = {"conv1.weight": (64, 3, 7, 7), **bn("bn1", 64)}
    inputs = 64
    for number, width in enumerate((64, 128, 256, 512), 1):
        for index in range(2):
            block = f"layer{number}.{index}"
            layout[f"{block}.conv1.weight"] = (width, inputs, 3, 3)
            layout[f"{block}.conv2.weight"] = (width, width, 3, 3)
            layout |= bn(f"{block}.bn1", width) | bn(f"{block}.bn2", width)
            if index == 0 and number > 1:
                layout[f"{block}.downsample.0.weight"] = (width, inputs, 1, 1)
                layout |= bn(f"{block}.downsample.1", width)
            inputs = width
    layout = {f"cp.resnet.{name}": shape for name, shape in layout.items()}
    convolutions = {
        "cp.arm16.conv": (128, 256, 3, 3), "cp.arm32.conv": (128, 512, 3, 3),
        "cp.conv_head32": (128, 128, 3, 3), "cp.conv_head16": (128, 128, 3, 3),
        "cp.conv_avg": (128, 512, 1, 1), "ffm.convblk": (256, 256, 1, 1),
        "conv_out.conv": (256, 256, 3, 3), "conv_out16.conv": (64, 128, 3, 3),
        "conv_out32.conv": (64, 128, 3, 3),
    }  # fmt: skip
    for name, shape in convolutions.items():
        layout[f"{name}.conv.weight"] = shape
        layout |= bn(f"{name}.bn", shape[0])
    for arm in ("arm16", "arm32"):
        layout[f"cp.{arm}.conv_atten.weight"] = (128, 128, 1, 1)
        layout |= bn(f"cp.{arm}.bn_atten", 128)
    layout |= {
        "ffm.conv1.weight": (64, 256, 1, 1), "ffm.conv2.weight": (256, 64, 1, 1),
        "conv_out.conv_out.weight": (19, 256, 1, 1),
        "conv_out16.conv_out.weight": (19, 64, 1, 1),
        "conv_out32.conv_out.weight": (19, 64, 1, 1),
    }  # fmt: skip
    return layout


PUBLIC = {
    "arcface_r50": (ArcFaceNet, {"layers": IRESNET50}, iresnet((3, 4, 14, 3))),
    "arcface_r100": (ArcFaceNet, {"layers": IRESNET100}, iresnet((3, 13, 30, 3))),
    "bisenet": (BiSeNet, {}, bisenet()),
    "d3dfr": (D3DFRNet, {}, d3dfr()),
    "l2cs": (L2CSNet, {}, l2cs()),
}


@pytest.mark.parametrize("kind", PUBLIC)
def test_full_size_network_loads_the_public_layout_strictly(kind: str) -> None:
    net_class, config, layout = PUBLIC[kind]
    net = on_meta(net_class, config)
    assert {k: tuple(v.shape) for k, v in net.state_dict().items()} == layout
    checkpoint = {
        name: torch.empty(
            shape, device="meta", dtype=torch.long if "num_batches" in name else torch.float
        )
        for name, shape in layout.items()
    }
    net.load_state_dict(checkpoint, strict=True, assign=True)


def test_parameter_counts_are_those_of_the_known_trunks() -> None:
    def count(kind: str) -> int:
        net_class, config, _ = PUBLIC[kind]
        return sum(p.numel() for p in on_meta(net_class, config).parameters())

    # torchvision documents 25,557,032 parameters for ResNet-50, of which 2,049,000 are its head.
    assert count("d3dfr") == 25_557_032 - 2_049_000 + 257 * 2049
    assert count("l2cs") == 25_557_032 - 2_049_000 + 180 * 2049 + 3 * 2052


@pytest.fixture(scope="module")
def crop() -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 512), torch.linspace(-1, 1, 512), indexing="ij")
    one = torch.stack([x, y, (6 * x).sin() * (4 * y).cos()])
    return torch.stack([one, one.flip(0)])


@pytest.fixture(scope="module")
def found(crop: torch.Tensor) -> dict[str, torch.Tensor]:
    fields = {"landmarks": tiny.tiny_landmarks(2)}
    with torch.no_grad():
        for extractor in tiny.tiny_sd15_extractors():
            result = extractor(crop, fields)
            assert isinstance(extractor, Extractor)
            assert set(result) == set(extractor.provides) <= set(EXTRACTED_FIELDS)
            fields.update(result)
    return fields


def test_the_public_extractors_fill_their_fields(found: dict[str, torch.Tensor]) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    assert shapes == {
        "landmarks": (2, 478, 3), "identity_tokens": (2, 49, 32), "identity": (2, 16),
        "parsing": (2, 512, 512), "expression": (2, 64), "texture": (2, 80), "light": (2, 27),
        "gaze": (2, 2, 2), "region_features": (2, 13, 12), "region_present": (2, 13),
    }  # fmt: skip
    assert found["parsing"].dtype == torch.uint8
    assert found["parsing"].max() < 19
    assert found["region_present"].dtype == torch.bool
    assert all(t.isfinite().all() for t in found.values())
    torch.testing.assert_close(found["identity"].norm(dim=1), torch.ones(2))


def test_a_face_is_read_the_same_alone_and_in_a_batch(
    crop: torch.Tensor, found: dict[str, torch.Tensor]
) -> None:
    fields = {"landmarks": tiny.tiny_landmarks(1)}
    with torch.no_grad():
        for extractor in tiny.tiny_sd15_extractors():
            fields.update(extractor(crop[1:], fields))
    for name, tensor in fields.items():
        torch.testing.assert_close(tensor, found[name][1:], rtol=1e-3, atol=1e-4)


def test_extractors_that_serve_as_losses_are_differentiable() -> None:
    crop = torch.rand(1, 3, 128, 128).requires_grad_()
    fields = {"landmarks": tiny.tiny_landmarks(1, 128)}
    extractors = tiny.tiny_sd15_extractors()
    fields["parsing"] = torch.ones(1, 128, 128, dtype=torch.uint8)
    for extractor in extractors:
        for name, value in extractor(crop, fields).items():
            if name in ("parsing", "region_present"):
                continue
            total = value.square().sum() + value.sum()
            (gradient,) = torch.autograd.grad(total, crop, retain_graph=True)
            assert gradient.abs().sum() > 0, name
    scores = extractors[1].scores(crop)
    (gradient,) = torch.autograd.grad(scores.sum(), crop)
    assert gradient.abs().sum() > 0


def test_only_the_region_adapter_is_trainable() -> None:
    for extractor in tiny.tiny_sd15_extractors():
        extractor.train()
        trainable = [n for n, p in extractor.named_parameters() if p.requires_grad]
        if isinstance(extractor, ClipRegionExtractor):
            assert trainable
            assert all(name.startswith("adapter.") for name in trainable)
            assert not extractor.clip.training
        else:
            assert trainable == []
            assert not any(module.training for module in extractor.modules())


def test_classes_are_matched_by_name() -> None:
    assert sorted(BISENET_CLASSES) == sorted(PARSING_CLASSES)
    # Spot checks against the checkpoint's published numbers.
    for number, name in ((1, "skin"), (10, "nose"), (6, "eye_g"), (17, "hair"), (18, "hat")):
        assert CHANNEL_OF_CLASS[PARSING_CLASSES.index(name)] == number


@pytest.mark.parametrize("number", range(19))
def test_a_pixel_of_the_checkpoint_class_gets_our_class_of_that_name(number: int) -> None:
    class OneClass(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return F.one_hot(torch.full((1, 8, 8), number), 19).permute(0, 3, 1, 2).float()

    parsing = BiSeNetExtractor(OneClass())(torch.zeros(1, 3, 8, 8), {})["parsing"]  # type: ignore[arg-type]
    assert {PARSING_CLASSES[i] for i in parsing.unique()} == {BISENET_CLASSES[number]}


def test_gaze_signs_and_bins() -> None:
    class Looks(L2CSNet):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            scores = torch.full((2, 1, 90), -100.0)
            scores[0, 0, 50] = 100.0  # yaw bin 50: (50 - 45) * 4 = 20 degrees to the picture's left
            scores[1, 0, 43] = 100.0  # pitch bin 43: 8 degrees down
            return scores[0], scores[1]

    extractor = L2CSExtractor(Looks(width=1))
    gaze = extractor(torch.zeros(1, 3, 64, 64), {"landmarks": tiny.tiny_landmarks(1, 64)})["gaze"]
    expected = torch.tensor([math.radians(-8), math.radians(-20)])
    torch.testing.assert_close(gaze, expected.expand(1, 2, 2))


def test_coefficients_are_split_in_the_published_order() -> None:
    parts = split_coefficients(torch.arange(257.0)[None])
    assert [p.shape[1] for p in parts] == [80, 64, 80, 3, 27, 3]
    assert parts.expression[0, 0] == 80
    assert parts.texture[0, 0] == 144
    assert parts.light[0, 0] == 227


def test_head_turns_come_out_in_our_frame() -> None:
    # Their frame: y up, z to the camera. +x nods down, +y turns to the picture's right, +z rolls
    # counter-clockwise. Ours: y down, the nose points along -z, the person's left along +x.
    def turned(axis: int, vector: tuple[float, float, float]) -> list[float]:
        angles = torch.zeros(1, 3)
        angles[0, axis] = math.pi / 6
        return (rotation_from_angles(angles)[0] @ torch.tensor(vector, dtype=torch.float)).tolist()

    cos, sin = math.cos(math.pi / 6), 0.5
    assert turned(0, (0, 0, -1)) == pytest.approx([0, sin, -cos], abs=1e-6)
    assert turned(1, (0, 0, -1)) == pytest.approx([sin, 0, -cos], abs=1e-6)
    assert turned(2, (1, 0, 0)) == pytest.approx([cos, -sin, 0], abs=1e-6)


def test_rotation_equals_the_published_formula_in_the_other_frame() -> None:
    x, y, z = 0.2, -0.5, 0.7
    rx = torch.tensor([[1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]])
    ry = torch.tensor([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    rz = torch.tensor([[math.cos(z), -math.sin(z), 0], [math.sin(z), math.cos(z), 0], [0, 0, 1]])
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    ours = rotation_from_angles(torch.tensor([[x, y, z]]))[0]
    torch.testing.assert_close(ours, flip @ rz @ ry @ rx @ flip)


def _dots(points: torch.Tensor, size: int) -> torch.Tensor:
    """A picture that is bright at the five points."""
    grid = torch.stack(
        torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="xy"), -1
    )
    distance = (grid[None] - points[:, None, None]).square().sum(-1)
    return (-distance / 60).exp().sum(0).expand(1, 3, -1, -1) * 2 - 1


def test_recognition_crop_puts_the_five_points_on_the_template() -> None:
    angle, scale = 0.3, 2.5
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    template = torch.tensor(align.ARCFACE_POINTS) + 0.5
    points = (template - 56) @ turn.T * scale + 250
    landmarks = torch.zeros(1, 478, 3)
    for indices, point in zip(((33, 133), (362, 263), (4,), (61,), (291,)), points, strict=True):
        landmarks[0, list(indices), :2] = point
    patch = (align.arcface_crop(_dots(points, 512), landmarks)[0, 0] + 1) / 2
    for x, y in template.tolist():
        window = patch[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4]
        rows = torch.arange(int(y) - 3, int(y) + 4) + 0.5
        columns = torch.arange(int(x) - 3, int(x) + 4) + 0.5
        assert abs((window.sum(1) * rows).sum() / window.sum() - y) < 0.4
        assert abs((window.sum(0) * columns).sum() / window.sum() - x) < 0.4


def test_d3dfr_crop_of_a_frontal_mean_face_has_its_unit_at_102_px() -> None:
    mean = torch.tensor(align.D3DFR_POINTS)[:, :2] * torch.tensor([1.0, -1.0])
    points = mean * 204 + torch.tensor([300.0, 220.0])
    landmarks = torch.zeros(1, 478, 3)
    for indices, point in zip(((33, 133), (362, 263), (4,), (61,), (291,)), points, strict=True):
        landmarks[0, list(indices), :2] = point
    x = torch.linspace(-1, 1, 1024).mul(512).add(511.5).expand(1, 3, 1024, 1024) / 512 - 1
    patch = align.d3dfr_crop(x, landmarks)
    column = ((patch[0, 0, 100] + 1) * 512 + 0.5).diff()
    # 102 px for a unit of 204 px: each patch pixel is two pixels wide.
    torch.testing.assert_close(column.mean(), torch.tensor(2.0), atol=0.02, rtol=0)


def test_patches_are_averaged_not_aliased() -> None:
    checker = (torch.arange(512)[:, None] + torch.arange(512)) % 2 * 2.0 - 1
    matrix = torch.tensor([[[4.0, 0, 0], [0, 4.0, 0]]])
    patch = align.cut_patch(checker.expand(1, 3, -1, -1), matrix, 112, 4)
    assert patch.abs().max() < 0.05


def test_region_masks_follow_the_parsing_and_the_beard_the_landmarks() -> None:
    parsing = torch.full((1, 256, 256), PARSING_CLASSES.index("skin"), dtype=torch.uint8)
    parsing[:, :40] = PARSING_CLASSES.index("hair")
    masks = region_masks(parsing, tiny.tiny_landmarks(1, 256))
    beard, skin = (masks[0, REGIONS.index(r)] for r in (Region.BEARD, Region.SKIN))
    assert 0 < beard.sum() < skin.sum()
    assert (beard <= skin).all()
    assert masks[0, REGIONS.index(Region.HAIR)].sum() == 40 * 256
    assert masks[0, REGIONS.index(Region.GLASSES)].sum() == 0


def test_pooling_is_the_mean_inside_the_mask() -> None:
    features = torch.randn(1, 5, 8, 8)
    masks = torch.zeros(1, 2, 32, 32)
    masks[0, 0, :16, :16] = 1
    pooled = pool_regions(features, masks)
    torch.testing.assert_close(pooled[0, 0], features[0, :, :4, :4].mean((1, 2)))
    assert (pooled[0, 1] == 0).all()


def test_folder_of_extractors_loads_what_was_saved(tmp_path, crop) -> None:
    tiny.save_tiny_extractors(tmp_path)
    fields = {"landmarks": tiny.tiny_landmarks(2)}
    again = dict(fields)
    with torch.no_grad():
        for one, two in zip(tiny.tiny_sd15_extractors(), load_extractors(tmp_path), strict=True):
            fields.update(one(crop, fields))
            again.update(two(crop, again))
    for name, tensor in fields.items():
        # Convolutions of the same weights may differ in the last bit with their place in memory.
        torch.testing.assert_close(tensor, again[name], msg=lambda text, n=name: f"{n}: {text}")


def test_clip_accepts_the_names_of_the_published_file(tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    tiny.tiny_clip().save_pretrained(tmp_path / "tower")
    tensors = load_file(tmp_path / "tower" / "model.safetensors")
    # The published file: the whole CLIP, prefixed tower, the text half, position numbers.
    named = {"vision_model." + n.removeprefix("vision_model."): t for n, t in tensors.items()}
    named["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    named["text_model.final_layer_norm.weight"] = torch.ones(3)
    named["visual_projection.weight"] = torch.ones(3, 3)
    named["logit_scale"] = torch.ones(())
    whole = tmp_path / "whole"
    whole.mkdir()
    save_file(named, whole / "model.safetensors")
    config = {"model_type": "clip", "vision_config": tiny.TINY_CLIP, "text_config": {}}
    (whole / "config.json").write_text(json.dumps(config))
    images = torch.rand(1, 3, 56, 56)
    with torch.no_grad():
        expected = tiny.tiny_clip()(pixel_values=images).last_hidden_state
        assert torch.equal(load_clip(whole)(pixel_values=images).last_hidden_state, expected)
    del named["vision_model.pre_layrnorm.bias"]
    save_file(named, whole / "model.safetensors")
    with pytest.raises(WeightsCorrupt, match="pre_layrnorm"):
        load_clip(whole)


def test_missing_and_broken_parts_are_named(tmp_path) -> None:
    with pytest.raises(ModelNotFound, match="arcface"):
        load_extractors(tmp_path)
    tiny.tiny_bisenet().save_pretrained(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    (tmp_path / "config.json").write_text('{"wdth": 4}')
    with pytest.raises(WeightsCorrupt, match="wdth"):
        load_net(BiSeNet, tmp_path)
    (tmp_path / "config.json").write_text('{"width": 8}')
    with pytest.raises(WeightsCorrupt, match="shape"):
        load_net(BiSeNet, tmp_path)
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsCorrupt, match="damaged"):
        load_net(BiSeNet, tmp_path)


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"facex\[sd15\]"):
        tiny.build_clip(tiny.TINY_CLIP)
