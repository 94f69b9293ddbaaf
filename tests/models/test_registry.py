# SPDX-License-Identifier: Apache-2.0
"""The list of weights and the search for model folders."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from facex.errors import ModelNotFound
from facex.ford.sd15 import COMPONENTS
from facex.models import hub, registry
from facex.models.convert import convert_checkpoint
from facex.models.hub import resolve_model_folder
from facex.models.registry import WeightSpec, list_weights, weight_specs
from tests import tiny


def test_the_list_is_complete_and_honest() -> None:
    specs = weight_specs()
    names = [spec.name for spec in specs]
    assert len(set(names)) == len(names)
    sd15 = {spec.path.rpartition("/")[0] for spec in specs if spec.scale == "sd15"}
    assert sd15 >= {"unet", "vae", "controller", "conditioner"}
    assert sd15 >= {f"ford/{name}" for name in COMPONENTS}
    for spec in specs:
        assert spec.purpose
        assert spec.licence
        assert not Path(spec.path).is_absolute()
        if spec.commercial in ("no", "conditions"):
            assert spec.note, f"{spec.name}: say why"
    # What is known to be non-commercial must say so.
    for name in ("sd15/arcface-r50", "sd15/arcface-r100", "sd15/bisenet", "sd15/d3dfr"):
        assert next(s for s in specs if s.name == name).commercial == "no"


def test_every_bundled_part_is_in_the_list() -> None:
    bundled = {str(p.relative_to(hub.BUNDLED)) for p in hub.BUNDLED.rglob("*.safetensors")}
    assert bundled <= {spec.path for spec in weight_specs() if spec.scale == "mini"}


def test_status_of_a_folder(tmp_path: Path) -> None:
    folder = tiny.make_tiny_sd15_folder(tmp_path / "m")
    status = {s.spec.name: s for s in list_weights(folder)}
    assert status["sd15/unet"].present
    assert status["sd15/unet"].size == (folder / status["sd15/unet"].spec.path).stat().st_size
    assert status["sd15/unet"].sha256_ok is False  # tiny, so not the published file
    assert status["sd15/clip"].present
    assert not status["sd15/controller"].present
    assert status["sd15/bisenet"].sha256_ok is None
    assert status["mini/shape_model"].path == hub.BUNDLED / status["mini/shape_model"].spec.path
    assert all(s.sha256_ok is None for s in list_weights(folder, verify=False))
    assert not any(s.present for s in list_weights() if s.spec.scale == "sd15")


def test_a_converted_file_is_known_by_what_it_was_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src = tmp_path / "backbone.pth"
    torch.save(tiny.tiny_arcface().state_dict(), src)
    convert_checkpoint("arcface_r50", src, tmp_path / "m/ford/arcface", config=tiny.TINY_ARCFACE)
    digest = hashlib.sha256(src.read_bytes()).hexdigest()
    specs = [
        spec.model_copy(update={"sha256": digest if spec.name == "sd15/arcface-r50" else "0" * 64})
        for spec in weight_specs()
    ]
    monkeypatch.setattr(registry, "weight_specs", lambda: specs)
    status = {s.spec.name: s for s in list_weights(tmp_path / "m")}
    assert status["sd15/arcface-r50"].sha256_ok is True
    assert not status["sd15/arcface-r100"].present  # same place, other network


def test_a_row_with_an_unknown_field_is_refused() -> None:
    row = weight_specs()[0].model_dump() | {"licence_": "x"}
    with pytest.raises(ValueError, match="licence_"):
        WeightSpec.model_validate(row)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FACEX_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))


def test_local_folders_and_the_bundled_one(tmp_path: Path) -> None:
    assert resolve_model_folder(None) == hub.BUNDLED
    assert resolve_model_folder(tmp_path) == tmp_path
    assert resolve_model_folder(str(tmp_path)) == tmp_path


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["nobody/nothing", "no such folder", "a/b/c", "../x", "x\ny"])
def test_what_cannot_be_had_is_one_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound) as caught:
        resolve_model_folder(name)
    assert name in str(caught.value)
    if "\n" not in name:
        assert "\n" not in str(caught.value)


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(ModelNotFound, match="is a file"):
        resolve_model_folder(tmp_path / "f")


@pytest.mark.parametrize(
    ("facex", "hf", "argument", "expected"),
    [
        (None, None, None, True),
        ("0", None, None, False),
        ("0", "1", None, True),
        ("0", None, True, True),
        ("1", None, False, False),
        ("1", "1", False, True),
    ],
)
def test_offline_unless_allowed(
    facex: str | None,
    hf: str | None,
    argument: bool | None,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("FACEX_OFFLINE", facex), ("HF_HUB_OFFLINE", hf)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert hub.is_offline(argument) is expected


def test_the_hub_is_asked_for_configs_and_safetensors_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    asked: dict[str, object] = {}

    def download(hub_id: str, **options: object) -> str:
        asked.update(options, hub_id=hub_id)
        return str(tmp_path)

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve_model_folder("a/b", local_files_only=False) == tmp_path
    assert asked["hub_id"] == "a/b"
    assert asked["local_files_only"] is False
    allowed = asked["allow_patterns"]
    assert isinstance(allowed, list)
    assert all(pattern.endswith((".json", ".safetensors")) for pattern in allowed)
