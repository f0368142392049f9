"""Several CTs from the panel: from the scene, a folder and the DICOM database, gone on with after a stop."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from CMEDLSegmentLib.inference.batch import RESULTS
from CMEDLSegmentLib.io.images import read_volume, write_image
from CMEDLSegmentLib.io.volume import Geometry
from segment.io.dicom_samples import write_series
from segment.panel.bright import add_ct, install_model
from segment.panel.conftest import settle


@pytest.fixture
def batch(slicer_app, tmp_path: Path, python_slicer, place, monkeypatch: pytest.MonkeyPatch):
    """The open module with the real program and a model whose answer is known, and a folder for results."""
    models = tmp_path / "models"
    install_model(models)
    monkeypatch.setenv("CMEDL_MODELS", str(models))
    python_slicer()
    panel = slicer_app.open("CMEDLSegment")
    panel.parameters.model, panel.parameters.device = "bright", "cpu"
    panel.ui.batchCollapsibleButton.collapsed = False
    panel.ui.batchPathLineEdit.currentPath = str(tmp_path / "results")
    settle(panel, slicer_app)
    return panel


def run(panel, app) -> None:
    panel.ui.batchButton.click()
    assert panel.batch._poller.busy, [message.text for message in app.messages]
    app.wait_until(lambda: not panel.batch._poller.busy, 120)
    settle(panel, app)


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / RESULTS).open(encoding="utf-8", newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def test_it_needs_scans_and_a_folder(batch, slicer_app) -> None:
    assert not batch.ui.batchButton.enabled
    add_ct()
    batch.ui.batchLoadedButton.click()
    settle(batch, slicer_app)
    assert batch.ui.batchButton.enabled
    batch.ui.batchPathLineEdit.currentPath = ""
    settle(batch, slicer_app)
    assert not batch.ui.batchButton.enabled
    batch.ui.batchClearButton.click()
    settle(batch, slicer_app)
    assert batch.ui.batchList.count == 0


def test_loaded_cts_are_segmented_and_kept_the_next_time(batch, slicer_app, tmp_path: Path) -> None:
    results = tmp_path / "results"
    for name in ("Before", "After / <b>"):
        add_ct(name)
    batch.ui.batchLoadedButton.click()
    batch.ui.batchLoadedButton.click()
    settle(batch, slicer_app)
    assert batch.ui.batchList.count == 2
    run(batch, slicer_app)
    done = rows(results)
    assert {row["outcome"] for row in done.values()} == {"done"}
    assert len({row["tumor_volume_cc"] for row in done.values()}) == 1
    assert all(read_volume(results / "inputs" / f"{case}.nrrd").array.shape == (24, 64, 64) for case in done)
    assert str(results) in batch.ui.batchLabel.text
    run(batch, slicer_app)
    assert {row["outcome"] for row in rows(results).values()} == {"kept"}


def test_a_ct_that_was_moved_is_segmented_anew(batch, slicer_app, tmp_path: Path) -> None:
    ct = add_ct()
    batch.ui.batchLoadedButton.click()
    settle(batch, slicer_app)
    run(batch, slicer_app)
    ct.SetOrigin([at + 30.0 for at in ct.GetOrigin()])
    run(batch, slicer_app)
    assert {row["outcome"] for row in rows(tmp_path / "results").values()} == {"done"}
    (written,) = (tmp_path / "results" / "inputs").iterdir()
    (result,) = (tmp_path / "results").glob("*.seg.nrrd")
    for path in (written, result):
        origin = sitk.ReadImage(str(path)).GetOrigin()
        np.testing.assert_allclose(np.abs(origin), np.abs(ct.GetOrigin()), atol=1e-6)


def test_a_folder_that_takes_no_file_is_told(batch, slicer_app, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    add_ct()
    batch.ui.batchLoadedButton.click()
    batch.ui.batchPathLineEdit.currentPath = str(tmp_path / "file" / "results")
    settle(batch, slicer_app)
    batch.ui.batchButton.click()
    assert str(tmp_path / "file") in slicer_app.messages[-1].text
    assert not batch.batch._poller.busy
    assert slicer_app.take_errors() == []


def test_a_folder_s_files_and_series_are_added_and_a_bad_one_is_told(batch, slicer_app, tmp_path: Path) -> None:
    cohort, ct = tmp_path / "cohort", add_ct()
    from CMEDLSegmentPanel.scene.volume_nodes import volume_of

    volume = volume_of(ct)
    (cohort / "deep").mkdir(parents=True)
    write_image(cohort / "deep" / "one.nii.gz", volume.array, volume.geometry)
    write_series(cohort / "two", volume.array, volume.geometry)
    (cohort / "bad.nrrd").write_bytes(b"NRRD0004\n")
    slicer_app.answer(str(cohort))
    batch.ui.batchFolderButton.click()
    settle(batch, slicer_app)
    assert batch.ui.batchList.count == 3
    run(batch, slicer_app)
    assert {case: row["outcome"] for case, row in rows(tmp_path / "results").items()} == {
        "bad": "failed",
        "deep-one": "done",
        "two": "done",
    }
    assert "1 failed" in batch.ui.batchLabel.text


class Database:
    """A DICOM database with one CT series whose files lie beside another one's, and one MR series."""

    isOpen = True

    def __init__(self, series: dict[str, list[Path]]) -> None:
        self._series = series

    def patients(self) -> list[str]:
        return ["1"]

    def studiesForPatient(self, patient: str) -> list[str]:
        return ["2"]

    def seriesForStudy(self, study: str) -> list[str]:
        return list(self._series)

    def filesForSeries(self, series: str) -> list[str]:
        return [str(file) for file in self._series[series]]

    def fileValue(self, file: str, tag: str) -> str:
        import pydicom

        number = int(tag.replace(",", ""), 16)
        header = pydicom.dcmread(file, stop_before_pixels=True)
        return str(header[number].value) if number in header else ""

    def nameForPatient(self, patient: str) -> str:
        return "Somebody"

    def descriptionForSeries(self, series: str) -> str:
        return f"Thorax {series}"


def test_series_of_the_dicom_database_are_chosen_by_their_ticks(batch, slicer_app, tmp_path: Path, monkeypatch) -> None:
    import qt
    import slicer

    shape = (12, 64, 64)
    geometry = Geometry(shape[::-1], (1.5, 1.5, 2.0))
    together = tmp_path / "together"
    first = write_series(together, np.full(shape, -800, np.int16), geometry)
    second = [
        file.rename(together / f"second{number}")
        for number, file in enumerate(write_series(tmp_path / "moved", np.full(shape, -700, np.int16), geometry))
    ]
    monkeypatch.setattr(slicer, "dicomDatabase", Database({"a": first, "b": second}), raising=False)

    def choose(dialog) -> int:
        (page,) = dialog.findChildren(qt.QListWidget)
        assert page.count == 2
        page.item(1).setCheckState(qt.Qt.Checked)
        return 1

    monkeypatch.setattr(qt.QDialog, "exec_", choose)
    batch.ui.batchDatabaseButton.click()
    settle(batch, slicer_app)
    assert batch.ui.batchList.count == 1, [message.text for message in slicer_app.messages]
    run(batch, slicer_app)
    (row,) = rows(tmp_path / "results").values()
    assert row["outcome"] == "done", row["error"]
    links = sorted((tmp_path / "results" / "inputs" / row["case"]).iterdir())
    assert len(links) == shape[0]
    assert (read_volume(links[0].parent).array == -700).all()


def test_no_database_and_an_empty_folder_are_told(batch, slicer_app, tmp_path: Path) -> None:
    batch.ui.batchDatabaseButton.click()
    (tmp_path / "empty").mkdir()
    slicer_app.answer(str(tmp_path / "empty"))
    batch.ui.batchFolderButton.click()
    assert "DICOM database" in slicer_app.messages[0].text
    assert str(tmp_path / "empty") in slicer_app.messages[-1].text


def test_cancel_ends_it_and_the_next_start_goes_on(batch, slicer_app, tmp_path: Path) -> None:
    for name in ("A", "B", "C"):
        add_ct(name)
    batch.ui.batchLoadedButton.click()
    settle(batch, slicer_app)
    batch.ui.batchButton.click()
    assert batch.ui.batchButton.text == "Cancel"
    batch.ui.batchButton.click()
    slicer_app.wait_until(lambda: not batch.batch._poller.busy, 30)
    settle(batch, slicer_app)
    assert str(tmp_path / "results") in batch.ui.batchLabel.text
    run(batch, slicer_app)
    assert {row["outcome"] for row in rows(tmp_path / "results").values()} <= {"done", "kept"}
