# SPDX-License-Identifier: Apache-2.0
"""One stage to one ONNX file, by torch's exporter; the batch may have any size."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from facex.errors import FaceXError, MissingExtra
from facex.export.stages import Stage

OPSET: Final = 20
"""Of the graphs: the first in which ``GridSample`` and antialiased ``Resize`` are as torch's."""

_NEEDED: Final = ("onnx", "onnxscript", "onnxruntime")


def check_installed() -> None:
    """See that the packages of the extra are there.

    Raises:
        MissingExtra: one is not.
    """
    if any(find_spec(name) is None for name in _NEEDED):
        raise MissingExtra("exporting to ONNX", "export")


class _SolveByCramer(TorchFunctionMode):
    """ONNX has no linear solver; the only systems in a stage are 2 x 2."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is not torch.linalg.solve:
            return func(*args, **(kwargs or {}))
        return _solve(*args)


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """``matrix^-1 @ right`` for matrices ``(..., 2, 2)``."""
    (a, b), (c, d) = (row.unbind(-1) for row in matrix.unbind(-2))
    adjugate = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
    return adjugate @ right / (a * d - b * c)[..., None, None]


def export_stage(stage: Stage, path: Path, *, seed: int = 0) -> None:
    """Write the graph of a stage.

    Args:
        stage: of ``build_stages``.
        path: file to write; weights are inside, float32.
        seed: of the example inputs with which the stage is traced.

    Raises:
        FaceXError: torch cannot translate the stage.
    """
    # A batch of one would be taken for a constant.
    example = stage.example(2, torch.Generator().manual_seed(seed))
    with _silenced(), torch.no_grad(), _SolveByCramer():
        try:
            torch.onnx.export(
                stage.module.eval(),
                example,
                str(path),
                input_names=[port.name for port in stage.inputs],
                output_names=[port.name for port in stage.outputs],
                dynamic_shapes=_dynamic_shapes(stage),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                optimize=False,  # runtimes do it on loading; here it takes most of the time
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise FaceXError(
                f"stage {stage.name} cannot be translated to ONNX by torch {torch.__version__}; "
                "try the version of torch that this facex was released with"
            ) from error


def _dynamic_shapes(stage: Stage) -> tuple[Any, ...]:
    """Free axes of each argument of ``forward``; arguments behind a ``*`` are one tuple."""
    free: Any = torch.export.Dim.DYNAMIC
    shapes = [{axis: free for axis in (0, *stage.free.get(port.name, {}))} for port in stage.inputs]
    code = type(stage.module).forward.__code__
    if not code.co_flags & 0x04:  # takes no *args
        return tuple(shapes)
    named = code.co_argcount - 1
    return (*shapes[:named], tuple(shapes[named:]))


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """The exporter speaks of packages that are not needed; errors still come as exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
