"""Packs: read back as they were packed, found by training in place of the data, scored as from the scans."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.io.cohort_table import read_cohort
from CMEDLSegmentLib.models.model_file import load_model, save_model
from CMEDLTrainLib.cli import main
from CMEDLTrainLib.cohort import preparation
from CMEDLTrainLib.cohort.preparation import open_case, prepare
from CMEDLTrainLib.cohort.store import LEVELS
from CMEDLTrainLib.evaluation.evaluate import evaluate
from CMEDLTrainLib.evaluation.evaluation_output import scored_cases
from CMEDLTrainLib.evaluation.packed_case import from_bytes, read_packed_case, to_bytes
from CMEDLTrainLib.experiments.experiment_cohorts import make_cohort
from CMEDLTrainLib.experiments.packing import differences, sums, unpack, write_pack
from CMEDLTrainLib.experiments.plan import read_experiment
from CMEDLTrainLib.experiments.runner import ExperimentRunner
from CMEDLTrainLib.training.train_run import slices_of, training_cases
from gpu.plans import read
from harness.damaged_json import outcomes
from segment.inference.small_models import a_card, a_model
from train.experiments.experiment_results import read_results, write_experiment

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def experiment():
    return replace(read("sts", tiny=True), seeds=(0,))


@pytest.fixture(scope="module")
def packed(experiment, tmp_path_factory):
    path = tmp_path_factory.mktemp("pack") / "pack.npz"
    write_pack([experiment], path)
    return path


@pytest.fixture
def work(packed, tmp_path):
    unpack(packed, tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture(scope="module")
def scans(experiment, tmp_path_factory):
    """The table of the same cohort with its scans."""
    return make_cohort(experiment, tmp_path_factory.mktemp("scans"))[0]


def table_in(work, experiment):
    return work / f"cohort-{experiment.cohort_id}" / "fold1.csv"


@pytest.mark.parametrize("both", [False, True])
def test_differences_add_up_to_what_they_are_of(both):
    values = np.random.default_rng(1).integers(0, 256, (3, 17, 9), np.uint8)
    smooth = np.broadcast_to(np.arange(9, dtype=np.uint8), values.shape)
    assert np.array_equal(sums(differences(values, both), both), values)
    assert differences(smooth, both)[:, 1:, 1:].max() <= 1


def test_bytes_are_half_a_level_from_the_intensities_and_stay_as_they_are():
    values = np.linspace(-1, 1, 1001, dtype=np.float32)
    restored = from_bytes(to_bytes(values))
    assert np.abs(restored - values).max() <= 0.5 / 127.5 + 1e-6
    assert np.array_equal(to_bytes(restored), to_bytes(values))


@pytest.mark.parametrize("row", ["ct-only", "cmedl"])
def test_slices_are_read_back_as_they_were_packed_and_no_scan_is_opened(
    experiment, scans, work, tmp_path, monkeypatch, row
):
    cell = next(cell for cell in experiment.cells if cell.row == row)
    whole = experiment.configuration(cell, scans, "cpu")
    own = prepare(training_cases(whole), whole.images, 1, tmp_path / "own")

    def opened(*arguments):
        raise AssertionError("a scan was opened")

    monkeypatch.setattr(preparation, "open_case", opened)
    run = ExperimentRunner(experiment, work, "cpu")._opened(cell, table_in(work, experiment))
    store = slices_of(run)
    assert (store.modalities, store.normalizations) == (own.modalities, own.normalizations)
    assert list(store.patches) == list(own.patches)
    every = np.arange(len(own.patches))
    (images, masks), (expected, wanted) = store.read(every), own.read(every)
    levels = np.round(from_bytes(to_bytes(expected)) * LEVELS).astype(np.int16)
    assert np.array_equal(images, levels.astype(np.float32) / LEVELS)
    assert np.array_equal(masks, wanted)
    assert masks.any()


def a_student_that_marks(path, store_images, images):
    """A student of these settings with random weights that marks a fifth of the pixels."""
    student = a_model(a_card(field=images.field, spacing_mm=images.spacing_mm, slices=images.slices))
    network = student.build().networks[0]
    with torch.no_grad():
        logits, _ = network(torch.from_numpy(store_images)[:, None])
        network.get_parameter("head.bias").sub_(logits.quantile(0.8))
    save_model(path, student.card, {"segmentor": network})
    return path


def test_a_student_is_scored_from_a_pack_as_from_the_scans(experiment, scans, work, tmp_path):
    images = experiment.configuration(experiment.cells[0], scans, "cpu").images
    table = table_in(work, experiment)
    shown = from_bytes(read_packed_case(scored_cases(table)[0].image).images)
    student = a_student_that_marks(tmp_path / "student.safetensors", shown, images)
    expected, packed = (evaluate(student, scored_cases(cohort), "cpu") for cohort in (scans, table))
    for theirs, ours in zip(expected.cases, packed.cases, strict=True):
        assert ours.case == theirs.case
        assert (ours.structure_slices, ours.empty_slices) == (theirs.structure_slices, theirs.empty_slices)
        assert ours.values["dsc"] == pytest.approx(theirs.values["dsc"], abs=0.01)
        assert ours.values["auc"] == pytest.approx(theirs.values["auc"], abs=0.01)


def test_what_is_kept_of_a_test_case_is_the_scan_as_the_student_sees_it(experiment, scans, work):
    images = experiment.configuration(experiment.cells[0], scans, "cpu").images
    for case, of_scan in zip(scored_cases(table_in(work, experiment)), scored_cases(scans), strict=True):
        carried, scan = read_packed_case(case.image), open_case(of_scan, images, 1)
        assert (carried.field, carried.geometry) == (scan.field, scan.geometry)
        assert np.array_equal(carried.slices, scan.student_slices)
        assert np.array_equal(carried.expert, scan.expert)
        volume = carried.volume()
        assert volume.geometry == scan.geometry
        # Where the field reaches, the volume to look at is the scan, smoothed by the student's pixels.
        low, high = images.window_hu
        inside = np.clip(scan.array, low, high)
        assert np.corrcoef(volume.array.ravel(), inside.ravel())[0, 1] > 0.8


def test_a_damaged_case_is_refused_or_read(work, tmp_path):
    with np.load(next((work / "scored").glob("*.npz"))) as file:
        arrays = {name: file[name] for name in file.files}

    def read(text):
        np.savez(tmp_path / "damaged.npz", **{**arrays, "about": text})
        return read_packed_case(tmp_path / "damaged.npz")

    tree = json.loads(str(arrays["about"]))
    for case in outcomes(read, tree, InputError, most=200):
        assert case.images.dtype == np.uint8
        assert isinstance(case.modality, str)


def test_a_student_that_sees_other_images_is_refused(experiment, work, tmp_path):
    student = a_model(a_card(field=64, slices="all"))
    save_model(tmp_path / "a.safetensors", student.card, {"segmentor": student.build().networks[0]})
    with pytest.raises(InputError):
        evaluate(tmp_path / "a.safetensors", scored_cases(table_in(work, experiment)), "cpu")


def test_other_modalities_than_ct_are_not_packed_to_be_scored(tmp_path):
    organs = read_experiment("organs")
    small = {**organs.cohort, "counts": dict.fromkeys(organs.cohort["counts"], 1), "size": [4, 32, 32]}
    with pytest.raises(InputError):
        write_pack([replace(organs, cohort=small)], tmp_path / "pack.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
def test_a_cut_pack_is_refused(packed, tmp_path, share):
    path = tmp_path / "cut.npz"
    data = packed.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError):
        unpack(path, tmp_path / "work")


def test_unpacking_again_makes_only_what_is_not_there(packed, work):
    stores = {path: path.stat().st_mtime_ns for path in (work / "runs").rglob("*.npy")}
    lost = next(path.parent for path in stores)
    shutil.rmtree(lost)
    unpack(packed, work)
    for path, time in stores.items():
        assert path.is_file()
        assert (path.stat().st_mtime_ns == time) == (path.parent != lost)


def test_a_run_that_was_stopped_and_moved_ends_as_one_that_was_not(experiment, packed, work, tmp_path):
    cell = next(cell for cell in experiment.cells if cell.row == "cmedl")
    one = replace(experiment, rows={cell.row: experiment.rows[cell.row]}, reference=cell.row)
    begun = ExperimentRunner(one, work, "cpu")
    assert (
        begun.work_off(None, lambda cell: None, progress=Progress(cancelled=begun.run_of(cell).last.is_file)) is False
    )
    assert begun.progress_of(cell).state == "stopped"
    moved = ExperimentRunner(one, work.rename(tmp_path / "elsewhere"), "cpu")
    assert moved.work_off(None, lambda cell: None) is True
    unpack(packed, tmp_path / "other")
    undisturbed = ExperimentRunner(one, tmp_path / "other", "cpu")
    assert undisturbed.work_off(None, lambda cell: None) is True
    ours, theirs = (load_file(bench.run_of(cell).last) for bench in (moved, undisturbed))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_how_steps_run_may_be_other_than_when_a_run_was_begun(experiment, work):
    cell, table = experiment.cells[0], table_in(work, experiment)
    begun = ExperimentRunner(experiment, work, "cpu", graph=True)._opened(cell, table)
    assert begun.configuration.optimization.graph is True
    again = ExperimentRunner(experiment, work, "cpu", graph=False)._opened(cell, table)
    assert again.folder == begun.folder
    assert again.configuration.optimization.graph is False


def test_the_command_needs_no_data_with_a_pack_and_puts_results_where_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("CMEDL_DATA", str(tmp_path / "nowhere"))
    write_pack([write_experiment(tmp_path, rows={"ct-only": {}}, reference="ct-only")], tmp_path / "pack.npz")
    where = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), "--pack", str(tmp_path / "pack.npz")]
    assert main(["experiment", str(tmp_path), "--device", "cpu", *where]) == 0
    assert read_results(tmp_path / "out")["complete"] is True
    assert not (tmp_path / "results.json").exists()
    assert not list((tmp_path / "work").rglob("*.nii.gz"))
    shutil.rmtree(tmp_path / "work")
    assert main(["experiment", str(tmp_path), "--keep", *where]) == 0
    assert not list((tmp_path / "work" / "runs").glob("*/events.jsonl"))


def test_a_table_of_a_pack_names_all_cases_as_the_cohort_s_does(experiment, scans, work):
    packed, expected = (
        [
            (case.patient, case.case, case.modality, case.role, case.split)
            for case in read_cohort(table, check_files=False)
        ]
        for table in (table_in(work, experiment), scans)
    )
    assert packed == expected


@pytest.mark.slow
def test_forty_patients_are_scored_from_a_pack_as_from_their_scans(data_root, monkeypatch, tmp_path):
    """The bundled student of sarcoma on the first fold's patients; the pack of all three is of the size it may have."""
    monkeypatch.setenv("CMEDL_DATA", str(data_root))
    sarcoma = read("sts")
    path = tmp_path / "sts.npz"
    write_pack([sarcoma], path)
    features = sum(file.stat().st_size for file in (data_root / "vgg16").iterdir())
    assert path.stat().st_size - features <= 15 * 2**20
    unpack(path, tmp_path / "work")
    tables = make_cohort(sarcoma, tmp_path / "scans")
    student = load_model(ROOT / "Resources" / "Models" / "sarcoma-ct.safetensors").path
    for table in (tables[0], table_in(tmp_path / "work", sarcoma)):
        assert table.is_file()
    expected, packed = (
        evaluate(student, scored_cases(table), "cpu") for table in (tables[0], table_in(tmp_path / "work", sarcoma))
    )
    for name in ("dsc", "dsc_structure_slices"):
        assert packed.summary()[name]["mean"] == pytest.approx(expected.summary()[name]["mean"], abs=1e-3)
    apart = [a.values["dsc"] - b.values["dsc"] for a, b in zip(packed.cases, expected.cases, strict=True)]
    assert np.abs(apart).max() < 5e-3
