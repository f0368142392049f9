"""Results handed on: as a case to train with, and as DICOM in the CT's study."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import slicer

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.cohort_table import read_cohort
from CMEDLSegmentLib.io.images import read_mask, read_volume
from CMEDLSegmentPanel.scene import result_nodes
from CMEDLSegmentPanel.scene.clicked_tumors import ClickedTumors, click_at
from CMEDLSegmentPanel.scene.dicom_export import export_dicom
from CMEDLSegmentPanel.scene.lesion_candidates import LesionCandidates
from CMEDLSegmentPanel.scene.training_case import Mark, collect
from CMEDLSegmentPanel.scene.volume_nodes import dicom_files, volume_of
from segment.io.dicom_samples import PATIENT_ID, PATIENT_NAME
from segment.scene.dicom import as_from_dicom
from segment.scene.patients import (
    BLOB,
    FAR,
    KINDS,
    SHAPE,
    a_segmentation,
    a_volume,
    an_outcome,
    box_label,
    grid,
    moved,
    put_under,
    world,
)
from segment.scene.test_results import edit


def a_result(kind: str = "plain", **changes: object) -> tuple[object, object]:
    volume = a_volume(matrix=grid(kind))
    return volume, result_nodes.add_result(volume, an_outcome(volume, box_label(BLOB, FAR), **changes))


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_case_is_the_image_and_the_mask_where_they_are(scene: object, kind: str, tmp_path: Path) -> None:
    volume = a_volume(matrix=grid(kind))
    put_under(volume, moved())
    node = result_nodes.add_result(volume, an_outcome(volume, box_label(BLOB)))
    edit(node, "Segment_1", (1, 2, 3))
    folder = collect(volume, [Mark(node, "Segment_1")], tmp_path / "new", " Dr. A\n").write()
    (case,) = read_cohort(tmp_path / "new" / "cohort.csv", required=("mask", "role", "split"))
    assert (case.case, case.modality, case.role, case.split) == (folder.name, "CT", "student", "train")
    from CMEDLSegmentPanel.scene.volume_nodes import volume_of

    image = read_volume(case.image)
    assert image.geometry.is_close(volume_of(volume).geometry, 0.01)
    np.testing.assert_array_equal(image.array, volume_of(volume).array)
    expected = box_label(BLOB)
    expected[3, 2, 1] = 1
    np.testing.assert_array_equal(read_mask(case.mask, image.geometry).array, expected)
    facts = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    assert (facts["reviewer"], facts["edited"], facts["student"]) == ("Dr. A", "yes", "lung-ct")


def test_a_scaled_and_sheared_ct_keeps_its_grid(scene: object, tmp_path: Path) -> None:
    volume, node = a_result()
    shear = np.eye(4)
    shear[1, 2], shear[0, 0] = 0.3, 1.1
    transform = put_under(volume, shear)
    node.SetAndObserveTransformNodeID(transform.GetID())
    collect(volume, [Mark(node, "Segment_1")], tmp_path, "A").write()
    (case,) = read_cohort(tmp_path / "cohort.csv")
    assert case.image.suffix == ".nrrd"


def test_nothing_is_overwritten_and_a_patient_stays_one(scene: object, tmp_path: Path) -> None:
    volume, node = a_result()
    (tmp_path / "case002").mkdir()
    table = tmp_path / "cohort.csv"
    table.write_text(
        'patient,case,role,modality,image,mask,split,notes\nown,Case001,student,CT,a.nii.gz,b.nii.gz,test,"a, note"\n',
        encoding="utf-8",
    )
    first = collect(volume, [Mark(node, "Segment_1")], tmp_path, "A", split="validation").write()
    second = collect(volume, [Mark(node, "Segment_1")], tmp_path, "B", split="train").write()
    assert [first.name, second.name] == ["case003", "case004"]
    lines = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert lines[0]["notes"] == "a, note"
    assert lines[1]["patient"] == lines[2]["patient"]
    assert [line["split"] for line in lines] == ["test", "validation", "validation"]
    other, other_node = a_result()
    collect(other, [Mark(other_node, "Segment_1")], tmp_path, "A").write()
    patients = [case.patient for case in read_cohort(table, check_files=False)]
    assert patients[3] not in patients[:3]


def test_scans_under_one_patient_share_the_pseudonym(scene: object, tmp_path: Path) -> None:
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = tree.CreateSubjectItem(tree.GetSceneItemID(), PATIENT_NAME)
    tree.SetItemAttribute(patient, "DICOM.PatientID", PATIENT_ID)
    for number in (1, 2):
        volume, node = a_result(series_uid="1.2.3.4711")
        volume.SetName(f"{PATIENT_NAME} {number}")
        node.SetName(f"{PATIENT_NAME} result")
        item = tree.CreateItem(tree.CreateStudyItem(patient, "study"), volume)
        tree.SetItemUID(item, "DICOM", "1.2.3.4711")
        collect(volume, [Mark(node, "Segment_1")], tmp_path, "A").write()
    cases = read_cohort(tmp_path / "cohort.csv")
    assert len({case.patient for case in cases}) == 1
    import SimpleITK as sitk

    for path in tmp_path.rglob("*"):
        text = path.read_text(encoding="utf-8") if path.suffix in (".csv", ".json") else str(path)
        if path.name.endswith(".nii.gz"):
            image = sitk.ReadImage(str(path))
            text += " ".join(image.GetMetaData(key) for key in image.GetMetaDataKeys())
        for secret in ("Secret", "SECRET", "4711"):
            assert secret not in text, path


def test_what_makes_no_case_is_told_and_leaves_nothing(scene: object, tmp_path: Path) -> None:
    volume, node = a_result()
    empty = result_nodes.add_result(volume, an_outcome(volume, box_label()))
    blocked = tmp_path / "file"
    blocked.write_text("", "utf-8")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "cohort.csv").write_text("no,cohort\n1,2\n", "utf-8")
    mark = Mark(node, "Segment_1")
    for named, arguments in (
        ("reviewer", (volume, [mark], tmp_path, " \n")),
        ("marked", (volume, [Mark(empty, "Segment_1")], tmp_path, "A")),
        ("gone", (volume, [Mark(node, "gone")], tmp_path, "A")),
        ("image", (None, [mark], tmp_path, "A")),
        ("below", (volume, [mark], blocked / "below", "A")),
        ("cohort.csv", (volume, [mark], damaged, "A")),
    ):
        with pytest.raises(InputError, match=named):
            collect(*arguments).write()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cohort.csv", "damaged", "file"]


@pytest.fixture
def dicom_ct(scene: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> slicer.vtkMRMLScalarVolumeNode:
    """A CT as Slicer loads it from DICOM."""
    volume = a_volume()
    as_from_dicom(volume, tmp_path / "series", monkeypatch)
    return volume


def test_the_files_are_those_of_the_slices(dicom_ct: slicer.vtkMRMLScalarVolumeNode) -> None:
    files, places = dicom_files(dicom_ct)
    assert places == tuple(range(SHAPE[0]))
    array = slicer.util.arrayFromVolume(dicom_ct)
    for file, slice_ in zip(files, array, strict=True):
        header = pydicom.dcmread(file)
        np.testing.assert_array_equal(header.pixel_array + int(header.RescaleIntercept), slice_)


@pytest.mark.parametrize("transformed", [False, True])
def test_exports_lie_on_the_ct_in_its_study(dicom_ct: object, transformed: bool, tmp_path: Path) -> None:
    if transformed:
        put_under(dicom_ct, moved())
    node = result_nodes.add_result(dicom_ct, an_outcome(dicom_ct, box_label(BLOB, FAR)))
    LesionCandidates(node).keep(2, False)
    export_dicom(dicom_ct, node, rtstruct=tmp_path / "rt.dcm", seg=tmp_path / "seg.dcm")
    source = pydicom.dcmread(dicom_files(dicom_ct)[0][0])
    seg, structures = (pydicom.dcmread(tmp_path / name) for name in ("seg.dcm", "rt.dcm"))
    for made in (seg, structures):
        assert made.StudyInstanceUID == source.StudyInstanceUID
        assert made.PatientID == PATIENT_ID
    frames = seg.pixel_array
    assert frames.shape == (4, SHAPE[1], SHAPE[2])
    marked = box_label(BLOB) > 0
    np.testing.assert_array_equal(np.sort(frames.sum(axis=(1, 2))), [42] * 4)
    assert (frames.any(axis=0) == marked.any(axis=0)).all()
    assert seg.SegmentSequence[0].SegmentLabel == "Tumor"
    assert seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == "86049000"
    (contours,) = structures.ROIContourSequence
    points = np.concatenate([np.reshape(c.ContourData, (-1, 3)).astype(float) for c in contours.ContourSequence])
    # Half a voxel around the box, where DICOM has it: no transform of the scene.
    corner = np.array(grid("plain")[:3, 3]) * (-1, -1, 1)
    low = corner + np.array([19.5, 7.5, 5.0]) * (1.5, 2.0, 3.0)
    high = corner + np.array([26.5, 13.5, 8.0]) * (1.5, 2.0, 3.0)
    np.testing.assert_allclose(points.min(axis=0), low, atol=1e-3)
    np.testing.assert_allclose(points.max(axis=0), high, atol=1e-3)


def test_clicked_tumors_are_told_in_what_is_exported(dicom_ct: object, tmp_path: Path) -> None:
    node = result_nodes.add_result(dicom_ct, an_outcome(dicom_ct, box_label(BLOB)))
    click = click_at(volume_of(dicom_ct), world(dicom_ct, (4, 21, 13)))
    ClickedTumors(node).add(dicom_ct, an_outcome(dicom_ct, box_label(FAR)), (click,))
    export_dicom(dicom_ct, node, rtstruct=tmp_path / "rt.dcm", seg=tmp_path / "seg.dcm")
    made = pydicom.dcmread(tmp_path / "rt.dcm")
    assert '"action": "tumor"' in made.StructureSetDescription
    assert made.StructureSetROISequence[0].ROIGenerationAlgorithm == "SEMIAUTOMATIC"
    (segment,) = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence
    assert segment.SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert '"action": "tumor"' in segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters


def test_an_edit_is_exported_and_told(dicom_ct: object, tmp_path: Path) -> None:
    node = result_nodes.add_result(dicom_ct, an_outcome(dicom_ct, box_label(BLOB)))
    edit(node, "Segment_1", (1, 2, 3))
    export_dicom(dicom_ct, node, rtstruct=tmp_path / "rt.dcm", seg=tmp_path / "seg.dcm")
    made = pydicom.dcmread(tmp_path / "rt.dcm")
    assert "edited=yes" in made.StructureSetDescription
    assert made.StructureSetROISequence[0].ROIGenerationAlgorithm == "SEMIAUTOMATIC"
    assert len(made.ROIContourSequence[0].ContourSequence) == 5
    (segment,) = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence
    assert segment.SegmentAlgorithmType == "SEMIAUTOMATIC"


def test_several_drawn_segments_are_exported_unless_they_overlap(dicom_ct: object, tmp_path: Path) -> None:
    apart = a_segmentation(dicom_ct, {"GTV": box_label(BLOB), "Heart": box_label(FAR)})
    export_dicom(dicom_ct, apart, seg=tmp_path / "seg.dcm", rtstruct=tmp_path / "rt.dcm")
    made = pydicom.dcmread(tmp_path / "seg.dcm")
    assert [segment.SegmentAlgorithmType for segment in made.SegmentSequence] == ["MANUAL", "MANUAL"]
    structures = pydicom.dcmread(tmp_path / "rt.dcm")
    assert {region.ROIGenerationAlgorithm for region in structures.StructureSetROISequence} == {"MANUAL"}
    assert [segment.SegmentLabel for segment in made.SegmentSequence] == ["GTV", "Heart"]
    over = a_segmentation(dicom_ct, {"a": box_label(BLOB), "b": box_label(BLOB)})
    with pytest.raises(InputError, match="Experts"):
        export_dicom(dicom_ct, over, seg=tmp_path / "no.dcm")
    first = over.GetSegmentation().GetNthSegmentID(0)
    export_dicom(dicom_ct, over, seg=tmp_path / "one.dcm", segment_ids=[first])
    assert not (tmp_path / "no.dcm").exists()


def test_a_ct_that_is_not_as_in_dicom_is_not_exported(dicom_ct: object, tmp_path: Path) -> None:
    node = result_nodes.add_result(dicom_ct, an_outcome(dicom_ct, box_label(BLOB)))
    plain, plain_node = a_result()
    with pytest.raises(InputError, match="CT"):
        export_dicom(plain, plain_node, seg=tmp_path / "no.dcm")
    with pytest.raises(InputError, match="CT lung-ct"):
        export_dicom(None, node, seg=tmp_path / "no.dcm")
    origin = dicom_ct.GetOrigin()
    dicom_ct.SetOrigin(origin[0] + 5, *origin[1:])
    with pytest.raises(InputError, match="CT"):
        export_dicom(dicom_ct, node, seg=tmp_path / "no.dcm")
    dicom_ct.SetOrigin(origin)
    dicom_files(dicom_ct)[0][3].unlink()
    with pytest.raises(InputError, match="CT"):
        export_dicom(dicom_ct, node, seg=tmp_path / "no.dcm")
    assert not (tmp_path / "no.dcm").exists()
