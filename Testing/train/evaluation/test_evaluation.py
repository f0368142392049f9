"""Figures of an evaluation, against cases small enough to count by hand and other programs' statistics."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, stats

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.labels import TUMOR
from CMEDLSegmentLib.io.volume import Geometry
from CMEDLTrainLib.evaluation.comparison import compare_patients, spread
from CMEDLTrainLib.evaluation.evaluation_file import Evaluation, compare, read_evaluation
from CMEDLTrainLib.evaluation.scoring import MEASURES, MOST_EXTRA, CaseFigures, PatientFigures, score
from harness.damaged_json import outcomes
from train.evaluation.made_figures import case_figures, evaluation

GRID = Geometry((4, 4, 5), (2.0, 5.0, 10.0))
"""A voxel is 0.1 cc."""
CUBE = Geometry((24, 24, 24), (1.0, 1.0, 1.0))
TUMORS = (TUMOR,)
NODE = replace(TUMOR, value=2, name="Node")


def masks() -> tuple[np.ndarray, np.ndarray]:
    expert, marked = np.zeros((2, 5, 4, 4), np.uint8)
    expert[1:3, :2, :2] = 1  # 8 voxels in slices 1 and 2
    marked[1, :2, :2] = 1  # 4 of them
    marked[3, 0, :3] = 1  # 3 false ones in an empty slice that was seen
    return marked, expert


def cubes(*corners: tuple[int, int, int], value: int = 1, side: int = 6) -> np.ndarray:
    array = np.zeros(CUBE.shape, np.uint8)
    for z, y, x in corners:
        array[z : z + side, y : y + side, x : x + side] = value
    return array


def figures(case: str, *values: float | None, missed: bool = False) -> CaseFigures:
    """``values`` of the first measures; the others have none."""
    return case_figures(case, missed, **dict(zip(MEASURES, values, strict=False)))


def test_dsc_and_false_volume_are_those_counted_by_hand():
    marked, expert = masks()
    case = score("c", marked, expert, GRID, np.array([1, 2, 3, 4]), TUMORS)
    assert case.values["dsc_structure_slices"] == pytest.approx(2 * 4 / (4 + 8))
    assert case.values["dsc"] == pytest.approx(2 * 4 / (7 + 8))
    assert (case.structure_slices, case.empty_slices) == (2, 2)
    assert case.values["false_cc_per_empty_slice"] == pytest.approx(0.3 / 2)
    assert not case.missed


def test_figures_do_not_depend_on_how_the_volume_is_stored():
    marked, expert = masks()
    flipped = Geometry(GRID.size, GRID.spacing, (0.0, 0.0, 40.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0))
    slices = np.array([1, 2, 3, 4])
    assert score("c", marked[::-1], expert[::-1], flipped, slices, TUMORS) == score(
        "c", marked, expert, GRID, slices, TUMORS
    )


def test_surface_measures_of_a_cube_moved_by_three_millimeters():
    """The faces across the move are 3 mm apart (two of six), the other faces lie in each other for the most part."""
    moved = score("c", cubes((8, 8, 11)), cubes((8, 8, 8)), CUBE, np.arange(24), TUMORS, tolerance_mm=2.0)
    assert moved.values["hd95_mm"] == pytest.approx(3.0)
    assert moved.values["dsc"] == pytest.approx(0.5)
    wide = score("c", cubes((8, 8, 11)), cubes((8, 8, 8)), CUBE, np.arange(24), TUMORS, tolerance_mm=3.0)
    assert wide.values["surface_dice"] == pytest.approx(1.0)
    assert 0.5 < moved.values["surface_dice"] < 0.9


def test_surface_measures_are_in_millimeters_of_the_volume_s_own_spacing():
    coarse = Geometry(CUBE.size, (1.0, 1.0, 4.0))
    moved = score("c", cubes((11, 8, 8)), cubes((8, 8, 8)), coarse, np.arange(24), TUMORS)
    assert moved.values["hd95_mm"] == pytest.approx(12.0)


def test_tumors_are_matched_before_they_are_compared():
    """Two of three found, each shifted by one voxel; a fourth is extra. The largest measure is not the whole's."""
    expert = cubes((1, 1, 1), (1, 12, 12), (15, 1, 1))
    marked = cubes((1, 1, 2), (1, 12, 13), (15, 15, 15))
    tumors = score("c", marked, expert, CUBE, np.arange(24), TUMORS).tumors
    assert [tumor.outcome for tumor in tumors] == ["matched", "matched", "missed", "extra"]
    matched, missed, extra = tumors[0], tumors[2], tumors[3]
    assert matched.values["dsc"] == pytest.approx(5 / 6)
    assert matched.values["hd95_mm"] == pytest.approx(1.0)
    assert (missed.values["dsc"], missed.values["hd95_mm"], missed.student_cc) == (0.0, None, None)
    assert missed.expert_cc == pytest.approx(0.216)
    assert (extra.values["dsc"], extra.expert_cc, extra.slices) == (None, None, (15, 20))
    assert sum(tumor.outcome != "extra" for tumor in tumors) == ndimage.label(expert)[1]


def test_of_a_student_that_marks_specks_the_largest_are_listed_and_all_counted():
    marked = cubes((1, 1, 1))
    marked[12:22:3, ::3, ::3] = 1
    case = score("c", marked, np.zeros_like(marked), CUBE, np.arange(24), TUMORS)
    assert case.extra_tumors == 1 + 4 * 8 * 8 == ndimage.label(marked, np.ones((3, 3, 3)))[1]
    assert len(case.tumors) == MOST_EXTRA
    assert case.tumors[0].student_cc == pytest.approx(0.216)
    assert evaluation(case).missed()["extra_tumors"] == 257


def test_a_missed_tumor_counts_as_zero_and_an_absent_one_is_left_out():
    marked, expert = masks()
    nothing = np.zeros_like(marked)
    missed = score("c", nothing, expert, GRID, np.arange(5), TUMORS)
    assert (missed.values["dsc"], missed.values["surface_dice"], missed.values["hd95_mm"]) == (0.0, 0.0, None)
    assert missed.missed == ("Tumor",)
    absent = score("c", nothing, nothing, GRID, np.arange(5), TUMORS)
    assert absent.values["dsc"] is None
    assert absent.values["false_cc_per_empty_slice"] == 0
    assert not absent.missed


def test_a_tumor_that_the_student_marked_elsewhere_is_missed_and_has_a_distance():
    elsewhere = score("c", cubes((15, 15, 15)), cubes((1, 1, 1)), CUBE, np.arange(24), TUMORS)
    assert elsewhere.missed == ("Tumor",)
    assert elsewhere.values["dsc"] == 0
    assert elsewhere.values["hd95_mm"] > 14


def test_several_structures_are_scored_each_by_its_name():
    expert = cubes((1, 1, 1)) + cubes((12, 12, 12), value=2)
    marked = cubes((1, 1, 1)) + cubes((12, 12, 15), value=2)
    case = score("c", marked, expert, CUBE, np.arange(24), (TUMOR, NODE))
    assert case.labels["Tumor"]["dsc"] == 1
    assert case.labels["Node"]["dsc"] == pytest.approx(0.5)
    assert case.values["dsc"] == pytest.approx(0.75)
    swapped = score("c", np.where(marked, 3 - marked, 0).astype(np.uint8), expert, CUBE, np.arange(24), (TUMOR, NODE))
    assert swapped.missed == ("Tumor", "Node")


def test_organs_are_not_called_tumors():
    expert = cubes((1, 1, 1), value=1) | cubes((12, 12, 12), value=2)
    whole = evaluation(score("c", expert * (expert == 1), expert, CUBE, np.arange(24), (TUMOR, NODE)))
    assert "1 of 2 tumors" in whole.report()
    assert "1 of 2 structures" in replace(whole, labels=("Liver", "Spleen")).report()


def test_a_student_of_one_structure_takes_whatever_the_expert_marked():
    assert score("c", cubes((1, 1, 1)), cubes((1, 1, 1), value=7), CUBE, np.arange(24), TUMORS).values["dsc"] == 1


def test_a_patient_with_two_scans_counts_once():
    patient = PatientFigures.of(
        [figures("a", 0.4, 0.2, 8.0, 0.4, 1.0), figures("b", 0.8, 0.6, None, 0.8, None, missed=True)]
    )
    assert patient.cases == ("a", "b")
    assert patient.values["dsc"] == pytest.approx(0.6)
    assert patient.values["hd95_mm"] == 8.0
    assert patient.missed == ("Tumor",)


def test_the_summary_counts_only_patients_that_have_the_figure():
    whole = evaluation(
        figures("a", 0.5, 0.3, 4.0, 0.4, 0.1),
        figures("b", 0.0, 0.0, None, 0.0, None, missed=True),
        figures("c", None, None, None, None, 0.3),
    )
    summary = whole.summary()
    assert summary["dsc"]["mean"] == pytest.approx(0.25)
    assert (summary["dsc"]["n"], summary["dsc"]["absent"]) == (2, 1)
    assert (summary["hd95_mm"]["n"], summary["hd95_mm"]["ci95"]) == (1, None)
    assert summary["false_cc_per_empty_slice"]["std"] == pytest.approx(np.std([0.1, 0.3], ddof=1))
    assert whole.missed() | {"patients": 1, "of_patients": 2} == whole.missed()
    assert "1 of 2 patients" in whole.report()
    nothing = evaluation(figures("b", 0.0, 0.0, None, 0.0, None, missed=True)).report()
    assert "HD95 of a patient's volume (mm), mean over patients: no patient has a value" in nothing


def test_the_interval_of_a_mean_is_scipy_s_bootstrap():
    values = np.random.default_rng(4).normal(0.6, 0.2, 30)
    summary = spread(values)
    expected = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    assert summary["ci95"] == pytest.approx([expected.low, expected.high], abs=0.004)
    assert summary["median"] == np.median(values)


def test_two_students_are_compared_on_the_same_patients():
    random = np.random.default_rng(2)
    mine, theirs = random.uniform(0.3, 0.9, (2, 12))
    theirs[3] = mine[3]
    a = [figures(f"c{n}", value, value, 9.0 - n, value, 0.0) for n, value in enumerate(mine)]
    b = [figures(f"c{n}", value, value, 10.0, value, 0.0) for n, value in enumerate(theirs)]
    b[5] = figures("c5", 0.0, 0.0, None, 0.0, 0.0, missed=True)
    theirs[5] = 0.0
    compared = compare(evaluation(*a), evaluation(*reversed(b), student="other"))
    dsc = compared["dsc"]
    assert dsc["delta_mean"] == pytest.approx(np.mean(mine - theirs))
    assert dsc["delta_median"] == pytest.approx(np.median(mine - theirs))
    assert dsc["p"] == pytest.approx(stats.wilcoxon(mine, theirs, zero_method="wilcox").pvalue)
    assert (dsc["n"], dsc["ties"], dsc["excluded"]) == (12, 1, 0)
    assert (compared["hd95_mm"]["n"], compared["hd95_mm"]["excluded"]) == (11, 1)
    assert compared["hd95_mm"]["delta_mean"] == pytest.approx(np.mean([-1.0 - n for n in range(12) if n != 5]))
    assert "that of other" in dsc["sentence"]
    assert "12 patients" in dsc["sentence"]
    assert compared["false_cc_per_empty_slice"]["p"] == 1


def test_only_patients_of_both_are_compared_and_none_is_an_error():
    one, two, three = (PatientFigures.of([figures(name, 0.5, 0.5, 1.0, 0.5, 0.0)]) for name in "abc")
    assert compare_patients([one, two], [two, three])["dsc"]["n"] == 1
    with pytest.raises(InputError):
        compare_patients([one], [three])


def test_other_tolerances_are_not_compared():
    case = figures("a", 0.5, 0.5, 1.0, 0.5, 0.0)
    with pytest.raises(InputError, match="3 mm"):
        compare(evaluation(case), evaluation(case, tolerance_mm=3.0))
    with pytest.raises(InputError, match="1 and 2"):
        compare(evaluation(case), evaluation(case, labels=("Tumor", "Node")))


def test_an_evaluation_is_read_back_as_it_was_written():
    expert, marked = cubes((1, 1, 1), (15, 1, 1)), cubes((1, 1, 2), (15, 15, 15))
    real = score("c", marked, expert, CUBE, np.arange(24), TUMORS)
    whole = evaluation(real, figures("b", 0.0, 0.0, None, None, None, missed=True))
    tree = json.loads(json.dumps(whole.to_json(), allow_nan=False))
    assert Evaluation.from_json(tree) == whole
    assert tree["cases"][1] | {"case": "b", "dsc": 0.0, "hd95_mm": None, "missed": True} == tree["cases"][1]
    assert tree["patients"][0]["cases"] == ["c"]
    assert tree["tumors"][0]["dsc"] == pytest.approx(5 / 6)
    # Two tumors, one of them missed; the extra one does not count.
    assert tree["pooled"]["dsc"]["mean"] == pytest.approx(5 / 12)
    assert (tree["pooled"]["hd95_mm"]["n"], tree["pooled"]["hd95_mm"]["absent"]) == (1, 1)
    assert "2 mm" in tree["definitions"]["surface_dice"]
    del tree["tolerance_mm"]
    with pytest.raises(InputError, match="tolerance_mm"):
        Evaluation.from_json(tree)


def test_a_damaged_evaluation_is_refused_or_read_to_one_that_can_be_told(tmp_path):
    expert, marked = cubes((1, 1, 1), (15, 1, 1)), cubes((1, 1, 2), (15, 15, 15))
    whole = evaluation(score("c", marked, expert, CUBE, np.arange(24), TUMORS))

    def read(text):
        (tmp_path / "evaluation.json").write_text(text, "utf-8")
        return read_evaluation(tmp_path / "evaluation.json")

    for damaged in outcomes(read, json.loads(json.dumps(whole.to_json())), InputError):
        assert damaged.cases
        assert damaged.report()


def test_tables_hold_every_figure_in_full_precision():
    expert, marked = cubes((1, 1, 1), (15, 1, 1)), cubes((1, 1, 2))
    tables = evaluation(score("c", marked, expert, CUBE, np.arange(24), TUMORS)).tables()
    header, row = tables["cases.csv"].csv().splitlines()
    cells = dict(zip(header.split(","), row.split(","), strict=False))
    assert float(cells["dsc"]) == 2 * 180 / (216 * 3)
    assert cells["tolerance_mm"] == "2.0"
    assert [line.split(",")[2] for line in tables["tumors.csv"].csv().splitlines()[1:]] == ["matched", "missed"]
