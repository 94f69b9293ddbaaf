# SPDX-License-Identifier: Apache-2.0
"""Schemathesis over the whole API of a real service, for as long as you like.

Starts a service on loopback with the bundled model and two photos in it, and lets Schemathesis
make up requests from the service's own OpenAPI document: valid ones, wrong ones, chains of them.
Some of them are made plausible enough to become real edits (:class:`Deeper`). A finding is a 5xx,
an answer that the document does not describe, a wrong request that was taken, or an edit that
failed for a reason that the service did not foresee.

    python benchmarks/api_fuzz.py --seconds 300

One check is left out (``positive_data_acceptance``): most recipes that have the right form still
make no sense, and 422 is the documented answer to them.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any
from zlib import crc32

import httpx2 as httpx
import schemathesis
from PIL import Image
from schemathesis.transport.serialization import Binary

from facex.types import Factor, Region

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = "/api/v1/openapi.json"
LEFT_OUT = ("positive_data_acceptance",)
IDS = "FACEX_FUZZ_IDS"
HEX = frozenset("0123456789abcdef")
DRIVEN = ("pose", "expression", "gaze", "reenact")
TASKS = (*DRIVEN, "swap", "head-swap")
FACTORS = tuple(str(factor) for factor in Factor)
REGIONS = tuple(str(region) for region in Region)


class Unforeseen(logging.Handler):
    """Collects what the service's own log calls an error; its clients are not told."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


@contextmanager
def running(app: Any) -> Iterator[str]:
    """An application behind a real socket, in a thread; its address."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise SystemExit("the service did not start")
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)


def seed(address: str, pictures: Sequence[Image.Image]) -> list[str]:
    """Upload photos, and do one edit; ids of all of them."""
    found = []
    with httpx.Client(base_url=f"{address}/api/v1/", timeout=120) as client:
        for image in pictures:
            upload = {"file": ("photo.png", png(image), "image/png")}
            reply = client.post("photos", files=upload).raise_for_status()
            found.append(reply.json()["id"])
        order = {"task": "gaze", "photos": {"target": found[0]}, "sliders": {}, "steps": 1}
        job = client.post("edits", json=order).raise_for_status().json()["id"]
        while client.get(f"jobs/{job}").json()["status"] in ("queued", "running"):
            time.sleep(0.05)
    return [*found, job]


class Deeper:
    """Turns some made-up requests into ones that get further than the first look at them.

    Made-up ids are of nothing, made-up bytes no picture and made-up names of pictures fit nothing,
    so nearly all requests would end with 404 or 422. Every choice depends on the request alone,
    so that a finding can be replayed. Requests that shall be wrong stay as wrong as they are.

    Args:
        ids: of photos with a face, and of a finished job as the last one.
        picture: an upload that is taken.
    """

    def __init__(self, ids: Sequence[str], picture: bytes) -> None:
        self.ids, self.picture = ids, Binary(picture)

    def __call__(self, case: Any) -> None:
        """Change a request of Schemathesis in place."""
        path, valid = case.path_parameters, case.meta is None or not _wrong(case)
        for name in ("photo", "job"):
            value = path.get(name) if path else None
            if isinstance(value, str) and len(value) == 32 and set(value) <= HEX:
                path[name] = self._id(name, value, case.method)
        if not valid or not isinstance(case.body, dict) or not crc32(repr(case.body).encode()) % 4:
            return
        number = crc32(repr(case.body).encode()) // 4
        if case.path.endswith(("/photos", "/masks")):
            # Schemathesis takes bytes of others for no valid text, and the request for a wrong one.
            case._meta = None
            case.body = {"file": self.picture}
        elif case.path.endswith(("/edits", "/previews")):
            case.body = self._order(case.body, number, case.path.endswith("/edits"))

    def _id(self, name: str, value: str, method: str) -> str:
        if method == "DELETE":  # what was put there for all requests shall stay
            return "0" * 32 if value in self.ids else value
        known = self.ids[-1:] if name == "job" else self.ids[:-1]
        number = int(value, 16)
        return known[number // 2 % len(known)] if number % 2 else value

    def _order(self, body: dict[str, Any], number: int, edit: bool) -> dict[str, Any]:
        photos = {"target": self.ids[0], "source": self.ids[number % (len(self.ids) - 1)]}
        found = {key: value for key, value in body.items() if key not in ("faces", "mask")}
        if edit:
            found |= {"consent": number % 8 > 0, "steps": 1}
        if not isinstance(body.get("recipe"), dict):
            task = TASKS[number % len(TASKS)]
            other = "driver" if task in DRIVEN else "source"
            photos = {"target": photos["target"], other: photos["source"]}
            keep = {key: found[key] for key in found.keys() & {"format", "seed", "size", "mesh"}}
            order = {"task": task, "photos": photos, "consent": True, "steps": 1}
            return (order if edit else {"task": task, "photos": photos}) | keep
        steps = [self._step(step, number + i) for i, step in enumerate(body["recipe"]["steps"][:2])]
        return found | {"recipe": {**body["recipe"], "photos": photos, "steps": steps}}

    @staticmethod
    def _step(step: dict[str, Any], number: int) -> dict[str, Any]:
        names = ("target", "source", "none")
        found = {**step, "mask": None, "steps": 1, "style": None, "edit": "auto", "place": None}
        for i, factor in enumerate(FACTORS):
            if factor in found:
                found[factor] = names[(number >> i) % 2]
        if isinstance(step.get("regions"), dict):
            regions = zip(REGIONS, step["regions"], strict=False)
            found["regions"] = {key: names[(number + i) % 3] for i, (key, _) in enumerate(regions)}
        return found


def _wrong(case: Any) -> bool:
    return bool(case.meta.generation.mode.is_negative)


def png(image: Image.Image) -> bytes:
    """A picture as an upload."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def register(ids: Sequence[str]) -> None:
    """Let every request that Schemathesis makes go through :class:`Deeper`."""
    change = Deeper(ids, png(Image.new("RGB", (64, 64))))

    @schemathesis.hook
    def before_call(context: Any, case: Any, kwargs: Any) -> None:
        change(case)


if os.environ.get(IDS):  # imported by Schemathesis as its hooks
    register(os.environ[IDS].split(","))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--examples", type=int, default=60, help="per operation and phase")
    parser.add_argument("--seed", type=int, default=1)
    args, more = parser.parse_known_args()

    from facex.server.app import create_app
    from facex.server.service import build_service
    from facex.server.settings import ServiceSettings

    with files("skimage").joinpath("data", "astronaut.png").open("rb") as file:
        photo = Image.open(file).convert("RGB").crop((80, 0, 380, 300))
    log = Unforeseen()
    logging.getLogger("facex.server").addHandler(log)
    with tempfile.TemporaryDirectory(prefix="facex-fuzz-") as folder:
        settings = ServiceSettings(
            data=Path(folder),
            keep_hours=None,
            max_seconds=2,
            max_steps=4,
            max_queue=8,
            max_photos=2000,
        )
        with running(create_app(build_service(settings))) as address:
            ids = seed(address, [photo, photo.rotate(8)])
            words = [
                "run", f"{address}{SCHEMA}", "--max-time", str(args.seconds),
                "--max-examples", str(args.examples), "--seed", str(args.seed),
                "--exclude-checks", ",".join(LEFT_OUT), "--continue-on-failure",
                "--suppress-health-check", "all", "--request-timeout", "60",
                "--warnings", "off", *more,
            ]  # fmt: skip
            environment = {
                **os.environ, IDS: ",".join(ids),
                "SCHEMATHESIS_HOOKS": "benchmarks.api_fuzz", "PYTHONPATH": str(ROOT),
            }  # fmt: skip
            program = "import sys; from schemathesis.cli import schemathesis as run; run()"
            done = subprocess.run(
                [sys.executable, "-c", program, *words], cwd=folder, env=environment, check=False
            )
    print(*log.found, sep="\n")
    sys.exit(done.returncode or bool(log.found))


if __name__ == "__main__":
    main()
