# SPDX-License-Identifier: Apache-2.0
"""``facex serve`` and ``facex studio`` as a user starts them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2 as httpx
import pytest

from facex.cli.main import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["serve", "studio"])
def test_it_says_where_it_is_and_ends_in_good_order(name: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    words = [name, "--port", "0", "--data", str(data)]
    words += ["--no-browser"] if name == "studio" else []
    program = [sys.executable, "-m", "facex"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    environment.pop("FACEX_TOKEN", None)
    with subprocess.Popen(
        [*program, *words], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+/", line)
            assert found, line
            assert ("#token=" in line) == (name == "studio")
            assert "FaceX Studio" in httpx.get(found[0]).text
            assert httpx.get(f"{found[0]}api/v1/health").json()["ok"]
            expected = 401 if name == "studio" else 200
            assert httpx.get(f"{found[0]}api/v1/jobs").status_code == expected
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert (data / "service.sqlite").exists()
    assert not list(tmp_path.glob("facex-*"))


def test_an_open_address_without_a_token_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FACEX_TOKEN", raising=False)
    assert run(["serve", "--host", "0.0.0.0", "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert "FACEX_TOKEN" in said
    assert said.count("\n") == 1
