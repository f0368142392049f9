"""Figures of an evaluation, against a case small enough to count by hand."""

import numpy as np
import pytest

from CMEDLSegmentLib.volume import Geometry
from CMEDLTrainLib.evaluation.volumes import CaseFigures, Evaluation, score

GRID = Geometry((4, 4, 5), (2.0, 5.0, 10.0))
"""A voxel is 0.1 cc."""


def masks() -> tuple[np.ndarray, np.ndarray]:
    expert, found = np.zeros((2, 5, 4, 4), bool)
    expert[1:3, :2, :2] = True  # 8 voxels in slices 1 and 2
    found[1, :2, :2] = True  # 4 of them
    found[3, 0, :3] = True  # 3 false ones in an empty slice that was seen
    return found, expert


def test_dsc_and_false_volume_are_those_counted_by_hand():
    found, expert = masks()
    figures = score("c", found, expert, GRID, np.array([1, 2, 3, 4]))
    assert figures.dsc_structure_slices == pytest.approx(2 * 4 / (4 + 8))
    assert figures.dsc_all_slices == pytest.approx(2 * 4 / (7 + 8))
    assert (figures.structure_slices, figures.empty_slices) == (2, 2)
    assert figures.false_cc_per_empty_slice == pytest.approx(0.3 / 2)


def test_figures_do_not_depend_on_how_the_volume_is_stored():
    found, expert = masks()
    flipped = Geometry(GRID.size, GRID.spacing, (0.0, 0.0, 40.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0))
    assert score("c", found[::-1], expert[::-1], flipped, np.array([1, 2, 3, 4])) == score(
        "c", found, expert, GRID, np.array([1, 2, 3, 4])
    )


def test_a_missed_tumour_counts_as_zero_and_an_absent_one_is_left_out():
    found, expert = masks()
    nothing = np.zeros_like(found)
    assert score("c", nothing, expert, GRID, np.arange(5)).dsc_all_slices == 0
    absent = score("c", nothing, nothing, GRID, np.arange(5))
    assert absent.dsc_all_slices is None
    assert absent.false_cc_per_empty_slice == 0


def test_the_summary_counts_only_cases_that_have_the_figure():
    cases = (
        CaseFigures("a", 0.5, 0.4, 3, 2, 0.1),
        CaseFigures("b", 0.7, 0.6, 3, 0, None),
        CaseFigures("c", None, None, 0, 2, 0.3),
    )
    summary = Evaluation("s", "", 0.5, "torch", cases).summary()
    assert summary["dsc_structure_slices"]["mean"] == pytest.approx(0.6)
    assert summary["dsc_structure_slices"]["n"] == 2
    assert summary["false_cc_per_empty_slice"] == pytest.approx(
        {"mean": 0.2, "std": np.std([0.1, 0.3], ddof=1), "median": 0.2, "n": 2}
    )
