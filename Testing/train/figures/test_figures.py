"""``cmedl-train evaluate --figures``: what methods with and without teacher and translation show of their cases."""

import json
from dataclasses import replace

import pytest
from PIL import Image

from CMEDLSegmentLib.io.cohort_table import read_cohort, write_cohort
from CMEDLSegmentLib.phantom import write_cohort_phantoms
from CMEDLTrainLib.cli import main
from CMEDLTrainLib.figures import contour_panels, tsne_map


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A phantom cohort whose test patient has both images."""
    folder = tmp_path_factory.mktemp("cohort")
    table = write_cohort_phantoms(folder, cases=4, seed=3, size=(24, 64, 64), spacing=(12.0, 6.0, 6.0))
    cases = read_cohort(table)
    patient = next(case.patient for case in cases if (case.role, case.split) == ("student", "test"))
    write_cohort(table, [replace(case, patient=patient) if case.split == "test" else case for case in cases])
    return table


def trained(cohort, method: str):
    """A run of one epoch in few steps."""
    folder = cohort.parent / "runs" / method
    arguments = ["run", str(cohort), "-o", str(folder), "--preset", "tiny", "--method", method, "--device", "cpu"]
    assert main([*arguments, "--set", "optimization.epochs=1", "--set", "optimization.batch=12"]) == 0
    return folder


@pytest.fixture(scope="module")
def alone(cohort):
    """A run with neither teacher nor translation."""
    return trained(cohort, "ct-only")


def evaluated(run, capsys, *options: str) -> dict:
    assert main(["evaluate", str(run), "--figures", "--json", *options]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((run / "evaluation.json").read_text("utf-8"))
    return printed["figures"]


def height(picture) -> int:
    with Image.open(picture) as opened:
        return opened.height


def test_a_joint_method_against_another_shows_rows_maps_and_figures_of_both(cohort, alone, capsys, monkeypatch):
    monkeypatch.setattr(tsne_map, "PERPLEXITY", 5)
    monkeypatch.setattr(tsne_map, "ITERATIONS", 250)
    run = trained(cohort, "cmedl")
    capsys.readouterr()
    figures = evaluated(run, capsys, "--against", str(alone))
    folder = run / "evaluation"
    row = contour_panels.CAPTION + contour_panels.SIDE + 12
    picture = next(iter(figures["contours"]["cases"].values()))
    assert height(folder / picture) == contour_panels.TITLE + 3 * row
    assert height(folder / figures["contours"]["file"]) == height(folder / picture) + contour_panels.CAPTION
    assert figures["features"]["networks"] == ["ct-only", "teacher on pMRI", "student"]
    assert [made["student"] for made in figures["embedding"]["maps"]] == ["ct-only", "student"]
    assert height(folder / "embedding.png") > tsne_map.SIDE
    assert height(folder / "features.png") > 0
    translation = figures["translation"]
    assert translation["kl"] > 0
    assert translation["paired"]["ssim"]["n"] == len(translation["pairs"]) == 1
    assert 0 < translation["paired"]["psnr_db"]["mean"] < 40
    assert translation["pairs"][0]["slices"] > 0


@pytest.mark.slow
def test_a_translation_without_a_teacher_shows_the_student_s_contour_on_it(cohort, capsys):
    run = trained(cohort, "pmri-cycle")
    capsys.readouterr()
    figures = evaluated(run, capsys)
    assert figures["features"]["networks"] == ["student"]
    assert figures["translation"]["pairs"]
    picture = run / "evaluation" / next(iter(figures["contours"]["cases"].values()))
    assert height(picture) == contour_panels.TITLE + 2 * (contour_panels.CAPTION + contour_panels.SIDE + 12)


def test_a_student_alone_leaves_translation_out_and_says_why_there_is_no_map(alone, capsys):
    figures = evaluated(alone, capsys)
    assert "translation" not in figures
    # The phantom's tumor has too few pixels of 6 mm for the paper's perplexity.
    assert "pixels" in figures["embedding"]["left_out"]
    assert (alone / "evaluation" / "features.png").exists()
    assert not (alone / "evaluation" / "embedding.png").exists()
