# SPDX-License-Identifier: Apache-2.0
"""Load test of the service on loopback: several clients, many small edits, nothing may get lost.

Starts ``facex serve`` on a free port with a short queue, so that clients are sent away (429) and
have to come back when they were told to. Counts what was accepted, what came out, and what did
not; samples the memory of the server's processes, the worker's among them.

    python benchmarks/load.py --clients 8 --jobs 200
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psutil
from PIL import Image

API = "/api/v1"
TASKS: tuple[dict[str, Any], ...] = (
    {"task": "gaze", "sliders": {"gaze_yaw": 12.0}},
    {"task": "pose", "sliders": {"yaw": 8.0}},
    {"task": "expression", "sliders": {"blendshapes": {"jawOpen": 0.3}}},
)


@dataclass
class Tally:
    """What the clients saw, shared by their threads."""

    accepted: int = 0
    done: int = 0
    refused: int = 0
    told: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    trouble: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


def portrait(side: int) -> bytes:
    """Eileen Collins (NASA, public domain, from scikit-image), the head only, as PNG."""
    with files("skimage").joinpath("data", "astronaut.png").open("rb") as file:
        image = Image.open(file).convert("RGB").crop((80, 0, 380, 300)).resize((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@contextmanager
def running_service(queue: int, data: Path) -> Iterator[tuple[str, psutil.Process]]:
    """``facex serve`` on a port that the system chooses; its address and its process."""
    words = ["serve", "--port", "0", "--max-queue", str(queue), "--data", str(data)]
    environment = {key: value for key, value in os.environ.items() if key != "FACEX_TOKEN"}
    with subprocess.Popen(
        [sys.executable, "-m", "facex", *words], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found is None:
                raise SystemExit(f"the service did not start: {line!r}")
            yield found[0], psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(60)


def memory(process: psutil.Process) -> float:
    """Resident megabytes of the service and of whatever it started."""
    everyone = [process, *process.children(recursive=True)]
    return sum(each.memory_info().rss for each in everyone) / 1e6


def watch(process: psutil.Process, tally: Tally, stop: threading.Event) -> list[list[float]]:
    """Rows of seconds, finished jobs and megabytes, every second until told to stop."""
    rows, start = [], time.monotonic()
    while not stop.wait(1.0):
        rows.append([round(time.monotonic() - start, 1), tally.done, round(memory(process), 1)])
    return rows


def client(base: str, picture: bytes, numbers: Iterator[int], args: Any, tally: Tally) -> None:
    """One client: uploads a photo, then orders edits one after the other until none is left."""
    end = time.monotonic() + args.minutes * 60
    with httpx.Client(base_url=base, timeout=120) as http:
        upload = http.post(f"{API}/photos", files={"file": ("photo.png", picture, "image/png")})
        upload.raise_for_status()
        photo = upload.json()["id"]
        for number in numbers:
            if time.monotonic() > end:
                return
            order = {
                **TASKS[number % len(TASKS)], "photos": {"target": photo},
                "seed": number, "steps": args.steps, "size": 256,
            }  # fmt: skip
            try:
                one_job(http, order, args.side, tally)
            except Exception as error:
                with tally.lock:
                    tally.trouble[f"{type(error).__name__}: {error}"[:120]] += 1


def one_job(http: httpx.Client, order: dict[str, Any], side: int, tally: Tally) -> None:
    """Order an edit, as often as told to come back; follow it, fetch it, look at it."""
    while True:
        reply = http.post(f"{API}/edits", json=order)
        if reply.status_code != 429:
            break
        wait = float(reply.headers["retry-after"])
        with tally.lock:
            tally.refused += 1
            tally.told.append(wait)
        time.sleep(wait)
    start = time.monotonic()
    if reply.status_code != 202:
        raise RuntimeError(f"{reply.status_code}: {reply.text}")
    with tally.lock:
        tally.accepted += 1
    job = reply.json()
    with http.stream("GET", f"{API}/jobs/{job['id']}/events") as events:
        for line in events.iter_lines():
            if line.startswith("data: {"):
                job = json.loads(line.removeprefix("data: "))
    if job["status"] != "done":
        raise RuntimeError(f"{job['status']}: {job['error']}")
    result = http.get(f"{API}/jobs/{job['id']}/result")
    result.raise_for_status()
    image = Image.open(io.BytesIO(result.content))
    image.load()
    if image.size != (side, side):
        raise RuntimeError(f"the result has {image.size} pixels")
    with tally.lock:
        tally.done += 1
        tally.seconds.append(time.monotonic() - start)


def measure(args: Any) -> dict[str, Any]:
    """Run everything and put the numbers together."""
    tally, stop = Tally(), threading.Event()
    lock, counter = threading.Lock(), itertools.count()

    def numbers() -> Iterator[int]:
        while True:
            with lock:
                number = next(counter)
            if number >= args.jobs:
                return
            yield number

    with (
        tempfile.TemporaryDirectory(prefix="facex-load-") as folder,
        running_service(args.queue, Path(folder)) as (base, process),
    ):
        while not httpx.get(f"{base}{API}/health").json()["loaded"]:
            time.sleep(0.2)
        loaded, rows = memory(process), []
        watcher = threading.Thread(target=lambda: rows.extend(watch(process, tally, stop)))
        watcher.start()
        picture, start = portrait(args.side), time.monotonic()
        threads = [
            threading.Thread(target=client, args=(base, picture, numbers(), args, tally))
            for _ in range(args.clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall = time.monotonic() - start
        stop.set()
        watcher.join()
    return summary(args, tally, rows, loaded, wall)


def summary(
    args: Any, tally: Tally, rows: list[list[float]], loaded: float, wall: float
) -> dict[str, Any]:
    """The numbers; memory by quarters of the jobs, since the first edits fill the caches."""
    quarters = []
    for quarter in range(4):
        low, high = (tally.done * part / 4 for part in (quarter, quarter + 1))
        inside = [row[2] for row in rows if low <= row[1] < high]
        quarters.append(round(statistics.median(inside), 1) if inside else None)
    told = tally.told
    return {
        "clients": args.clients, "asked": args.jobs, "accepted": tally.accepted,
        "done": tally.done, "lost": tally.accepted - tally.done,
        "trouble": dict(tally.trouble), "wall_seconds": round(wall, 1),
        "jobs_per_minute": round(tally.done / wall * 60, 1),
        "answers_429": tally.refused,
        "told_to_wait_seconds": [min(told), statistics.median(told), max(told)] if told else [],
        "order_to_result_seconds": {
            "median": round(statistics.median(tally.seconds), 1),
            "worst": round(max(tally.seconds), 1),
        } if tally.seconds else {},
        "memory_loaded_mb": round(loaded, 1), "memory_by_quarter_mb": quarters,
        "memory_peak_mb": max((row[2] for row in rows), default=None),
        "memory_rows": rows,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=1, help="sampling steps of an edit")
    parser.add_argument("--side", type=int, default=256, help="of the photos, pixels")
    parser.add_argument("--queue", type=int, default=4, help="jobs that may wait")
    parser.add_argument("--minutes", type=float, default=30, help="no new jobs after that")
    parser.add_argument("--json", type=Path, help="write everything, with memory over time")
    args = parser.parse_args()
    found = measure(args)
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name, value in found.items():
        if name != "memory_rows":
            print(f"{name:24s} {value}")
    if found["lost"] or found["trouble"]:
        sys.exit("jobs were lost, or something went wrong")


if __name__ == "__main__":
    main()
