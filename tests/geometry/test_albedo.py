# SPDX-License-Identifier: Apache-2.0
"""The dense albedo: its chart, codes and back, what is hidden follows from what is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from facex.errors import ModelNotFound, WeightsCorrupt
from facex.geometry.albedo import (
    AlbedoModel,
    bundled_albedo,
    fit_visible,
    measure,
    mirror_values,
    to_colours,
    to_values,
    to_weights,
)
from facex.geometry.draw_face import draw_face, to_srgb
from facex.geometry.face_chart import HEIGHT, WIDTH, face_chart
from facex.geometry.light_texture import to_linear
from tests.fors import made_up

LIGHT = torch.zeros(1, 27)
LIGHT[0, ::9] = 1.0


def a_face(seed: int = 0) -> torch.Tensor:
    """A code of a plausible person."""
    generator = torch.Generator().manual_seed(seed)
    code = torch.randn(1, bundled_albedo().size, generator=generator)
    return 0.8 * code * (torch.arange(bundled_albedo().size) < 24)


def drawn(code: torch.Tensor, yaw: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    points = made_up.landmarks(yaw=yaw, size=256)
    albedo = bundled_albedo().colours(code)[0].numpy()
    image, shown = draw_face(albedo, LIGHT[0].numpy(), points, 256)
    crop = torch.from_numpy(image.transpose(2, 0, 1))[None] * 2 - 1
    return crop, torch.from_numpy(shown)[None, None], points


def test_the_chart_is_symmetric_and_lies_on_the_mesh() -> None:
    chart = face_chart()
    assert (chart.mirror[chart.mirror] == np.arange(len(chart.texels))).all()
    rows, columns = np.divmod(chart.texels, WIDTH)
    assert (columns[chart.mirror] == WIDTH - 1 - columns).all()
    assert (rows[chart.mirror] == rows).all()
    np.testing.assert_allclose(chart.weights.sum(1), 1, atol=1e-5)
    at = (chart.places[chart.corners] * chart.weights[..., None]).sum(1)
    # Along the borders of triangles a texel may belong to its neighbour.
    off = np.abs(at - np.stack([columns, rows], 1) - 0.5).max(1)
    assert np.median(off) < 0.01
    assert np.percentile(off, 98) < 0.7
    order = mirror_values()
    assert torch.equal(order[order], torch.arange(len(order)))
    assert chart.picture(np.ones((len(rows), 1), np.float32)).shape == (HEIGHT, WIDTH, 1)


def test_colours_and_values_are_inverse_where_tints_are_even() -> None:
    count = len(face_chart().texels)
    bright = torch.rand(1, count, 1) * 0.5 + 0.2
    colours = (bright + torch.tensor([0.1, 0.0, -0.08])).square()
    torch.testing.assert_close(to_colours(to_values(colours)), colours, atol=1e-5, rtol=1e-4)


def test_a_code_comes_back_from_its_albedo_and_from_a_drawing() -> None:
    model, code = bundled_albedo(), a_face()
    values = model.decode(code)
    assert (model.encode(values, torch.ones_like(values)) - code).norm() < 0.15 * code.norm()
    crop, shown, points = drawn(code)
    found = model.encode(*measure(crop, torch.from_numpy(points)[None].float(), LIGHT, shown))
    before, after = model.decode(code) - model.mean, model.decode(found) - model.mean
    assert torch.cosine_similarity(before, after).item() > 0.9


@pytest.mark.parametrize("side", ["left", "lower"])
def test_what_is_hidden_follows_from_what_is_seen(side: str) -> None:
    model, code = bundled_albedo(), a_face(1)
    crop, shown, points = drawn(code)
    hidden = shown.clone()
    if side == "left":
        hidden[..., :128] = 0
    else:
        hidden[..., 160:, :] = 0
    place = torch.from_numpy(points)[None].float()
    light, found = fit_visible(model, crop, place, hidden)
    again, _ = draw_face(model.colours(found)[0].numpy(), light[0].numpy(), points, 256)
    mean, _ = draw_face(model.colours(0 * found)[0].numpy(), light[0].numpy(), points, 256)
    gone = ((shown - hidden)[0, 0] > 0).numpy()
    true = ((crop[0] + 1) / 2).numpy().transpose(1, 2, 0)
    error, plain = (np.abs(image - true)[gone].mean() for image in (again, mean))
    assert error < plain


def test_unseen_values_count_nothing() -> None:
    model, code = bundled_albedo(), a_face(2)
    values = model.decode(code)
    weight = to_weights(torch.ones(1, len(face_chart().texels)))
    weight[:, ::3] = 0
    spoiled = torch.where(weight > 0, values, torch.full_like(values, 9.0))
    torch.testing.assert_close(model.encode(spoiled, weight), model.encode(values, weight))


def test_linear_light_and_back() -> None:
    values = np.linspace(0, 1, 50, dtype=np.float32)
    np.testing.assert_allclose(
        to_srgb(to_linear(torch.from_numpy(values)).numpy()), values, atol=1e-4
    )


def test_a_folder_round_trip_and_bad_folders(tmp_path: Path) -> None:
    bundled_albedo().save(tmp_path / "albedo")
    again = AlbedoModel.from_folder(tmp_path / "albedo")
    torch.testing.assert_close(again.decode(a_face()), bundled_albedo().decode(a_face()))
    with pytest.raises(ModelNotFound):
        AlbedoModel.from_folder(tmp_path / "none")
    file = next((tmp_path / "albedo").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsCorrupt):
        AlbedoModel.from_folder(tmp_path / "albedo")
