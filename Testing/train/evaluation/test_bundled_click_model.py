"""The bundled click model does on phantoms what it should, and its card says what its folds were measured to do."""

from __future__ import annotations

import json

import pytest

from CMEDLSegmentLib.inference.segmenter import Segmenter
from CMEDLSegmentLib.models import registry
from CMEDLSegmentLib.phantom import thorax_ct
from CMEDLTrainLib.evaluation.click_evaluation import click_case
from conftest import REPOSITORY

NAME = "lung-click"


@pytest.mark.parametrize(("seed", "location"), [(9001, "lung"), (9002, "chest-wall")])
def test_a_phantom_s_tumor_is_contoured_from_any_inner_click(seed, location):
    """Phantoms of other seeds than those of training; no click overruns an end."""
    phantom = thorax_ct(seed, (90, 192, 192), (3.0, 2.0, 2.0), location)
    figures = click_case(Segmenter(registry.load(NAME), "cpu"), location, phantom.image, phantom.mask)[1]
    assert len(figures) == 4
    assert all(click.dsc > 0.7 for click in figures)
    assert all(click.overrun <= 2 for click in figures)


def test_the_card_s_figures_are_those_of_the_folds():
    """Each is in the results that were measured, to the digits of the card."""
    results = json.loads((REPOSITORY / "Testing" / "experiments" / NAME / "figures.json").read_text("utf-8"))
    card = registry.load(NAME).card
    assert card.prompt is not None
    assert card.threshold == 0.4
    dice = {(figure["n"], figure["value"]) for figure in card.figures if figure["measure"].startswith("DSC")}
    measured = {
        (own["dsc_structure_slices"]["n"], round(own["dsc_structure_slices"]["mean"], 3))
        for data in ("msd_lung", "lidc_raters")
        for own in (results[data]["central"], results[data]["random"])
    }
    assert dice == measured
