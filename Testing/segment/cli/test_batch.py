"""``cmedl-segment batch``: a bad case stays alone, a second run does only what is left, nobody's file is replaced."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.base.errors import Cancelled
from CMEDLSegmentLib.base.files import sha256_of
from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.inference import batch, pipeline
from CMEDLSegmentLib.inference.batch import run_batch
from CMEDLSegmentLib.inference.options import SegmentationOptions
from CMEDLSegmentLib.io.cohort_table import read_cohort
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.models.registry import entry
from harness.damaged_json import damaged
from segment.cli.conftest import GEOMETRY, SHAPE

HEADER = "patient,case,role,modality,image,mask,split\n"
VOLUME_CC = np.prod(SHAPE) * 0.02


@pytest.fixture
def cohort(tmp_path: Path, scan: Path) -> Path:
    """Two cases that work; the expert of the first marked the lower half."""
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[:3] = 255
    write_image(tmp_path / "mask.nii.gz", mask, GEOMETRY)
    table = tmp_path / "cohort.csv"
    table.write_text(HEADER + "p1,one,,CT,scan.nii.gz,mask.nii.gz,\np2,two,,CT,scan.nii.gz,,\n", "utf-8")
    return table


@pytest.fixture
def batched(command, everything, tmp_path):
    """Calls ``batch`` with the constant model into the folder ``out``."""

    def call(table: Path, *options: object):
        return command("batch", table, "-o", tmp_path / "out", "--model", everything, "--json", *options)

    return call


def results(folder: Path) -> dict[str, dict[str, str]]:
    """``results.csv`` by case."""
    with (folder / "results.csv").open(encoding="utf-8", newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def outcomes(ended) -> list[str]:
    return [case["outcome"] for case in ended.json["cases"]]


def test_every_case_gives_a_segmentation_and_a_line_with_its_figures(batched, cohort, tmp_path):
    ended = batched(cohort)
    assert (ended.code, ended.err) == (0, "")
    rows = results(tmp_path / "out")
    assert rows["one"]["outcome"] == rows["two"]["outcome"] == "done"
    assert float(rows["one"]["tumor_volume_cc"]) == pytest.approx(VOLUME_CC, rel=1e-3)
    # All is marked, the expert marked half: 2 (n / 2) / (n + n / 2).
    assert float(rows["one"]["dsc"]) == pytest.approx(2 / 3, rel=1e-3)
    assert rows["two"]["dsc"] == ""
    assert float(rows["one"]["seconds"]) > 0
    assert (tmp_path / "out" / "one.seg.nrrd").exists()
    assert ended.json["cases"][0]["dsc"] == pytest.approx(2 / 3, rel=1e-3)


def test_a_person_reads_a_table(command, cohort, everything, tmp_path):
    ended = command("batch", cohort, "-o", tmp_path / "out", "--model", everything)
    lines = ended.out.splitlines()
    assert lines[0].split() == ["case", "outcome", "seconds", "volume", "(cc)", "DSC"]
    assert lines[2].split()[:2] == ["one", "done"]
    assert lines[2].split()[-1] == "0.667"
    assert "2 done" in lines[-1]
    assert "Case 2 of 2" in ended.err


def test_a_bad_case_stays_alone_and_the_exit_code_tells(batched, cohort, tmp_path):
    (tmp_path / "text.nii.gz").write_text("no image", "utf-8")
    bad = "p3,bad,,CT,text.nii.gz,,\np4,gone,,CT,gone.nii.gz,,\np5,mr,,MR,scan.nii.gz,,\n"
    cohort.write_text(HEADER + bad + cohort.read_text("utf-8").removeprefix(HEADER), "utf-8")
    ended = batched(cohort)
    assert ended.code == 2
    assert outcomes(ended) == ["failed", "failed", "failed", "done", "done"]
    rows = results(tmp_path / "out")
    assert "line 3" in rows["gone"]["error"].lower()
    assert "MR" in rows["mr"]["error"]
    assert rows["bad"]["tumor_volume_cc"] == ""
    assert not (tmp_path / "out" / "bad.json").exists()


def test_a_fault_of_ours_in_one_case_stays_alone_too_and_ends_with_1(batched, cohort, tmp_path, monkeypatch):
    work = batch.run

    def faulty(job, *rest):
        if job.output.name.startswith("one"):
            raise ZeroDivisionError
        return work(job, *rest)

    monkeypatch.setattr(batch, "run", faulty)
    ended = batched(cohort)
    assert ended.code == 1
    assert outcomes(ended) == ["failed", "done"]
    assert "ZeroDivisionError" in ended.json["cases"][0]["error"]


def test_a_mask_on_another_grid_is_found_out_before_the_work(batched, cohort, tmp_path, monkeypatch):
    write_image(tmp_path / "mask.nii.gz", np.ones((3, 4, 5), np.uint8), GEOMETRY.__class__((5, 4, 3)))
    ended = batched(cohort)
    assert outcomes(ended) == ["failed", "done"]
    assert not (tmp_path / "out" / "one.seg.nrrd").exists()


def test_a_second_run_keeps_what_is_done_and_needs_no_model(batched, cohort, monkeypatch):
    first = batched(cohort).json["cases"]
    monkeypatch.setattr(pipeline, "load_segmenter", lambda rules: pytest.fail("the model was loaded"))
    ended = batched(cohort)
    assert ended.code == 0
    assert outcomes(ended) == ["kept", "kept"]
    for before, after in zip(first, ended.json["cases"], strict=True):
        assert after["tumor_volume_cc"] == before["tumor_volume_cc"]
        assert after["dsc"] == before["dsc"]


def test_a_changed_input_option_or_lost_result_is_done_anew(batched, cohort, tmp_path):
    batched(cohort)
    os.utime(tmp_path / "mask.nii.gz", ns=(1, 1))
    assert outcomes(batched(cohort)) == ["done", "kept"]
    (tmp_path / "out" / "two.seg.nrrd").unlink()
    assert outcomes(batched(cohort)) == ["kept", "done"]
    (tmp_path / "out" / "two.json").write_text("{", "utf-8")
    (tmp_path / "out" / "two.seg.nrrd").unlink()
    assert outcomes(batched(cohort)) == ["kept", "done"]
    assert outcomes(batched(cohort, "--device", "cpu")) == ["kept", "kept"]
    ended = batched(cohort, "--threshold", "0.9")
    assert outcomes(ended) == ["done", "done"]
    assert ended.json["cases"][0]["tumor_volume_cc"] == 0


@pytest.mark.parametrize("known", [True, False], ids=["edited", "never ours"])
def test_a_segmentation_that_somebody_edited_is_never_replaced(batched, cohort, tmp_path, known):
    output = tmp_path / "out" / "one.seg.nrrd"
    if known:
        batched(cohort)
    output.parent.mkdir(exist_ok=True)
    output.write_bytes(b"edited by hand")
    for _ in range(2):
        ended = batched(cohort, "--threshold", "0.6")
        assert ended.code == 2
        assert ended.json["cases"][0]["outcome"] == "failed"
        assert str(output) in ended.json["cases"][0]["error"]
        assert output.read_bytes() == b"edited by hand"


def test_a_damaged_record_is_taken_for_none(batched, cohort, everything, tmp_path):
    batched(cohort)
    path = tmp_path / "out" / "one.json"
    content, case = json.loads(path.read_text("utf-8")), read_cohort(cohort)[0]
    for text in damaged(content, most=300):
        path.write_text(text, "utf-8")
        record = batch._Record(path.parent, case, SegmentationOptions(), entry(everything), sha256_of)
        if record.finished():
            assert json.loads(text) | {"result": ...} == content | {"result": ...}


def test_a_result_that_was_cut_off_before_its_record_is_done_anew(batched, cohort, tmp_path):
    batched(cohort)
    record = tmp_path / "out" / "one.json"
    content = json.loads(record.read_text("utf-8"))
    record.write_text(json.dumps({"state": batch.RUNNING, "fingerprint": content["fingerprint"]}), "utf-8")
    assert outcomes(batched(cohort)) == ["done", "kept"]


def test_a_cancel_ends_with_3_and_the_next_run_goes_on(cohort, everything, tmp_path, batched):
    stages: list[str] = []
    progress = Progress(
        lambda stage, _: stages.append(stage),
        lambda: any(stage.startswith("Case 2 of 2: Segmenting") for stage in stages),
    )
    with pytest.raises(Cancelled) as caught:
        run_batch(cohort, tmp_path / "out", SegmentationOptions(str(everything)), progress)
    assert caught.value.exit_code == 3
    assert "1 of 2" in str(caught.value)
    rows = results(tmp_path / "out")
    assert [rows[case]["outcome"] for case in ("one", "two")] == ["done", "not run"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"one.seg.nrrd", "one.json", "results.csv"}
    ended = batched(cohort)
    assert (ended.code, outcomes(ended)) == (0, ["kept", "done"])


def test_a_bad_table_or_model_stops_at_once(command, cohort, everything, tmp_path):
    out = tmp_path / "out"
    assert command("batch", tmp_path / "none.csv", "-o", out, "--model", everything).code == 2
    assert command("batch", cohort, "-o", out, "--model", "nobody").code == 2
    assert not out.exists()


def test_a_table_that_cannot_be_written_stops_no_case_but_is_told(batched, cohort, tmp_path):
    (tmp_path / "out" / "results.csv").mkdir(parents=True)
    ended = batched(cohort)
    assert ended.code == 2
    assert "results.csv" in ended.json["error"]
    assert (tmp_path / "out" / "two.seg.nrrd").exists()


def test_progress_never_names_a_case(command, cohort, everything, tmp_path):
    ended = command("batch", cohort, "-o", tmp_path / "out", "--model", everything)
    assert "one" not in ended.err.replace("Done", "")
