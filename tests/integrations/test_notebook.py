# SPDX-License-Identifier: Apache-2.0
"""``examples/tour.ipynb`` runs top to bottom, shows pictures, and is kept without outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbformat (extra dev)")
nbclient = pytest.importorskip("nbclient", reason="needs nbclient (extra dev)")
pytest.importorskip("ipykernel", reason="needs ipykernel (extra dev), which runs the cells")

ROOT = Path(__file__).resolve().parents[2]
TOUR = ROOT / "examples" / "tour.ipynb"


@pytest.fixture(scope="module")
def notebook() -> Any:
    return nbformat.read(TOUR, as_version=4)


def test_it_is_kept_without_outputs(notebook: Any) -> None:
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None


def test_it_runs_top_to_bottom(
    notebook: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    done = client.execute()
    pictures = texts = 0
    for cell in (cell for cell in done.cells if cell.cell_type == "code"):
        for output in cell.outputs:
            assert output.output_type != "error"
            pictures += "image/png" in output.get("data", {})
            texts += output.output_type == "stream" and output.name == "stdout"
    assert pictures >= 7
    assert texts >= 3
