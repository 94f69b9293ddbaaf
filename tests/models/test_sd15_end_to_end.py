# SPDX-License-Identifier: Apache-2.0
"""A folder in the layout of Stable Diffusion 1.5, tiny weights, a real photo, all tasks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image, ImageDraw

import facex
from facex.api import EditOptions
from facex.ford.representation import factor_inputs
from facex.ford.sd15 import BiSeNet
from facex.ford.sd15.align import normalise
from facex.fors.conditioner import Conditioner
from facex.frc.controller import FaceXController
from facex.imaging.tensors import to_tensor
from facex.models.folder import INDEX_NAME
from facex.models.hub import BUNDLED
from facex.models.sd15_ford import SD15_FORD, load_sd15_ford
from facex.recipes.tasks import task_table
from facex.types import BLENDSHAPES
from tests import tiny

CROP = 128
QUICK = EditOptions(steps=2, mark=False)

pytestmark = pytest.mark.skipif(
    not (BUNDLED / "ford" / "motion" / "config.json").exists(), reason="no bundled landmark network"
)


def let_every_class_occur(folder: Path, photo: Image.Image) -> None:
    """A random parser sees one class everywhere; let it see all of them somewhere.

    What its last layer says of the mean feature of a photo is taken out of its weights.
    """
    net = BiSeNet.from_pretrained(folder).eval()
    seen: list[torch.Tensor] = []
    last = net.conv_out.conv_out
    last.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    with torch.no_grad():
        net(normalise(to_tensor(photo)))
        mean = seen[0].mean((0, 2, 3))
        along = (last.weight[..., 0, 0] @ mean) / mean.square().sum()
        last.weight -= (along[:, None] * mean)[..., None, None]
    net.save_pretrained(folder)


def add_facex(folder: Path) -> None:
    """What the FaceX model adds to a folder of Stable Diffusion 1.5."""
    for part in ("motion", "shape_model"):
        shutil.copytree(BUNDLED / "ford" / part, folder / "ford" / part)
    with tiny.seeded():
        unet = UNet2DConditionModel.from_pretrained(folder / "unet")
        FaceXController.for_unet(
            unet,
            latent_channels=4,
            frc_width=None,
            head_width=4,
            spatial_widths=(32, 32, 32, 32),
            anchor_init="zero",
        ).save_pretrained(folder / "controller")
        ford = load_sd15_ford(folder / "ford")
        with torch.inference_mode():
            inputs = factor_inputs(ford(torch.rand(1, 3, CROP, CROP) * 2 - 1))
        Conditioner(
            {name: value.shape[1:] for name, value in inputs.items()},
            context_dim=tiny.CONTEXT_DIM,
            width=24,
            reference_channels=4,
            reference_tokens=(CROP // 16) ** 2,
            fold=1,
        ).save_pretrained(folder / "conditioner")
    index = {
        "name": "tiny-sd15", "scale": "sd15", "crop_size": CROP, "steps": 2,
        "licence": "none: random weights",
    }  # fmt: skip
    (folder / INDEX_NAME).write_text(json.dumps(index), encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photo: Image.Image) -> Path:
    path = tiny.make_tiny_sd15_folder(tmp_path_factory.mktemp("sd15") / "model")
    let_every_class_occur(path / "ford" / "bisenet", photo)
    add_facex(path)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> facex.FaceX:
    return facex.FaceX.from_pretrained(folder)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """Eileen Collins (NASA, public domain), as it comes with scikit-image."""
    skimage = pytest.importorskip("skimage")
    path = Path(skimage.__file__).parent / "data" / "astronaut.png"
    return Image.open(path).convert("RGB").crop((80, 0, 400, 320))


@pytest.fixture(scope="module")
def other() -> Image.Image:
    """Grace Hopper (United States Navy, public domain), as it comes with matplotlib."""
    matplotlib = pytest.importorskip("matplotlib")
    path = Path(matplotlib.__file__).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    picture = Image.open(path).convert("RGB")
    return picture.resize((picture.width // 2, picture.height // 2))


def hole(photo: Image.Image) -> np.ndarray:
    """A mask over the middle of the face."""
    mask = Image.new("L", photo.size)
    ImageDraw.Draw(mask).ellipse((110, 90, 180, 190), 255)
    return np.asarray(mask, np.float32) / 255


Edit = Callable[[facex.FaceX, Image.Image, Image.Image], facex.Result]

TASKS: dict[str, Edit] = {
    "inpaint": lambda m, p, o: m.inpaint(p, hole(p), options=QUICK),
    "swap": lambda m, p, o: m.swap(o, p, options=QUICK),
    "head-swap": lambda m, p, o: m.head_swap(o, p, options=QUICK),
    "attribute": lambda m, p, o: m.attribute(o, p, ["lips", "brows"], options=QUICK),
    "pose": lambda m, p, o: m.pose(p, yaw=12, options=QUICK),
    "expression": lambda m, p, o: m.expression(p, {"jawOpen": 0.5}, options=QUICK),
    "gaze": lambda m, p, o: m.gaze(p, yaw=10, options=QUICK),
    "reenact": lambda m, p, o: m.reenact(p, o, options=QUICK),
}


def test_a_fine_tune_of_the_base_takes_its_place(folder: Path, photo: Image.Image) -> None:
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    with torch.no_grad():
        unet.conv_out.bias += 0.5
    unet.save_pretrained(folder / "styles" / "pastel" / "unet")
    model = facex.FaceX.from_pretrained(folder)
    own = model.edit(photo, facex.Recipe.for_task("pose", sliders={"yaw": 5}), options=QUICK)
    result = model.stylize(photo, "pastel", options=QUICK)
    assert (result.mask == 1).all()
    assert result.image.size == photo.size
    styled = model.styled("pastel").base
    assert styled.vae is model.model.base.vae
    assert styled.unet.conv_out.bias.mean() > model.model.base.unet.conv_out.bias.mean() + 0.4
    again = model.edit(photo, facex.Recipe.for_task("pose", sliders={"yaw": 5}), options=QUICK)
    assert np.array_equal(np.asarray(own.image), np.asarray(again.image))
    shutil.rmtree(folder / "styles")


def test_every_task_is_covered() -> None:
    assert set(TASKS) | {"stylize"} == set(task_table())


@pytest.mark.parametrize("task", TASKS)
def test_a_photo_goes_through_every_task(
    task: str, model: facex.FaceX, photo: Image.Image, other: Image.Image
) -> None:
    result = TASKS[task](model, photo, other)
    before, after = np.asarray(photo), np.asarray(result.image)
    assert after.shape == before.shape
    outside = result.mask == 0
    assert 0.2 < outside.mean() < 1
    assert np.array_equal(after[outside], before[outside])
    # Untrained, the base draws everything inside: the picture must show it. Eyes are so small here
    # that their mask is soft in the middle, too.
    inside = result.mask > 0.9 * result.mask.max()
    assert result.mask.max() > 0.5
    assert (after[inside] != before[inside]).any(1).mean() > 0.5
    assert result.representations[0].extractors == SD15_FORD


def test_parts_are_those_of_the_folder(model: facex.FaceX) -> None:
    base = model.model.base
    assert isinstance(base.vae, AutoencoderKL)
    assert (base.fold, base.latent_channels, base.context_dim) == (1, 4, tiny.CONTEXT_DIM)
    assert base.prediction_type == "epsilon"
    assert type(base.scheduler).__name__ == "PNDMScheduler"
    frozen = [*base.unet.parameters(), *base.vae.parameters()]
    assert not any(parameter.requires_grad for parameter in frozen)


def test_expression_holds_blendshapes_and_the_coefficients_of_d3dfr(
    model: facex.FaceX, photo: Image.Image
) -> None:
    face = model.decompose(photo)[0]
    assert face.expression.shape == (1, len(BLENDSHAPES) + 64)
    blendshapes = face.expression[:, : len(BLENDSHAPES)]
    assert blendshapes.min() >= 0
    assert blendshapes.max() <= 1
    # The mesh is rebuilt from the blendshapes alone.
    from facex.fors.motion import geometry_of
    from facex.geometry.pose import place
    from facex.geometry.shape_model import bundled

    geometry = geometry_of(face)
    points = bundled().shape_points(geometry.shape, geometry.expression, geometry.residual)
    torch.testing.assert_close(place(points, geometry.pose()), geometry.landmarks)


def test_an_edit_that_asks_for_nothing_returns_the_photo(
    model: facex.FaceX, photo: Image.Image
) -> None:
    result = model.pose(photo, yaw=0, options=QUICK)
    assert np.array_equal(np.asarray(result.image), np.asarray(photo))


def test_two_runs_with_a_seed_are_identical_and_another_seed_differs(
    model: facex.FaceX, photo: Image.Image
) -> None:
    def run(seed: int) -> np.ndarray:
        options = EditOptions(steps=1, seed=seed, mark=False)
        return np.asarray(model.gaze(photo, yaw=10, options=options).image)

    assert np.array_equal(run(3), run(3))
    assert not np.array_equal(run(3), run(4))


def test_any_fine_tune_takes_the_place_of_the_base(
    folder: Path, model: facex.FaceX, photo: Image.Image, other: Image.Image, tmp_path: Path
) -> None:
    """Stylization: only the folder ``unet`` is another one; controller and all else stay."""
    tuned = tmp_path / "tuned"
    shutil.copytree(folder, tuned)
    shutil.rmtree(tuned / "unet")
    tiny.tiny_unet(seed=7).save_pretrained(tuned / "unet")
    styled = facex.FaceX.from_pretrained(tuned)
    one, two = TASKS["swap"](model, photo, other), TASKS["swap"](styled, photo, other)
    assert np.array_equal(one.mask, two.mask)
    assert not np.array_equal(np.asarray(one.image), np.asarray(two.image))
    for name, value in model.model.controller.state_dict().items():
        assert torch.equal(value, styled.model.controller.state_dict()[name])
    # The fine-tune itself is as it was loaded.
    state = styled.model.base.unet.state_dict()
    for name, value in tiny.tiny_unet(seed=7).state_dict().items():
        assert torch.equal(value, state[name])


def test_the_whole_model_is_saved_and_loaded_again(
    model: facex.FaceX, photo: Image.Image, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "copy")
    again = facex.FaceX.from_pretrained(tmp_path / "copy")
    one, two = TASKS["gaze"](model, photo, photo), TASKS["gaze"](again, photo, photo)
    assert np.array_equal(np.asarray(one.image), np.asarray(two.image))


def test_trained_and_frozen_parameters_are_counted(folder: Path) -> None:
    def count(part: str, kind: Any) -> int:
        net = kind.from_pretrained(folder / part, local_files_only=True)
        return sum(parameter.numel() for parameter in net.parameters())

    counts = {
        "unet": count("unet", UNet2DConditionModel),
        "vae": count("vae", AutoencoderKL),
        "controller": count("controller", FaceXController),
        "conditioner": count("conditioner", Conditioner),
    }
    loaded = facex.FaceX.from_pretrained(folder).model
    for part in (loaded.controller, loaded.conditioner):
        part.requires_grad_(True)
    everything = [loaded.base.unet, loaded.base.vae, loaded.controller, loaded.conditioner]
    parameters = [p for net in everything for p in net.parameters()]
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    assert trained == counts["controller"] + counts["conditioner"]
    frozen = sum(p.numel() for p in parameters if not p.requires_grad)
    assert frozen == counts["unet"] + counts["vae"]


def test_at_full_size_a_twentieth_of_the_parameters_is_trained() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**tiny.SD15_UNET)
        controller = FaceXController.for_unet(
            unet,
            latent_channels=4,
            frc_width=None,
            head_width=64,
            spatial_widths=(128, 256, 512, 512),
            anchor_init="zero",
        )
    assert len(controller.frc) == 15  # 6 down, 9 up, none in the middle
    assert unet.num_parameters() == 859_520_964
    assert 0.02 < controller.num_parameters() / unet.num_parameters() < 0.05
    controller.attach(unet)
    assert sum(p.numel() for p in unet.parameters()) == 859_520_964


@pytest.mark.parametrize("part", ["controller", "conditioner", "unet", "ford/arcface"])
def test_a_missing_part_is_named(folder: Path, tmp_path: Path, part: str) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    shutil.rmtree(broken / part)
    with pytest.raises(facex.FaceXError, match=Path(part).name):
        facex.FaceX.from_pretrained(broken)
