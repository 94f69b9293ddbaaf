# SPDX-License-Identifier: Apache-2.0
"""Photos with strangers in them, samples made of those, and samples that are kept."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

import facex
from facex.train.codes import Codes
from facex.train.facecache import FaceCache
from facex.train.generator import Samples
from facex.train.holes import brushed_hole
from facex.train.samples import PLANS, SampleMaker
from facex.train.shards import SHARD, Shards, write_shard, write_shards
from facex.train.stored import StoredSamples, row_of
from facex.train.strangers import StrangerMaker, Strangers
from tests.evaluate.aligned import aligned
from tests.train.test_trainer import assert_same, config, data

__all__ = ["data"]


def test_shards_that_are_there_are_left_alone_and_half_written_ones_are_not_read(
    tmp_path: Path,
) -> None:
    asked: list[int] = []

    def make(number: int) -> dict[str, object]:
        asked.append(number)
        return {"pictures": np.full((1, 2, 2), number % 256, np.uint8), "number": number}

    write_shards(tmp_path, 0, SHARD, make)
    (tmp_path / f"{SHARD:07d}.new").mkdir()
    write_shards(tmp_path, 0, 2 * SHARD, make)
    assert asked == list(range(2 * SHARD))
    shards = Shards(tmp_path)
    assert shards.values("number").tolist() == asked
    assert shards.pictures(SHARD + 3).tolist() == [[[SHARD + 3] * 2] * 2]


def test_a_strangers_face_is_put_into_a_photo(
    mini: facex.FaceX, astronaut: Image.Image, hopper: Image.Image
) -> None:
    faces = np.stack([np.asarray(aligned(mini, photo)) for photo in (astronaut, hopper)])
    located = [mini.locator.read_crop(face, "face") for face in faces]
    cache = FaceCache(Path(), faces, np.array(["a", "b"]), [{}, {}], np.zeros(0), np.zeros(0))
    photos = StrangerMaker(mini, cache, np.arange(2))
    made = photos.make(1)
    assert np.array_equal(photos.make(1)["pictures"], made["pictures"])
    row = made["row"]
    assert (made["pictures"] != faces[row]).mean() > 0.1
    # The photo's own motion, the other's features.
    own, other = (located[n].representation for n in (row, 1 - row))
    assert np.abs(made["landmarks"] - own.landmarks[0].numpy()).mean() < 8
    seen = mini.locator.read_crop(made["pictures"], "it")
    identity = seen.representation.identity[0]
    assert float(identity @ other.identity[0]) > float(identity @ own.identity[0])


def test_a_face_comes_back_into_a_photo_with_a_stranger_in_it(data: Path, tmp_path: Path) -> None:
    cache = FaceCache.open(data / "cache", data / "index.csv")
    codes = Codes.load(str(data / "codes.npz"))
    maker = SampleMaker(cache, codes, 1)
    # Landmarks of the photo, pixels of another face.
    stranger = {
        "row": 0,
        "head": False,
        "pictures": np.asarray(cache.faces[1]),
        "landmarks": codes.points(0).astype(np.float32),
        "parsing": codes.arrays["parsing"][0],
    }
    write_shard(tmp_path, 0, [stranger])
    maker.strangers = Strangers(tmp_path)
    returned = 0
    for number in range(6):
        maker.rng = np.random.default_rng(number)
        sample = maker.sample(kind=[name for name, _, _ in PLANS].index("face"))
        answer = torch.from_numpy(maker.face(sample["row"]).pixels.copy()).permute(2, 0, 1) * 2 - 1
        torch.testing.assert_close(sample["target"], answer)
        outside = (sample["edit"] < 1e-3).expand(3, -1, -1)
        torch.testing.assert_close(sample["reference"][outside], answer[outside], atol=1e-3, rtol=0)
        assert (sample["reference"] - answer).abs().max() > 0.05
        returned += sample["row"] == 0
    assert returned >= 4


def test_a_kept_sample_is_the_sample(data: Path, tmp_path: Path) -> None:
    cache = FaceCache.open(data / "cache", data / "index.csv")
    codes = Codes.load(str(data / "codes.npz"))
    maker = SampleMaker(cache, codes, 1)
    samples = [maker.sample() for _ in range(3)]
    write_shard(tmp_path / "kept", 0, [row_of(sample) for sample in samples])
    kept = StoredSamples(tmp_path / "kept")
    for number, sample in enumerate(samples):
        again = kept.sample(number, codes, np.random.default_rng(0))
        assert again.keys() == sample.keys()
        assert (again["row"], again["kind"]) == (sample["row"], sample["kind"])
        for name in ("target", "reference", "known", "edit", "geometry"):
            torch.testing.assert_close(again[name], sample[name], atol=0.005, rtol=0)
        assert again["inputs"].keys() == sample["inputs"].keys()

    drawn = Samples(config(data, tmp_path / "run", samples=tmp_path / "kept"))
    assert_same(drawn[5], drawn[5])
    assert len({drawn[number]["row"] for number in range(12)}) > 1


def test_a_brushed_hole_is_all_that_is_wrong(data: Path) -> None:
    holes = [brushed_hole(np.random.default_rng(seed), 128) for seed in range(40)]
    again = [brushed_hole(np.random.default_rng(seed), 128) for seed in range(40)]
    assert all(np.array_equal(*pair) for pair in zip(holes, again, strict=True))
    shares = np.array([hole.mean() for hole in holes])
    assert 0 < shares.min() < 0.05
    assert shares.max() <= 0.5
    # Scratches and broad strokes: how much of a hole a step of two pixels takes off its rim.
    rims = [1 - cv2.erode(hole, np.ones((5, 5))).mean() / hole.mean() for hole in holes]
    assert min(rims) < 0.3
    assert max(rims) > 0.9
    cache = FaceCache.open(data / "cache", data / "index.csv")
    sample = SampleMaker(cache, Codes.load(str(data / "codes.npz")), seed=3).hole()
    inside = sample["edit"] > 0
    assert 0 < inside.float().mean() < 1
    assert torch.equal(sample["reference"] * ~inside, sample["target"] * ~inside)
    assert sample["known"][inside].max() < 1
