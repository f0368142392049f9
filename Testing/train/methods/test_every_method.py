"""Every method and every segmentor, through the command lines: stopped, resumed, evaluated, exported, segmenting."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib import cli as segment_cli
from CMEDLSegmentLib.io.cohort_table import read_cohort
from CMEDLSegmentLib.io.images import read_volume
from CMEDLSegmentLib.models.model_card import read_card
from CMEDLSegmentLib.phantom import ORGANS, write_cohort_phantoms
from CMEDLTrainLib.cli import main
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.settings.configuration import METHODS
from CMEDLTrainLib.training.train_run import slices_of
from train.training.tiny_runs import stopped_after_a_step

QUICK = ("mutual",)
"""The others by ``-m slow``; ``test_train_command.py`` has a student alone and one that translates first."""
SMALL = ("optimization.epochs=1", "images.field=32", "images.spacing_mm=12", "network.arguments.width=2")


@pytest.fixture(scope="module")
def thorax(tmp_path_factory):
    folder = tmp_path_factory.mktemp("thorax")
    return write_cohort_phantoms(folder, cases=3, seed=3, size=(16, 48, 48), spacing=(18.0, 8.0, 8.0))


@pytest.fixture(scope="module")
def abdomen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("abdomen")
    return write_cohort_phantoms(folder, 3, 3, (16, 64, 64), (12.0, 6.0, 6.0), anatomy="abdomen")


@pytest.fixture(scope="module", autouse=True)
def slices(tmp_path_factory):
    """The slices of a cohort are prepared once for all methods."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMEDL_SLICES", str(tmp_path_factory.mktemp("slices")))
        yield


def lived(cohort: Path, folder: Path, method: str, *settings: str, segmentor: str = "unet") -> tuple[Path, dict]:
    """Train ``method``, stop it after a step, resume, evaluate and export it; the student and its evaluation."""
    run, student = folder / "run", folder / "student.safetensors"
    arguments = ["run", str(cohort), "-o", str(run), "--preset", "tiny", "--method", method, "--device", "cpu"]
    arguments += ["--segmentor", segmentor]
    for setting in (*SMALL, *settings):
        arguments += ["--set", setting]
    with stopped_after_a_step():
        assert main(arguments) == 3
    assert run_folder.open_run(run).status()["step"] == 1
    assert main(["resume", str(run)]) == 0
    assert run_folder.open_run(run).status()["state"] == "finished"
    assert main(["evaluate", str(run)]) == 0
    assert main(["export", str(run), "-o", str(student)]) == 0
    return student, json.loads((run / "evaluation.json").read_text("utf-8"))


def segmented(student: Path, image: Path, folder: Path) -> np.ndarray:
    """The label that ``cmedl-segment`` makes of ``image``."""
    output = folder / "label.nii.gz"
    assert segment_cli.main(["run", str(image), "-o", str(output), "--model", str(student), "--device", "cpu"]) == 0
    return read_volume(output).array


def held_out(cohort: Path) -> Path:
    """The image of the student's test patient."""
    return next(case.image for case in read_cohort(cohort) if (case.role, case.split) == ("student", "test"))


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in METHODS]
)
def test_every_method_becomes_a_student_that_segments(thorax, tmp_path, method):
    student, evaluation = lived(thorax, tmp_path, method)
    assert len(evaluation["cases"]) == 1
    image = held_out(thorax)
    label = segmented(student, image, tmp_path)
    assert label.shape == read_volume(image).array.shape
    assert set(np.unique(label)) <= {0, 1}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["densefcn", "mrrn"])
def test_every_segmentor_becomes_a_student_that_segments(thorax, tmp_path, kind):
    student, _ = lived(thorax, tmp_path, "cmedl", segmentor=kind)
    assert read_card(student).networks[-1].kind == kind
    segmented(student, held_out(thorax), tmp_path)


def test_an_equal_teacher_of_four_organs(abdomen, tmp_path):
    labels = json.dumps(list(ORGANS.values()))
    clips = ("images.mr_maximum=600", "images.teacher_mr_maximum=900")
    student, evaluation = lived(abdomen, tmp_path, "cmedl", f"labels={labels}", *clips)
    card = read_card(student)
    assert [(label.value, label.name) for label in card.labels] == list(ORGANS.items())
    assert (card.modality, card.slices) == ("MR", "all")
    assert card.normalization.maximum == 600
    assert card.normalization.landmarks
    assert slices_of(run_folder.open_run(tmp_path / "run")).normalizations["teacher"].maximum == 900
    assert set(evaluation["labels"]) == set(ORGANS.values())
    label = segmented(student, held_out(abdomen), tmp_path)
    assert set(np.unique(label)) <= {0, *ORGANS}
