# SPDX-License-Identifier: Apache-2.0
"""A run of ``facex prepare`` that is killed in the middle."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from facex.prepare.shard import ShardFiles


def killed_after_a_shard(
    command: Sequence[str], environment: Mapping[str, str], out: Path
) -> tuple[Path, int]:
    """Run until the first shard lies in ``out``, then kill -9; the shard and its time stamp."""
    first = ShardFiles(out, 0)
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while first.read() is None and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "report.json").exists()
    return first.tar, first.tar.stat().st_mtime_ns
