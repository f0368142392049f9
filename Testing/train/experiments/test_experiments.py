"""Experiments: what the file says, the cohorts, running what is not done, and figures against plain recomputation."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.io.cohort_table import read_cohort
from CMEDLTrainLib.cli import main
from CMEDLTrainLib.evaluation.evaluation_file import write_json
from CMEDLTrainLib.evaluation.roc import RATES
from CMEDLTrainLib.experiments import plan
from CMEDLTrainLib.experiments.experiment_cohorts import make_cohort
from CMEDLTrainLib.experiments.finished_runs import finished_runs, kept_runs
from CMEDLTrainLib.experiments.plan import ExperimentRun, read_experiment
from CMEDLTrainLib.experiments.results_page import markdown
from CMEDLTrainLib.experiments.run_states import RunStatus
from CMEDLTrainLib.experiments.runner import ExperimentRunner, training_seconds
from CMEDLTrainLib.runs import run_folder
from gpu.plans import PHANTOMS
from harness.damaged_json import outcomes
from train.evaluation.made_figures import case_figures
from train.experiments.experiment_results import TREE, read_results, results_of, write_experiment, write_scored

COMMITTED = Path(__file__).resolve().parents[2] / "experiments"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small experiment that was stopped by its budget, then finished; its folder and the first results."""
    folder = tmp_path_factory.mktemp("experiments") / "two-rows"
    write_experiment(folder)
    assert main(["experiment", str(folder), "--device", "cpu", "--budget", "0"]) == 3
    first = read_results(folder)
    assert main(["experiment", str(folder), "--device", "cpu"]) == 0
    return folder, first


@pytest.fixture
def on_trained_runs(trained, tmp_path):
    """Makes runners of changed experiments, whose runs lie beside those of ``trained``."""

    def make(**changes) -> ExperimentRunner:
        return ExperimentRunner(write_experiment(tmp_path / "changed", **changes), trained[0].parent / "local", "cpu")

    return make


ONE_ROW = {"rows": {"ct-only": {}}, "reference": "ct-only"}


def test_an_experiment_trains_scores_and_compares_all_its_cells_and_names_no_path_of_the_machine(trained):
    folder, first = trained
    assert first["complete"] is False
    assert first["methods"] == first["comparisons"] == {}
    assert [cell["state"] for cell in first["cells"]] == ["not begun", "not begun"]
    results = read_results(folder)
    assert results["complete"] is True
    assert results["methods"].keys() == {"ct-only", "strict"}
    assert results["methods"]["strict"]["dsc"]["n"] <= 2
    assert results["comparisons"].keys() == {"ct-only"}
    assert results["configuration"]["strict"]["loss"]["recall"] == 0.3
    assert "CPU" in results["device"]
    assert all(cell["training_minutes"] >= 0 and cell["step"] == cell["steps"] > 0 for cell in results["cells"])
    for name in ("results.json", "results.md"):
        assert str(folder.parent) not in (folder / name).read_text("utf-8")


def test_a_second_call_trains_nothing_again(trained):
    folder, _ = trained
    before = {path: path.stat().st_mtime_ns for path in (folder.parent / "local" / "runs").rglob("*") if path.is_file()}
    assert main(["experiment", str(folder), "--device", "cpu"]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_other_settings_are_another_run_and_the_same_settings_are_not(on_trained_runs):
    cell = ExperimentRun(1, "ct-only", 0)
    same = {"title": "Another title", "rows": {"ct-only": {}, "cmedl": {}}, "reference": "cmedl"}
    other = {"settings": {**TREE["settings"], "optimization.learning_rate": 0.1}}
    runs = [on_trained_runs(**changes).run_of(cell) for changes in ({}, same, other)]
    assert runs[0].folder == runs[1].folder != runs[2].folder


def test_a_run_begun_by_another_program_is_not_taken_for_this_one(tmp_path, capsys):
    runner = ExperimentRunner(write_experiment(tmp_path / "changed", seeds=[8]), tmp_path / "local", "cpu")
    cell = runner.experiment.cells[0]
    ours = runner.experiment.configuration(cell, tmp_path / "c.csv", "cpu")
    run_folder.create(runner.run_of(cell).folder, replace(ours, labels=("Nodule",)))
    where = [str(tmp_path / "changed"), "--work", str(tmp_path / "local"), "--device", "cpu"]
    assert main(["experiment", *where]) == 2
    assert runner.run_of(cell).folder.name in capsys.readouterr().err


def test_a_cell_that_another_process_trains_is_left_to_it(on_trained_runs):
    runner = on_trained_runs(seeds=[9])
    theirs, ours = runner.experiment.cells
    run = run_folder.create(runner.run_of(theirs).folder, runner.experiment.configuration(theirs, Path("c.csv"), "cpu"))
    done = []
    with run.held():
        assert runner.work_off(None, done.append) is False
    assert done == [ours]


def test_a_cell_that_another_process_begins_in_the_same_moment_is_left_to_it(on_trained_runs, monkeypatch):
    runner = on_trained_runs(**ONE_ROW, seeds=[10])
    (theirs,) = runner.experiment.cells
    (table,) = make_cohort(runner.experiment, runner.work)
    run = run_folder.create(runner.run_of(theirs).folder, runner.experiment.configuration(theirs, table, "cpu"))
    monkeypatch.setattr(ExperimentRunner, "progress_of", lambda self, cell: RunStatus(cell, "not begun"))  # as it was
    with run.held():
        assert runner.work_off(None, lambda cell: None) is False
    assert not run.events.exists()


def test_a_cell_that_was_stopped_goes_on_where_it_was(on_trained_runs):
    runner = on_trained_runs(**ONE_ROW, seeds=[5])
    (cell,) = runner.experiment.cells
    run = runner.run_of(cell)
    assert runner.work_off(None, lambda cell: None, progress=Progress(cancelled=run.last.is_file)) is False
    assert runner.progress_of(cell).state == "stopped"
    cut = max(event["step"] for event in run.read_events() if event["event"] == "stopped")
    assert 0 < cut < runner.progress_of(cell).steps
    assert runner.work_off(None, lambda cell: None) is True
    assert [event["step"] for event in run.read_events() if event["event"] == "start"] == [0, cut]
    assert runner.progress_of(cell).state == "finished"


def test_a_run_whose_loss_is_no_number_is_told_and_the_others_go_on(on_trained_runs):
    settings = {**TREE["settings"], "optimization.learning_rate": 1e38}
    rows = {"wild": {"method": "ct-only", "settings": settings}, "ct-only": {}}
    runner = on_trained_runs(rows=rows, reference="ct-only", seeds=[6])
    assert main(["experiment", str(runner.out), "--work", str(runner.work), "--device", "cpu"]) == 3
    results = read_results(runner.out)
    assert {cell["row"]: cell["state"] for cell in results["cells"]} == {"wild": "failed", "ct-only": "finished"}
    assert results["complete"] is False


# Figures, from evaluations written by hand


def cases(dsc, hd95, missed=(), free=None, curve=()):
    """Cases case0, case1, ... with a structure that the expert marked in all but ``free``."""
    auc = float(np.mean(curve)) if curve else None
    return [
        case_figures(
            f"case{number}",
            number in missed,
            curve,
            dsc=value,
            surface_dice=value / 2,
            hd95_mm=distance,
            dsc_structure_slices=None if number == free else value,
            auc=auc,
        )
        for number, (value, distance) in enumerate(zip(dsc, hd95, strict=True))
    ]


@pytest.fixture
def runner(tmp_path):
    return ExperimentRunner(write_experiment(tmp_path / "by-hand", seeds=[0, 1]), tmp_path / "local")


def test_figures_are_means_over_seeds_then_over_patients(runner):
    random = np.random.default_rng(4)
    dsc = {(row, seed): random.uniform(0.2, 0.9, 9) for row in ("ct-only", "strict") for seed in (0, 1)}
    far = random.uniform(2, 30, 9)
    for (row, seed), values in dsc.items():
        distances = [None if number == 2 and seed == 0 else each for number, each in enumerate(far + seed)]
        run = write_scored(
            runner, ExperimentRun(1, row, seed), cases(values, distances, missed=(2,) if seed == 0 else ())
        )
    results = results_of(runner)
    ours, theirs = ((dsc[row, 0] + dsc[row, 1]) / 2 for row in ("strict", "ct-only"))
    strict = results["methods"]["strict"]
    assert strict["dsc"]["mean"] == pytest.approx(ours.mean())
    assert strict["dsc"]["std"] == pytest.approx(ours.std(ddof=1))
    assert strict["dsc"]["median"] == pytest.approx(np.median(ours))
    low, high = strict["dsc"]["ci95"]
    assert low < ours.mean() < high
    assert strict["surface_dice"]["mean"] == pytest.approx(ours.mean() / 2)
    # The patient that one seed missed has the distance of the other seed.
    assert strict["hd95_mm"]["mean"] == pytest.approx(np.where(np.arange(9) == 2, far + 1, far + 0.5).mean())
    assert strict["missed"] == {"times": 1, "of": 18}
    compared = results["comparisons"]["ct-only"]
    assert compared["delta_dsc"] == pytest.approx((ours - theirs).mean())
    assert compared["p"] == pytest.approx(stats.wilcoxon(ours, theirs).pvalue)
    assert training_seconds(run) == pytest.approx(120.0)
    assert strict["training_minutes"] == 2.0
    first = next(cell for cell in results["cells"] if (cell["row"], cell["seed"]) == ("strict", 0))
    assert first["patients"][3]["cases"] == ["case3"]
    assert first["patients"][3]["dsc"] == pytest.approx(dsc["strict", 0][3])
    assert [patient["missed"] for patient in first["patients"][1:4]] == [[], ["Tumor"], []]


def test_a_row_is_compared_with_the_one_that_it_names(tmp_path):
    rows = {"a": {"method": "ct-only"}, "b": {"method": "ct-only"}, "c": {"method": "ct-only", "reference": "b"}}
    for number, row in enumerate(rows):
        rows[row]["settings"] = {"loss.recall": 0.1 * (number + 1)}
    runner = ExperimentRunner(write_experiment(tmp_path / "named", rows=rows, reference="a"), tmp_path / "local")
    for row, dsc in (("a", 0.1), ("b", 0.3), ("c", 0.7)):
        write_scored(runner, ExperimentRun(1, row, 0), cases([dsc, dsc], [1.0, 2.0]))
    results = results_of(runner)
    assert {name: compared["reference"] for name, compared in results["comparisons"].items()} == {"b": "a", "c": "b"}
    assert results["comparisons"]["c"]["delta_dsc"] == pytest.approx(-0.4)
    assert "| b minus c | -0.400" in markdown(runner.experiment, results)


def test_rows_are_compared_on_the_runs_that_both_have_finished(runner):
    few, distances = np.array([0.5, 0.6, 0.7]), [1.0, 2.0, 3.0]
    write_scored(runner, ExperimentRun(1, "strict", 0), cases(few, distances))
    write_scored(runner, ExperimentRun(1, "strict", 1), cases(few + 0.3, distances))
    write_scored(runner, ExperimentRun(1, "ct-only", 1), cases(few + 0.1, distances, free=2))
    results = results_of(runner)
    assert results["complete"] is False
    assert results["comparisons"]["ct-only"]["runs"] == 1
    assert results["comparisons"]["ct-only"]["delta_dsc"] == pytest.approx(0.2)
    # A patient without a structure has no DSC that means anything.
    assert results["methods"]["ct-only"]["dsc"]["n"] == 2
    text = markdown(runner.experiment, results)
    assert "1 of 4 runs are not finished" in text
    assert "- ct-only, fold 1, seed 0: not begun, step 0 of unknown" in text


# Figures that are kept, whose runs lie elsewhere


def test_kept_results_are_the_same_without_their_runs(trained, tmp_path):
    folder, _ = trained
    there = tmp_path / "two-rows"
    shutil.copytree(folder, there)
    arguments = ["experiment", str(there), "--device", "cpu", "--work", str(tmp_path / "nothing"), "--keep"]
    assert main(arguments) == 0
    assert not (tmp_path / "nothing" / "runs").exists()
    assert read_results(there) == read_results(folder)
    assert (there / "results.md").read_text("utf-8") == (folder / "results.md").read_text("utf-8")
    assert main(["experiment", str(there), "--work", str(tmp_path / "nothing"), "--budget", "0"]) == 3
    assert read_results(there)["methods"] == {}  # without --keep those of the runs at hand alone


def test_runs_at_hand_and_kept_figures_add_up_to_what_one_machine_would_have(runner, tmp_path):
    random = np.random.default_rng(8)
    elsewhere = ExperimentRunner(runner.experiment, tmp_path / "elsewhere")
    for number, cell in enumerate(runner.experiment.cells):
        curve = tuple(np.linspace(0.0, 1.0, len(RATES)) ** (number + 1))
        scored = cases(random.uniform(0.2, 0.9, 5), [None, *random.uniform(2, 30, 4)], missed=(0,), curve=curve)
        for at in (runner, elsewhere) if number < 3 else (elsewhere,):
            write_scored(at, cell, scored)
    whole = results_of(elsewhere)
    write_json(runner.experiment.folder / "results.json", whole)
    kept = kept_runs(runner.experiment)
    assert kept.keys() == set(runner.experiment.cells)
    mixed = ExperimentRunner(runner.experiment, runner.work, kept=kept)
    assert results_of(runner)["complete"] is False
    assert results_of(mixed) == whole
    here, there = (finished_runs(at, at.progress()) for at in (mixed, elsewhere))
    assert [run.run is None for run in here["strict"]] == [False, True]
    for name in here:
        for ours, theirs in zip(here[name], there[name], strict=True):
            assert np.allclose(ours.patients[1].sensitivities, theirs.patients[1].sensitivities, atol=1e-5)


def test_what_was_trained_otherwise_is_not_kept(runner, tmp_path):
    for cell in runner.experiment.cells:
        write_scored(runner, cell, cases([0.5, 0.6], [1.0, 2.0]))
    results = results_of(runner)
    other = {"ct-only": {"settings": {"loss.recall": 0.9}}, "strict": TREE["rows"]["strict"]}
    for changes, rows in (
        ({"rows": other}, {"strict"}),
        ({"seeds": [1]}, {"ct-only", "strict"}),
        ({"tolerance_mm": 3.0}, set()),
        ({"contiguous": False}, set()),
        ({"measures": ["synthesis"]}, set()),
    ):
        changed = write_experiment(tmp_path / "changed", **{"seeds": [0, 1], **changes})
        write_json(changed.folder / "results.json", results)
        assert {cell.row for cell in kept_runs(changed)} == rows
    assert len(kept_runs(runner.experiment)) == 0  # nothing was written there


def test_results_that_do_not_tell_enough_cannot_be_kept(runner):
    for cell in runner.experiment.cells:
        write_scored(runner, cell, cases([0.5], [1.0]))
    results = results_of(runner)
    del results["cells"][0]["patients"]
    write_json(runner.experiment.folder / "results.json", results)
    with pytest.raises(InputError, match="'patients'"):
        kept_runs(runner.experiment)
    (runner.experiment.folder / "results.json").write_text("{", "utf-8")
    with pytest.raises(InputError, match=r"results\.json"):
        kept_runs(runner.experiment)


# The file and the cohorts


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"reference": "cmedl"}, "'cmedl'"),
        ({"rows": {"ct-only": {"reference": "x"}}, "reference": "ct-only"}, "'x'"),
        ({"rows": {"x": {}}, "reference": "x"}, "'x'"),
        ({"preset": "huge"}, "'huge'"),
        ({"color": 1}, "'color'"),
        ({"seeds": None}, "'seeds'"),
        ({"seeds": [0.5]}, "'seeds'"),
        ({"rows": {"ct-only": {"setings": {}}}}, r"'rows\.ct-only\.setings'"),
        ({"cohort": {"kind": "sts", "folds": "gone.json"}}, "gone.json"),
        ({"settings": "gone.json"}, "gone.json"),
        ({"only_folds": [2]}, "fold 2"),
        ({"measures": ["taste"]}, "'taste'"),
        ({"regions": "gone.json"}, "gone.json"),
    ],
)
def test_a_file_that_is_no_experiment_is_refused(tmp_path, changes, name):
    with pytest.raises(InputError, match=name):
        write_experiment(tmp_path / "bad", **changes)


def test_a_damaged_experiment_is_refused_or_asks_for_runs(tmp_path):
    def read(text):
        (tmp_path / "experiment.json").write_text(text, "utf-8")
        return read_experiment(str(tmp_path))

    for experiment in outcomes(read, TREE, InputError):
        assert all(experiment.run_name(cell) for cell in experiment.cells)


def test_settings_of_a_file_beside_are_the_experiments(tmp_path):
    (tmp_path / "shared.json").write_text(json.dumps(TREE["settings"]), "utf-8")
    own, shared = write_experiment(tmp_path / "one"), write_experiment(tmp_path / "two", settings="../shared.json")
    assert own.configuration(own.cells[0], Path("c"), "cpu") == shared.configuration(shared.cells[0], Path("c"), "cpu")
    assert own.run_name(own.cells[0]) == shared.run_name(shared.cells[0])


def test_an_experiment_may_ask_for_some_of_the_folds_and_shares_their_runs_with_those_that_ask_for_all(tmp_path):
    folds = {"cohort": {**PHANTOMS, "folds": [{}, {}, {}]}}
    every = write_experiment(tmp_path / "every", **folds)
    second = write_experiment(tmp_path / "second", **folds, only_folds=[2])
    assert {cell.fold for cell in every.cells} == {1, 2, 3}
    assert set(second.cells) == {cell for cell in every.cells if cell.fold == 2}
    assert all(second.run_name(cell) == every.run_name(cell) for cell in second.cells)


def test_another_cohort_has_another_folder(trained, tmp_path):
    folder, _ = trained
    experiment = read_experiment(str(folder))
    (table,) = make_cohort(experiment, folder.parent / "local")
    roles = [(case.role, case.modality, case.split) for case in read_cohort(table)]
    assert roles.count(("student", "CT", "test")) == 2
    assert roles.count(("teacher", "MR", "train")) == 1
    assert len({case.patient for case in read_cohort(table)}) == len(roles)
    other = replace(experiment, cohort={**PHANTOMS, "counts": dict.fromkeys(PHANTOMS["counts"], 0), "seed": 4})
    assert make_cohort(other, tmp_path)[0].parent.name != table.parent.name


TRAINING = [path for path in COMMITTED.glob("*/experiment.json") if "rows" in json.loads(path.read_text("utf-8"))]


@pytest.mark.parametrize("path", sorted(TRAINING), ids=lambda path: path.parent.name)
def test_the_committed_experiments_ask_for_settings_that_there_are(path, monkeypatch, tmp_path):
    monkeypatch.setenv("CMEDL_DATA", str(tmp_path))
    experiment = read_experiment(path.parent.name)
    assert experiment.folder == path.parent
    for cell in experiment.cells:
        configuration = experiment.configuration(cell, Path("cohort.csv"), "cpu")
        assert configuration.seed == cell.seed
        assert "$" not in configuration.features


def test_the_folds_of_sts_test_each_patient_once_and_give_each_one_part():
    folds = json.loads((COMMITTED / "sts-folds.json").read_text("utf-8"))
    assert sorted(patient for fold in folds for patient in fold["test"]) == [f"STS_{n:03d}" for n in range(1, 41)]
    for fold in folds:
        everybody = [patient for group in fold.values() for patient in group]
        assert len(everybody) == len(set(everybody)) == 40
        assert min(len(group) for group in fold.values()) >= 4


def test_the_sts_cohort_shows_each_patient_in_one_modality(data_root, monkeypatch, tmp_path):
    monkeypatch.setenv("CMEDL_DATA", str(data_root))
    tables = make_cohort(read_experiment("sts-unet"), tmp_path)
    for table in tables:
        cases = read_cohort(table, required=("mask", "role", "split"))
        assert {case.modality for case in cases if case.role == "student"} == {"CT"}
        assert {(case.modality, case.split) for case in cases if case.role == "teacher"} == {("MR", "train")}
        assert len({case.patient for case in cases}) == len(cases) == 40


def test_without_the_data_a_sentence_says_how_to_name_it(monkeypatch, tmp_path):
    monkeypatch.setenv("CMEDL_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="CMEDL_DATA"):
        plan.data_folder()
