"""Simulated clicks: where they are, what they are measured by, and that nothing of them names a patient."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from scipy import ndimage

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.inference import segmenter
from CMEDLSegmentLib.io.volume import axial_view
from CMEDLSegmentLib.models import registry
from CMEDLTrainLib.evaluation import click_evaluation
from CMEDLTrainLib.evaluation.click_evaluation import central_click, correcting_click, overrun, random_clicks
from CMEDLTrainLib.evaluation.click_figures import CENTRAL, FAILED, RANDOM, RANDOM_CLICKS, ClickFigures, summarize
from CMEDLTrainLib.evaluation.evaluate import evaluate
from CMEDLTrainLib.evaluation.evaluation_file import Evaluation
from segment.inference.small_models import a_model, blobs
from segment.inference.test_prompted import bright, card
from train.evaluation.test_evaluate import a_case


@pytest.fixture
def asked(monkeypatch):
    """``evaluate`` asks a crafted student that marks what is bright at a click."""
    monkeypatch.setattr(registry, "load", lambda path: a_model(card()))
    monkeypatch.setattr(segmenter, "Segmenter", partial(segmenter.Segmenter, start=bright))


def largest() -> np.ndarray:
    pieces, count = ndimage.label(blobs().array > -325)
    return pieces == 1 + np.argmax([np.sum(pieces == number) for number in range(1, count + 1)])


def test_a_case_is_asked_for_by_a_central_and_by_random_clicks(tmp_path, asked):
    """What is meant is the largest piece; the case's other figures are those of the central click."""
    truth = blobs().array > -325
    cases = [a_case(tmp_path, "a", "patient-1", truth), a_case(tmp_path, "b", "patient-2", largest())]
    scored = evaluate("any", cases, "cpu")
    assert [click.kind for click in scored.clicks] == 2 * [CENTRAL, *RANDOM_CLICKS * [RANDOM]]
    assert all(click.dsc > 0.9 for click in scored.clicks)
    assert all(click.overrun == 0 for click in scored.clicks)
    assert scored.cases[1].values["dsc"] == pytest.approx(scored.clicks[RANDOM_CLICKS + 1].dsc)
    geometry = blobs().geometry
    for click in scored.clicks:
        x, y, z = np.rint(geometry.to_index(np.array([click.point]))[0]).astype(int)
        assert largest()[z, y, x]
    tree = json.loads(json.dumps(scored.to_json()))
    assert Evaluation.from_json(tree) == scored
    assert "patient-1" not in json.dumps(tree)
    assert tree["clicks_summary"]["random"]["dsc"]["n"] == 2
    assert f"{tree['clicks_summary']['random']['dsc_structure_slices']['mean']:.3f}" in scored.report()


def test_what_was_not_clicked_is_written_as_before(tmp_path, asked, monkeypatch):
    """An evaluation without clicks has none in its file, and is read back without."""
    scored = evaluate("any", [a_case(tmp_path, "a", "p1", largest())], "cpu")
    plain = Evaluation(**{**vars(scored), "clicks": ()})
    assert not {"clicks", "clicks_summary"} & plain.to_json().keys()
    assert Evaluation.from_json(plain.to_json()) == plain


def test_cases_without_the_structure_are_left_out(tmp_path, asked):
    """There is nothing to click on; of none but such there are no figures."""
    empty = a_case(tmp_path, "a", "p1", np.zeros(blobs().array.shape, bool))
    full = a_case(tmp_path, "b", "p2", largest())
    assert [case.case for case in evaluate("any", [empty, full], "cpu").cases] == ["b"]
    with pytest.raises(InputError):
        evaluate("any", [empty], "cpu")


def test_clicks_are_deep_and_the_same_again():
    """Against the distance transform of each slice."""
    mask = largest()
    spacing = (2.5, 0.9, 1.1)
    deep = np.stack([ndimage.distance_transform_edt(np.pad(plane, 1), spacing[1:])[1:-1, 1:-1] for plane in mask])
    z, y, x = central_click(mask)
    assert mask[z].sum() == mask.sum(axis=(1, 2)).max()
    in_pixels = ndimage.distance_transform_edt(np.pad(mask[z], 1))[1:-1, 1:-1]
    assert in_pixels[y, x] == in_pixels.max()
    drawn = random_clicks(mask, spacing, 50)
    assert drawn == random_clicks(mask, spacing, 50)
    assert len(set(drawn)) > 20
    assert all(deep[place] >= click_evaluation.INNER_MM for place in drawn)
    thin = np.zeros((3, 20, 20), bool)
    thin[1, 4, 3:17] = True
    assert all(thin[place] for place in random_clicks(thin, spacing))


@pytest.mark.parametrize(("low", "high", "expected"), [(0, 0, 0), (2, 0, 2), (1, 4, 4), (-2, -1, 0), (-1, 3, 3)])
def test_overrun_counts_the_slices_beyond_an_end(low, high, expected):
    """At the end with more of them; what stops short counts 0."""
    meant, marked = np.zeros((30, 4, 4), bool), np.zeros((30, 4, 4), bool)
    meant[10:20, 1, 1] = True
    marked[10 - low : 20 + high, 1, 1] = True
    assert overrun(marked, meant) == expected
    assert overrun(np.zeros_like(meant), meant) == 0


def test_the_next_click_is_where_the_largest_error_is():
    """Outside where too much is marked, inside where something is missing; none where all is right."""
    volume = blobs()
    meant = largest()
    view = axial_view(volume.array, volume.geometry)
    too_much = ndimage.binary_dilation(meant, iterations=3)
    too_little = ndimage.binary_erosion(meant, iterations=3)
    for marked, action, wrong in ((too_much, "cut", too_much & ~meant), (too_little, "add", meant & ~too_little)):
        click = correcting_click(marked, meant, view)
        assert click.action == action
        x, y, z = np.rint(volume.geometry.to_index(np.array([click.point]))[0]).astype(int)
        assert wrong[z, y, x]
    assert correcting_click(meant, meant, view) is None


def test_figures_are_means_over_patients():
    """A patient with more cases counts once; failures and overruns count clicks."""

    def click(case: str, dsc: float, kind: str = RANDOM, over: int = 0) -> ClickFigures:
        return ClickFigures(case, kind, (0.0, 0.0, 0.0), dsc, dsc, over, 0.1)

    clicks = [click("a", 0.9), click("b", 0.5), click("c", 0.2, over=3), click("c", 0.4), click("c", 0.8, CENTRAL)]
    tree = summarize(clicks, [("a", "b"), ("c",)])
    assert tree[RANDOM]["dsc"]["mean"] == pytest.approx(np.mean([0.7, 0.3]))
    assert tree[RANDOM]["dsc"]["n"] == 2
    assert tree[RANDOM]["failed"] == sum(own.dsc < FAILED for own in clicks if own.kind == RANDOM) == 1
    assert tree[RANDOM]["overrun_of_more_than_2"] == 1
    assert tree[RANDOM]["largest_overrun"] == 3
    assert tree[CENTRAL]["dsc"]["n"] == 1
    assert tree["corrections"]["clicks"] == 0
