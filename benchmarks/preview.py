# SPDX-License-Identifier: Apache-2.0
"""How long previews of the page take: processor time of one thread, which other load disturbs less.

python benchmarks/preview.py
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from facex.imaging.read import read_photo
from facex.server.preview import make_preview
from facex.server.schemas import PreviewRequest
from facex.server.service import build_service
from facex.server.settings import ServiceSettings

ORDERS: dict[str, dict[str, Any]] = {
    "slider: turn": {"task": "pose", "sliders": {"yaw": 12.0}},
    "slider: smile": {"task": "expression", "sliders": {"blendshapes": {"mouthSmileLeft": 0.9}}},
    "reenact from another photo": {"task": "reenact"},
    "lips from another photo": {"task": "attribute", "regions": ("lips",)},
    "swap": {"task": "swap"},
    "head swap": {"task": "head-swap"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    pictures = (
        files("skimage").joinpath("data", "astronaut.png"),
        files("matplotlib").joinpath("mpl-data", "sample_data", "grace_hopper.jpg"),
    )
    with tempfile.TemporaryDirectory() as folder:
        settings = ServiceSettings(data=Path(folder), devices=("cpu",))
        service = build_service(settings, filters=())
        ids = []
        for picture in pictures:
            with picture.open("rb") as file:
                ids.append(service.add_photo(read_photo(Image.open(file)), picture.name).id)
        print("| preview | ms, median | ms, 95 % | face read again, ms |")
        print("| --- | ---: | ---: | ---: |")
        for name, order in ORDERS.items():
            other = "driver" if order["task"] == "reenact" else "source"
            photos = {"target": ids[0], **({} if "sliders" in order else {other: ids[1]})}
            request = PreviewRequest(**order, photos=photos, consent=True)

            def timed(request: PreviewRequest = request) -> float:
                start = time.thread_time()
                make_preview(request, service.store, service.reader)
                return 1000 * (time.thread_time() - start)

            for photo in ids:
                service.reader.forget(photo)
            again = timed()
            rounds = sorted(timed() for _ in range(args.rounds))
            late = rounds[min(len(rounds) - 1, round(0.95 * len(rounds)))]
            print(f"| {name} | {statistics.median(rounds):.0f} | {late:.0f} | {again:.0f} |")
        service.database.close()


if __name__ == "__main__":
    main()
