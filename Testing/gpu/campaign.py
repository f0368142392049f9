"""Work for some minutes of a GPU, one command a part; what is done comes back as it is done, the next call goes on.

    python Testing/gpu/campaign.py steps --out OUT --minutes 9
    python Testing/gpu/campaign.py sts --pack sts.npz --out OUT --minutes 9
    python Testing/gpu/campaign.py lung --pack lung.npz --out OUT --minutes 9

``steps``: what only a GPU can show (``checks.py``), then the tables of ``Testing/bench``: training steps and inference
beside naive single precision. ``sts``, ``lung``: the experiments of those folders, trained and scored from a pack
(``pack.py``). Needs torch, numpy, scipy, scikit-image and safetensors.

Of each experiment OUT receives ``NAME.zip`` (results, pictures, and of each finished run its settings, events,
evaluation and newest preview) and ``NAME-ROW.safetensors``, the student of the row's run with the best validation, its
weights in 8 bits. Runs and checkpoints are in ``--work``; on a machine that does not have them any more, what the
results beside the experiment, or in OUT, tell as finished is not trained again.

Exit codes: 0 all is done, 3 there is more to do: call it again.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from plans import HERE, PARTS, TESTING, read

from CMEDLSegmentLib.base.errors import Cancelled, CMEDLError, InputError
from CMEDLSegmentLib.base.files import BESIDE, atomic_path
from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.cli.console import Interrupt
from CMEDLTrainLib.experiments.plan import ExperimentRun

RESERVE_S = 40.0
"""Of the time, at most, for what follows the last step: a checkpoint, results, a student."""
RESERVE_SHARE = 0.15
LARGEST = 16_000_000
"""Bytes of a file in OUT."""
STEPS = "steps.json"
NO_GRAPH = "no-graph.txt"
"""In the work folder, where steps cannot be CUDA graphs there: why not."""


# What trains


def train(options: argparse.Namespace, end: float, interrupt: Interrupt) -> bool:
    """Train and score the experiments of a part until ``end`` (of :func:`time.monotonic`); True when all is done.

    Raises:
        InputError: no pack, or something that it names cannot be read.
    """
    from CMEDLTrainLib.computing.distribution import choose_device
    from CMEDLTrainLib.experiments.finished_runs import kept_runs
    from CMEDLTrainLib.experiments.packing import use_pack
    from CMEDLTrainLib.experiments.runner import ExperimentRunner

    if options.pack is None:
        raise InputError(f"The part {options.part} needs --pack, the file that pack.py made of its cohorts.")
    use_pack(options.pack, options.work)
    graph = choose_device(options.device).type == "cuda" and not (options.work / NO_GRAPH).exists()
    finished = True
    for name in PARTS[options.part]:
        experiment = read(name, options.tiny)
        results = options.work / "results" / name
        results.mkdir(parents=True, exist_ok=True)
        restore(options.out / f"{name}.zip", results)
        kept = kept_runs(experiment) | kept_runs(experiment, results)
        bench = ExperimentRunner(experiment, options.work, options.device, kept, results, graph)
        publish = Publisher(bench, name, options.out)
        publish()
        try:
            finished &= bench.work_off(
                max(0.0, end - time.monotonic()), publish, progress=Progress(cancelled=interrupt)
            )
        except RuntimeError as error:  # of the device: what it captured or had no memory for
            if not graph:
                raise
            with atomic_path(options.work / NO_GRAPH) as path:
                path.write_text(f"{type(error).__name__}: {error}\n", "utf-8")
            # In a process of its own: a capture that failed leaves the device's state undefined.
            left = max(0.0, (end - time.monotonic()) / 60)
            os.execv(sys.executable, [sys.executable, *sys.argv, "--minutes", str(left)])
    return finished


def restore(packed: Path, results: Path) -> None:
    """Put the results that came back earlier where the experiment looks for them, unless newer ones are there."""
    if packed.is_file() and not (results / "results.json").is_file():
        with zipfile.ZipFile(packed) as file, atomic_path(results / "results.json") as path:
            path.write_bytes(file.read(f"{results.name}/results.json"))


class Publisher:
    """Puts into OUT what is finished of an experiment; called after each cell."""

    def __init__(self, bench: Any, name: str, out: Path) -> None:
        self._bench, self._name, self._out = bench, name, out
        self._exported: dict[str, Path] = {}

    def __call__(self, cell: ExperimentRun | None = None) -> None:
        """Tell of ``cell``, or at the beginning, of what was finished before."""
        from CMEDLTrainLib.experiments.experiment_results import write_results

        if cell is not None:
            print(f"{self._name}, {cell.name}: {self._bench.progress_of(cell).state}", flush=True)
        write_results(self._bench)
        packed = self._out / f"{self._name}.zip"
        with atomic_path(packed) as path, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for source, target in self._records():
                file.write(source, f"{self._name}/{target}")
        self._students()

    def _records(self) -> Iterator[tuple[Path, str]]:
        """Files to bring back, and their names below the experiment's."""
        for path in sorted(self._bench.out.iterdir()):
            yield path, path.name
        refusal = self._bench.work / NO_GRAPH
        if refusal.is_file():
            yield refusal, NO_GRAPH
        for cell in self._bench.experiment.cells:
            run = self._bench.run_of(cell)
            previews = sorted((run.folder / "previews").glob("*.png"))[-1:]
            for path in (run.folder / "configuration.json", run.events, run.evaluation, *previews):
                if path.is_file():
                    yield path, f"runs/{run.folder.name}/{path.name}"

    def _students(self) -> None:
        """The best student of each row by its validation patients, unless a better one came back earlier."""
        from CMEDLTrainLib.experiments.finished_runs import finished_runs
        from CMEDLTrainLib.export import export

        for row, finished in finished_runs(self._bench, self._bench.progress()).items():
            scored = [run for run in finished if run.validation]
            best = max(scored, key=lambda run: run.validation["dsc"], default=None)
            if best is None or best.run is None or self._exported.get(row) == best.run.folder:
                continue
            path = self._out / f"{self._name}-{row}.safetensors"
            outcome = export(best.run, path, {}, "int8", int8=False)
            if path.stat().st_size > LARGEST:
                path.unlink()
                outcome = f"is larger than {LARGEST} bytes, so it stays in the work folder"
            print(f"{path.name}, of {best.run.folder.name}: {outcome}", flush=True)
            self._exported[row] = best.run.folder


# What is measured


def measure(options: argparse.Namespace, end: float) -> bool:
    """Run the checks and the benches that OUT has no result of yet, until ``end``; True when all is done."""
    places = [options.work / STEPS, options.out / STEPS]
    known = [path for path in (*places, *([] if options.tiny else [HERE / STEPS])) if path.is_file()]
    results = json.loads(known[0].read_text("utf-8")) if known else {}
    for name, command in commands(options):
        if name in results:
            continue
        print(name, flush=True)
        result = answer(command, end)
        if result is None and name.startswith("step "):
            result = answer([*command, "--no-graph"], end)
        if result is None and time.monotonic() >= end:
            break
        results[name] = result if result is not None else {"state": "failed", "why": "see what it printed"}
        write(places, results)
    write(places, results)
    return all(name in results for name, _ in commands(options))


def write(places: Sequence[Path], results: dict[str, Any]) -> None:
    """Put what was measured into each of these files."""
    for path in places:
        with atomic_path(path) as beside:
            beside.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def commands(options: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """Each thing to measure by its name, and the program with its arguments; all print one JSON object."""
    from CMEDLTrainLib.computing.distribution import choose_device

    device = choose_device(options.device).type
    checks = [(f"check {name}", [str(HERE / "checks.py"), name]) for name in ("graph", "bf16", "resumed", "ladder")]
    rows = ("Unet, CMEDL", "DenseFCN57, CMEDL", "MRRN, CMEDL", "Unet, VAE-CMEDL")[: 1 if options.tiny else None]
    step = [str(TESTING / "bench" / "step.py"), "--json", "--repeats", "1" if options.tiny else "20"]
    step += ["--tiny", "--threads", "1"] if options.tiny else []
    steps = [(f"step {row}", [*step, "--row", row]) for row in rows]
    segmentation = [str(TESTING / "bench" / "segmentation.py"), "--json"]
    size = ["--slices", "12", "--quick", "--repeats", "1"] if options.tiny else ["--repeats", "5"]
    networks = ("densefcn",) if options.tiny else ("unet", "densefcn", "mrrn")
    inference = [(f"inference {name}", [*segmentation, *size, "--network", name]) for name in networks]
    return [(name, [*command, "--device", device]) for name, command in (*checks, *steps, *inference)]


def answer(command: Sequence[str], end: float) -> dict[str, Any] | None:
    """The JSON object that a program prints; None where it fails, or ``end`` comes first."""
    left = end - time.monotonic()
    if left <= 0:
        return None
    # A session of its own, so that what it started ends with it.
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
    ) as program:
        try:
            printed, _ = program.communicate(timeout=left)
        except BaseException as error:
            os.killpg(program.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            return None
    try:
        return dict(json.loads(printed.splitlines()[-1])) if program.returncode == 0 else None
    except (IndexError, ValueError, TypeError):
        return None


def main(arguments: Sequence[str], interrupt: Interrupt) -> int:
    """Carry out a part; returns the exit code."""
    begun = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("steps", *PARTS))
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="what comes back")
    parser.add_argument("--minutes", type=float, default=9.0, help="after which it has ended (default: 9)")
    parser.add_argument("--pack", type=Path, metavar="FILE", help="of the part's cohorts")
    parser.add_argument("--work", type=Path, default=HERE / "local", metavar="DIR", help="runs (default: local, here)")
    parser.add_argument("--device", default="auto", help="auto (the default), cuda or cpu")
    parser.add_argument("--tiny", action="store_true", help="the least of everything, to rehearse on a CPU")
    options = parser.parse_args(arguments)
    for name in ("out", "work"):
        folder = getattr(options, name).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        setattr(options, name, folder)
    for left in options.out.glob(f"{BESIDE}*"):  # half written by a call that was killed; it would come back too
        left.unlink()
    seconds = 60 * options.minutes
    end = begun + seconds - min(RESERVE_S, RESERVE_SHARE * seconds)
    finished = measure(options, end) if options.part == "steps" else train(options, end, interrupt)
    print("All is done." if finished else "There is more to do: call it again.", flush=True)
    return 0 if finished else Cancelled.exit_code


if __name__ == "__main__":
    interrupted = Interrupt()
    with interrupted.listening():
        try:
            code = main(sys.argv[1:], interrupted)
        except CMEDLError as error:  # anything else comes with its traceback, on a machine that is gone afterwards
            sys.exit(str(error))
    sys.exit(code)
