# SPDX-License-Identifier: Apache-2.0
"""Photos to shards: the same bytes, resumed runs, reasons, near-duplicates, carried columns."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from facex.errors import ImageRejected, OptionError
from facex.imaging.read import read_photo
from facex.models.hub import BUNDLED

pytest.importorskip("imagehash")

from facex.detect.choose import FaceChoice
from facex.prepare.index import Index, refuses
from facex.prepare.options import PrepareOptions
from facex.prepare.parts import load_parts
from facex.prepare.quality import Reason
from facex.prepare.read import PreparedShards
from facex.prepare.run import Engine, run
from facex.prepare.sources import plan_jobs
from tests.prepare.killed import killed_after_a_shard

ROOT = Path(__file__).resolve().parents[2]
ONE = Engine(workers=1)


def options(out: Path, **values: Any) -> PrepareOptions:
    return PrepareOptions(str(out), str(BUNDLED), **values)


def contents(out: Path) -> dict[str, str]:
    """Digests of everything that must not depend on the run."""
    files = [*(out / "shards").glob("*.tar"), *(out / "shards").glob("*.npy")]
    files += [out / "manifest.csv", out / "manifest.json"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def grey() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    return Image.fromarray(noise).filter(ImageFilter.GaussianBlur(3))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, astronaut: Any, hopper: Any) -> Path:
    """Two people, a copy, a blurred one, a cut one, a small one, no face, no picture."""
    folder = tmp_path_factory.mktemp("photos")
    large = astronaut.resize((768, 768), Image.Resampling.BICUBIC)
    large.save(folder / "astronaut.png")
    large.save(folder / "copy.jpg", quality=85)
    hopper.save(folder / "hopper.png")
    hopper.filter(ImageFilter.GaussianBlur(8)).save(folder / "blurred.png")
    astronaut.resize((100, 100)).save(folder / "small.png")
    grey().save(folder / "wall.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no more than that")
    (folder / "below").mkdir()
    hopper.crop((150, 100, 512, 600)).save(folder / "below" / "cut.png")
    return folder


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index") / "index.csv"
    path.write_text(
        "file,license,consent,person,camera\n"
        "astronaut.png,PD,yes,Eileen,film\ncopy.jpg,PD,yes,Eileen,film\nhopper,PD,yes,,\n"
    )
    return path


@pytest.fixture(scope="module")
def prepared(photos: Path, index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    run(plan_jobs([photos], index=Index.open(index), photos=2), options(out), engine=ONE)
    return out


def report_of(out: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def test_every_photo_is_kept_or_counted_with_a_reason(prepared: Path) -> None:
    report = report_of(prepared)
    assert report["photos"] == 8
    assert report["kept"] == 2
    assert report["people"] == {"count": 2, "largest": 1}
    assert report["dropped"][Reason.NO_FACE] == 1
    assert report["dropped"][Reason.TOO_SMALL] == 1
    assert report["dropped"][Reason.TOO_BLURRED] == 1
    assert report["dropped"][Reason.SAME_PHOTO] == 1
    assert report["failed_photos"] == 1
    assert report["failures"][0]["file"] == "broken.jpg"
    assert report["faces_found"] - report["kept"] == sum(
        count for reason, count in report["dropped"].items() if reason != Reason.NO_FACE
    )
    cost = report["estimate"]
    assert cost["core_hours"] > cost["last_pass_hours"] > 0
    assert cost["core_hours"] == pytest.approx(sum(cost["core_hours_by_stage"].values()), abs=1)
    assert cost["days_on_64_cores"] * 24 > cost["last_pass_hours"]


def test_the_faces_come_back_as_the_model_sees_them(
    prepared: Path, photos: Path, mini: Any
) -> None:
    shards = PreparedShards.open(prepared)
    faces = {face.record["file"]: face for face in shards.faces(check=True)}
    assert len(shards) == len(faces) == 2
    face = faces["hopper.png"]
    located = mini.locator.find(read_photo(photos / "hopper.png"), FaceChoice())[0]
    assert torch.equal(face.crop, located.crop)
    for name, value in located.representation.tensors().items():
        torch.testing.assert_close(face.representation.tensors()[name], value)
    latents = mini.model.base.encode(located.crop)
    assert face.latents is not None
    torch.testing.assert_close(face.latents, latents, atol=5e-3, rtol=2e-3)
    assert face.record["caption"] == ""
    np.testing.assert_allclose(
        face.record["photo_from_crop"], face.representation.photo_from_crop[0].numpy()
    )


def test_what_the_index_says_goes_along(prepared: Path) -> None:
    faces = {face.record["file"]: face.record for face in PreparedShards.open(prepared).faces()}
    kept = faces.get("astronaut.png") or faces["copy.jpg"]
    assert (kept["licence"], kept["consent"], kept["person"]) == ("PD", "yes", "Eileen")
    assert kept["columns"] == {"camera": "film"}
    assert faces["hopper.png"]["person"].startswith("cluster-")
    header, *rows = (prepared / "manifest.csv").read_text().splitlines()
    assert header.startswith("key,shard,file,licence,consent,person,source,")
    assert header.endswith(",camera")
    assert len(rows) == 2


def test_a_second_run_gives_the_same_bytes_and_a_third_does_nothing(
    prepared: Path, photos: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_jobs([photos], index=Index.open(index), photos=2)
    run(plan, options(tmp_path), engine=ONE)
    before = contents(tmp_path)
    assert before == contents(prepared)
    monkeypatch.setattr(Engine, "run", None)  # nobody may be asked to work
    run(plan, options(tmp_path), engine=ONE)
    assert contents(tmp_path) == before


def test_other_options_need_force_and_leave_no_old_face(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = plan_jobs([photos / "hopper.png", photos / "wall.png"], photos=1)
    run(small, options(tmp_path, latents=False), engine=ONE)
    fewer = plan_jobs([photos / "wall.png"], photos=1)
    with pytest.raises(OptionError, match="--force"):
        run(fewer, options(tmp_path, latents=False), engine=ONE)
    report = run(fewer, options(tmp_path, latents=False), engine=ONE, force=True)
    assert report["kept"] == 0
    assert len(list((tmp_path / "shards").glob("*.tar"))) == 1


def test_no_consent_is_not_even_opened(photos: Path, tmp_path: Path) -> None:
    index = Index({"broken.jpg": {"consent": "withdrawn"}, "wall.png": {"consent": "yes"}})
    plan = plan_jobs([photos / "broken.jpg", photos / "wall.png"], index=index)
    report = run(plan, options(tmp_path), engine=ONE)
    assert report["dropped"] == {Reason.NO_CONSENT: 1, Reason.NO_FACE: 1}
    assert report["failed_photos"] == 0
    assert not refuses({})


def pack(path: Path, photos: list[Path], **about: str) -> None:
    """A tar in webdataset layout; `about` goes into the record of the last photo."""
    with tarfile.open(path, "w") as tar:
        for number, photo in enumerate(photos):
            record = {"license": "CC0", "person": f"p{number}"}
            record |= about if number == len(photos) - 1 else {}
            for suffix, data in ((".png", photo.read_bytes()), (".json", json.dumps(record))):
                content = data.encode() if isinstance(data, str) else data
                entry = tarfile.TarInfo(f"{number:03d}{suffix}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))


def test_consent_taken_back_inside_a_tar_takes_effect(photos: Path, tmp_path: Path) -> None:
    tar, out, chosen = (
        tmp_path / "in.tar",
        tmp_path / "out",
        options(tmp_path / "out", latents=False),
    )
    both = [photos / "wall.png", photos / "hopper.png"]
    pack(tar, both, consent="yes")
    before, size = plan_jobs([tar], photos=1), tar.stat().st_size
    assert run(before, chosen, engine=ONE)["kept"] == 1
    pack(tar, both, consent="denied")
    assert tar.stat().st_size == size  # tar files are padded
    after = plan_jobs([tar], photos=1)
    same = [a.digest() == b.digest() for a, b in zip(before.jobs, after.jobs, strict=True)]
    assert same == [True, False]
    with pytest.raises(OptionError, match="--force"):
        run(after, chosen, engine=ONE)
    assert run(after, chosen, engine=ONE, force=True)["dropped"][Reason.NO_CONSENT] == 1
    assert list(PreparedShards.open(out).faces()) == []
    pack(tar, [both[0], photos / "astronaut.png"], consent="denied")  # another photo
    assert plan_jobs([tar], photos=1).jobs[1].digest() != after.jobs[1].digest()


def test_the_same_faces_from_a_tar_and_from_a_list(
    photos: Path, tmp_path: Path, prepared: Path
) -> None:
    pack(tmp_path / "in.tar", [photos / f"{n}.png" for n in ("astronaut", "hopper", "wall")])
    (tmp_path / "list.txt").write_text(f"# photos\nin.tar\n{photos / 'hopper.png'}\nnowhere.jpg\n")
    plan = plan_jobs([tmp_path / "list.txt"], photos=2)
    assert [(job.kind, job.count or len(job.names)) for job in plan.jobs] == [
        ("tar", 2), ("tar", 1), ("files", 2),
    ]  # fmt: skip
    out = tmp_path / "out"
    report = run(plan, options(out, latents=False, crops="webp"), engine=ONE)
    assert report["failures"][0]["file"] == "nowhere.jpg"
    faces = list(PreparedShards.open(out).faces())
    assert [face.record["person"] for face in faces] == ["p0", "p1"]
    assert faces[0].record["licence"] == "CC0"
    assert faces[0].latents is None
    known = {f.record["phash"]: f.crop for f in PreparedShards.open(prepared).faces()}
    crop = known[faces[1].record["phash"]]
    assert torch.equal(faces[1].crop, crop)  # WebP without loss


@pytest.mark.skipif(find_spec("av") is None, reason="needs PyAV")
def test_every_nth_frame_of_a_video(hopper: Any, tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "film.mp4"), "w") as film:
        stream = film.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.bit_rate = 512, 600, 8_000_000
        for _ in range(5):
            film.mux(stream.encode(av.VideoFrame.from_image(hopper)))
        film.mux(stream.encode())
    plan = plan_jobs([tmp_path / "film.mp4"], every=2)
    report = run(plan, options(tmp_path / "out", latents=False), engine=ONE)
    assert report["photos"] == 3
    assert report["kept"] == 1  # the same picture three times
    face = next(PreparedShards.open(tmp_path / "out").faces())
    assert face.record["file"].startswith("film.mp4#00000")


def test_a_shard_that_fails_is_listed_and_the_others_are_done(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facex.prepare import process

    def writing(path: Path) -> Any:
        if path.name == "faces-000000.tar":
            raise ValueError("bad luck")
        return real(path)

    real = process.writing
    monkeypatch.setattr(process, "writing", writing)
    plan = plan_jobs([photos / "wall.png", photos / "hopper.png"], photos=1)
    report = run(plan, options(tmp_path, latents=False), engine=ONE)
    assert [shard["shard"] for shard in report["failed_shards"]] == [0]
    assert "bad luck" in report["failed_shards"][0]["error"]
    assert report["kept"] == 1
    monkeypatch.undo()
    assert run(plan, options(tmp_path, latents=False), engine=ONE)["failed_shards"] == []


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("gone", None, "does not exist"),
        ("x.zip", "", "uncompressed .tar"),
        ("x.doc", "", "no folder, photo"),
        ("x.txt", "# nothing\n", "no photo, tar shard or video"),
    ],
)
def test_wrong_inputs_say_what_to_do(
    tmp_path: Path, name: str, text: str | None, error: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ImageRejected, match=error):
        plan_jobs([tmp_path / name])


def test_a_damaged_tar_is_a_failure_and_not_the_end(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(b"x" * 3000)
    plan = plan_jobs([tmp_path / "bad.tar", photos / "wall.png"])
    assert [failure["file"] for failure in plan.failures] == ["bad.tar"]
    assert len(plan.jobs) == 1


def test_two_runs_at_once_are_refused(photos: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "shards").mkdir()
    with FileLock(tmp_path / ".lock"), pytest.raises(OptionError, match="another facex prepare"):
        run(plan_jobs([photos]), options(tmp_path), engine=ONE)


def test_a_digest_follows_the_options_but_not_the_place() -> None:
    one = options(Path("a"))
    assert one.digest() == replace(one, out="b").digest()
    assert one.digest() != replace(one, crops="webp").digest()


def test_the_parts_hold_no_generator() -> None:
    parts = load_parts(str(BUNDLED), "cpu")
    assert all(parameter.is_meta for parameter in parts.base.unet.parameters())


def test_killed_and_started_again_it_goes_on(photos: Path, prepared: Path, index: Path) -> None:
    """kill -9 in the middle: what is finished stays, and the end is that of a run in one piece."""
    out = prepared.parent / "killed"
    words = [sys.executable, "-m", "facex", "prepare", photos, "-o", out]
    words += ["--index", index, "--photos", 2, "--workers", 1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = list(map(str, words))
    shard, stamp = killed_after_a_shard(command, environment, out)
    (out / "shards" / ".faces-000001.tar.0.part").touch()  # as if killed within a shard
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr  # one photo is broken
    assert "broken.jpg" in done.stderr
    assert shard.stat().st_mtime_ns == stamp
    assert contents(out) == contents(prepared)
    assert not list((out / "shards").glob(".*"))


@pytest.mark.slow
def test_processes_give_the_same_bytes(
    photos: Path, index: Path, prepared: Path, tmp_path: Path
) -> None:
    plan = plan_jobs([photos], index=Index.open(index), photos=2)
    run(plan, options(tmp_path), engine=Engine(workers=2))
    assert contents(tmp_path) == contents(prepared)
