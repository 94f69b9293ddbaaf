# SPDX-License-Identifier: Apache-2.0
"""The engine past one machine, on a Ray of this machine: `pip install 'facex[ray]'`, `-m slow`."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("imagehash")

from facex.errors import OptionError
from facex.models.hub import BUNDLED
from facex.prepare import ray_engine
from facex.prepare.options import PrepareOptions
from facex.prepare.process import Outcome
from facex.prepare.run import Engine, run
from facex.prepare.sources import Job, plan_jobs
from tests.prepare.killed import killed_after_a_shard

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray"),
]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def photos(
    tmp_path_factory: pytest.TempPathFactory, astronaut: Image.Image, hopper: Image.Image
) -> Path:
    """Three shards of one photo each: two faces, and no picture at all."""
    folder = tmp_path_factory.mktemp("photos")
    astronaut.resize((768, 768)).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"no picture")
    hopper.save(folder / "c.png")
    return folder


@pytest.fixture(scope="module")
def local(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one process makes of them."""
    out = tmp_path_factory.mktemp("local")
    run(plan_jobs([photos], photos=1), options(out), engine=Engine(workers=1))
    return contents(out)


def options(out: Path) -> PrepareOptions:
    return PrepareOptions(str(out), str(BUNDLED))


def contents(out: Path) -> dict[str, str]:
    files = [*(out / "shards").glob("*.tar"), *(out / "shards").glob("*.npy")]
    files += [out / "manifest.csv", out / "manifest.json"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_killed_and_started_again_it_gives_the_bytes_of_one_process(
    photos: Path, local: dict[str, str], tmp_path: Path
) -> None:
    """kill -9 of the driver after a shard: Ray's processes go with it, the shard stays."""
    out = tmp_path / "out"
    words = [sys.executable, "-m", "facex", "prepare", photos, "-o", out]
    words += ["--photos", 1, "--engine", "ray", "--workers", 1]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = list(map(str, words))
    shard, stamp = killed_after_a_shard(command, environment, out)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 1, done.stderr  # one photo is broken
    assert "b.png" in done.stderr
    assert shard.stat().st_mtime_ns == stamp
    assert contents(out) == local


def test_a_shard_that_kills_its_process_is_listed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deadly(row: dict[str, Any], options: PrepareOptions) -> dict[str, Any]:
        import pickle

        from facex.prepare.ray_engine import not_for_ever

        def work() -> Outcome:
            if job.number == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return Outcome(job.number, 1, 1)

        job: Job = pickle.loads(row["task"])[0]
        return not_for_ever(work, job.number, options)._asdict()

    (tmp_path / "shards").mkdir()
    monkeypatch.setattr(ray_engine, "_prepare_row", deadly)
    tasks = [(job, "") for job in plan_jobs([photos], photos=1).jobs]
    outcomes = sorted(ray_engine.run_ray(tasks, options(tmp_path), 1, None))
    assert [outcome.number for outcome in outcomes] == [0, 1, 2]
    assert [bool(outcome.error) for outcome in outcomes] == [False, True, False]
    assert "killed, twice" in outcomes[1].error


def test_a_cluster_at_an_address(photos: Path, local: dict[str, str], tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        engine = Engine("ray", address=cluster.address)
        report = run(plan_jobs([photos], photos=1), options(tmp_path), engine=engine)
    finally:
        cluster.shutdown()
    assert report["failed_shards"] == []
    assert contents(tmp_path) == local


def test_nobody_answers(tmp_path: Path, photos: Path) -> None:
    tasks = [(job, "") for job in plan_jobs([photos], photos=1).jobs]
    with pytest.raises(OptionError, match="no Ray cluster answers at 127"):
        list(ray_engine.run_ray(tasks, options(tmp_path), None, "127.0.0.1:1"))
