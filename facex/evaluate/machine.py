# SPDX-License-Identifier: Apache-2.0
"""The machine that measures, and the memory that it gave."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any, Final

import torch

_CLEAR: Final = Path("/proc/self/clear_refs")
_STATUS: Final = Path("/proc/self/status")
_CPUINFO: Final = Path("/proc/cpuinfo")


def machine() -> dict[str, Any]:
    """What measured: processor, cores, threads, memory, load, accelerator and versions.

    ``load`` is the mean number of busy processes of the last minute, this one's own threads too: on
    a machine that others use, times are too long. None for what a system does not tell.
    """
    return {
        "processor": _processor(),
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "memory_gigabytes": _memory(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def reset_peak() -> None:
    """Count peak memory anew from here, where the system can (Linux, CUDA)."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    try:
        _CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return


def peak_megabytes() -> float | None:
    """The most memory this process has had, in 10^6 bytes; None where the system cannot tell.

    On Linux since :func:`reset_peak`, elsewhere since the start.
    """
    try:
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) * (1 if sys.platform == "darwin" else 1024) / 1e6


def gpu_peak_megabytes() -> float | None:
    """The most memory that tensors had on the GPU since :func:`reset_peak`; None without one."""
    if not torch.cuda.is_initialized():
        return None
    return torch.cuda.max_memory_allocated() / 1e6


def _processor() -> str:
    try:
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _cores() -> int | None:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, OSError, ValueError):
        return None
