# SPDX-License-Identifier: Apache-2.0
"""Memory and time of the last pass of ``facex prepare`` over synthetic records.

python benchmarks/prepare_memory.py [--counts 5000,50000] [--width 512] [--plan]

Each count runs in a process of its own, over shards that hold records and vectors but no pictures:
people with ten photos on average, one face in twenty a near-duplicate. Printed are the highest
memory above that of the same program before the pass, the seconds of each stage, and the time that
it really had a core (set OMP_NUM_THREADS=1), which other load does not change much. Linux only.

With ``--plan`` the memory of the plan is measured instead, which is what the process that hands out
the jobs keeps of so many photos: in one tar file, and loose in folders of 1,000.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from facex.prepare.collect import Faces
from facex.prepare.manifest import judge, write_manifest
from facex.prepare.options import MergeOptions
from facex.prepare.shard import FOLDER, ShardFiles
from facex.prepare.sources import plan_jobs

SHARD = 256


def write_shards(out: Path, count: int, width: int) -> tuple[int, int]:
    """Synthetic shards; returns the number of near-duplicates and of people."""
    (out / FOLDER).mkdir()
    rng = np.random.default_rng(0)
    people = max(count // 10, 1)
    copies = 0
    seen: set[int] = set()
    for number, begin in enumerate(range(0, count, SHARD)):
        size = min(SHARD, count - begin)
        person = rng.integers(people, size=size)
        seen.update(person.tolist())
        # Two photos of a person have a cosine of 0.8, two people one of 0.
        means = np.stack([np.random.default_rng([1, p]).normal(size=width) for p in person])
        vectors = means + rng.normal(size=(size, width)) * 0.5
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        hashes = rng.integers(2**63, size=size, dtype=np.uint64)
        for i in range(1, size):
            if rng.random() < 0.05:
                vectors[i], hashes[i] = vectors[i - 1], hashes[i - 1] ^ np.uint64(1)
                copies += 1
        write_shard(out, number, vectors.astype(np.float16), hashes)
    return copies, len(seen)


def write_shard(out: Path, number: int, vectors: np.ndarray, hashes: np.ndarray) -> None:
    files = ShardFiles(out, number)
    files.tar.touch()
    faces = [
        {
            "key": f"{number:06d}-{i:05d}-0",
            "file": f"photos/{number:06d}/{i:05d}.jpg",
            "photo_from_crop": [[1.0, 0.0, 12.25], [0.0, 1.0, 31.5]],
            "crop_size": 256,
            "quality": dict.fromkeys(
                ("score", "size", "sharpness", "yaw", "pitch", "outside", "hidden"), 0.5
            ),
            "phash": f"{int(value):016x}",
            "extractors": "synthetic",
            "caption": "",
            "licence": "CC-BY",
            "consent": "yes",
            "person": "",
            "source": "synthetic",
            "columns": {},
        }
        for i, value in enumerate(hashes)
    ]
    summary = {
        "name": files.name, "sha256": "", "bytes": 0, "crop_size": 256, "extractors": "synthetic",
        "photos": len(faces), "found": len(faces), "dropped": {}, "failures": [], "timings": {},
        "faces": faces,
    }  # fmt: skip
    files.finish(summary, vectors)


class Watch(threading.Thread):
    """Looks at this process' memory often and keeps the highest values, in megabytes.

    Of the vectors' file the system keeps in memory what it has room for (``file``); what the
    program itself holds is ``own``.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.start_at = self.own, self.file = self.look()
        self.start()

    @staticmethod
    def look() -> tuple[float, float]:
        lines = Path("/proc/self/status").read_text().splitlines()
        values = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
        return int(values["RssAnon"]) / 1e3, int(values["RssFile"]) / 1e3

    def run(self) -> None:
        while True:
            own, file = self.look()
            self.own, self.file = max(self.own, own), max(self.file, file)
            time.sleep(0.005)


def measure(out: Path) -> dict[str, float]:
    shards = len(list((out / FOLDER).glob("*.tar")))
    watch, start = Watch(), time.perf_counter()
    cpu = time.process_time()
    faces = Faces(out, range(shards))
    seconds = {"collect": time.perf_counter() - start}
    verdicts = judge(faces, MergeOptions())
    start = time.perf_counter()
    write_manifest(faces, verdicts, {})
    seconds |= {**verdicts.timings, "manifest": time.perf_counter() - start}
    cpu = time.process_time() - cpu
    count = len(faces)
    faces.close()
    return {
        "faces": count,
        "MB before": round(watch.start_at[0]),
        "MB own": round(watch.own - watch.start_at[0]),
        "MB file": round(watch.file - watch.start_at[1]),
        **{f"s {name}": round(value, 1) for name, value in seconds.items()},
        "s of one core": round(cpu, 1),
        "dropped": sum(verdicts.dropped.values()),
        "found": verdicts.people,
    }


def write_photos(folder: Path, count: int) -> None:
    """So many empty photos in a tar file, and the same number of loose ones."""
    with tarfile.open(folder / "photos.tar", "w") as tar:
        for number in range(count):
            tar.addfile(tarfile.TarInfo(f"{number:09d}.jpg"))
            tar.members = []
    for number in range(count):
        place = folder / "loose" / f"{number // 1000:05d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:09d}.jpg").touch()


def measure_plan(source: Path) -> dict[str, float | str]:
    before, start = Watch.look()[0], time.process_time()
    jobs = plan_jobs([source]).jobs
    photos = sum(job.count or len(job.names) for job in jobs)
    return {
        "source": source.name, "photos": photos, "jobs": len(jobs),
        "MB of the plan": round(Watch.look()[0] - before, 1),
        "s of one core": round(time.process_time() - start, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="5000,50000")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--plan", action="store_true", help="memory of the plan")
    parser.add_argument("--measure", type=Path, help="a prepared folder, in this process")
    args = parser.parse_args()
    if args.measure:
        print(json.dumps((measure_plan if args.plan else measure)(args.measure)))
        return
    for count in map(int, args.counts.split(",") if args.plan else ()):
        with tempfile.TemporaryDirectory() as folder:
            write_photos(Path(folder), count)
            for source in ("photos.tar", "loose"):
                command = [sys.executable, __file__, "--plan", "--measure", f"{folder}/{source}"]
                subprocess.run(command, check=True)
    if args.plan:
        return
    for count in map(int, args.counts.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            copies, people = write_shards(Path(folder), count, args.width)
            command = [sys.executable, __file__, "--measure", folder]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(done.stdout.strip(), f"true: {copies} copies, {people} people")


if __name__ == "__main__":
    main()
