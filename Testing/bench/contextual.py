"""The streamed contextual loss beside the plain one: memory, time, and how far their results differ, in one run.

    python Testing/bench/contextual.py [--device cuda] [--images 2] [--side 64] [--channels 256] [--repeats 3]

Forward and backward pass for the generated features, the target's detached, as in training. The plain one is the
formula under autograd, all pairs at once. Memory is what is alive at the peak beyond the features and their gradient:
on CUDA what the allocator gave out; on a CPU the rise of the peak resident memory, in a process for each whose
allocator hands freed blocks back at once (on Linux), and, as ``extra_mb_kept``, that of a process with the allocator as
it is, which keeps some for later. Times are the best of ``--repeats``, taken in turns.

Results go to ``Testing/bench/results/``, with the machine they were measured on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(REPOSITORY / "CMEDLSegment"), str(REPOSITORY / "CMEDLTrain")]

import torch
from torch import Tensor

from CMEDLTrainLib.losses.contextual import contextual_loss

RESULTS = Path(__file__).resolve().parent / "results"
MEGABYTE = 1e6
HANDS_BACK = {"MALLOC_MMAP_THRESHOLD_": "1000000"}
"""glibc otherwise raises the threshold with the first large block that is freed, and keeps later ones."""


def plain(generated: Tensor, target: Tensor) -> Tensor:
    """Equations 3 and 4, all pairs at once."""
    ours, theirs = generated.flatten(2).mT, target.flatten(2).mT
    center = theirs.mean(dim=1, keepdim=True)
    ours, theirs = (torch.nn.functional.normalize(values - center, dim=2) for values in (ours, theirs))
    distance = (1 - ours @ theirs.mT) / 2
    weights = torch.exp((1 - distance / (distance.min(dim=2, keepdim=True).values + 1e-5)) / 0.5)
    similarity = weights / weights.sum(dim=2, keepdim=True)
    return -similarity.max(dim=1).values.mean(dim=1).log().mean()


WAYS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"plain": plain, "streamed": contextual_loss}


def a_pair(arguments: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Generated and target features, none negative and with a common part, as after a ReLU."""
    random = torch.Generator().manual_seed(0)
    shape = (arguments.images, arguments.channels, arguments.side, arguments.side)
    common = torch.randn(1, arguments.channels, 1, 1, generator=random)
    pair = [torch.randn(shape, generator=random).add_(common, alpha=0.5).relu_() for _ in range(2)]
    generated, target = (values.to(arguments.device) for values in pair)
    return generated.requires_grad_(), target


def step(way: str, generated: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and gradient."""
    generated.grad = None
    loss = WAYS[way](generated, target)
    loss.backward()
    if generated.device.type == "cuda":
        torch.cuda.synchronize()
    return loss.detach(), generated.grad


def of_this_process(field: str) -> float:
    """A line of /proc/self/status in MB: VmRSS is the resident memory, VmHWM its peak."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / MEGABYTE


def memory(way: str, arguments: argparse.Namespace) -> float:
    """MB beyond the features and the gradient; on a CPU to be called once in a process."""
    small = argparse.Namespace(**{**vars(arguments), "side": 8})
    step(way, *a_pair(small))  # what the libraries take once
    generated, target = a_pair(arguments)
    gradient = generated.numel() * generated.element_size() / MEGABYTE
    if arguments.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(way, generated, target)
        return (torch.cuda.max_memory_allocated() - before) / MEGABYTE - gradient
    with contextlib.suppress(OSError):  # where it is not allowed, the peak so far counts
        Path("/proc/self/clear_refs").write_text("5", "utf-8")  # the peak begins anew
    before = of_this_process("VmRSS")
    step(way, generated, target)
    return of_this_process("VmHWM") - before - gradient


def in_a_process(way: str, keeps: bool = False) -> float:
    """:func:`memory` in a process of its own, with this one's arguments, its allocator keeping freed blocks or not."""
    command = [sys.executable, __file__, *sys.argv[1:], "--memory-of", way]
    environment = os.environ if keeps else {**os.environ, **HANDS_BACK}
    done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True, env=environment)
    return float(done.stdout.splitlines()[-1])


def compare(arguments: argparse.Namespace) -> dict:
    """Both ways on the same features."""
    generated, target = a_pair(arguments)
    best: dict[str, float] = {}
    results: dict[str, tuple[Tensor, Tensor]] = {}
    for _ in range(arguments.repeats):
        for way in WAYS:
            begin = time.perf_counter()
            results[way] = step(way, generated, target)
            best[way] = min(best.get(way, float("inf")), time.perf_counter() - begin)
    differences = [
        float((one - other).norm() / other.norm())
        for one, other in zip(results["streamed"], results["plain"], strict=True)
    ]
    return {
        "seconds": best,
        "extra_mb": {way: in_a_process(way) for way in WAYS},
        "extra_mb_kept": {way: in_a_process(way, keeps=True) for way in WAYS},
        "relative_difference": dict(zip(("loss", "gradient"), differences, strict=True)),
    }


def machine(device: str) -> dict:
    """Where this ran."""
    found = {"cores": os.cpu_count(), "torch": torch.__version__, "python": platform.python_version()}
    found["device"] = torch.cuda.get_device_name() if device != "cpu" else platform.processor() or platform.machine()
    found["threads"], found["load_average"] = torch.get_num_threads(), os.getloadavg()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory-of", choices=tuple(WAYS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print(memory(arguments.memory_of, arguments))
        return
    shape = [arguments.images, arguments.channels, arguments.side, arguments.side]
    result = {"shape": shape, "machine": machine(arguments.device), **compare(arguments)}
    path = RESULTS / f"contextual_{arguments.device}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
