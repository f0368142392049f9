"""A student run on volumes and scored: crafted students whose answers are known, the ROC curve, the charts."""

import json
from dataclasses import replace
from functools import partial
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.inference import segmenter
from CMEDLSegmentLib.io.cohort_table import Case
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.models import registry
from CMEDLTrainLib.evaluation.evaluate import evaluate
from CMEDLTrainLib.evaluation.evaluation_charts import charts
from CMEDLTrainLib.evaluation.roc import MOST_POINTS, RATES, Roc, RocCounts
from segment.inference.small_models import a_card, a_model, blobs, linear

HALF = -0.1
"""The normalized level of -325 HU, half-way between the blobs and the air."""


def scored_with(monkeypatch, card, start) -> None:
    """Make ``evaluate`` run a crafted student whatever file it is given."""
    monkeypatch.setattr(registry, "load", lambda path: a_model(card))
    monkeypatch.setattr(segmenter, "Segmenter", partial(segmenter.Segmenter, start=start))


def a_case(folder, name: str, patient: str, mask: np.ndarray) -> Case:
    volume = blobs()
    image, file = folder / f"{name}.nii.gz", folder / f"{name}-mask.nii.gz"
    write_image(image, volume.array, volume.geometry)
    write_image(file, mask.astype(np.uint8), volume.geometry)
    return Case(patient, name, "CT", image, file, "student", "test")


def test_a_student_that_thresholds_is_scored_against_the_threshold(tmp_path, monkeypatch):
    scored_with(monkeypatch, a_card(), linear(20.0, HALF))
    truth = blobs().array > -325
    only_two = truth.copy()
    only_two[18:] = False
    cases = [
        a_case(tmp_path, "a", "p1", truth),
        a_case(tmp_path, "b", "p2", only_two),
        a_case(tmp_path, "c", "p2", truth),
    ]
    given = []
    scored = evaluate("any", cases, "cpu", on_case=lambda *arguments: given.append(arguments))
    assert [case.case for case in scored.cases] == ["a", "b", "c"]
    assert [patient.cases for patient in scored.patients] == [("a",), ("b", "c")]
    assert scored.cases[0].values["dsc"] > 0.94
    assert scored.patients[1].values["dsc"] == pytest.approx(
        np.mean([scored.cases[1].values["dsc"], scored.cases[2].values["dsc"]])
    )
    assert [[tumor.outcome for tumor in case.tumors].count("extra") for case in scored.cases] == [0, 1, 0]
    assert scored.roc[""].auc > 0.99
    assert scored.milliseconds_per_slice > 0
    assert scored.device == "cpu"
    case, volume, expert, result = given[1]
    assert case.case == "b"
    assert volume.array.shape == expert.shape == result.label.shape
    assert np.array_equal(expert, only_two)


def test_each_structure_has_its_figures_and_its_curve(tmp_path, monkeypatch):
    def start(chosen, plan):
        """The balls are the first structure in the field's upper half, the second in the lower."""

        def logits(images):
            lower = (torch.arange(images.shape[2]) >= images.shape[2] // 2)[None, None, :, None].expand_as(images)
            bright = (images - HALF) * 40.0
            return torch.cat([torch.zeros_like(images), bright - 80.0 * lower, bright - 80.0 * ~lower], dim=1)

        return logits

    scored_with(monkeypatch, a_card(labels=2), start)
    truth = (blobs().array > -325).astype(np.uint8)
    truth[:, 30:] *= 2
    scored = evaluate("any", [a_case(tmp_path, "a", "p", truth)], "cpu")
    assert scored.labels == ("Tumor", "Organ 2")
    assert all(values["dsc"] > 0.9 for values in scored.cases[0].labels.values())
    assert set(scored.roc) == {"", "Tumor", "Organ 2"}
    assert all(curve.auc > 0.99 for curve in scored.roc.values())
    tree = scored.to_json()
    assert set(tree["label_summary"]) == {"Tumor", "Organ 2"} == set(tree["roc"]["labels"])


def test_slices_that_the_student_passed_over_count_where_the_expert_marked_them(tmp_path, monkeypatch):
    """A curve without them would praise a student that never looks."""
    scored_with(monkeypatch, a_card(), linear(20.0, HALF))
    region = segmenter.Segmenter.func._region

    def some(self, *arguments):
        return (np.arange(12), *region(self, *arguments)[1:])

    monkeypatch.setattr(segmenter.Segmenter.func, "_region", some)
    truth = blobs().array > -325
    scored = evaluate("any", [a_case(tmp_path, "a", "p", truth)], "cpu")
    passed = np.count_nonzero(truth[12:].any(axis=(1, 2)))
    share = np.count_nonzero(truth[:12]) / np.count_nonzero(truth)
    assert passed > 5
    # The scored ones rank above all, the others tie with the background at 0 (nearly all of it).
    assert scored.roc[""].auc == pytest.approx(share + (1 - share) / 2, abs=0.05)


def test_a_case_without_a_mask_or_no_case_is_an_error(tmp_path, monkeypatch):
    scored_with(monkeypatch, a_card(), linear(20.0, HALF))
    with pytest.raises(InputError):
        evaluate("any", [])
    with pytest.raises(InputError, match="case a"):
        evaluate("any", [replace(a_case(tmp_path, "a", "p", np.zeros((24, 60, 50))), mask=None)], "cpu")


def test_the_area_under_the_curve_is_the_rank_statistic():
    random = np.random.default_rng(6)
    inside = random.random(5000) < 0.2
    # Many ties at 0, many probabilities near 0 and near 1.
    probability = np.clip(random.normal(0.0, 0.35, 5000) + 0.4 * inside, 0, 1).astype(np.float32) ** 3
    counts = RocCounts()
    for part in np.array_split(np.arange(5000), 7):
        counts.add(probability[part], inside[part])
    curve = counts.curve()
    rounded = probability.astype(np.float16).astype(float)
    expected = mannwhitneyu(rounded[inside], rounded[~inside]).statistic / (inside.sum() * (~inside).sum())
    assert curve.auc == pytest.approx(expected, abs=1e-12)
    x, y = np.array(curve.points).T
    assert len(x) <= MOST_POINTS
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.all(np.diff(x) >= 0)
    assert np.all(np.diff(y) >= 0)
    assert np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) == pytest.approx(curve.auc, abs=2e-3)


def test_a_curve_needs_voxels_inside_and_outside():
    counts = RocCounts()
    counts.add(np.linspace(0, 1, 50), np.zeros(50, bool))
    assert counts.curve() == Roc(None, ())
    assert counts.sensitivities() == ()


def test_a_curve_s_heights_are_those_of_thresholds_tried_one_by_one():
    random = np.random.default_rng(2)
    inside = random.random(400) < 0.3
    probability = np.round(np.clip(0.3 + 0.3 * inside + random.normal(0, 0.2, 400), 0, 1) * 32) / 32
    first, second = RocCounts(), RocCounts()
    first.add(probability[:150], inside[:150])
    second.add(probability[150:], inside[150:])
    first.merge(second)
    tried = [(0.0, 0.0)]
    for threshold in np.unique(probability)[::-1]:
        marked = probability >= threshold
        tried.append((np.mean(marked[~inside]), np.mean(marked[inside])))
    for rate, height in zip(RATES, first.sensitivities(), strict=True):
        below = max(y for x, y in tried if x <= rate)
        above = min((y for x, y in tried if x >= rate), default=1.0)
        assert min(below, above) - 1e-5 <= height <= max(below, above) + 1e-5
        x0 = max(x for x, _ in tried if x <= rate)
        beyond = [(x, y) for x, y in tried if x > rate]
        if beyond:
            x1, y1 = min(beyond)
            assert height == pytest.approx(below + (rate - x0) / (x1 - x0) * (y1 - below), abs=1e-5)
    assert (first.sensitivities()[0] > 0, first.sensitivities()[-1]) == (True, 1.0)


def test_each_patient_has_an_area_and_a_curve_the_mean_over_the_cases(tmp_path, monkeypatch):
    scored_with(monkeypatch, a_card(), linear(20.0, HALF))
    truth = blobs().array > -325
    shifted, empty = np.roll(truth, 4, axis=2), np.zeros(truth.shape, bool)
    named = {"a": ("p1", truth), "b": ("p2", shifted), "c": ("p2", truth), "d": ("p3", empty)}
    scored = evaluate("any", [a_case(tmp_path, name, *given) for name, given in named.items()], "cpu")
    areas = [case.values["auc"] for case in scored.cases]
    assert areas[0] == pytest.approx(evaluate("any", [a_case(tmp_path, "a", "p1", truth)], "cpu").roc[""].auc)
    assert areas[0] > areas[1] > 0.5
    assert [patient.values["auc"] for patient in scored.patients] == [areas[0], np.mean(areas[1:3]), None]
    assert [len(patient.sensitivities) for patient in scored.patients] == [len(RATES), len(RATES), 0]
    for patient in scored.patients[:2]:
        heights = np.array(patient.sensitivities)
        area = np.sum(np.diff(RATES) * (heights[1:] + heights[:-1]) / 2)
        assert area == pytest.approx(patient.values["auc"], abs=5e-3)
    assert type(scored).from_json(json.loads(json.dumps(scored.to_json()))) == scored


def test_charts_are_drawings_with_every_student_and_patient(tmp_path, monkeypatch):
    truth = blobs().array > -325
    cases = [a_case(tmp_path, name, name, np.roll(truth, n, axis=2)) for n, name in enumerate("abc")]
    scored_with(monkeypatch, a_card(), linear(20.0, HALF))
    own = evaluate("any", cases, "cpu")
    other = replace(own, student="another", patients=own.patients[:2])
    drawings = charts(own, other)
    assert set(drawings) == {"roc.svg", "paired.svg"}
    for text in drawings.values():
        drawn = ElementTree.fromstring(text)
        texts = " ".join(element.text or "" for element in drawn.iter() if element.tag.endswith("text"))
        assert "narrow" in texts
        assert "another" in texts
    assert drawings["roc.svg"].count("<polyline") == 2
    assert drawings["paired.svg"].count("<circle") == 3 * 2 * 2
    assert charts(replace(own, roc={"": Roc(None, ())})) == {}
