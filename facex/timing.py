# SPDX-License-Identifier: Apache-2.0
"""Seconds by stage."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def timed(timings: dict[str, float] | None, stage: str) -> Iterator[None]:
    """Add the seconds of a block to a stage; without ``timings`` do nothing.

    A GPU works on while Python goes on, so it is waited for before and after: otherwise the seconds
    of a stage would be counted in the one that first reads its result.
    """
    if timings is not None:
        wait_for_gpu()
    start = time.perf_counter()
    yield
    if timings is not None:
        wait_for_gpu()
        timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - start


def wait_for_gpu() -> None:
    """Wait until every CUDA device that this process uses has finished its work."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    for index in range(torch.cuda.device_count()):
        # Touching a device that is not in use would take memory on it.
        if torch.cuda.memory_allocated(index):
            torch.cuda.synchronize(index)
