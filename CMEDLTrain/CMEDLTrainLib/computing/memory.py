"""What a step of training takes of the memory, and what there is."""

from __future__ import annotations

import contextlib
import gc
import sys
from pathlib import Path

import torch

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def start_peak(device: torch.device) -> None:
    """Count :func:`peak` anew from here; what nobody needs any more is freed first."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with contextlib.suppress(OSError):  # some containers forbid it: then the peak is the process's so far
            Path("/proc/self/clear_refs").write_text("5", "utf-8")


def peak(device: torch.device) -> int | None:
    """The most bytes in use at one time since :func:`start_peak`; None where the system does not tell.

    On CUDA the tensors' own, on the CPU the whole process's.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type != "cpu":
        return None
    if sys.platform == "linux":
        return _status("VmHWM")
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def available(device: torch.device) -> int | None:
    """Bytes that this process may use in all, what it has already included; None where the system does not tell."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    if device.type != "cpu" or sys.platform != "linux":
        return None
    lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    return min([free + _status("VmRSS"), *_limits()])


def _limits() -> list[int]:
    """What a container allows."""
    limits = []
    for path in _CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # the file says "max" where there is no limit
            limits.append(int(Path(path).read_text("ascii")))
    return limits


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
