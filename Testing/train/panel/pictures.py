"""Pictures of the panel CMEDLTrain in its states, for people to look at and for the README.

``python3 Testing/train/panel/pictures.py FOLDER`` takes phantoms as cases, in the stand-in for Slicer, with a panel as
narrow as Slicer's can be. Each function named ``draw_...`` takes the pictures of one step.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from pathlib import Path

TESTING = Path(__file__).resolve().parents[2]
PANEL_WIDTH, WINDOW = 420, (1440, 1000)
SIZE, VOXEL = (32, 96, 96), (9.0, 4.0, 4.0)
"""Of the phantoms, (z, y, x) in voxels and mm: small, so that it takes seconds."""


def main(folder: Path) -> None:
    """Write the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    sys.path[:0] = [str(TESTING), *(str(TESTING.parent / name) for name in ("CMEDLSegment", "CMEDLTrain"))]
    import harness

    with tempfile.TemporaryDirectory() as place, harness.application() as app:
        launcher = Path(place, "bin", "PythonSlicer")
        launcher.parent.mkdir()
        launcher.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
        launcher.chmod(0o755)
        os.environ["PATH"] = os.pathsep.join([str(launcher.parent), os.environ["PATH"]])
        os.environ["CMEDL_MODELS"] = str(Path(place, "students"))
        panel = app.open("CMEDLTrain")
        app.main_window.resize(*WINDOW)
        app.main_window._panels.setFixedWidth(PANEL_WIDTH)
        draw_cohort(app, panel, Path(place, "cohort"), folder)
        draw_outcome(app, app.open("CMEDLTrain"), Path(place, "judged"), folder)
        draw_run(app, app.open("CMEDLTrain"), Path(place, "trained"), folder)


def draw_cohort(app, panel, cohort: Path, folder: Path) -> None:
    """``opened.png``, ``cohort-new``, ``-faults`` and ``-case``, ``settings``, ``settings-all``, the two dialogs."""
    from CMEDLSegmentLib.io.cohort_table import read_cohort
    from CMEDLSegmentLib.phantom import write_cohort_phantoms
    from train.panel.conftest import choose, settle

    settle(panel, app)
    app.grab_window(folder / "opened.png")
    choose(panel, app, cohort.with_name("empty"))
    app.grab_window(folder / "cohort-new.png")
    table = write_cohort_phantoms(cohort, 6, size=SIZE, spacing=VOXEL)
    choose(panel, app, cohort)
    app.wait_until(lambda: not panel.cohort._checks.busy)
    settle(panel, app)
    app.grab_window(folder / "settings.png")
    panel.ui.allSettingsGroupBox.collapsed = False
    app.grab_window(folder / "settings-all.png")
    panel.ui.allSettingsGroupBox.collapsed = True
    cases = read_cohort(table)
    # An MR among the CT, a mask that is another one's, a patient in both roles.
    cases[4].image.write_bytes(cases[5].image.read_bytes())
    cases[6].mask.write_bytes(cases[2].mask.read_bytes())
    table.write_text(table.read_text("utf-8").replace("phantom-mr002", "phantom-ct001"), "utf-8")
    choose(panel, app, cohort.with_name("empty"))
    choose(panel, app, cohort)
    app.wait_until(lambda: not panel.cohort._checks.busy)
    settle(panel, app)
    app.grab_window(folder / "cohort-faults.png")
    panel.ui.studentTable.selectRow(0)
    panel.ui.openCaseButton.click()
    app.wait_until(lambda: panel.cohort._view._nodes)
    app.process_events(0.3)
    app.grab_window(folder / "cohort-case.png")
    app.leave(panel)
    draw_dialogs(app, panel, folder)


def draw_dialogs(app, panel, folder: Path) -> None:
    """``add-from-scene.png`` and ``add-from-folder.png``."""
    import slicer

    from CMEDLSegmentPanel import samples
    from CMEDLTrainPanel.add_dialogs import FolderDialog, SceneDialog
    from CMEDLTrainPanel.scene.case_proposals import proposals

    _, raters = samples.load(size=SIZE, spacing=VOXEL)
    raters.GetSegmentation().AddEmptySegment("", "Heart")
    form = panel.resourcePath("UI/AddFromFolder.ui")
    dialogs = {
        "add-from-scene": SceneDialog(proposals(), ("Tumor",), "AB"),
        "add-from-folder": FolderDialog(form, ("Tumor",)),
    }
    for name, dialog in dialogs.items():
        dialog.ask()
        dialog.show()
        app.grab(dialog, folder / f"{name}.png")
        dialog.hide()
    slicer.mrmlScene.Clear(0)


def draw_outcome(app, panel, cohort: Path, folder: Path) -> None:
    """``outcome.png``, ``-figures`` with the worst case in the views, ``-card``, ``-installed`` and ``-exported``."""
    from CMEDLTrainLib.cli import main
    from train.panel.conftest import choose, settle, train, write_cases

    table = write_cases(cohort, students=10, teachers=0)
    runs = {name: cohort / "runs" / name for name in ("short", "long")}
    for (name, run), epochs in zip(runs.items(), (1, 6), strict=True):
        train(table, run, epochs)
        print(f"trained {name}")
    choose(panel, app, cohort)
    panel.parameters.run = "long"
    settle(panel, app)
    app.grab_window(folder / "outcome.png")
    main(["evaluate", str(runs["long"]), f"--against={runs['short']}", "--device=cpu"])
    panel.parameters.device, panel.parameters.against = "cpu", str(runs["short"])
    app.wait_until(lambda: panel.outcome.scored)
    settle(panel, app)
    panel.ui.scoredTable.cellClicked.emit(0, 0)
    app.wait_until(lambda: "yellow" in panel.ui.scoredCaseLabel.text)
    app.wait_until(lambda: panel.cohort._view._nodes)
    app.process_events(0.3)
    app.grab_window(folder / "outcome-figures.png")
    panel.ui.cardGroupBox.collapsed = False
    app.grab_window(folder / "outcome-card.png")
    panel.ui.cardGroupBox.collapsed = True
    panel.ui.card_title.text = "Discs, to try the program"
    for button, name in ((panel.ui.installButton, "installed"), (panel.ui.exportStudentButton, "exported")):
        app.answer(str(cohort / "discs.safetensors"))
        button.click()
        app.wait_until(lambda: not panel.student._work.busy)
        settle(panel, app)
        app.grab_window(folder / f"outcome-{name}.png")


def draw_run(app, panel, cohort: Path, folder: Path) -> None:
    """``run-starting.png``, ``-training``, ``-stopping``, ``-stopped``, ``-crashed`` and ``-unreadable``."""
    from CMEDLSegmentLib.phantom import write_cohort_phantoms
    from CMEDLSegmentLib.process import lock
    from CMEDLTrainLib.runs import trainers
    from CMEDLTrainLib.runs.run_folder import Run
    from train.panel.conftest import choose, settle

    write_cohort_phantoms(cohort, 6, size=SIZE, spacing=VOXEL)
    choose(panel, app, cohort)
    panel.parameters.preset, panel.parameters.method, panel.parameters.device = "tiny", "cmedl", "cpu"
    panel.parameters.epochs, panel.parameters.changes = 400, ["images.field=32"]
    settle(panel, app)
    panel.ui.startButton.click()
    settle(panel, app)
    app.grab_window(folder / "run-starting.png")
    run = Run(cohort / "runs" / "cmedl-1")
    app.wait_until(lambda: run.status()["epoch"] >= 3)
    app.wait_until(lambda: panel.ui.previewButton.visible)
    app.process_events(3)
    app.grab_window(folder / "run-training.png")
    panel.ui.stopButton.click()
    settle(panel, app)
    app.grab_window(folder / "run-stopping.png")
    app.wait_until(lambda: panel.ui.resumeButton.enabled)
    app.grab_window(folder / "run-stopped.png")
    panel.ui.logButton.click()
    panel.ui.resumeButton.click()
    app.wait_until(run.running)
    app.wait_until(lambda: run.status()["step"] % 7 == 0)
    trainers.end(run)
    app.wait_until(lambda: panel.ui.resumeButton.enabled)
    for name, text in (("broken", "{"), ("newer", '{"format": 99}')):
        (cohort / "runs" / name).mkdir()
        (cohort / "runs" / name / "configuration.json").write_text(text, "utf-8")
    elsewhere = Run(cohort / "runs" / "elsewhere")
    elsewhere.folder.mkdir()
    for file in ("configuration.json", "events.jsonl"):
        (elsewhere.folder / file).write_bytes((run.folder / file).read_bytes())
    elsewhere_now = {**lock.this_process(), "host": "node7", "device": "cuda:0"}
    elsewhere.trainer.write_text(json.dumps(elsewhere_now), "utf-8")
    settle(panel, app)
    app.process_events(3)
    app.grab_window(folder / "run-crashed.png")
    panel.parameters.run = "broken"
    settle(panel, app)
    app.grab_window(folder / "run-unreadable.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
