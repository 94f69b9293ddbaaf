# SPDX-License-Identifier: Apache-2.0
import contextlib
import dataclasses
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from facex.errors import RepresentationError
from facex.ford import representation
from facex.ford.decompose import FORD
from facex.ford.extractor import Extractor
from facex.ford.representation import (
    EXTRACTED_FIELDS,
    TENSOR_FIELDS,
    TOKEN_INPUTS,
    FaceRepresentation,
    factor_inputs,
)
from facex.types import REGIONS

SIZE = 16


def random_fields(batch: int = 1, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator)

    rotation, _ = torch.linalg.qr(normal(3, 3))
    return {
        "identity_tokens": normal(4, 5),
        "identity": nn.functional.normalize(normal(6)),
        "region_features": normal(13, 7),
        "region_present": normal(13) > 0,
        "parsing": torch.randint(0, 19, (batch, SIZE, SIZE), generator=generator).to(torch.uint8),
        "landmarks": normal(478, 3),
        "shape": normal(8),
        "expression": normal(52).sigmoid(),
        "rotation": rotation * rotation.det().sign()[:, None, None],
        "scale": normal().exp(),
        "translation": normal(2),
        "residual": normal(478, 3),
        "gaze": normal(2, 2).tanh(),
        "texture": normal(9),
        "light": normal(27),
    }


def make(batch: int = 1, seed: int = 0) -> FaceRepresentation:
    matrix = torch.eye(2, 3, dtype=torch.float64).repeat(batch, 1, 1)
    return FaceRepresentation(
        crop_size=SIZE, photo_from_crop=matrix, extractors="test", **random_fields(batch, seed)
    )


def same(a: FaceRepresentation, b: FaceRepresentation) -> bool:
    equal = all(torch.equal(getattr(a, n), getattr(b, n)) for n in TENSOR_FIELDS)
    return equal and (a.crop_size, a.extractors) == (b.crop_size, b.extractors)


def test_index_and_cat_are_inverse() -> None:
    rep = make(3)
    assert len(rep) == rep.batch_size == 3
    assert same(FaceRepresentation.cat(list(rep)), rep)
    assert same(rep[-1], rep[2:])
    with pytest.raises(IndexError):
        rep[3]
    with pytest.raises(RepresentationError):
        rep[3:]
    with pytest.raises(RepresentationError, match="cannot put together"):
        FaceRepresentation.cat([rep, dataclasses.replace(rep, extractors="other")])
    with pytest.raises(RepresentationError, match="texture has"):
        FaceRepresentation.cat([rep, dataclasses.replace(rep, texture=rep.texture[:, :3])])
    with pytest.raises(RepresentationError):
        FaceRepresentation.cat([])


@pytest.mark.parametrize("batch", [1, 2])
def test_save_and_load(batch: int, tmp_path: Path) -> None:
    rep = make(batch, seed=batch)
    rep.save(tmp_path / "face.safetensors")
    assert same(FaceRepresentation.load(tmp_path / "face.safetensors"), rep)
    assert [path.name for path in tmp_path.iterdir()] == ["face.safetensors"]


def test_views_half_precision_and_gradients_are_saved() -> None:
    rep = make(2)
    shared = torch.zeros(2, 40, requires_grad=True)
    rep = dataclasses.replace(
        rep, shape=shared[:, :8], texture=shared[:, 8:20], light=rep.light.half()
    )
    assert same(FaceRepresentation.from_bytes(rep.to_bytes()), rep)
    assert not rep.detach().shape.requires_grad


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("identity", lambda t: t * 2, "unit length"),
        ("identity", lambda t: t.tolist(), "expected a tensor"),
        ("rotation", lambda t: -t, "rotation"),
        ("rotation", lambda t: t * 1.1, "rotation"),
        ("scale", lambda t: -t, "above 0"),
        ("parsing", lambda t: t + 19, "unknown classes"),
        ("parsing", lambda t: t.long(), "expected uint8"),
        ("parsing", lambda t: t[:, :-1], r"expected \(2, 16, 16\)"),
        ("light", lambda t: t * torch.inf, "not finite"),
        ("gaze", lambda t: t * 0 + 4, "180 degrees"),
        ("landmarks", lambda t: t[:, :468], "478"),
        ("region_present", lambda t: t.float(), "expected bool"),
        ("texture", lambda t: t[:1], "texture has shape"),
        ("photo_from_crop", lambda t: t.float(), "float64"),
        ("photo_from_crop", lambda t: t * 0, "inverted"),
        ("photo_from_crop", lambda t: t * torch.nan, "inverted"),
        ("expression", lambda t: t[:, :0], "expression has shape"),
        ("crop_size", lambda t: 0, "crop_size"),
        ("crop_size", lambda t: 16.0, "crop_size"),
        ("extractors", lambda t: "a/b", "extractors"),
    ],
)
def test_wrong_values_are_refused(name: str, value, words: str) -> None:  # type: ignore[no-untyped-def]
    rep = make(2)
    with pytest.raises(RepresentationError, match=words):
        dataclasses.replace(rep, **{name: value(getattr(rep, name))})


GOOD = make().to_bytes()


def tampered(metadata: dict[str, str] | None = None, drop: str = "", **tensors: Tensor) -> bytes:
    stored = {**make().tensors(), **tensors}
    stored.pop(drop, None)
    standard = {
        "format": representation.FORMAT, "format_version": "1", "crop_size": "16",
        "extractors": "test",
    }  # fmt: skip
    stored = {name: tensor.contiguous() for name, tensor in stored.items()}
    return safetensors.torch.save(stored, {**standard, **(metadata or {})})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a face representation"),
        (b"\x80\x04\x95 a pickle, surely", "not a face representation"),
        (b"PK\x03\x04" + bytes(99), "not a face representation"),
        (struct.pack("<Q", 2**60) + b"{}", "not a face representation"),
        (struct.pack("<Q", 2) + b"{}", "not a face representation"),
        (struct.pack("<Q", 100_000) + b'{"a":' * 20_000, "not a face representation"),
        (safetensors.torch.save({"a": torch.zeros(1)}), "not a face representation"),
        (GOOD[:-1], "cut short"),
        (GOOD[:3000], "cut short"),
        (GOOD + b"x", "damaged"),
        (tampered({"format_version": "2"}), "newer FaceX.*update"),
        (tampered({"format_version": "0"}), "no format 0"),
        (tampered({"format_version": "one"}), "no number"),
        (tampered({"crop_size": "big"}), "no number"),
        (tampered({"crop_size": "32"}), "parsing has shape"),
        (tampered(drop="gaze"), "gaze missing"),
        (tampered(extra=torch.zeros(1)), "unknown fields extra"),
        (tampered(scale=torch.tensor([torch.nan])), "not finite"),
    ],
)
def test_bad_files_are_refused(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(RepresentationError, match=rf"bad\.safetensors: .*{words}"):
        FaceRepresentation.load(path)


def test_paths_and_sizes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path, tmp_path / "none", "a\0b"):
        with pytest.raises(RepresentationError):
            FaceRepresentation.load(path)
    monkeypatch.setattr(representation, "MAX_FILE_BYTES", 1000)
    with pytest.raises(RepresentationError, match="too large"):
        FaceRepresentation.from_bytes(GOOD)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2500), st.integers(0, 255))
def test_a_flipped_byte_never_escapes_as_another_error(position: int, value: int) -> None:
    data = bytearray(GOOD)
    data[position] = value
    with contextlib.suppress(RepresentationError):
        FaceRepresentation.from_bytes(bytes(data))


def test_old_formats_are_migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(tensors, metadata):  # type: ignore[no-untyped-def]
        return {"gaze" if k == "look" else k: v for k, v in tensors.items()}, metadata

    monkeypatch.setitem(representation.MIGRATIONS, 0, rename)
    data = tampered({"format_version": "0"}, drop="gaze", look=make().gaze)
    assert same(FaceRepresentation.from_bytes(data), make())


def test_factor_inputs() -> None:
    rep = make(2)
    inputs = factor_inputs(rep)
    assert tuple(inputs) == TOKEN_INPUTS
    widths = {"pose": 9, "expression": 52, "gaze": 4, "texture": 9, "light": 27}
    for name, width in widths.items():
        assert inputs[name].shape == (2, 1, width)
    assert inputs["identity"].shape == (2, 4, 5)
    pose = inputs["pose"][:, 0]
    assert torch.equal(pose[:, :3], rep.rotation[:, :, 0])
    assert torch.equal(pose[:, 3:6], rep.rotation[:, :, 1])
    assert torch.allclose(pose[:, 6].exp(), rep.scale)
    assert torch.allclose((pose[:, 7:] + 0.5) * SIZE, rep.translation)
    stacked = torch.cat([inputs[f"region:{region}"] for region in REGIONS], dim=1)
    assert torch.equal(stacked, rep.region_features)


class Part(nn.Module):
    """An extractor that puts out fixed fields, scaled by the mean of the crop."""

    def __init__(self, *provides: str, needs: str = "", drops: str = "") -> None:
        super().__init__()
        self.provides = provides
        self.needs, self.drops = needs, drops

    def forward(self, crop: Tensor, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.needs:
            assert fields[self.needs].shape[0] == crop.shape[0]
        known = random_fields(crop.shape[0])
        known["light"] = known["light"] * crop.mean()
        return {name: known[name] for name in self.provides if name != self.drops}


def halves(**late: str) -> list[Part]:
    early = ("landmarks", "parsing")
    rest = [name for name in EXTRACTED_FIELDS if name not in early]
    return [Part(*early), Part(*rest, **late)]


def test_ford_fills_a_representation() -> None:
    ford = FORD(halves(needs="landmarks"), name="parts")
    assert all(isinstance(part, Extractor) for part in ford.extractors)
    crop = torch.rand(2, 3, SIZE, SIZE, requires_grad=True)
    timings: dict[str, float] = {}
    rep = ford(crop, timings=timings)
    assert (rep.batch_size, rep.crop_size, rep.extractors) == (2, SIZE, "parts")
    assert torch.equal(rep.photo_from_crop[0], torch.eye(2, 3, dtype=torch.float64))
    assert list(timings) == ["Part"]
    rep.light.sum().backward()
    assert crop.grad is not None
    assert crop.grad.abs().sum() > 0


def test_ford_names_what_is_wrong() -> None:
    whole = halves()
    with pytest.raises(RepresentationError, match="do not provide parsing, landmarks"):
        FORD(whole[1:], name="parts")
    with pytest.raises(RepresentationError, match="both provide 'landmarks'"):
        FORD([*whole, whole[0]], name="parts")
    with pytest.raises(RepresentationError, match="'nonsense', an unknown field"):
        FORD([*whole, Part("nonsense")], name="parts")
    crop = torch.rand(1, 3, SIZE, SIZE)
    with pytest.raises(RepresentationError, match=r"Part needs 'landmarks'.*nothing"):
        FORD(halves(needs="landmarks")[::-1], name="parts")(crop)
    with pytest.raises(RepresentationError, match="returned"):
        FORD(halves(drops="gaze"), name="parts")(crop)
    with pytest.raises(RepresentationError, match="expected \\(B, 3, S, S\\)"):
        FORD(whole, name="parts")(crop[..., :-1])
