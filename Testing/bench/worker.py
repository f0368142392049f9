"""What the worker process adds to a segmentation, and what a click costs the thread that draws the window.

    python Testing/bench/worker.py [--slices 300] [--repeats 5] [--student NAME] [--probability]

A CT of 512 x 512 voxels is segmented through the worker, once cold and then warm. The overhead of a click is the time
from the click to the result in this process's memory, less what the worker says the segmentation took. Meanwhile
this thread polls every 20 ms, as a panel's timer does, and notes how long ``start`` and ``poll`` kept it, and the
longest time between two ticks beyond what it slept: other threads of this process that hold the interpreter's lock
show there. Cancels come at random moments of a run. Best and worst of the repeats are told. On a machine that is busy
with other things only the processor times mean something.

Results go to ``Testing/bench/results/``, with the machine they were measured on.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# In place of this script's own folder, whose segmentation.py would hide the tests' room of that name.
sys.path[:1] = [str(REPOSITORY / "CMEDLSegment"), str(REPOSITORY / "Testing")]

from CMEDLSegmentLib.inference.options import SegmentationOptions
from CMEDLSegmentLib.process.client import WorkerClient
from CMEDLSegmentLib.process.protocol import Outcome
from CMEDLSegmentLib.process.voxel_transfer import LABEL, VOLUME, read_outcome, read_volume, write_outcome, write_volume

RESULTS = Path(__file__).resolve().parent / "results"
TICK_SECONDS = 0.02
CANCELS = 5


def segmentation_bench():
    """The neighbor of this script, which has the volume and knows the machine."""
    spec = importlib.util.spec_from_file_location("segmentation_bench", Path(__file__).with_name("segmentation.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def span(rows: list[dict], key: str) -> dict[str, float]:
    """Best and worst of a figure."""
    return {"best": min(row[key] for row in rows), "worst": max(row[key] for row in rows)}


def run(client: WorkerClient, volume, options: SegmentationOptions, probability: bool) -> dict:
    """One click, and what it cost."""
    begin, used = time.perf_counter(), time.thread_time()
    segmentation = client.start(volume, options, probability)
    started, start_used = time.perf_counter() - begin, time.thread_time() - used
    longest_poll = longest_gap = longest_use = 0.0
    while True:
        asleep = time.perf_counter()
        time.sleep(TICK_SECONDS)
        tick, used = time.perf_counter(), time.thread_time()
        over = segmentation.done()
        polled, used = time.perf_counter(), time.thread_time() - used
        longest_use = max(longest_use, used)
        longest_gap = max(longest_gap, tick - asleep - TICK_SECONDS)
        longest_poll = max(longest_poll, polled - tick)
        if not over:
            continue
        if error := segmentation.exception():
            sys.exit(f"{error}\n{segmentation.detail}")
        outcome = segmentation.result()
        seconds = outcome.summary["seconds"]
        return {
            "seconds": polled - begin,
            "segmentation_seconds": seconds,
            "overhead_seconds": polled - begin - seconds,
            "start_ms": started * 1000,
            "start_processor_ms": start_used * 1000,
            "longest_poll_ms": longest_poll * 1000,
            "longest_poll_processor_ms": longest_use * 1000,
            "longest_delay_of_a_tick_ms": longest_gap * 1000,
            "marked_share": float(outcome.label[:: len(outcome.label) // 10].astype(bool).mean()),
            "runtime": f"{outcome.summary['runtime']} on {outcome.summary['device']}",
        }


def cancel(
    client: WorkerClient, volume, options: SegmentationOptions, probability: bool, place: Path, seconds: float
) -> dict:
    """Cancel a run so long after the click: how long the call took, and until worker and files were gone."""
    segmentation = client.start(volume, options, probability)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        segmentation.done()
        time.sleep(TICK_SECONDS)
    begin = time.perf_counter()
    client.cancel()
    called = time.perf_counter() - begin
    while client._belongings.processes or list(place.iterdir()):
        time.sleep(0.001)
    return {"call_ms": called * 1000, "gone_ms": (time.perf_counter() - begin) * 1000}


def transfer(volume, folder: Path) -> dict:
    """Processor time of the ways of the voxels, which other work on the machine does not disturb, in ms.

    The label marks a tenth of the slices, as a tumor does, or with ``all_slices`` every slice.
    """
    import numpy as np

    used = {}

    def timed(name: str, work):
        begin = time.process_time()
        result = work()
        used[name] = (time.process_time() - begin) * 1000
        return result

    told = timed("volume_written", lambda: write_volume(folder, volume, lambda: False))
    timed("volume_read", lambda: int(read_volume(folder, told).array.max()))
    (folder / VOLUME).unlink()
    for name, share in (("tumor", 10), ("all_slices", 1)):
        label = np.zeros(volume.array.shape, np.uint8)
        label[: len(label) // share, 200:300, 200:300] = 1
        timed(f"label_of_{name}_written", lambda label=label: write_outcome(folder, Outcome(label, None, {})))
        timed(f"label_of_{name}_read", lambda: read_outcome(folder))
        (folder / LABEL).unlink()
    return used


def measure(arguments: argparse.Namespace) -> dict:
    """All figures, in the order cold, warm, cancels."""
    from segment.models.making import a_model_file

    volume = segmentation_bench().a_volume(arguments.slices)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "runs"
        place.mkdir()
        student = arguments.student
        if student is None:
            student = str(Path(folder) / "narrow.safetensors")
            a_model_file(Path(student), slices="all")
        wanted = SegmentationOptions(student, arguments.device), arguments.probability
        client = WorkerClient(folder=place)
        cold = run(client, volume, *wanted)
        warm = [run(client, volume, *wanted) for _ in range(arguments.repeats)]
        moments = random.Random(1)
        cancels = [
            cancel(client, volume, *wanted, place, moments.uniform(0.0, cold["seconds"])) for _ in range(CANCELS)
        ]
        client.close()
        ways = transfer(volume, place)
    return {
        "transfer_processor_ms": ways,
        "cold": cold,
        "warm": {key: span(warm, key) for key in cold if key.endswith(("seconds", "ms"))},
        "cancel": {key: span(cancels, key) for key in cancels[0]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--student", help="a student's name or file; default is a narrow one, which is quick")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--probability", action="store_true")
    arguments = parser.parse_args()
    figures = measure(arguments)
    result = {
        "student": arguments.student or "narrow Unet, random weights, all slices",
        "shape": [arguments.slices, 512, 512],
        "probability": arguments.probability,
        "machine": {**segmentation_bench().machine("cpu"), "load_average": os.getloadavg()},
        **figures,
    }
    text = json.dumps(result, indent=1)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    kind = "probability" if arguments.probability else "label"
    (RESULTS / f"worker_{kind}_{arguments.slices}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
