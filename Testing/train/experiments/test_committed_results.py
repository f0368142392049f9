"""The committed results of experiments, made anew of what ``results.json`` keeps."""

import json
from pathlib import Path

import pytest

from CMEDLTrainLib.evaluation.evaluation_file import write_json
from CMEDLTrainLib.experiments import rater_study
from CMEDLTrainLib.experiments.finished_runs import kept_runs
from CMEDLTrainLib.experiments.plan import read_experiment
from CMEDLTrainLib.experiments.results_page import markdown
from CMEDLTrainLib.experiments.runner import ExperimentRunner
from train.experiments.experiment_results import results_of

RESULTS = sorted((Path(__file__).resolve().parents[2] / "experiments").glob("*/results.json"))


@pytest.fixture(autouse=True)
def data(monkeypatch, tmp_path):
    """A data folder without anything in it."""
    monkeypatch.setenv("CMEDL_DATA", str(tmp_path))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.parent.name)
def test_results_md_is_what_results_json_makes(path):
    name, results = path.parent.name, json.loads(path.read_text("utf-8"))
    if name == "raters":
        text = rater_study.markdown(rater_study.read_raters_experiment(name), results)
    else:
        pictures = [picture for picture in ("roc.svg", "panels.png") if (path.parent / picture).is_file()]
        text = markdown(read_experiment(name), results, pictures)
    before = path.with_name("results.md").read_text("utf-8")
    # Earlier captions did not say whose runs are shown.
    assert text.replace(", of the runs that were at hand", "") == before.replace(", of the runs that were at hand", "")


@pytest.mark.parametrize("name", ["sts-networks", "sts-synthesis"])
def test_results_json_is_made_anew_of_its_own_cells(name, tmp_path):
    experiment = read_experiment(name)
    write_json(
        tmp_path / "results.json", results_of(ExperimentRunner(experiment, tmp_path, "cpu", kept_runs(experiment)))
    )
    after = json.loads((tmp_path / "results.json").read_text("utf-8"))
    before = json.loads((experiment.folder / "results.json").read_text("utf-8"))
    for results in (before, after):
        del results["configuration"]  # its names are of another version
        for row in results["methods"].values():
            del row["training_minutes"]  # a mean of what was rounded
        for row in results["comparisons"].values():
            for difference in row.get("synthesis", {}).values():
                del difference["sentence"]
    assert after == before
