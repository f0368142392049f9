"""What looking at a long run costs: how long the window does not answer at a refresh, and what memory grows.

    python Testing/bench/run_panel.py [--events 100000]

The module CMEDLTrain is opened in ``Testing/harness`` with a run that has told so many events, each with seven loss
terms. Files are read in a thread; how long each look keeps the window is timed, on the clock and by the processor,
so that other work on the machine can be told apart, until all was read; then the looks that find nothing new; then the
memory that a tenth more events add to what Python holds. Results go to ``Testing/bench/results/``, with the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import tracemalloc
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# In place of this script's own folder, whose cohort.py would hide the tests' room of that name.
sys.path[:1] = [str(REPOSITORY / name) for name in ("CMEDLSegment", "CMEDLTrain", "Testing")]
RESULTS = Path(__file__).resolve().parent / "results"


def milliseconds(found: list[tuple[float, float]]) -> dict[str, float]:
    """The median and the longest of looks."""
    columns = dict(zip(("clock", "processor"), zip(*found, strict=True), strict=True))
    spans = {name: sorted(values) for name, values in columns.items()}
    medians = {f"median_{name}_ms": values[len(values) // 2] * 1000 for name, values in spans.items()}
    return {"looks": len(found), **medians, **{f"longest_{name}_ms": v[-1] * 1000 for name, v in spans.items()}}


def measure(app, folder: Path, events: int) -> dict:
    """The panel with a run of ``events`` events."""
    from train.panel.conftest import settle, write_cases
    from train.panel.test_run import looks, made, write_events

    write_cases(folder)
    run = made(folder)
    write_events(run, events)
    panel = app.open("CMEDLTrain")
    panel.ui.cohortPathLineEdit.currentPath = str(folder)
    settle(panel, app)
    panel.ui.runViewsButton.click()
    first = milliseconds(looks(panel, app, run.folder.name))
    idle = milliseconds([one for _ in range(50) for one in looks(panel, app)])
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    write_events(run, events // 10, events + 1)
    looks(panel, app)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return {"megabytes": run.events.stat().st_size / 1e6, "first": first, "idle": idle, "grown_kb": grown / 1e3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000)
    arguments = parser.parse_args()
    import harness

    with tempfile.TemporaryDirectory() as folder, harness.application() as app:
        figures = measure(app, Path(folder, "cohort"), arguments.events)
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "load_average": os.getloadavg()}
    text = json.dumps({"events": arguments.events, "machine": machine, **figures}, indent=1)
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"run_panel_{arguments.events}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
