"""The panel CMEDLTrain in the harness, with cohorts that are small and known, and a PythonSlicer on the PATH."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.io.cohort_table import Case, write_cohort
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.io.volume import Geometry

SHAPE = (6, 24, 24)
SPACING = (3.0, 2.0, 2.0)
"""Of the small cases, (z, y, x) in voxels and mm."""


def disc(number: int, modality: str = "CT") -> tuple[np.ndarray, np.ndarray]:
    """Image and mask (z, y, x) of a small case: air, a body with a bone, and in it a disc on slices 1 to 4.

    Cases of different numbers differ in every voxel, so that none is another one's duplicate.
    """
    rows, columns = np.mgrid[: SHAPE[1], : SHAPE[2]]
    random = np.random.default_rng(number)
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:5] = (rows - 12) ** 2 + (columns - 10 - number % 4) ** 2 < 9
    # A tail that tells masks of different numbers apart.
    mask[4, 4, 6:16] = [(number >> bit) & 1 for bit in range(10)]
    body = (rows - 12) ** 2 + (columns - 12) ** 2 < 100
    outside, inside, contrast = (-1000, 20, 30) if modality == "CT" else (5, 300, 200)
    image = np.where(body, inside, outside) + contrast * mask
    image[:, 12, 20] = 700 if modality == "CT" else 400
    return (image + random.integers(-4, 5, SHAPE)).astype(np.int16), mask


def geometry(shift: float = 0.0) -> Geometry:
    """The grid of the small cases, perhaps shifted along x (mm)."""
    return Geometry(SHAPE[::-1], SPACING[::-1], (shift, 0.0, 0.0))


def write_cases(folder: Path, students: int = 6, teachers: int = 4, split: bool = True) -> Path:
    """A cohort's folder of CT and MR cases as the panel makes it; returns its table."""
    rows = []
    for number in range(students + teachers):
        role, modality = ("student", "CT") if number < students else ("teacher", "MR")
        place = folder / f"case{number + 1:03d}"
        image, mask = disc(number, modality)
        write_image(place / "image.nii.gz", image, geometry())
        write_image(place / "mask.nii.gz", mask, geometry())
        part = ("train", "train", "train", "validation", "test")[number % 5] if split else ""
        rows.append(Case(f"p{number}", place.name, modality, place / "image.nii.gz", place / "mask.nii.gz", role, part))
    write_cohort(folder / "cohort.csv", rows)
    return folder / "cohort.csv"


@pytest.fixture(scope="session")
def small_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each test gets a copy of."""
    return write_cases(tmp_path_factory.mktemp("small") / "cohort").parent


@pytest.fixture
def cohort(small_cohort: Path, tmp_path: Path) -> Path:
    """A folder with a small cohort: six CT cases of six patients, four MR cases of four others."""
    return Path(shutil.copytree(small_cohort, tmp_path / "cohort"))


@pytest.fixture
def python_slicer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher named PythonSlicer on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    launcher = folder / "PythonSlicer"
    launcher.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), os.environ["PATH"]]))


@pytest.fixture
def panel(slicer_app, python_slicer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The open module, no cohort chosen."""
    monkeypatch.setenv("CMEDL_MODELS", str(tmp_path / "students"))
    widget = slicer_app.open("CMEDLTrain")
    settle(widget, slicer_app)
    return widget


@pytest.fixture
def filled(panel, cohort: Path, slicer_app):
    """The open module with the small cohort."""
    choose(panel, slicer_app, cohort)
    return panel


def choose(panel, app, folder: Path) -> None:
    """Choose a cohort's folder and wait until it is shown."""
    panel.ui.cohortPathLineEdit.currentPath = str(folder)
    settle(panel, app)


def add(panel, source: str) -> None:
    """Choose "scene", "DICOM" or "folder" from the menu "Add cases"."""
    titles = {"scene": "From the scene...", "DICOM": "From DICOM studies in the scene...", "folder": "From a folder..."}
    actions = {action.text: action for action in panel.ui.addCasesButton.menu().actions()}
    actions[titles[source]].trigger()


def take(box, app, name: str) -> None:
    """Choose what a selector has for ``name``, as a person does."""
    box.currentIndex = [box.itemData(index) for index in range(box.count)].index(name)
    box.activated.emit(box.currentIndex)
    app.process_events()


def opened(panel) -> list[str]:
    """The sections that are not folded."""
    parts = ("cohort", "training", "run", "outcome")
    return [part for part in parts if not getattr(panel.ui, f"{part}CollapsibleButton").collapsed]


def settle(panel, app) -> None:
    """Wait until the panel shows what the scene and the folder are."""
    app.process_events()
    app.wait_until(lambda: not any(section._soon.active for section in panel.sections) and not panel.run._watch.busy)


def look_at_folder(panel, app) -> None:
    """Let the panel look whether somebody changed the cohort's folder, and wait until it has."""
    panel.cohort._watch.look()
    app.wait_until(lambda: not panel.cohort._watch.busy)
    settle(panel, app)


SMALL_RUN = ("images.field=32", "images.spacing_mm=2", "images.slices=all", "network.arguments.width=4")
"""Settings of a run on the small cases that takes seconds."""


def train(table: Path, folder: Path, epochs: int) -> None:
    """Train a student on the small cases in this process."""
    from CMEDLTrainLib.cli import main

    arguments = ["run", "--preset=tiny", "--method=ct-only", "--device=cpu", f"--output={folder}"]
    arguments += [f"--set={setting}" for setting in (*SMALL_RUN, f"optimization.epochs={epochs}")]
    assert main([*arguments, str(table)]) == 0


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each test gets a copy of."""
    table = write_cases(tmp_path_factory.mktemp("trained") / "cohort", students=10, teachers=0)
    for name, epochs in (("short", 1), ("long", 6)):
        train(table, table.parent / "runs" / name, epochs)
    return table.parent


@pytest.fixture
def finished(panel, trained: Path, tmp_path: Path, slicer_app):
    """The open module with a cohort of ten CT cases, two of them held out, and two finished runs."""
    from CMEDLTrainLib.runs.run_folder import Run

    folder = Path(shutil.copytree(trained, tmp_path / "cohort"))
    for path in folder.glob("runs/*/configuration.json"):
        Run(path.parent).move_cohort(folder / "cohort.csv")
    choose(panel, slicer_app, folder)
    panel.parameters.device = "cpu"
    panel.parameters.run, panel.parameters.against = "long", ""  # bodies without lungs are nothing for the bundled one
    settle(panel, slicer_app)
    return panel
