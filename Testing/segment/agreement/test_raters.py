"""Several raters and the model on one image: by hand, against measuring pair by pair, and on a real disagreement."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from CMEDLSegmentLib.agreement.consensus import consensus_mask
from CMEDLSegmentLib.agreement.raters import Agreement, analyze
from CMEDLSegmentLib.base.errors import Cancelled
from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.io.delineation import MODEL, RatedCase
from CMEDLSegmentLib.io.volume import Geometry
from CMEDLSegmentLib.metrics.lesions import match_lesions
from CMEDLSegmentLib.metrics.measures import MEASURES, measure
from segment.agreement.rated import noisy_case, rated_case

pytestmark = pytest.mark.filterwarnings("error")


def block(columns: range, shape: tuple[int, int, int] = (4, 6, 12)) -> np.ndarray:
    """A mask of 2 x 2 voxels on these columns."""
    mask = np.zeros(shape, bool)
    mask[1:3, 2:4, columns.start : columns.stop] = True
    return mask


def by_hand() -> Agreement:
    """Three raters and a model, who marked 4, 4, 6 and 5 columns of four voxels of 2 mm^3 (2 x 1 x 1 mm)."""
    raters = {"A": block(range(2, 6)), "B": block(range(4, 8)), "C": block(range(2, 8))}
    return analyze(rated_case(raters, model=block(range(3, 8))), tolerance_mm=1.0)


def same(a: object, b: object) -> bool:
    """Whether two results in JSON's types are equal but for rounding."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == (pytest.approx(b, abs=1e-9) if isinstance(b, float) else b)


def test_the_matrix_holds_everybody_against_everybody():
    agreement = by_hand()
    assert agreement.names == ("A", "B", "C", MODEL)
    a_b, a_c, b_c = 2 * 2 / 8, 2 * 4 / 10, 2 * 4 / 10
    a_s, b_s, c_s = 2 * 3 / 9, 2 * 4 / 9, 2 * 5 / 11
    assert agreement.matrix("dsc") == pytest.approx(
        np.array([[1, a_b, a_c, a_s], [a_b, 1, b_c, b_s], [a_c, b_c, 1, c_s], [a_s, b_s, c_s, 1]])
    )
    assert np.array_equal(np.diagonal(agreement.matrix("hd95_mm")), np.zeros(4))
    # Rows are the reference: of A's four columns B marked two, of C's six both A and B marked four.
    assert agreement.matrix("sensitivity")[0] == pytest.approx([1, 2 / 4, 1, 3 / 4])
    assert agreement.matrix("sensitivity")[2] == pytest.approx([4 / 6, 4 / 6, 1, 5 / 6])


def test_a_row_is_the_mean_over_the_other_raters_and_the_model_is_in_nobodys():
    rows = {row.name: row for row in by_hand().raters}
    values = [2 * 2 / 8, 2 * 4 / 10]
    assert rows["A"].values["dsc"].mean == pytest.approx(np.mean(values))
    assert rows["A"].values["dsc"].std == pytest.approx(np.std(values, ddof=1))
    assert rows["A"].values["dsc"].cv == pytest.approx(np.std(values, ddof=1) / np.mean(values))
    assert rows["A"].values["dsc"].n == 2
    assert rows[MODEL].values["dsc"].mean == pytest.approx(np.mean([6 / 9, 8 / 9, 10 / 11]))
    assert rows[MODEL].values["dsc"].n == 3
    # A is tested against B, of whose four columns A marked two, and against C, of whose six A marked four.
    assert rows["A"].values["sensitivity"].mean == pytest.approx((2 / 4 + 4 / 6) / 2)
    assert rows["A"].volume_cc == pytest.approx(16 * 2 / 1000)


def test_the_spread_is_over_the_pairs_of_raters_in_both_directions_of_directional_measures():
    agreement = by_hand()
    assert agreement.spread["dsc"].mean == pytest.approx((0.5 + 0.8 + 0.8) / 3)
    assert agreement.spread["dsc"].n == 3
    assert agreement.spread["sensitivity"].n == 6
    assert agreement.spread["sensitivity"].mean == pytest.approx((2 / 4 + 2 / 4 + 1 + 4 / 6 + 1 + 4 / 6) / 6)
    volumes = np.array([16, 16, 24]) * 2 / 1000
    assert agreement.volume.cv == pytest.approx(np.std(volumes, ddof=1) / np.mean(volumes))


def test_the_rater_under_test_is_left_out_of_the_consensus():
    majority = by_hand().consensus["majority"]
    # Without A: what both B and C marked, columns 4 to 7, of which A marked two; all three: columns 2 to 7.
    assert majority["A"].values["dsc"] == pytest.approx(2 * 2 / 8)
    assert majority["C"].values["dsc"] == pytest.approx(2 * 2 / 8)
    assert majority[MODEL].values["dsc"] == pytest.approx(2 * 5 / 11)
    assert majority[MODEL].values["sensitivity"] == pytest.approx(5 / 6)


def test_volumes_of_full_agreement_and_of_any_disagreement():
    agreement = by_hand()
    # Columns 4 and 5 are marked by all three, 2 to 7 by somebody.
    assert agreement.full_cc == pytest.approx(2 * 4 * 2 / 1000)
    assert agreement.any_cc == pytest.approx(6 * 4 * 2 / 1000)
    assert agreement.disagreement_cc == pytest.approx(4 * 4 * 2 / 1000)
    assert agreement.disagreement_cc == pytest.approx(sum(row.disagreement_cc for row in agreement.slices))
    whole = np.zeros((4, 6, 12), int)
    whole[agreement.box] = agreement.map
    assert whole[1, 2].tolist() == [0, 0, 2, 2, 3, 3, 2, 2, 0, 0, 0, 0]


def test_slices_say_how_the_model_stands_to_the_majority_of_the_raters():
    agreement = by_hand()
    assert [row.index for row in agreement.slices] == [1, 2]
    for row in agreement.slices:
        # The majority has columns 2 to 7 in two rows, the model all but the first.
        assert row.model["dsc"] == pytest.approx(2 * 5 / 11)
        assert row.model["disagreement_mm2"] == pytest.approx(2.0)
        assert row.model["hd_mm"] == pytest.approx(1.0)
    alone = analyze(rated_case({"A": block(range(2, 6)), "B": block(range(2, 6))}))
    assert alone.slices[0].model is None


def test_tumors_are_those_of_the_model_or_of_every_rater_where_there_is_none():
    left, right = block(range(1, 4)), block(range(7, 10))
    raters = {"A": left | right, "B": left | right, "C": left}
    with_model = analyze(rated_case(raters, model=right)).tumors
    assert set(with_model) == {MODEL}
    assert [len(lesions) for lesions in (with_model[MODEL].pairs, with_model[MODEL].missed)] == [1, 1]
    (pair,) = with_model[MODEL].pairs
    assert pair.b.centroid == pytest.approx((1.5, 2.5, 8.0))
    assert pair.measures.values["dsc"] == 1.0
    without = analyze(rated_case(raters)).tumors
    assert list(without) == ["A", "B", "C"]
    # Of A's two tumors, B and C both marked one; of the two that A and B marked, C missed one.
    assert len(without["A"].extra) == 1
    assert len(without["C"].missed) == 1
    assert without["C"].missed[0].slices == (1, 2)


@pytest.mark.parametrize("model", [True, False])
def test_everything_equals_measuring_the_masks_one_pair_at_a_time(model: bool):
    case = noisy_case(4, seed=model)
    case = case if model else dataclasses.replace(case, model=None)
    agreement = analyze(case, tolerance_mm=1.5)
    masks = {delineation.name: delineation.mask for delineation in case.all}
    for row, a in enumerate(agreement.names):
        for column, b in enumerate(agreement.names):
            expected = measure(masks[a], masks[b], case.spacing, 1.5)
            for name in MEASURES:
                assert agreement.matrix(name)[row, column] == pytest.approx(expected.values[name], abs=1e-9), name
    for pair in agreement.pairs:
        expected = measure(masks[pair.a], masks[pair.b], case.spacing, 1.5)
        assert same(dataclasses.asdict(pair.measures), dataclasses.asdict(expected))
    for method, answers in agreement.consensus.items():
        for name, measured in answers.items():
            without = None if name == MODEL else name
            expected = measure(consensus_mask(case, method, without), masks[name], case.spacing, 1.5)
            assert same(dataclasses.asdict(measured), dataclasses.asdict(expected))
    for name, measured in agreement.tumors.items():
        without = None if name == MODEL else name
        expected = match_lesions(consensus_mask(case, "majority", without), masks[name], case.spacing, 1.5)
        assert same(as_json(measured), as_json(expected))


def as_json(value: object) -> object:
    return json.loads(json.dumps(dataclasses.asdict(value)))


def test_the_order_of_the_raters_changes_nothing_but_the_order():
    case = noisy_case(4, seed=7)
    first = analyze(case)
    second = analyze(dataclasses.replace(case, raters=tuple(case.raters[i] for i in (2, 0, 3, 1))))
    places = [second.names.index(name) for name in first.names]
    for name in MEASURES:
        assert second.matrix(name)[np.ix_(places, places)] == pytest.approx(first.matrix(name))
    figures = first.to_json(), second.to_json()
    for written in figures:
        written["raters"].sort(key=lambda row: row["name"])
        for row in written["slices"]:
            row["worst_pair"] = sorted(row["worst_pair"] or [])
        for key in ("names", "pairs", "matrices"):
            del written[key]
    assert same(*figures)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flipping_an_axis_changes_no_figure(axis: int):
    case = noisy_case(3, seed=8)

    def flipped(delineation):
        return dataclasses.replace(delineation, mask=np.flip(delineation.mask, axis))

    turned = RatedCase(case.name, case.geometry, tuple(map(flipped, case.raters)), flipped(case.model))
    straight, flipped_figures = (analyze(each).to_json() for each in (case, turned))
    for key in ("pairs", "raters", "spread", "consensus", "range", "full_cc", "any_cc"):
        assert same(straight[key], flipped_figures[key]), key


def test_json_is_strict_and_brings_every_definition():
    written = json.loads(json.dumps(noisy_case_with_an_empty_rater().to_json(), allow_nan=False))
    assert written["definitions"]["hd95_mm"]["definition"]
    assert set(written["definitions"]) == set(MEASURES) == set(written["matrices"])
    assert written["empty"] == ["R2"]
    assert written["matrices"]["hd95_mm"][0][1] is None


def noisy_case_with_an_empty_rater() -> Agreement:
    case = noisy_case(3, seed=10)
    empty = dataclasses.replace(case.raters[1], mask=np.zeros_like(case.raters[1].mask))
    return analyze(dataclasses.replace(case, raters=(case.raters[0], empty, case.raters[2])))


def test_a_rater_who_marked_nothing_counts_as_zero_overlap_and_is_named():
    agreement = noisy_case_with_an_empty_rater()
    first = agreement.raters[0].values
    assert (first["dsc"].n, first["dsc"].excluded) == (2, 0)
    assert first["dsc"].mean == pytest.approx(agreement.matrix("dsc")[2, 0] / 2)
    assert (first["hd95_mm"].n, first["hd95_mm"].excluded) == (1, 1)
    assert (agreement.raters[1].values["hd95_mm"].n, agreement.raters[1].values["hd95_mm"].excluded) == (0, 2)
    assert agreement.empty == ("R2",)
    assert any("Nothing is marked by R2" in note for note in agreement.notes)
    assert "R2 marked nothing" in agreement.range.sentence
    assert np.isnan(agreement.matrix("dsc")[1, 1])


def test_everything_empty_has_no_figures_and_says_so():
    empty = np.zeros((3, 4, 5), bool)
    agreement = analyze(rated_case({"A": empty, "B": empty}, model=empty))
    assert agreement.spread["dsc"].n == 0
    assert agreement.spread["dsc"].excluded == 1
    assert (agreement.full_cc, agreement.any_cc, agreement.slices, agreement.worst) == (0.0, 0.0, (), [])
    assert agreement.range.within is None
    assert any("Nobody marked anything" in note for note in agreement.notes)
    assert [pair.measures.empty for pair in agreement.pairs] == ["both"] * 3
    json.dumps(agreement.to_json(), allow_nan=False)


def test_a_lone_rater_is_compared_with_the_model_alone():
    agreement = analyze(rated_case({"A": block(range(2, 6))}, model=block(range(3, 6))))
    assert agreement.range is None
    assert any("one rater only" in note for note in agreement.notes)
    assert agreement.raters[0].values["dsc"].n == 0
    assert agreement.raters[1].values["dsc"].mean == pytest.approx(6 / 7)
    for method in ("majority", "staple"):
        assert set(agreement.consensus[method]) == {MODEL}
        assert agreement.consensus[method][MODEL].values["dsc"] == pytest.approx(6 / 7)
    assert set(agreement.tumors) == {MODEL}


def test_a_lone_rater_without_a_model_has_an_area_and_nothing_else():
    agreement = analyze(rated_case({"A": block(range(2, 6))}))
    assert not agreement.has_model
    assert (agreement.pairs, agreement.range, agreement.tumors) == ((), None, {})
    assert agreement.matrix("dsc").tolist() == [[1.0]]
    assert agreement.worst == [1, 2]
    json.dumps(agreement.to_json(), allow_nan=False)


def test_raters_with_the_very_same_voxels_are_pointed_out():
    agreement = analyze(rated_case({"A": block(range(2, 6)), "B": block(range(2, 6)), "C": block(range(2, 7))}))
    assert sum("very same voxels" in note for note in agreement.notes) == 1
    assert any(note.startswith("A and B marked") for note in agreement.notes)


def test_notes_of_the_case_and_of_everybody_are_passed_on():
    case = noisy_case(2, seed=1)
    first = dataclasses.replace(case.raters[0], notes=("Brought to the image's grid.",))
    agreement = analyze(dataclasses.replace(case, raters=(first, case.raters[1]), notes=("A note.",)))
    assert agreement.notes[:2] == ("A note.", "R1: Brought to the image's grid.")


def test_a_tilted_gantry_is_said():
    case = noisy_case(2, seed=1)
    tilted = Geometry(case.geometry.size, case.geometry.spacing, direction=(1, 0, 0, 0, 1, 0.2, 0, 0, 0.98))
    assert any("sheared" in note for note in analyze(dataclasses.replace(case, geometry=tilted)).notes)


def test_progress_rises_to_the_end_and_what_it_raises_ends_the_work():
    fractions: list[float] = []
    analyze(noisy_case(3, seed=2), progress=Progress(lambda stage, fraction: fractions.append(fraction)))
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)

    def stop(stage: str, fraction: float) -> None:
        if fraction > 0.3:
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        analyze(noisy_case(3, seed=2), progress=Progress(stop))


def test_the_matrix_handed_out_is_a_copy():
    agreement = by_hand()
    agreement.matrix("dsc")[:] = 0
    assert agreement.matrix("dsc")[0, 0] == 1


def test_notes_call_the_model_by_that_word() -> None:
    case = rated_case({"A": block(range(2, 6)), "B": block(range(4, 8))}, model=block(range(0)))
    model = dataclasses.replace(case.model, notes=("Nothing is marked in it.",))
    notes = " ".join(analyze(dataclasses.replace(case, model=model)).notes)
    assert notes.lower().count("the model") == 2
    assert MODEL not in notes
