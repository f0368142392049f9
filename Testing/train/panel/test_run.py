"""The section "Run": real trainers started, stopped, killed and resumed; what is shown of runs in any state."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.process import lock
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.runs.history import MOST_POINTS, READ_BYTES, Reader
from CMEDLTrainLib.settings import configuration
from CMEDLTrainLib.training.previews import write_png
from train.panel.conftest import choose, settle

NAME, STATE, PROGRESS = range(3)
TINY = ["images.field=32", "images.slices=all"]


def made(cohort: Path, name: str = "first", **changes) -> run_folder.Run:
    """A run that nobody trained yet."""
    settings = configuration.with_settings(configuration.PRESETS["tiny"], [f"cohort={cohort / 'cohort.csv'}"])
    return run_folder.create(cohort / "runs" / name, replace(settings, **changes))


def tell(run: run_folder.Run, steps: int = 4, first: int = 0) -> None:
    """Let a run tell of training."""
    run.report("start", step=first, steps=40, device="cpu", processes=1)
    for step in range(first + 1, first + steps + 1):
        figures = {"steps": 40, "epoch": step // 10, "seconds_left": 90, "images_per_second": 12.5, "memory_gb": 1.5}
        run.report("step", step=step, losses={"segmentation": 1 / step, "cycle": 10 / step}, **figures)
    run.report("epoch", step=step, epoch=1, validation={"loss": 0.5, "dsc": 0.71, "false_pixels": 2.0})


def row(panel, name: str) -> list[str]:
    table = panel.ui.runsTable
    rows = [[table.item(at, column).text() for column in range(3)] for at in range(table.rowCount)]
    return next((texts for texts in rows if texts[NAME] == name), [""] * 3)


def look(panel, app) -> None:
    """Let the panel look at the runs, and wait until it has."""
    panel.run.refresh()
    settle(panel, app)


def select(panel, app, name: str) -> None:
    """Click a run of the list."""
    look(panel, app)
    table = panel.ui.runsTable
    at = next(at for at in range(table.rowCount) if table.item(at, NAME).text() == name)
    table.cellClicked.emit(at, NAME)
    settle(panel, app)


def start(panel, app, epochs: int, name: str = "mine") -> run_folder.Run:
    """Start a small real run by the panel, and wait until it trains."""
    panel.parameters.method, panel.parameters.preset, panel.parameters.device = "ct-only", "tiny", "cpu"
    # It is not to be over early, however little it learns.
    panel.parameters.changes, panel.parameters.epochs = [*TINY, f"optimization.patience={epochs}"], epochs
    settle(panel, app)
    panel.ui.runNameLineEdit.text = name
    panel.ui.startButton.click()
    run = run_folder.Run(Path(panel.parameters.cohort, "runs", name))
    assert not [message.text for message in app.messages]
    app.wait_until(lambda: row(panel, name)[STATE] == "running here")
    app.wait_until(lambda: run.status()["step"])
    return run


def test_a_run_is_started_stopped_resumed_killed_and_finished(filled, cohort: Path, slicer_app) -> None:
    run = start(filled, slicer_app, 4000)
    pid = json.loads(run.trainer.read_text("utf-8"))["pid"]
    # Neither the end of this process's group nor its terminal reaches the trainer.
    assert os.getsid(pid) != os.getsid(0)
    slicer_app.wait_until(lambda: "on cpu" in filled.ui.runStatusLabel.text)
    assert not filled.ui.deleteButton.enabled
    assert not filled.ui.resumeButton.enabled
    filled.ui.stopButton.click()
    slicer_app.wait_until(lambda: not Path(f"/proc/{pid}").exists())
    slicer_app.wait_until(lambda: row(filled, "mine")[STATE] == "stopped")
    assert run.last.is_file()
    step = run.status()["step"]
    filled.ui.resumeButton.click()
    slicer_app.wait_until(lambda: row(filled, "mine")[STATE] == "starting")
    slicer_app.wait_until(lambda: run.status()["state"] == "running" and run.status()["step"] > step)
    os.killpg(json.loads(run.trainer.read_text("utf-8"))["pid"], signal.SIGKILL)
    slicer_app.wait_until(lambda: row(filled, "mine")[STATE] == "crashed")
    assert "killed" in filled.ui.runFaultLabel.text
    assert filled.ui.resumeButton.enabled


def test_each_run_is_listed_with_its_true_state(filled, cohort: Path, slicer_app) -> None:
    this = lock.this_process()
    crashed, restarted, far, here, failed, done, log = (
        made(cohort, name) for name in ("crashed", "restarted", "far", "here", "failed", "done", "log")
    )
    for run in (crashed, restarted, far, here, failed, done):
        tell(run)
    restarted.trainer.write_text(json.dumps({**this, "mark": "another-boot 17"}), "utf-8")
    far.trainer.write_text(json.dumps({**this, "host": "node7", "device": "cuda:1"}), "utf-8")
    here.trainer.write_text(json.dumps({**this, "device": "cpu"}), "utf-8")
    failed.report("failed", step=3, term="hint")
    (failed.folder / "trainer.log").write_text(
        "Epoch 1 (2%)\nThe loss term 'hint' became nan before step 3; resume.\n", "utf-8"
    )
    done.report("finished", step=40)
    (log.folder / "trainer.log").write_text("Starting (0%)\nThe cohort gives no teacher; mark cases.\n", "utf-8")
    made(cohort, "broken").folder.joinpath("configuration.json").write_text("{", "utf-8")
    made(cohort, "newer").folder.joinpath("configuration.json").write_text('{"format": 99}', "utf-8")
    made(cohort, "binary").folder.joinpath("configuration.json").write_bytes(b"\xff\xfe")
    look(filled, slicer_app)
    states = {name: row(filled, name)[STATE] for name in [path.name for path in (cohort / "runs").iterdir()]}
    assert states == {
        "crashed": "crashed",
        "restarted": "crashed",
        "far": "running on node7",
        "here": "running here",
        "failed": "failed (hint)",
        "done": "finished",
        "log": "not trained yet",
        "broken": "cannot be read",
        "newer": "cannot be read",
        "binary": "cannot be read",
    }
    assert row(filled, "crashed")[PROGRESS] == "4 / 40"
    faults = {
        "crashed": "was killed",
        "failed": "'hint' became nan",
        "log": "ended at once: The cohort gives no teacher",
    }
    faults |= {"broken": "is not JSON", "newer": "not of format 1", "binary": "cannot be read", "here": "", "done": ""}
    can = {"stop": ("far", "here"), "resume": ("crashed", "failed", "log"), "duplicate": ("far", "crashed", "done")}
    can["delete"] = ("crashed", "failed", "done", "log", "broken", "newer", "binary")
    for name, fault in faults.items():
        select(filled, slicer_app, name)
        assert fault in filled.ui.runFaultLabel.text
        assert filled.ui.runFaultLabel.visible == bool(fault)
        for button, names in can.items():
            if button != "duplicate" or name in names:
                assert getattr(filled.ui, f"{button}Button").enabled == (name in names), (button, name)
    select(filled, slicer_app, "here")
    assert "running here on cpu since" in filled.ui.runStatusLabel.text
    assert "about 1 min 30 s left" in filled.ui.runStatusLabel.text
    assert "12.5 images/s, 1.5 GB of memory" in filled.ui.runStatusLabel.text
    assert "DSC 0.710" in filled.ui.runStatusLabel.text


def test_curves_grow_in_place_and_go_with_the_run(filled, cohort: Path, slicer_app) -> None:
    import slicer

    run = made(cohort)
    made(cohort, "other")
    tell(run)
    select(filled, slicer_app, "first")
    losses, validation = filled.run._monitor._charts
    assert table_of(validation) == {"step": [4], "dsc": [0.71]}
    # The curves that matter, and those that are ticked.
    assert list(losses.series) == ["segmentation"]
    tick(filled, "cycle")
    losses, validation = filled.run._monitor._charts
    assert table_of(losses)["cycle"] == pytest.approx([10, 5, 10 / 3, 2.5])
    assert [series.GetYColumnName() for series in losses.series.values()] == ["segmentation", "cycle"]
    before = slicer.mrmlScene.GetNumberOfNodes()
    tell(run, first=4)
    look(filled, slicer_app)
    assert table_of(losses)["step"] == list(range(1, 9))
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert not any(node.GetSaveWithScene() for node in [losses.chart, losses.table, *losses.series.values()])
    # A trainer that resumes from a checkpoint does some steps again.
    tell(run, first=2, steps=1)
    look(filled, slicer_app)
    assert table_of(losses)["step"] == [1, 2, 3]
    select(filled, slicer_app, "other")
    assert losses.chart.GetScene() is None
    select(filled, slicer_app, "first")
    slicer.mrmlScene.Clear(0)
    settle(filled, slicer_app)
    choose(filled, slicer_app, cohort)
    select(filled, slicer_app, "first")
    assert table_of(filled.run._monitor._charts[0])["step"] == [1, 2, 3]


def tick(panel, curve: str) -> None:
    """Tick a curve in the menu, or take the tick away."""
    actions = {action.text: action for action in panel.ui.curvesButton.menu().actions()}
    actions[curve].trigger()


def table_of(chart) -> dict[str, list[float]]:
    table = chart.table.GetTable()
    columns = [table.GetColumn(at) for at in range(table.GetNumberOfColumns())]
    return {data.GetName(): [data.GetValue(row) for row in range(data.GetNumberOfTuples())] for data in columns}


def test_curves_and_the_newest_preview_are_seen_in_the_views(filled, cohort: Path, slicer_app) -> None:
    import slicer

    if slicer_app.cannot_draw:
        pytest.skip(slicer_app.cannot_draw)
    run = made(cohort)
    tell(run, 20)
    before = slicer_app.layout_manager.layout
    select(filled, slicer_app, "first")
    assert not filled.ui.previewButton.visible
    assert not filled.ui.previewLegendLabel.visible
    tick(filled, "cycle")
    filled.ui.runViewsButton.click()
    settle(filled, slicer_app)
    pixels = slicer_app.layout_manager.plotWidget(0).sliceView().pixels().astype(int)
    blue, orange = (0, 115, 178), (214, 94, 0)
    assert all((abs(pixels - color).max(axis=-1) < 30).sum() > 50 for color in (blue, orange))
    for step, color in ((5, (250, 0, 0)), (9, (0, 250, 0))):
        picture = np.zeros((64, 96, 3), np.uint8)
        picture[:32] = color
        write_png(run.folder / "previews" / f"step-{step}.png", picture)
        run.report("preview", step=step, file=f"previews/step-{step}.png")
        settle(filled, slicer_app)
        look(filled, slicer_app)
        assert filled.ui.previewButton.visible
        assert "expert" in filled.ui.previewLegendLabel.text
        pixels = slicer_app.slice_pixels("CMEDLPreview").astype(int)
        colored = np.flatnonzero((abs(pixels - color).max(axis=-1) < 9).any(axis=1))
        # The picture is upright: its lower half is black.
        assert 0 < colored.mean() < len(pixels) / 2
    assert len(slicer.util.getNodesByClass("vtkMRMLVectorVolumeNode")) == 1
    filled.ui.runViewsButton.click()
    assert slicer_app.layout_manager.layout == before
    filled.ui.previewButton.click()
    settle(filled, slicer_app)
    assert filled.ui.runViewsButton.checked


def test_a_second_run_on_the_same_device_is_asked_about(filled, cohort: Path, slicer_app, monkeypatch) -> None:
    started = []
    monkeypatch.setattr(filled.logic.trainers, "start", lambda program, run, options: started.append(run.folder.name))
    busy = made(cohort, "busy")
    busy.trainer.write_text(json.dumps({**lock.this_process(), "device": "cuda:1"}), "utf-8")
    made(cohort, "waiting", device="cuda:1")
    select(filled, slicer_app, "waiting")
    filled.parameters.device = "cuda:0"
    filled.ui.startButton.click()
    assert started == ["cmedl-1"]
    filled.parameters.device = "auto"
    filled.ui.startButton.click()
    assert "busy may be using the same device" in slicer_app.messages[-1].text
    assert started == ["cmedl-1"]
    assert not (cohort / "runs" / "cmedl-2").exists()
    select(filled, slicer_app, "waiting")
    slicer_app.answer("yes")
    filled.ui.resumeButton.click()
    assert started == ["cmedl-1", "waiting"]


def test_a_run_is_deleted_into_the_bin_after_asking(filled, cohort: Path, slicer_app) -> None:
    run = made(cohort)
    select(filled, slicer_app, "first")
    filled.ui.deleteButton.click()
    assert run.folder.is_dir()
    for place in ("first", "first-2"):
        slicer_app.answer("yes")
        filled.ui.deleteButton.click()
        assert (cohort / "bin" / place / "configuration.json").is_file()
        assert not run.folder.exists()
        settle(filled, slicer_app)
        assert not filled.ui.deleteButton.enabled
        made(cohort)
        select(filled, slicer_app, "first")
    # Another Slicer has started it since it was shown.
    run.trainer.write_text(json.dumps(lock.this_process()), "utf-8")
    slicer_app.answer("yes")
    filled.ui.deleteButton.click()
    assert "is being trained" in slicer_app.messages[-1].text
    assert run.folder.is_dir()


def test_a_duplicate_asks_for_the_same_settings(filled, cohort: Path, slicer_app) -> None:
    changes = ["optimization.epochs=7", "images.window_hu=[-200, 300]", "translation.kind=drit", "seed=3"]
    settings = configuration.with_settings(configuration.PRESETS["tiny"], [*changes, "network.arguments.width=6"])
    run = made(cohort, **{name: getattr(settings, name) for name in ("optimization", "images", "translation", "seed")})
    whole = replace(run.configuration, network=settings.network, labels=("Liver", "Spleen"), method="vae-cmedl")
    (run.folder / "configuration.json").write_text(whole.to_json(), "utf-8")
    filled.parameters.changes = ["optimization.batch=99"]
    select(filled, slicer_app, "first")
    filled.ui.duplicateButton.click()
    settle(filled, slicer_app)
    assert filled.logic.settings(filled.parameters) == whole
    assert filled.parameters.epochs == 7
    assert filled.ui.labelsLineEdit.text == "Liver,Spleen"


def test_the_log_is_one_click_away(filled, cohort: Path, slicer_app) -> None:
    run = made(cohort)
    (run.folder / "trainer.log").write_text("early\n" * 20000 + "Preparing (1%)\rEpoch 3\nThe end\n", "utf-8")
    select(filled, slicer_app, "first")
    filled.ui.logButton.click()
    message = slicer_app.messages[-1]
    assert message.kind == "dialog"
    assert str(run.folder / "trainer.log") in message.text
    assert message.text.endswith("Epoch 3\nThe end")


STUBBORN = """
import signal, subprocess, sys, time
from pathlib import Path
from CMEDLSegmentLib.process import lock
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with lock.hold(Path(sys.argv[1]), device="cpu"):
    print(child.pid, flush=True)
    time.sleep(600)
"""


def test_a_trainer_that_does_not_stop_is_ended_with_its_children(filled, cohort: Path, slicer_app) -> None:
    run = made(cohort)
    tell(run)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", STUBBORN, str(run.trainer)]
    stubborn = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
    )
    child = int(stubborn.stdout.readline())
    try:
        select(filled, slicer_app, "first")
        filled.ui.stopButton.click()
        settle(filled, slicer_app)
        assert filled.ui.stopButton.text == "Stopping"
        assert not filled.ui.stopButton.enabled
        long_ago = time.time() - 11
        os.utime(run.folder / "stop", (long_ago, long_ago))
        look(filled, slicer_app)
        assert filled.ui.stopButton.text == "End now"
        filled.ui.stopButton.click()
        assert stubborn.poll() is None
        slicer_app.answer("yes")
        filled.ui.stopButton.click()
        assert stubborn.wait() == -signal.SIGKILL
        slicer_app.wait_until(lambda: lock._mark(child) is None)
        slicer_app.wait_until(lambda: row(filled, "first")[STATE] == "crashed")
    finally:
        stubborn.kill()
        stubborn.wait()


def test_100_000_events_keep_the_window_for_a_moment_at_a_time(filled, cohort: Path, slicer_app, monkeypatch) -> None:
    run = made(cohort)
    write_events(run, 100_000)
    read = []
    original = Reader.read

    def spied(self, most=READ_BYTES):
        before = self._position
        more = original(self, most)
        read.append(self._position - before)
        return more

    monkeypatch.setattr(Reader, "read", spied)
    longest = max(used for _, used in looks(filled, slicer_app, "first"))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    write_events(run, 10_000, 100_001)
    looks(filled, slicer_app)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    (losses, _) = filled.run._monitor._charts
    assert MOST_POINTS / 2 <= len(table_of(losses)["step"]) <= MOST_POINTS
    assert filled.run._monitor.history.figures["step"] == 110_000
    print(f"{run.events.stat().st_size >> 20} MB; a refresh takes {longest * 1000:.0f} ms; {grown / 1e6:.2f} MB more")
    assert max(read) <= READ_BYTES
    assert grown < 1e6


def test_files_are_looked_at_in_a_thread(filled, cohort: Path, slicer_app, monkeypatch) -> None:
    """On a slow share a look takes long; Slicer's window does not wait for it."""
    from CMEDLTrainLib.cohort.folder import CohortFolder
    from CMEDLTrainLib.runs.run_list import RunList
    from CMEDLTrainPanel import outcome_section

    tell(made(cohort))
    threads: dict[str, set[str]] = {}

    def spy(owner, name: str) -> None:
        original = getattr(owner, name)

        def spied(*arguments, **options):
            threads.setdefault(name, set()).add(threading.current_thread().name)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, spied)

    for owner, name in ((RunList, "look"), (Reader, "read"), (CohortFolder, "changed"), (CohortFolder, "beat")):
        spy(owner, name)
    select(filled, slicer_app, "first")
    spy(outcome_section, "_state_of")
    watches = [section._watch for section in (filled.run, filled.cohort, filled.outcome)]
    for watch in watches:
        watch.look()
    slicer_app.wait_until(lambda: not any(watch.busy for watch in watches))
    assert threads.keys() == {"look", "read", "changed", "beat", "_state_of"}
    assert not any(threading.main_thread().name in names for names in threads.values())


def test_a_share_that_does_not_answer_keeps_nobody_waiting(filled, cohort: Path, slicer_app, monkeypatch) -> None:
    from CMEDLTrainLib.runs.run_list import RunList

    answer, usual = threading.Event(), RunList.look
    monkeypatch.setattr(RunList, "look", lambda self: (answer.wait(), usual(self))[1])
    filled.run.refresh()
    made(cohort, "later")
    for _ in range(3):
        filled.run.refresh()  # returns, or this test never ends
    slicer_app.process_events(0.2)
    assert row(filled, "later")[NAME] == ""
    answer.set()
    settle(filled, slicer_app)
    assert row(filled, "later")[NAME] == "later"


def looks(panel, app, name: str = "") -> list[tuple[float, float]]:
    """Look until all was read, at another run if one is named.

    Returns:
        For each look the seconds that it kept the window: on the clock, and of the processor.
    """
    section, kept = panel.run, []
    usual = section._watch._seen

    def timed(look) -> None:
        clock, used = time.perf_counter(), time.thread_time()
        usual(look)
        kept.append((time.perf_counter() - clock, time.thread_time() - used))

    section._watch._seen = timed
    if name:
        panel.parameters.run = name
    section.refresh()
    settle(panel, app)
    section._watch._seen = usual
    return kept


def write_events(run: run_folder.Run, count: int, first: int = 1) -> None:
    """Steps of a joint run, at once."""
    names = (
        "student",
        "teacher_pseudo",
        "teacher_real",
        "hint",
        "contextual_teacher",
        "cycle_student",
        "cycle_teacher",
    )
    lines = [] if first > 1 else [json.dumps({"event": "start", "step": 0, "steps": 200_000})]
    for step in range(first, first + count):
        losses = {name: round(1 / step + at, 6) for at, name in enumerate(names)}
        figures = {"event": "step", "step": step, "steps": 200_000, "epoch": step // 100, "losses": losses}
        lines.append(json.dumps({**figures, "images_per_second": 50.0, "gpu_memory_gb": 20.1, "seconds_left": 100}))
    with run.events.open("a", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + "\n")
