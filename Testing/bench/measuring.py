"""What the benches share: where the libraries are, the machine, times, memory, best and worst, and where results go."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / name) for name in ("CMEDLSegment", "CMEDLTrain", "Testing")]

RESULTS = Path(__file__).resolve().parent / "results"
HANDS_BACK = {"MALLOC_MMAP_THRESHOLD_": "1000000"}
"""glibc otherwise raises the threshold with the first large block that is freed, and keeps later ones."""


def arguments_of(description: str, **numbers: int) -> argparse.ArgumentParser:
    """A parser with an option for each number, such as ``--repeats``, by its default."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser


class Stopwatch:
    """Seconds on the clock, of this process's threads, and of this thread, while it is open.

    On a machine that is busy with other things only those of the processor mean something.
    """

    def __enter__(self) -> Stopwatch:
        self._begin = time.perf_counter(), time.process_time(), time.thread_time()
        return self

    def __exit__(self, *error: object) -> None:
        end = time.perf_counter(), time.process_time(), time.thread_time()
        self.seconds, self.processor, self.thread = (b - a for a, b in zip(self._begin, end, strict=True))


def memory_mb(field: str) -> float:
    """Memory of this process (Linux), 10^6 bytes: ``VmRSS`` is what is resident, ``VmHWM`` its peak so far."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024 / 1e6


def forget_peak() -> None:
    """Begin ``VmHWM`` anew; where that is not allowed, the peak so far counts."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")


def answer(*arguments: object, **environment: str) -> Any:
    """The JSON that a Python program prints last, run as a process of its own with these arguments."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, encoding="utf-8", check=True, env={**os.environ, **environment}
    )
    return json.loads(done.stdout.splitlines()[-1])


def spans(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Best and worst of each figure of repeats."""
    return {key: {"best": min(row[key] for row in rows), "worst": max(row[key] for row in rows)} for key in rows[0]}


def machine(device: str = "") -> dict[str, Any]:
    """What the figures are measured on; with the name of a device, what PyTorch has there."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    facts: dict[str, Any] = {"cpu": models[0] if models else platform.processor() or platform.machine()}
    facts |= {"cores": os.cpu_count(), "python": platform.python_version(), "load_average": os.getloadavg()}
    if device:
        import torch

        facts |= {"torch": torch.__version__, "threads": torch.get_num_threads()}
        if device.startswith("cuda"):
            facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def store(name: str, result: Mapping[str, Any], show: bool = True) -> None:
    """Write a result into ``results/NAME.json``, and print it."""
    text = json.dumps(result, indent=1)
    if show:
        print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
