"""What looking at a long run costs: how long the window does not answer at a refresh, and what memory grows.

    python Testing/bench/run_panel.py [--events 100000]

The module CMEDLTrain is opened in ``Testing/harness`` with a run that has told so many events, each with seven loss
terms. Files are read in a thread; how long each look keeps the window is timed, on the clock and by the processor,
so that other work on the machine can be told apart, until all was read; then the looks that find nothing new; then the
memory that a tenth more events add to what Python holds. Results go to ``results/``, with the machine.
"""

from __future__ import annotations

import statistics
import tempfile
import tracemalloc
from pathlib import Path

from measuring import arguments_of, machine, store


def milliseconds(kept: list[tuple[float, float]]) -> dict[str, float]:
    """The median and the longest of looks."""
    spans = dict(zip(("clock", "processor"), zip(*kept, strict=True), strict=True))
    medians = {f"median_{name}_ms": statistics.median_high(values) * 1000 for name, values in spans.items()}
    return {"looks": len(kept), **medians, **{f"longest_{name}_ms": max(v) * 1000 for name, v in spans.items()}}


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
    idle = milliseconds([look for _ in range(50) for look in looks(panel, app)])
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    write_events(run, events // 10, events + 1)
    looks(panel, app)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return {"megabytes": run.events.stat().st_size / 1e6, "first": first, "idle": idle, "grown_kb": grown / 1e3}


def main() -> None:
    events = arguments_of(__doc__, events=100_000).parse_args().events
    import harness

    with tempfile.TemporaryDirectory() as folder, harness.application() as app:
        figures = measure(app, Path(folder, "cohort"), events)
    store(f"run_panel_{events}", {"events": events, "machine": machine(), **figures})


if __name__ == "__main__":
    main()
