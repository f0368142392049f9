"""The model card: a round trip keeps it, each wrong field is named, and its text says what a reader needs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from CMEDLSegmentLib.base.errors import ModelError
from CMEDLSegmentLib.io.labels import TUMOR
from CMEDLSegmentLib.models.card_text import card_text, headline
from CMEDLSegmentLib.models.model_card import FOUND, CandidateRule, Card, NetworkSpec, read_card
from CMEDLSegmentLib.models.normalization import Normalization
from harness.damaged_json import outcomes
from segment.models.making import LIVER, UNET, a_card, card_hash

MR = Normalization("percentile", 1.0, 99.0, ((50.0, 300.0), (99.0, 1000.0)), 1136.0)


def full_card() -> Card:
    """A card that uses everything a card can say."""
    return a_card(
        name="abdomen é肺",
        networks=(
            NetworkSpec("pmri", "generator", {"width": 8, "deep": {"list": (1, 2)}}),
            NetworkSpec("segmentor", "unet", {"width": 4, "classes": 3, "in_channels": 2}, ("image", "pmri")),
        ),
        labels=(TUMOR, LIVER),
        modality="MR",
        normalization=MR,
        slices="all",
        int8={"dsc": 0.998, "n": 3},
        candidates=CandidateRule(0.7, 0.1, "7 patients"),
        misses="small ones",
        weights_sha256="0123456789abcdef" * 4,
    )


def changed(change: Callable[[dict[str, Any]], object], card: Card | None = None) -> str:
    """The JSON of a card with a change, its digest made to fit."""
    stored = json.loads((card or a_card()).to_json())
    del stored["card_sha256"]
    change(stored)
    return json.dumps({**stored, "card_sha256": card_hash(stored)})


@pytest.mark.parametrize("card", [a_card(), full_card()], ids=["plain", "full"])
def test_a_card_comes_back_from_its_json(card: Card) -> None:
    assert Card.from_json(card.to_json()) == card


def test_a_card_holds_copies_of_what_it_was_made_from() -> None:
    training = {"seed": 1}
    card = a_card(training=training)
    training["seed"] = 2
    assert card.training == {"seed": 1}


def test_the_tumor_has_the_agreed_terminology() -> None:
    codes = {key: code[:2] for key, code in TUMOR.terminology.items()}
    assert codes == {"category": ["SCT", "49755003"], "type": ["SCT", "86049000"], "region": ["SCT", "39607008"]}


def test_the_version_changes_with_any_field() -> None:
    versions = {a_card().version, a_card(threshold=0.5).version, a_card(weights_sha256="0" * 64).version}
    assert len(versions) == 3
    assert all(version.startswith("2024-05-17-") for version in versions)


@pytest.mark.parametrize(
    "name", [item.name for item in dataclasses.fields(Card) if item.default is dataclasses.MISSING]
)
def test_each_missing_field_is_named(name: str) -> None:
    with pytest.raises(ModelError, match=f"'{name}'"):
        Card.from_json(changed(lambda stored: stored.pop(name)))


WRONG = {
    "title": 3,
    "summary": "  ",
    "name": " narrow",
    "networks": [],
    "labels": {},
    "modality": "PET",
    "normalization": {"kind": "window", "low": 0},
    "spacing_mm": "1.5",
    "field": 256.5,
    "slices": "some",
    "threshold": 1.5,
    "smoothing_mm": "4",
    "training": [1],
    "data": [{"name": "x", "license": "y"}],
    "figures": [{"measure": "DSC", "value": 0.7, "n": 0, "data": "x"}],
    "intended_use": None,
    "unintended_use": "",
    "date": "17.05.2024",
    "program_version": 1,
    "weights_sha256": "abc",
    "int8": "yes",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *WRONG.items(),
        ("threshold", True),
        ("threshold", 0),
        ("threshold", 1),
        ("smoothing_mm", -1),
        ("field", True),
        ("field", 0),
        ("spacing_mm", 0),
        ("name", "a\nb"),
        ("name", "x" * 81),
        ("date", "2024-02-30"),
    ],
)
def test_each_wrong_field_is_named(name: str, value: object) -> None:
    for make in (
        lambda: Card.from_json(changed(lambda stored: stored.update({name: value}))),
        lambda: a_card(**{name: value}),
    ):
        with pytest.raises(ModelError, match=f"'{name}[.'a-z]"):
            make()


def test_an_unknown_field_is_named_also_of_a_part() -> None:
    with pytest.raises(ModelError, match="'treshold'"):
        Card.from_json(changed(lambda stored: stored.update(treshold=0.5)))
    with pytest.raises(ModelError, match=r"'networks\.0\.widths'"):
        Card.from_json(changed(lambda stored: stored["networks"][0].update(widths=3)))


def test_a_damaged_card_is_refused_or_read_to_one_that_comes_back_equal() -> None:
    def signed(text: str) -> str:
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            stored = json.loads(text)
            return json.dumps({**stored, "card_sha256": card_hash(stored)})
        return text

    stored = json.loads(full_card().to_json())
    del stored["card_sha256"]
    cards = outcomes(lambda text: Card.from_json(signed(text)), stored, ModelError, most=2000)
    assert cards
    for card in cards:
        assert Card.from_json(card.to_json()) == card


def test_a_training_entry_that_json_cannot_hold_is_named() -> None:
    with pytest.raises(ModelError, match=r"'training\.loss'"):
        a_card(training={"loss": float("nan")})


def test_another_format_is_said_before_anything_else() -> None:
    with pytest.raises(ModelError, match="'cmedl-student/9'"):
        Card.from_json('{"format": "cmedl-student/9", "anything": 1}')


def test_a_change_after_writing_is_noticed() -> None:
    altered = full_card().to_json().replace("1136.0", "1137.0")
    with pytest.raises(ModelError, match="SHA-256"):
        Card.from_json(altered)


TWO_BEFORE = (NetworkSpec("a", "generator", {}, ("b",)), NetworkSpec("b", "generator"), UNET)
THREE_CLASSES = NetworkSpec("segmentor", "unet", {"classes": 3})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"networks": (UNET, NetworkSpec("pmri", "generator"))}, "'segmentor', not 'pmri'"),
        ({"networks": (UNET, UNET)}, "'segmentor' twice"),
        ({"networks": TWO_BEFORE}, "'a' reads 'b'"),
        ({"labels": (TUMOR, LIVER)}, "3 classes"),
        *(
            (
                {
                    "networks": (THREE_CLASSES,),
                    "labels": (TUMOR, dataclasses.replace(LIVER, **{what: getattr(TUMOR, what)})),
                },
                f"one {what} twice",
            )
            for what in ("value", "name")
        ),
        ({"modality": "MR"}, "'slices'"),
        ({"normalization": Normalization("percentile", 1.0, 99.0)}, "'slices'"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError, match=named):
        a_card(**changes)


@pytest.mark.parametrize("name", ["image", "int8", "A", "a.b", "", "1a"])
def test_network_names_that_tensors_cannot_carry_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match=r"networks\.name"):
        NetworkSpec(name, "unet")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("value", 0),
        ("value", 256),
        ("name", ""),
        ("color", (0.1, 0.2)),
        ("color", (0.1, 0.2, 2.0)),
        ("terminology", {"type": ["SCT", "1", "x"]}),
        ("terminology", {"category": ["SCT", "1"], "type": ["SCT", "1", "x"]}),
        ("terminology", {"category": ["SCT", "1", 3], "type": ["SCT", "1", "x"]}),
    ],
)
def test_each_wrong_field_of_a_label_is_named(field: str, value: object) -> None:
    with pytest.raises(ModelError, match=rf"labels\.{field}"):
        dataclasses.replace(TUMOR, **{field: value})


def test_one_label_may_have_a_sigmoid_or_a_softmax() -> None:
    two = NetworkSpec("segmentor", "unet", {"classes": 2})
    assert (a_card().classes, a_card(networks=(two,)).classes) == (1, 2)


def test_the_text_says_what_a_reader_needs() -> None:
    text = card_text(full_card())
    for part in (
        "# Narrow Unet",
        "A model for tests.",
        "Not intended for\nPatients.",
        "- Tumor (value 1): Morphologically abnormal structure (SCT 49755003), Neoplasm, Primary (SCT 86049000)",
        "- Liver (value 2): Anatomical Structure (SCT 123037004), Liver (SCT 10200004)",
        "- Modality: MR",
        "histogram standardized by 2 landmarks, clipped to 0 to 1136",
        "256 x 256 pixels (384 x 384 mm)",
        "- DSC: 0.71 ± 0.12 (N = 12; held-out patients)",
        "- A set, CC BY-SA 4.0. Its makers, 2019",
        "- segmentor: unet (width 4, classes 3, in_channels 2), reads image, pmri",
        "- seed: 3",
        "0123456789abcdef" * 4,
    ):
        assert part in text


def test_the_text_of_a_ct_model_names_its_window_and_slices() -> None:
    text = card_text(a_card(figures=(), data=()))
    assert "clipped to -1000 to 500 HU" in text
    assert "those that contain lung" in text
    assert "## Held-out figures\nNone." in text


def test_a_card_of_the_format_before_is_read_and_keeps_its_version_when_it_is_written_again() -> None:
    """Its spelling is another, in two places; a bundled model has such a card."""
    for path in [Path(__file__).parents[3] / "Resources" / "Models" / "sarcoma-ct.safetensors"]:
        card = read_card(path)
        assert card.format == "cmedl-student/1"
        assert all(source["license"] for source in card.data)
        again = json.loads(card.to_json())
        assert again["normalisation"] == card.normalization.to_dict()
        assert all("licence" in source and "license" not in source for source in again["data"])
        assert Card.from_json(card.to_json()) == card
        assert card.version == Card.from_json(json.dumps(again)).version


def test_a_source_in_the_old_spelling_is_taken() -> None:
    source = {"name": "A set", "attribution": "Its makers, 2019"}
    old, new = ({**source, key: "CC0"} for key in ("licence", "license"))
    assert a_card(data=(old,)).data == a_card(data=(new,)).data == (new,)


def test_the_headline_says_what_was_found_on_whom_and_what_is_missed() -> None:
    figures = (
        {"measure": FOUND, "value": 10, "n": 12, "data": "a set"},
        {"measure": "DSC, all slices", "value": 0.604, "n": 12, "data": "a set"},
    )
    line = headline(a_card(figures=figures, misses="parts of large tumors"))
    assert all(part in line for part in ("12 patients", "10 of 12", "0.60", "parts of large tumors"))
    assert "of 12" not in headline(a_card(figures=figures[1:]))
    assert "0" not in headline(a_card(figures=()))


def test_a_candidate_is_likely_by_both_limits_of_the_rule_and_without_one_always() -> None:
    card = a_card(candidates=CandidateRule(0.7, 0.1, "7 patients"))
    assert [card.likely(*of) for of in ((0.7, 0.1), (0.69, 5.0), (0.9, 0.09))] == [True, False, False]
    assert a_card().likely(0.0, 0.0)


def test_a_card_of_before_keeps_its_digest() -> None:
    stored = json.loads(a_card().to_json())
    assert not {"candidates", "misses"} & set(stored)
