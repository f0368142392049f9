"""``check``: each kind of fault is found, all of them at once, and a good cohort is left alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.base.errors import Cancelled
from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.io.cohort_table import Case, write_cohort
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.io.volume import Geometry
from CMEDLSegmentLib.phantom import thorax_ct, thorax_mr
from CMEDLTrainLib.cli import main
from CMEDLTrainLib.cohort.checks import ERROR, WARNING, Finding, check_cohort, examine, summary

LABELS = ["Tumor"]


@dataclasses.dataclass
class Scan:
    """A good scan, whose parts a test changes before it is written."""

    image: np.ndarray
    mask: np.ndarray
    geometry: Geometry
    modality: str = "CT"
    mask_geometry: Geometry | None = None

    def write(self, folder: Path, name: str = "c", ending: str = ".nii.gz", **entries) -> Case:
        image, mask = folder / f"{name}{ending}", folder / f"{name}-mask.nii.gz"
        write_image(image, self.image, self.geometry)
        write_image(mask, self.mask, self.mask_geometry or self.geometry)
        return Case(
            **{"patient": name, "case": name, "modality": self.modality, "image": image, "mask": mask} | entries
        )


def phantom(make, seed: int = 0) -> Scan:
    """A chest of 30 slices with 3 mm pixels."""
    made = make(seed=seed, size=(30, 128, 128), spacing=(10.0, 3.0, 3.0))
    return Scan(made.image.array, made.mask, made.image.geometry, made.image.modality)


@pytest.fixture(scope="module")
def good() -> Scan:
    return phantom(thorax_ct)


@pytest.fixture(scope="module")
def mr() -> Scan:
    return phantom(thorax_mr)


def findings_in(case: Case) -> list[Finding]:
    return examine(case, LABELS).findings


def sentences(findings, severity: str) -> list[str]:
    return [finding.sentence for finding in findings if finding.severity == severity]


def test_good_scans_of_both_modalities_are_left_alone(good, mr, tmp_path):
    assert findings_in(good.write(tmp_path, "ct")) == []
    assert findings_in(mr.write(tmp_path, "mr")) == []


def test_what_a_table_shows_of_a_case_is_measured(good, tmp_path):
    examined = examine(good.write(tmp_path), LABELS)
    assert examined.spacing == pytest.approx((10.0, 3.0, 3.0))
    assert examined.volume_cc == pytest.approx(np.count_nonzero(good.mask) * 0.09)
    assert examined.structure_slices == len(np.unique(np.nonzero(good.mask)[0]))
    assert examined.values == (1,)


def first_voxel(scan: Scan) -> np.ndarray:
    mask = np.zeros_like(scan.mask)
    mask[tuple(np.argwhere(scan.mask)[0])] = 1
    return mask


def spaced(scan: Scan, *spacing: float | None) -> Geometry:
    """The scan's grid with some steps (x, y, z) changed."""
    steps = tuple(new or old for new, old in zip(spacing, scan.geometry.spacing, strict=True))
    return dataclasses.replace(scan.geometry, spacing=steps)


def shifted(geometry: Geometry) -> Geometry:
    return dataclasses.replace(geometry, origin=(geometry.origin[0] + 7, *geometry.origin[1:]))


def off_by_1024(scan: Scan) -> dict[str, np.ndarray]:
    return {"image": scan.image + np.int16(1024)}


FAULTS = {
    "as if inverted": (ERROR, lambda scan: {"mask": 1 - scan.mask}),
    "marks nothing": (ERROR, lambda scan: {"mask": 0 * scan.mask}),
    "holds the value 3, but 1 label (Tumor) is named": (ERROR, lambda scan: {"mask": 3 * scan.mask}),
    "is on another grid": (ERROR, lambda scan: {"mask_geometry": shifted(scan.geometry)}),
    "off by about +1024; subtract 1024": (ERROR, off_by_1024),
    "Every voxel of the image is 5": (ERROR, lambda scan: {"image": np.full_like(scan.image, 5)}),
    "marks 1 voxel only": (WARNING, lambda scan: {"mask": first_voxel(scan)}),
    "images.slices=all": (WARNING, lambda scan: {"image": np.clip(scan.image, -200, 300)}),
    "lost the spacing": (WARNING, lambda scan: {"geometry": Geometry(scan.geometry.size)}),
    "25 mm apart": (WARNING, lambda scan: {"geometry": spaced(scan, None, None, 25.0)}),
    "4.5 x 4.5 x 10 mm": (WARNING, lambda scan: {"geometry": spaced(scan, 4.5, 4.5, None)}),
}


@pytest.mark.parametrize("sentence", FAULTS)
def test_each_fault_of_a_case_is_found_and_no_other(good, tmp_path, sentence):
    severity, change = FAULTS[sentence]
    (finding,) = findings_in(dataclasses.replace(good, **change(good)).write(tmp_path))
    assert (finding.severity, finding.case) == (severity, "c")
    assert sentence in finding.sentence


def test_an_mr_in_the_ct_table_is_an_error(mr, tmp_path):
    (sentence,) = sentences(findings_in(mr.write(tmp_path, modality="CT")), ERROR)
    assert "not in Hounsfield units" in sentence


def test_missing_and_damaged_files_are_findings_too(good, tmp_path):
    case = good.write(tmp_path)
    assert "no mask" in findings_in(dataclasses.replace(case, mask=None))[0].sentence
    case.mask.write_bytes(case.mask.read_bytes()[:50])
    assert findings_in(case)[0].severity == ERROR
    case.image.unlink()
    (finding,) = findings_in(case)
    assert "does not exist" in finding.sentence


def test_several_faults_of_one_case_are_all_told(good, tmp_path):
    bad = dataclasses.replace(good, mask=3 * good.mask, **off_by_1024(good))
    assert len(sentences(findings_in(bad.write(tmp_path)), ERROR)) == 2


def test_the_same_voxels_in_another_format_and_order_are_the_same_image(good, tmp_path):
    first = good.write(tmp_path, "a", role="student", split="train")
    g = good.geometry
    top = tuple(g.to_physical(np.array([[0, 0, g.size[2] - 1]]))[0])
    turned = Geometry(g.size, g.spacing, top, (1, 0, 0, 0, 1, 0, 0, 0, -1))
    upside_down = dataclasses.replace(good, image=good.image[::-1], mask=good.mask[::-1], geometry=turned)
    second = upside_down.write(tmp_path, "b", ".nrrd", role="student", split="test")
    findings = check_cohort([first, second], LABELS)
    assert [each.sentence for each in findings if each.case == "b"] == [
        "It has the same voxels as the case a; keep one of them."
    ]


def test_two_patients_with_one_mask_are_told(good, tmp_path):
    first = good.write(tmp_path, "a", role="student", split="train")
    other = dataclasses.replace(good, image=good.image + np.int16(1)).write(tmp_path, "b", role="student", split="test")
    assert any(
        "Its mask is that of the case a" in sentence
        for sentence in sentences(check_cohort([first, other], LABELS), ERROR)
    )
    same = dataclasses.replace(other, patient="a", split="train")
    assert not any("Its mask" in finding.sentence for finding in check_cohort([first, same], LABELS))


def tiny(modality: str, seed: int) -> Scan:
    """Four slices of a body with two lungs and a spine, 3 mm a pixel, as simple as it can be."""
    image = np.full((4, 60, 60), -1000, np.int16)
    image[:, 8:52, 5:55] = 40
    image[:, 15:45, 9:26] = image[:, 15:45, 34:51] = -850
    image[:, 38:48, 27:33] = 600
    image += np.random.default_rng([seed, ord(modality[0])]).integers(-9, 9, image.shape, dtype=np.int16)
    mask = np.zeros(image.shape, np.uint8)
    mask[1:3, 2 : 5 + seed % 4, 3 : 6 + seed // 4] = 1
    geometry = Geometry((60, 60, 4), (3.0, 3.0, 5.0))
    return Scan(image + np.int16(1000 * (modality == "MR")), mask, geometry, modality)


def cohort(folder: Path) -> list[Case]:
    """Seven student patients and five teachers."""
    cases = []
    for n, split in enumerate(["train"] * 5 + ["validation", "test"]):
        cases.append(tiny("CT", n).write(folder, f"ct{n}", role="student", split=split))
    for n in range(5):
        cases.append(tiny("MR", 10 + n).write(folder, f"mr{n}", role="teacher", split="train"))
    return cases


def test_a_good_cohort_has_no_findings_and_says_what_it_can(tmp_path):
    cases = cohort(tmp_path)
    assert check_cohort(cases, LABELS) == []
    assert summary(cases) == (
        "7 cases of the student (CT) of 7 patients: 5 train, 1 validation, 1 test; 5 cases of the teacher (MR) of 5 "
        "patients: 5 train; joint training and training the student alone are possible."
    )
    assert summary(cases[:7]).endswith("the student can be trained alone, but nothing teaches it.")
    assert summary(cases, errors=1).endswith("are possible, once the error is mended.")
    assert summary(cases[:7], errors=3).endswith("nothing teaches it, once the 3 errors are mended.")
    assert summary([], errors=2) == summary([])
    assert summary([]) == "No case has a role; nothing can be trained yet."


def test_faults_between_cases_name_the_cases(tmp_path):
    cases = cohort(tmp_path)
    both = dataclasses.replace(cases[7], patient="ct0")
    (finding,) = check_cohort([*cases[:7], both, *cases[8:]], LABELS)
    assert (finding.severity, finding.case) == (WARNING, "mr0")
    assert "ct0 are of one patient in both roles" in finding.sentence
    mixed = dataclasses.replace(cases[8], role="student")
    findings = check_cohort([*cases[:8], mixed, *cases[9:]], LABELS)
    assert [(each.severity, each.case) for each in findings if "one modality" in each.sentence] == [(ERROR, "mr1")]
    (finding,) = check_cohort(cases, ["Tumor", "Node"])
    assert "value 2, which is to be Node" in finding.sentence


def test_a_cohort_too_small_for_its_method_is_told(tmp_path):
    cases = cohort(tmp_path)
    assert sentences(check_cohort(cases[:5], LABELS, ("student",)), ERROR) == [
        "No case of the student validates, so training cannot tell when to stop; mark some with the split 'validation'."
    ]
    assert any(
        "No case of the teacher trains" in sentence for sentence in sentences(check_cohort(cases[:7], LABELS), ERROR)
    )
    assert "Only 3 patients of the teacher train" in sentences(check_cohort(cases[:-2], LABELS), WARNING)[0]


def test_checking_can_be_cancelled(tmp_path):
    with pytest.raises(Cancelled):
        check_cohort([tiny("CT", 0).write(tmp_path)], LABELS, progress=Progress(cancelled=lambda: True))


def test_the_command_tells_all_findings_at_once_with_their_lines_and_ends_with_2(tmp_path, capsys):
    cases = cohort(tmp_path)
    cases[1] = dataclasses.replace(cases[1], patient="ct6", mask=tmp_path / "lost.nii.gz")
    cases[3] = dataclasses.replace(cases[3], case="ct2")
    cases[4] = dataclasses.replace(cases[4], split="exam")
    table = tmp_path / "cohort.csv"
    write_cohort(table, cases)
    assert main(["check", str(table), "--json"]) == 2
    result = json.loads(capsys.readouterr().out)
    assert (result["errors"], result["cases"]) == (4, 11)
    lines = {finding["line"]: finding["sentence"] for finding in result["findings"] if finding["severity"] == "error"}
    assert "one patient in two splits" in lines[8]
    assert 'same "case"' in lines[5]
    assert '"split" says "exam"' in lines[6]
    assert "does not exist" in lines[3]
    assert main(["check", str(table)]) == 2
    assert "error: ct1 (line 3): " in capsys.readouterr().out


def test_the_command_ends_with_0_where_nothing_is_wrong(tmp_path, capsys):
    table = tmp_path / "cohort.csv"
    write_cohort(table, cohort(tmp_path))
    assert main(["check", str(table), "--method", "cmedl", "--labels", "Tumor"]) == 0
    assert capsys.readouterr().out.startswith("0 errors, 0 warnings. 7 cases")
    good = cohort(tmp_path)
    write_cohort(table, [dataclasses.replace(good[0], mask=tmp_path / "lost.nii.gz"), *good[1:]])
    assert main(["check", str(table)]) == 2
    summary_line = capsys.readouterr().out.splitlines()[-1]
    assert summary_line.startswith("1 error, 0 warnings. 7 cases")
    assert summary_line.endswith("are possible, once the error is mended.")
    assert main(["check", str(table), "--method", "magic"]) == 2
    assert "There is no method 'magic'" in capsys.readouterr().err
