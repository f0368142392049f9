"""``cmedl-train`` from a phantom cohort to a student that ``cmedl-segment`` runs, in one pass."""

import json
import shutil
import subprocess
import sys
import time

import pytest

from CMEDLSegmentLib import cli as segment_cli
from CMEDLSegmentLib.io.cohort_table import read_cohort
from CMEDLSegmentLib.models.model_card import read_card
from CMEDLSegmentLib.phantom import write_cohort_phantoms
from CMEDLTrainLib.cli import main
from CMEDLTrainLib.evaluation.evaluation_output import is_own_cohort
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.training.train_run import card_labels
from train.training.tiny_runs import environment, stopped_after_a_step

PREPARING = """
import sys, time
from pathlib import Path
from CMEDLTrainLib import cli
from CMEDLTrainLib.cohort import preparation
extract = preparation.extract_case

def slowly(*arguments):
    Path(sys.argv[1]).touch()
    time.sleep(0.5)
    return extract(*arguments)

preparation.extract_case = slowly
sys.exit(cli.main(sys.argv[2:]))
"""
"""A trainer that leaves a file when it prepares slices, and takes its time."""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    return write_cohort_phantoms(folder, cases=4, seed=3, size=(24, 64, 64), spacing=(12.0, 6.0, 6.0))


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory):
    """A tiny run that was stopped after its first step and resumed."""
    folder = tmp_path_factory.mktemp("runs") / "tiny-run"
    with stopped_after_a_step():
        assert main(["run", str(cohort), "-o", str(folder), "--preset", "tiny", "--device", "cpu"]) == 3
    assert run_folder.open_run(folder).status()["step"] == 1
    assert not (folder / "student.safetensors").exists()
    assert main(["resume", str(folder)]) == 0
    return folder


def test_a_stopped_run_is_resumed_to_its_end_and_says_so(run, capsys):
    assert main(["status", str(run), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["state"] == "finished"
    assert status["step"] == status["steps"]
    assert {"loss", "dsc"} <= status["validation"].keys()


def test_phantoms_never_replace_what_is_there(cohort, capsys):
    before = {path: path.stat().st_mtime_ns for path in cohort.parent.rglob("*")}
    assert main(["phantom", "-o", str(cohort.parent), "--cases", "1"]) == 2
    assert str(cohort.parent) in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in cohort.parent.rglob("*")} == before


@pytest.mark.parametrize(("role", "split"), [("student", "validation"), ("teacher", "train")])
def test_a_cohort_that_lacks_cases_is_refused_before_slices_are_prepared(role, split, cohort, tmp_path, capsys):
    left = [
        line for line in cohort.read_text("utf-8").splitlines() if f",{role}," not in line or not line.endswith(split)
    ]
    table = cohort.parent / f"without-{role}-{split}.csv"
    table.write_text("\n".join(left), "utf-8")
    assert main(["run", str(table), "-o", str(tmp_path / "run"), "--preset", "tiny", "--method", "cmedl"]) == 2
    message = capsys.readouterr().err
    assert all(name in message for name in (table.name, role, split))
    assert not (tmp_path / "slices").exists()


def test_a_finished_run_is_a_folder_with_what_its_reader_needs(run):
    assert sorted(path.name for path in run.iterdir() if path.suffix) == [
        "best.safetensors",
        "configuration.json",
        "events.jsonl",
        "last.safetensors",
        "student.safetensors",
    ]


def test_only_a_tumor_on_slices_with_lung_is_said_to_be_in_the_lung(run):
    card = read_card(run / "student.safetensors")
    (label,) = card.labels
    assert (card.slices, label.terminology["region"][2]) == ("lung", "Lung")
    (elsewhere,) = card_labels(["Tumor"], "all")
    assert elsewhere.terminology == {key: label.terminology[key] for key in ("category", "type")}


def test_the_student_of_a_run_segments_a_phantom(run, cohort, tmp_path, capsys):
    image = next(case.image for case in read_cohort(cohort) if case.role == "student")
    output = tmp_path / "tumor.nii.gz"
    arguments = ["run", str(image), "-o", str(output), "--model", str(run / "student.safetensors"), "--json"]
    assert segment_cli.main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["lung_slices"] > 3
    assert output.is_file()


def test_a_student_that_translates_first_is_trained_exported_and_segments(cohort, tmp_path, capsys):
    folder, output = tmp_path / "pmri", tmp_path / "student.safetensors"
    arguments = ["run", str(cohort), "-o", str(folder), "--preset", "tiny", "--method", "pmri-cmedl"]
    assert main([*arguments, "--set", "optimization.epochs=1", "--device", "cpu"]) == 0
    assert main(["export", str(folder), "-o", str(output)]) == 0
    assert [spec.name for spec in read_card(output).networks] == ["to_teacher", "segmentor"]
    image = next(case.image for case in read_cohort(cohort) if case.role == "student")
    assert (
        segment_cli.main(["run", str(image), "-o", str(tmp_path / "t.nii.gz"), "--model", str(output), "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["lung_slices"] > 3


def test_evaluation_scores_the_test_patients_and_keeps_the_figures(run, capsys):
    assert main(["evaluate", str(run), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((run / "evaluation.json").read_text("utf-8"))
    assert len(printed["cases"]) == 1
    assert 0 <= printed["summary"]["dsc_structure_slices"]["mean"] <= 1
    assert printed["tolerance_mm"] == 2
    assert printed["own_cohort"]
    assert "phantom-ct" not in json.dumps(printed)  # the patients' names in the table
    assert {path.name for path in (run / "evaluation").iterdir()} == {"cases.csv", "tumors.csv", "roc.svg"}


def test_a_student_compared_with_itself_does_not_differ(run, cohort, capsys):
    arguments = ["evaluate", str(run), "--against", str(run), "--split", "validation", "--tolerance", "3", "--json"]
    assert main([*arguments, "--cohort", str(cohort), "--device", "cpu"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((run / "evaluation-validation.json").read_text("utf-8"))
    assert (printed["tolerance_mm"], printed["own_cohort"]) == (3, True)
    dsc = printed["against"]["comparisons"]["dsc"]
    assert (dsc["delta_mean"], dsc["ties"]) == (0, dsc["n"])
    assert (run / "evaluation-validation" / "paired.svg").is_file()


def test_a_cohort_that_was_moved_is_the_run_s_own_and_one_of_other_splits_is_not(run, cohort, tmp_path):
    moved = shutil.copytree(cohort.parent, tmp_path / "moved") / cohort.name
    assert is_own_cohort(run_folder.open_run(run), moved)
    # A run of before its cohort was noted: its table is looked at, where it still is.
    older = shutil.copytree(run, tmp_path / "older")
    events = [line for line in (older / "events.jsonl").read_text("utf-8").splitlines() if '"cohort"' not in line]
    assert len(events) < len((run / "events.jsonl").read_text("utf-8").splitlines())
    (older / "events.jsonl").write_text("\n".join(events), "utf-8")
    assert is_own_cohort(run_folder.open_run(older), moved)
    text = moved.read_text("utf-8")
    moved.write_text(text.replace("validation", "test"), "utf-8")
    assert not is_own_cohort(run_folder.open_run(run), moved)
    assert not is_own_cohort(run_folder.open_run(older), moved)


def export(run, folder, entries, *options) -> int:
    """Export the run's student to ``folder`` with these entries of the card; the exit code."""
    (folder / "card.json").write_text(json.dumps(entries), "utf-8")
    output = folder / "student.safetensors"
    return main(["export", str(run), "-o", str(output), "--card", str(folder / "card.json"), "--overwrite", *options])


def test_an_exported_student_carries_the_card_that_was_given(run, tmp_path):
    entries = {
        "name": "tiny-phantom",
        "data": [{"name": "phantom", "license": "none", "attribution": "made by this program"}],
        "figures": [{"measure": "DSC", "value": 0.1, "n": 1, "data": "phantom"}],
    }
    assert export(run, tmp_path, entries) == 0
    card = read_card(tmp_path / "student.safetensors")
    assert card.name == "tiny-phantom"
    assert card.data[0]["license"] == "none"
    assert card.training["method"] == "ct-only"
    # Half precision: about half the size of the run's own.
    sizes = [(folder / "student.safetensors").stat().st_size for folder in (tmp_path, run)]
    assert sizes[0] < 0.7 * sizes[1]


def test_a_student_can_be_exported_with_weights_of_8_bits_which_says_how_they_agree(run, tmp_path, capsys):
    sizes = {}
    for option in ("--full-precision", "--small"):
        assert export(run, tmp_path, {}, option, "--json") == 0
        assert ("DSC" in json.loads(capsys.readouterr().out)["int8"]) == (option == "--small")
        sizes[option] = (tmp_path / "student.safetensors").stat().st_size
    assert sizes["--small"] < 0.75 * sizes["--full-precision"]  # of networks this narrow, many layers stay


@pytest.mark.parametrize(("entries", "kept"), [({}, True), ({"threshold": 0.3}, False), ({"smoothing_mm": 3}, False)])
def test_figures_are_left_out_where_the_card_makes_the_student_mark_otherwise(entries, kept, run, tmp_path):
    assert main(["evaluate", str(run), "--device", "cpu"]) == 0
    assert export(run, tmp_path, entries) == 0
    assert bool(read_card(tmp_path / "student.safetensors").figures) == kept


def test_an_unknown_entry_of_the_card_is_refused(run, tmp_path, capsys):
    assert export(run, tmp_path, {"color": "red"}) == 2
    assert "'color'" in capsys.readouterr().err
    assert not (tmp_path / "student.safetensors").exists()


def test_a_run_can_start_from_the_weights_of_another_student(run, cohort, tmp_path):
    folder = tmp_path / "warm"
    arguments = ["run", str(cohort), "-o", str(folder), "--preset", "tiny", "--init", str(run / "student.safetensors")]
    assert main([*arguments, "--set", "optimization.epochs=1", "--device", "cpu"]) == 0
    narrower = [*arguments[:3], str(tmp_path / "other"), *arguments[4:], "--set", "network.arguments.width=2"]
    assert main([*narrower, "--device", "cpu"]) == 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--device", "cuda:77"], "'cuda:77'"),
        (["--method", "magic"], "'magic'"),
        (["--set", "network.arguments.depth=9"], "depth"),
        (["--method", "cmedl", "--set", "features=nowhere.pth"], "'nowhere.pth'"),
        (["--init", "nobody"], "'nobody'"),
        (["--init", "lung-ct"], "'segmentor'"),
        (["--set", "optimization.graph=true", "--device", "cpu"], "optimization.graph"),
    ],
)
def test_what_cannot_be_built_is_refused_before_slices_are_prepared(options, named, cohort, tmp_path, capsys):
    assert main(["run", str(cohort), "-o", str(tmp_path / "run"), "--preset", "tiny", *options]) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "slices").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="asked by a signal")
def test_stop_ends_the_preparation_of_slices_too(cohort, tmp_path, capsys):
    folder, preparing = tmp_path / "run", tmp_path / "preparing"
    arguments = [str(preparing), "run", str(cohort), "-o", str(folder), "--preset", "tiny", "--device", "cpu"]
    with subprocess.Popen([sys.executable, "-c", PREPARING, *arguments], env=environment()) as trainer:
        while not preparing.exists():
            assert trainer.poll() is None
            time.sleep(0.05)
        assert main(["stop", str(folder)]) == 0
        assert trainer.wait() == 3
    assert run_folder.open_run(folder).status()["step"] == 0
    assert not list((tmp_path / "slices").glob("*/store.json"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run", "missing.csv", "-o", "new"], "missing.csv"),
        (["status", "."], "configuration.json"),
        (["stop", "."], "configuration.json"),
        (["evaluate", ".", "--tolerance", "-1"], '"-1"'),
        (["train"], "--help"),
        (["run"], "--help"),
    ],
)
def test_bad_arguments_end_with_2_and_a_sentence(arguments, named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert named in capsys.readouterr().err


def test_stop_on_a_run_that_nobody_trains_says_so(run, capsys):
    assert main(["stop", str(run)]) == 2
    assert str(run) in capsys.readouterr().err
