# SPDX-License-Identifier: Apache-2.0
"""Run a graph by onnxruntime beside its stage in torch: equal numbers, and how long they take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facex.errors import FaceXError
from facex.export.stages import Stage

TOLERANCE: Final = 1e-3
"""Largest difference, relative to the largest value of an output."""
_RUNS: Final = 5


@dataclass(frozen=True)
class Compared:
    """A graph against its stage.

    Attributes:
        difference: largest absolute difference over the largest absolute value of an output,
            the worst of all outputs and of a batch of one and of three.
        torch_ms: median milliseconds of one item in torch, one thread.
        onnx_ms: the same in onnxruntime.
        inputs: shape and element type of each input of one item.
        outputs: shape and lowest and highest value seen of each output of one item.
    """

    difference: float
    torch_ms: float
    onnx_ms: float
    inputs: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]


def open_graph(path: Path) -> Any:
    """An onnxruntime session on the CPU with one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def compare(stage: Stage, path: Path, *, seed: int = 1) -> Compared:
    """Run a graph on inputs that it was not traced with.

    Args:
        stage: of ``build_stages``.
        path: its graph.
        seed: of the inputs.

    Raises:
        FaceXError: an output is off by more than ``TOLERANCE``.
    """
    session = open_graph(path)
    random = torch.Generator().manual_seed(seed)
    worst = 0.0
    for batch in (3, 1):
        values = stage.example(batch, random)
        expected, found = _torch(stage, values), _onnx(stage, session, values)
        for port, right, got in zip(stage.outputs, expected, found, strict=True):
            gap = float(np.abs(got - right).max() / max(float(np.abs(right).max()), 1e-6))
            if not gap <= TOLERANCE:  # also refuses not-a-number
                raise FaceXError(
                    f"graph {stage.name}: {port.name} differs from torch by {gap:.1e}, more than "
                    f"{TOLERANCE:.0e}; export again with another version of torch or onnxruntime"
                )
            worst = max(worst, gap)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch_ms = _time(lambda: _torch(stage, values))
    finally:
        torch.set_num_threads(threads)
    return Compared(
        worst,
        torch_ms,
        _time(lambda: _onnx(stage, session, values)),
        {
            port.name: {"shape": _shape(stage, port.name, v), "type": str(v.dtype)[6:]}
            for port, v in zip(stage.inputs, values, strict=True)
        },
        {
            port.name: {
                "shape": ["batch", *v.shape[1:]],
                "seen": [round(float(v.min()), 4), round(float(v.max()), 4)],
            }
            for port, v in zip(stage.outputs, expected, strict=True)
        },
    )


def _shape(stage: Stage, name: str, value: Tensor) -> list[str | int]:
    free = {0: "batch", **stage.free.get(name, {})}
    return [free.get(axis, size) for axis, size in enumerate(value.shape)]


@torch.inference_mode()
def _torch(stage: Stage, values: tuple[Tensor, ...]) -> list[NDArray[Any]]:
    return [value.numpy() for value in stage.module(*values)]


def _onnx(stage: Stage, session: Any, values: tuple[Tensor, ...]) -> list[NDArray[Any]]:
    fed = {port.name: v.numpy() for port, v in zip(stage.inputs, values, strict=True)}
    found: list[NDArray[Any]] = session.run([port.name for port in stage.outputs], fed)
    return found


def _time(call: Callable[[], object]) -> float:
    spans = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        call()
        spans.append(1000 * (time.perf_counter() - start))
    return statistics.median(spans)
