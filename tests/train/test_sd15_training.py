# SPDX-License-Identifier: Apache-2.0
"""The sd15 trainer on a tiny checkpoint of the real layout: exact, resumable, spread alike."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch.utils.data import default_collate

pytest.importorskip("accelerate")
pytest.importorskip("imagehash")
pytest.importorskip("transformers")

from accelerate.state import AcceleratorState, GradientState, PartialState

from facex.errors import OptionError
from facex.models.folder import INDEX_NAME, load_model
from facex.prepare.options import MergeOptions, PrepareOptions
from facex.prepare.run import Engine, run
from facex.prepare.sources import plan_jobs
from facex.train.main import train_command
from facex.train.sd15.config import Sd15Config
from facex.train.sd15.data import Group, PreparedMaker, Sd15Samples
from facex.train.sd15.start import make_ready
from facex.train.sd15.trainer import Sd15Trainer, make_optimizer
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]
CROP = 128
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion folder with extractors, but without anything that is to be trained."""
    folder = tiny.make_tiny_sd15_folder(tmp_path_factory.mktemp("sd15") / "model")
    # The tiny branches keep the widths of the tokens small; fresh ones would have 768.
    adapter = folder / "ford" / "region_adapter"
    aside = shutil.move(adapter, folder / "aside")
    assert make_ready(folder, crop_size=CROP) == [
        "ford/motion",
        "ford/shape_model",
        "ford/region_adapter",
        INDEX_NAME,
    ]
    shutil.rmtree(adapter)
    shutil.move(aside, adapter)
    assert make_ready(folder, crop_size=CROP) == []
    return folder


@pytest.fixture(scope="module")
def data(
    model: Path, tmp_path_factory: pytest.TempPathFactory, astronaut: Image.Image, hopper: Any
) -> Path:
    """Six faces in three shards, made by the real `facex prepare`."""
    photos = tmp_path_factory.mktemp("photos")
    for name, photo in (("astronaut", astronaut), ("hopper", hopper)):
        photo.save(photos / f"{name}-0.png")
        ImageOps.mirror(photo).save(photos / f"{name}-1.png")
        ImageOps.autocontrast(ImageOps.posterize(photo, 2)).save(photos / f"{name}-2.png")
    out = tmp_path_factory.mktemp("faces")
    options = PrepareOptions(str(out), str(model))
    merge = MergeOptions(same_photo=0, same_face=1.0, same_person=1.0)
    run(plan_jobs([photos], photos=2), options, merge, engine=Engine(workers=1))
    return out


@pytest.fixture(autouse=True)
def fresh_accelerate() -> Iterator[None]:
    """Accelerate keeps its state for the life of a process."""
    reset()
    yield
    reset()


def reset() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState._reset_state()
    GradientState._reset_state()


def config(model: Path, data: Path, out: Path, **changes: Any) -> Sd15Config:
    values = {
        "model": model, "data": data, "out": out, "max_steps": 4, "batch_size": 2,
        "learning_rate": 1e-3, "warmup": 2, "tokens_width": 16, "spatial_width": 8,
        "mixed_precision": "no", "workers": 0, "log_steps": 1, "shards_at_once": 2,
        "drop_all": 0.2, "seed": 3,
    }  # fmt: skip
    return Sd15Config.model_validate({**values, **changes})


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps without a break."""
    reset()
    out = tmp_path_factory.mktemp("whole") / "run"
    Sd15Trainer(config(model, data, out)).run()
    return out


def test_what_is_frozen_stays_and_the_rest_moves(whole: Path, model: Path) -> None:
    parts = json.loads((whole / "step-00000004" / "state.json").read_text())["parts"]
    counts = {part["name"]: part for part in parts}
    for name in ("base UNet", "autoencoder"):
        assert counts[name]["trained"] == 0 < counts[name]["frozen"]
    trained = ("phi^Reg, CLIP", "phi^Reg, FPN branches", "phi^R", "phi^Inp", "phi^SD", "FRC")
    assert all(counts[name]["trained"] > 0 for name in trained)
    after = whole / "step-00000004" / "model"
    frozen = ("unet", "vae", "ford/arcface", "ford/bisenet", "ford/d3dfr", "ford/l2cs")
    for part in frozen:
        assert (after / part / WEIGHTS).read_bytes() == (model / part / WEIGHTS).read_bytes()
    state = load_file(whole / "step-00000004" / "state.safetensors")
    for prefix in ("controller.frc", "conditioner", "regions.adapter", "regions.clip"):
        moments = [
            value
            for name, value in state.items()
            if name.startswith(f"optimizer/{prefix}")
            and name.endswith("exp_avg_sq")
            # of factors that were never missing, or regions that were never seen
            and "null" not in name
            and "region" not in name.removeprefix("optimizer/regions")
        ]
        assert moments
        # Behind the zero projections FRC gets its first gradient in the second step.
        assert all(bool((value > 0).any()) for value in moments), prefix
    assert not any("unet" in name for name in state)


def test_the_checkpoint_is_a_model(whole: Path) -> None:
    folder = whole / "step-00000004" / "model"
    loaded = load_model(folder, torch.device("cpu"), torch.float32)
    averages = load_file(whole / "step-00000004" / "state.safetensors")
    for name, value in loaded.controller.named_parameters():
        assert torch.equal(value, averages[f"average/controller.{name}"])
    means = loaded.conditioner.representation.get_buffer("mean_pose")
    assert bool(means.any())


def test_killed_and_resumed_is_bit_identical(
    model: Path, data: Path, whole: Path, tmp_path: Path
) -> None:
    settings = config(model, data, tmp_path / "run", save_steps=1)
    # A run that is killed later may end first.
    step = random.SystemRandom().randint(1, 2)
    process = multiprocessing.get_context("fork").Process(target=_train, args=(settings,))
    process.start()
    while process.is_alive() and not (settings.out / f"step-{step:08d}").is_dir():
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    resumed = Sd15Trainer(settings)
    assert 1 <= resumed.step < 4
    resumed.run()
    for part in ("controller", "conditioner", "ford/region_adapter"):
        name = f"step-00000004/model/{part}/{WEIGHTS}"
        assert (settings.out / name).read_bytes() == (whole / name).read_bytes(), part
    one, two = (load_file(out / "step-00000004/state.safetensors") for out in (settings.out, whole))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert losses(settings.out) == losses(whole)
    assert sorted(path.name for path in settings.out.iterdir() if path.is_dir()) == [
        "step-00000003",
        "step-00000004",
    ]


def _train(settings: Sd15Config, **environment: str) -> None:
    """In a forked process, which has imported everything already."""
    os.environ.update(environment)
    reset()
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    Sd15Trainer(settings).run()


def _pair(work: Callable[..., None], settings: Sd15Config) -> None:
    """Do the work in two processes that are joined by gloo."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    shared |= {"ACCELERATE_USE_CPU": "true", "LOCAL_WORLD_SIZE": "2"}
    pair = [
        multiprocessing.get_context("fork").Process(
            target=work, args=(settings,), kwargs={**shared, "RANK": rank, "LOCAL_RANK": rank}
        )
        for rank in ("0", "1")
    ]
    for process in pair:
        process.start()
    for process in pair:
        process.join(120)
        assert process.exitcode == 0


def test_two_processes_have_the_loss_curve_of_one(
    model: Path, data: Path, whole: Path, tmp_path: Path
) -> None:
    settings = config(model, data, tmp_path / "run", batch_size=1)
    _pair(_train, settings)
    np.testing.assert_allclose(losses(settings.out), losses(whole), rtol=2e-5)


def _train_spread(settings: Sd15Config, **environment: str) -> None:
    """As `_train`, with every block spread by PyTorch's FSDP 2, which accelerate asks for.

    Accelerate itself wants a GPU for that, so its part is done here by hand.
    """
    from accelerate import Accelerator
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    blocks = ("CLIPEncoderLayer", "BasicTransformerBlock", "ResnetBlock2D")

    def prepare(_accelerator: Any, net: Any, _optimizer: Any) -> tuple[Any, Any]:
        mesh = init_device_mesh("cpu", (2,))
        for module in [m for m in net.modules() if type(m).__name__ in blocks]:
            fully_shard(module, mesh=mesh)
        fully_shard(net, mesh=mesh)
        parameters = [p for p in net.parameters() if p.requires_grad]
        return net, original(
            _accelerator, make_optimizer(settings, parameters, torch.device("cpu"))
        )

    def clip(_accelerator: Any, parameters: Any, norm: float) -> None:
        torch.nn.utils.clip_grad_norm_(list(parameters), norm)

    original = Accelerator.prepare
    Accelerator.prepare = prepare
    Accelerator.clip_grad_norm_ = clip
    Accelerator.unwrap_model = lambda _accelerator, net: net
    _train(settings, **environment)


@pytest.mark.slow
def test_spread_weights_are_gathered_and_spread_again(
    model: Path, data: Path, whole: Path, tmp_path: Path
) -> None:
    """Two steps, a new start from the checkpoint, two more: the curve of one process."""
    settings = config(model, data, tmp_path / "run", batch_size=1)
    for last in (2, 4):
        _pair(_train_spread, settings.model_copy(update={"max_steps": last}))
    np.testing.assert_allclose(losses(settings.out), losses(whole), rtol=2e-5)
    one, two = (load_file(out / "step-00000004/state.safetensors") for out in (settings.out, whole))
    assert one.keys() == two.keys()
    assert all(one[name].shape == two[name].shape for name in one)


def test_accumulated_steps_and_a_worker_have_the_same_loss_curve(
    model: Path, data: Path, whole: Path, tmp_path: Path
) -> None:
    settings = config(model, data, tmp_path / "run", batch_size=1, accumulate=2, workers=1)
    Sd15Trainer(settings).run()
    np.testing.assert_allclose(losses(settings.out), losses(whole), rtol=2e-5)


def test_another_batch_cannot_go_on(model: Path, data: Path, whole: Path) -> None:
    with pytest.raises(OptionError, match="2 samples a step, not 3"):
        Sd15Trainer(config(model, data, whole, batch_size=3))


def test_checkpointing_computes_the_same(
    model: Path, data: Path, whole: Path, tmp_path: Path
) -> None:
    plain = config(model, data, tmp_path / "run", gradient_checkpointing=False, max_steps=2)
    Sd15Trainer(plain).run()
    np.testing.assert_allclose(losses(plain.out), losses(whole)[:2], rtol=1e-6)


def test_bfloat16_trains(model: Path, data: Path, whole: Path, tmp_path: Path) -> None:
    settings = config(model, data, tmp_path / "run", mixed_precision="bf16", max_steps=2)
    trainer = Sd15Trainer(settings)
    assert trainer.base.unet.dtype == torch.bfloat16
    assert trainer.model.controller.dtype == torch.float32
    trainer.run()
    np.testing.assert_allclose(losses(settings.out), losses(whole)[:2], rtol=0.05)


def test_it_learns(model: Path, data: Path, tmp_path: Path) -> None:
    """Six faces, a fixed batch with noise that the run never sees: its error falls by far."""
    settings = config(
        model, data, tmp_path / "run", max_steps=16, learning_rate=3e-3,
        drop_all=0.0, drop_region=0.0,
    )  # fmt: skip
    trainer = Sd15Trainer(settings)
    fixed = default_collate([trainer.data[1_000_000 + number] for number in range(4)])

    def error() -> float:
        with torch.no_grad():
            return float(trainer._loss(fixed))

    before = error()
    trainer.run()
    assert error() < 0.5 * before


def test_channels_last_computes_the_same(
    model: Path, data: Path, whole: Path, tmp_path: Path
) -> None:
    settings = config(model, data, tmp_path / "run", channels_last=True, max_steps=2)
    trainer = Sd15Trainer(settings)
    assert trainer.base.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    trainer.run()
    np.testing.assert_allclose(losses(settings.out), losses(whole)[:2], rtol=2e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a compiler")
def test_the_compiled_base_computes_the_same(
    model: Path, data: Path, whole: Path, tmp_path: Path
) -> None:
    settings = config(model, data, tmp_path / "run", compile=True, max_steps=2)
    trainer = Sd15Trainer(settings)
    assert trainer.base.unet._compiled_call_impl is not None
    trainer.run()
    np.testing.assert_allclose(losses(settings.out), losses(whole)[:2], rtol=2e-4)


def test_references_are_made_from_other_photos_of_the_person(
    model: Path, data: Path, tmp_path: Path
) -> None:
    group = Sd15Samples(config(model, data, tmp_path / "run"), CROP, 16)._gather((0, 1, 2))
    assert group.same == {}  # everybody is alone in this preparation
    for index in group.indices:
        for row in index.rows:
            row["person"] = row["file"].split("-")[0]
    group = Group(group.indices)
    assert group.same == {0: [1, 2], 1: [0, 2], 2: [0, 1], 3: [4, 5], 4: [3, 5], 5: [3, 4]}
    others = [PreparedMaker(group, CROP, (0,)).face(row).image for row in (1, 2)]

    def views(pairs: bool) -> list[bool]:
        found = []
        for seed in range(12):
            maker = PreparedMaker(group, CROP, (seed,), pairs=pairs)
            view = maker._view(maker.face(0), 0, "any", stay=False)
            found.append(any(np.array_equal(view.image, other) for other in others))
        return found

    assert 3 <= sum(views(True)) < 12
    assert not any(views(False))


def test_samples_depend_on_seed_and_number_alone(model: Path, data: Path, tmp_path: Path) -> None:
    settings = config(model, data, tmp_path / "run")
    one, two = (Sd15Samples(settings, CROP, 16) for _ in range(2))
    for _ in range(3):
        one[7]
    first, again = one[5], two[5]
    for name, value in first.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, again[name]), name
    assert first["present"] == again["present"]
    assert not torch.equal(first["noise"], one[6]["noise"])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("batch_size", 0, "batch_size: "),
        ("drop_all", 1.5, "drop_all: "),
        ("colour", "red", "colour: "),
        ("kind", "painter", "expected generator"),
        ("model", "nowhere", "model: nowhere has no"),
        ("data", "nowhere", "data: nowhere holds no"),
    ],
)
def test_a_wrong_config_is_one_sentence(
    model: Path, data: Path, tmp_path: Path, key: str, value: object, message: str
) -> None:
    path = tmp_path / "sd15.yaml"
    path.write_text(f"kind: sd15\nmodel: {model}\ndata: {data}\nout: {tmp_path / 'run'}\n")
    with pytest.raises(OptionError, match=message) as caught:
        train_command(path, {key: value})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
