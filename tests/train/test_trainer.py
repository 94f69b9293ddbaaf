# SPDX-License-Identifier: Apache-2.0
"""The generator's trainer on made-up faces: resumed is uninterrupted, averages, samples, errors."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from facex.errors import OptionError
from facex.fors.conditioner import Conditioner
from facex.fors.motion import motion_inputs
from facex.frc.controller import FaceXController
from facex.geometry.albedo import bundled_albedo
from facex.models.klt import KLTAutoencoder
from facex.models.styles import load_style, style_index, style_names
from facex.train.codes import Codes
from facex.train.generator import GeneratorTrainer, Samples
from facex.train.generator_config import GeneratorConfig
from facex.train.holes import random_hole
from facex.train.main import read_config, train_command
from facex.train.samples import PLANS, SampleMaker
from facex.train.style.trainer import StyleConfig, StyleTrainer
from facex.types import REGIONS
from tests.fors import made_up
from tests.tiny import seeded

FACES, SIZE = 3, 256


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of three made-up faces, their codes and an autoencoder."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    faces = [made_up.geometry(yaw, roll, SIZE) for yaw, roll in ((0, 0), (12, 3), (-9, -5))]
    points = np.concatenate([face.landmarks.numpy() for face in faces])
    images = np.stack([made_up.textured(seed, SIZE) for seed in range(FACES)])
    names = np.array([f"face{number}" for number in range(FACES)])
    cache = folder / "cache"
    cache.mkdir()
    np.save(cache / "faces.npy", (images * 255).astype(np.uint8))
    np.save(cache / "names.npy", names)
    np.savez(cache / "landmarks.npz", names=names, points=points, blendshapes=np.zeros((FACES, 52)))
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "split", "terms", "scale"])
        writer.writerows([name, "train", "open", "1.0"] for name in names)
    codes: dict[str, Any] = {
        name: torch.cat([getattr(face, name) for face in faces]).numpy() for name in vars(faces[0])
    }
    codes |= {
        "index": np.arange(FACES),
        "identity_tokens": random.normal(size=(FACES, 4, 8)),
        "region_features": random.normal(size=(FACES, len(REGIONS), 20)),
        "region_present": random.random((FACES, len(REGIONS))) > 0.2,
        "texture": 0.3 * random.normal(size=(FACES, bundled_albedo().size)),
        "light": random.normal(size=(FACES, 27)),
        "parsing": np.stack([made_up.parsing(p, SIZE) for p in points]),
    }
    np.savez(folder / "codes.npz", **codes)
    with seeded():
        vae = KLTAutoencoder(latent_channels=8, width=8, blocks=(1, 1))
    vae.fit(torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1)
    vae.save_pretrained(folder / "vae")
    return folder


def config(data: Path, out: Path, **changes: Any) -> GeneratorConfig:
    values = {
        "cache": data / "cache", "index": data / "index.csv", "codes": data / "codes.npz",
        "vae": data / "vae", "out": out, "batch_size": 1, "base_channels": (32, 32),
        "workers": 0, "max_steps": 3, "learning_rate": 1e-2, "seed": 5,
    }  # fmt: skip
    return GeneratorConfig.model_validate({**values, **changes})


def state(out: Path) -> dict[str, Any]:
    return torch.load(out / "state.pt", weights_only=True)


def assert_same(one: Any, two: Any, where: str = "") -> None:
    """Bit for bit, through dicts, lists and tensors."""
    assert type(one) is type(two), where
    if isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key in one:
            assert_same(one[key], two[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), where
        for number, (a, b) in enumerate(zip(one, two, strict=True)):
            assert_same(a, b, f"{where}[{number}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, two), where
    else:
        assert one == two, where


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps without a break."""
    out = tmp_path_factory.mktemp("whole") / "run"
    GeneratorTrainer(config(data, out)).run()
    return out


def test_a_run_that_is_killed_and_resumed_equals_one_that_is_not(
    data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the third step, after a checkpoint in each step before it."""
    settings = config(data, tmp_path / "run", save_minutes=0)
    killed = GeneratorTrainer(settings)
    micro_step = killed._micro_step

    def kill(batch: dict[str, Any], number: int) -> Any:
        found = micro_step(batch, number)
        if killed.step == 2:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(killed, "_micro_step", kill)
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    assert state(settings.out)["step"] == 2
    # Between two checkpoints another seed of the process makes no difference.
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    resumed = GeneratorTrainer(settings)
    assert resumed.step == 2
    resumed.run()
    assert state(whole)["step"] == 3
    assert_same(state(settings.out), state(whole))
    for part in ("unet", "controller", "conditioner"):
        name = f"model/{part}/diffusion_pytorch_model.safetensors"
        assert (settings.out / name).read_bytes() == (whole / name).read_bytes(), part


def test_gradients_are_added_up_over_the_same_samples(data: Path, tmp_path: Path) -> None:
    settings = config(data, tmp_path / "run", accumulate=2, max_steps=1)
    GeneratorTrainer(settings).run()
    assert state(settings.out)["step"] == 1
    later = GeneratorTrainer(config(data, tmp_path / "run", accumulate=2, max_steps=2))
    # Step 1 begins with the third sample.
    assert next(iter(later._loader().sampler)) == 2


def test_the_saved_model_is_the_average(whole: Path) -> None:
    saved = state(whole)
    kinds = {
        "unet": UNet2DConditionModel, "controller": FaceXController, "conditioner": Conditioner,
    }  # fmt: skip
    parts = {name: kind.from_pretrained(whole / "model" / name) for name, kind in kinds.items()}
    raw = saved["model"]
    names = {name for name in raw if name.split(".")[0] in kinds}
    assert names == set(raw)
    moved = 0
    shadows = {tuple(s.shape): [] for s in saved["average"]["shadow_params"]}
    for shadow in saved["average"]["shadow_params"]:
        shadows[tuple(shadow.shape)].append(shadow)
    for part, net in parts.items():
        for name, value in net.named_parameters():
            assert any(torch.equal(value, s) for s in shadows[tuple(value.shape)]), (part, name)
            moved += not torch.equal(value, raw[f"{part}.{name}"])
    # Something was learned, so that average and last weights are not the same.
    assert moved > 50


def test_a_checkpoint_says_how_it_was_made(data: Path, whole: Path) -> None:
    settings = config(data, whole)
    kept = json.loads((whole / "model" / "train.json").read_text())
    assert GeneratorConfig.model_validate(kept) == settings
    assert (whole / "model" / "scheduler" / "scheduler_config.json").exists()
    assert (whole / "sheet.png").exists()
    assert not (whole / "model.new").exists()
    assert not (whole / "state.pt.new").exists()


def test_a_new_run_can_begin_from_a_model(data: Path, whole: Path, tmp_path: Path) -> None:
    trainer = GeneratorTrainer(config(data, tmp_path / "run", start=whole / "model"))
    assert trainer.step == 0
    start = UNet2DConditionModel.from_pretrained(whole / "model" / "unet")
    for name, value in start.named_parameters():
        assert torch.equal(value, trainer.base.unet.get_parameter(name)), name


def test_a_sample_depends_on_seed_and_number_alone(data: Path, tmp_path: Path) -> None:
    def samples(seed: int) -> Samples:
        return Samples(config(data, tmp_path, seed=seed))

    one, two = samples(3), samples(3)
    wanted = {number: one[number] for number in (0, 1, 4)}
    for number in (4, 0, 1):
        assert_same(two[number], wanted[number], str(number))
    assert not torch.equal(wanted[0]["reference"], wanted[1]["reference"])
    other = samples(4)
    assert not all(torch.equal(other[n]["reference"], wanted[n]["reference"]) for n in wanted)


@pytest.mark.parametrize("kind", range(len(PLANS)), ids=[name for name, _, _ in PLANS])
def test_every_kind_of_damage_leaves_the_answer_outside_the_edit(data: Path, kind: int) -> None:
    from facex.train.facecache import FaceCache

    cache = FaceCache.open(data / "cache", data / "index.csv")
    maker = SampleMaker(cache, Codes.load(str(data / "codes.npz")), seed=1)
    sample = maker.sample(row=0, kind=kind)
    assert sample["kind"] == kind
    truth = torch.from_numpy(np.array(cache.faces[0])).permute(2, 0, 1) / 127.5 - 1
    torch.testing.assert_close(sample["target"], truth, atol=1e-5, rtol=0)
    known, edit = sample["known"], sample["edit"]
    for mask in (known, edit):
        assert mask.shape == (1, SIZE, SIZE)
        assert mask.min() >= 0
        assert mask.max() <= 1
    outside = (edit == 0).expand(3, -1, -1)
    assert 0 < outside.float().mean() < 1
    # The assembler's own soft rim and the disturbances reach no pixel that may not change.
    torch.testing.assert_close(
        sample["reference"][outside], sample["target"][outside], atol=1e-5, rtol=0
    )
    assert (sample["reference"] - sample["target"]).abs().max() > 0.05
    assert sample["reference"].abs().max() <= 1
    assert sample["inputs"].keys() >= {"identity", "pose", "region:lips"}
    assert sample["geometry"].shape == (3, SIZE, SIZE)


def test_shares_of_the_kinds_add_up() -> None:
    assert sum(share for _, share, _ in PLANS) == pytest.approx(1)


def test_codes_say_the_same_as_an_edit(data: Path) -> None:
    """What the generator is trained on and what an edit gives it are the same tokens."""
    codes = Codes.load(str(data / "codes.npz"))
    for row in range(len(codes)):
        given = codes.inputs(row)
        for name, value in motion_inputs(codes.geometry(row), SIZE).items():
            torch.testing.assert_close(given[name], value[0], atol=1e-5, rtol=0)


def test_the_light_of_the_answer_cannot_be_read_from_its_regions(data: Path) -> None:
    codes = Codes.load(str(data / "codes.npz"))
    own, lit = codes.inputs(0), codes.inputs(0, np.random.default_rng(0))
    changed = {name for name in own if not torch.equal(own[name], lit[name])}
    assert changed == {name for name in own if name.startswith("region:")}
    moved = (lit["region:skin"] - own["region:skin"])[0]
    # Mean colour only: three of the features, the same for all regions.
    assert moved.nonzero().flatten().tolist() == [13, 14, 15]
    torch.testing.assert_close((lit["region:hair"] - own["region:hair"])[0], moved)


def test_holes_are_holes() -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        hole = random_hole(random, 64)
        assert set(np.unique(hole)) == {0.0, 1.0}
        assert hole.shape == (64, 64)


def written(data: Path, path: Path, **changes: Any) -> Path:
    values = json.loads(config(data, path.parent / "run").model_dump_json(exclude_none=True))
    lines = [f"{key}: {json.dumps(value)}" for key, value in {**values, **changes}.items()]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("batch_size", "many"),
        ("base_channels", ["wide"]),
        ("mixed_precision", "fp8"),
        ("kind", "painter"),
        ("learning_rate", {}),
        ("learning_rat", 1e-3),
        ("cache", 7),
        ("batch_size", 0),
        ("ema", 3.0),
    ],
)
def test_a_wrong_value_is_named(data: Path, tmp_path: Path, key: str, value: Any) -> None:
    path = written(data, tmp_path / "train.yaml", **{key: value})
    with pytest.raises(OptionError, match=rf"train\.yaml: {key}\b") as caught:
        train_command(path, {})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    # The same when it comes from the command line.
    with pytest.raises(OptionError, match=rf": {key}\b"):
        train_command(written(data, tmp_path / "train.yaml"), {key: value})


@pytest.mark.parametrize("name", ["cache", "samples"])
def test_a_missing_folder_is_one_sentence(data: Path, tmp_path: Path, name: str) -> None:
    path = written(data, tmp_path / "train.yaml", **{name: str(tmp_path / "nowhere")})
    with pytest.raises(OptionError, match=rf"{name}: there (is no|are none)") as caught:
        train_command(path, {})
    assert "\n" not in str(caught.value)


def test_a_missing_value_is_named(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("seed: 1\n")
    with pytest.raises(OptionError, match="cache"):
        train_command(path, {})


@pytest.mark.parametrize("text", ["", "- one\n- two\n", "a: [1\n", "\tseed: 1\n", "just words"])
def test_a_damaged_config_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(text)
    with pytest.raises(OptionError, match=r"train\.yaml"):
        read_config(path, {})
    with pytest.raises(OptionError, match="cannot be read"):
        read_config(tmp_path / "gone.yaml", {})


def test_the_command_trains(data: Path, tmp_path: Path) -> None:
    path = written(data, tmp_path / "train.yaml", max_steps=2)
    folder = train_command(path, {"max_steps": 1, "base_channels": [32]})
    assert folder == tmp_path / "run" / "model"
    assert state(tmp_path / "run")["step"] == 1
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    assert tuple(unet.config["block_out_channels"]) == (32,)


def test_a_style_is_learned_and_loads_into_the_model_it_came_from(
    data: Path, whole: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(whole / "model", model)
    shutil.copytree(data / "vae", model / "vae")
    values = {
        "style": "comic", "model": model, "cache": data / "cache", "index": data / "index.csv",
        "codes": data / "codes.npz", "out": model, "batch_size": 1, "workers": 0, "rank": 2,
        "learning_rate": 1e-2,
    }  # fmt: skip
    trainer = StyleTrainer(StyleConfig.model_validate({**values, "max_steps": 6}))
    frozen = {
        name: value.clone() for name, value in trainer.pipeline.base.unet.state_dict().items()
    }
    trainer.run()
    assert style_names(model) == ("comic",)
    assert style_index(model, "comic").strength == trainer.config.strength
    assert_same(dict(trainer.pipeline.base.unet.state_dict()), frozen)
    vae = KLTAutoencoder.from_pretrained(model / "vae")
    base = replace(trainer.pipeline.base, vae=vae)
    latents = torch.randn(1, 8, 32, 32, generator=torch.Generator().manual_seed(0))
    styled = load_style(base, model, "comic")
    with torch.no_grad():
        drawn, trained = styled.decode(latents), trainer.pipeline.base.decode(latents)
        assert (drawn - base.decode(latents)).abs().max() > 1e-3
        # Stored in half precision.
        torch.testing.assert_close(drawn, trained, atol=2e-2, rtol=1e-2)
    again = StyleTrainer(StyleConfig.model_validate({**values, "max_steps": 1}))
    with torch.no_grad():
        torch.testing.assert_close(again.pipeline.base.decode(latents), drawn, atol=1e-4, rtol=1e-3)
    with pytest.raises(OptionError, match="another rank"):
        StyleTrainer(StyleConfig.model_validate({**values, "rank": 3}))
    with pytest.raises(OptionError, match="there are pencil, comic, oil"):
        StyleTrainer(StyleConfig.model_validate({**values, "style": "crayon"}))
