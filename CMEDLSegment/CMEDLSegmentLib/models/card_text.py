"""A model card as text, for ``cmedl-segment models show`` and for a details view.

The text is Markdown that reads well as plain text; nothing is escaped.
"""

from __future__ import annotations

import json
from typing import Any

from ..io.labels import Label
from .model_card import FOUND, Card, NetworkSpec
from .normalization import Normalization


def card_text(card: Card) -> str:
    """The whole card, for a reader who decides whether the model suits an image."""
    sections = {
        "Intended use": [card.intended_use],
        "Not intended for": [card.unintended_use],
        "Segments": [f"- {_label(label)}" for label in card.labels],
        "Input": _input_lines(card),
        "Held-out figures": [f"- {_figure(figure)}" for figure in card.figures] or ["None."],
        **({"Known to miss": [card.misses]} if card.misses else {}),
        "Data": ["- {name}, {license}. {attribution}".format(**source) for source in card.data] or ["Not stated."],
        "Networks": [f"- {_network(spec)}" for spec in card.networks],
        "Training": [f"- {key}: {_plain(value)}" for key, value in card.training.items()],
        "Provenance": [
            f"- Date: {card.date}",
            f"- Made by: CMEDL {card.program_version}",
            f"- Format: {card.format}",
            f"- SHA-256 of the weights: {card.weights_sha256 or 'not saved yet'}",
            f"- int8: {'not used' if card.int8 is None else _plain(card.int8)}",
        ],
    }
    parts = ["\n".join([f"## {title}", *lines]) for title, lines in sections.items()]
    return "\n\n".join([f"# {card.title}", card.summary, *parts]) + "\n"


def headline(card: Card) -> str:
    """How well a model does and on whom, in a line or two: what it found, its DSC, what it misses."""
    found = next((figure for figure in card.figures if figure["measure"] == FOUND), None)
    dice = next((figure for figure in card.figures if figure["measure"].startswith("DSC")), None)
    figures = found or dice
    if figures is None:
        return "Nobody has measured how well this model does."
    parts = [f"found {found['value']:g} of {found['n']}"] if found else []
    parts += [f"DSC {dice['value']:.2f}"] if dice else []
    misses = f" Known to miss: {card.misses}." if card.misses else ""
    return f"On {figures['n']} patients it had not learned from: {', '.join(parts)}.{misses}"


def _label(label: Label) -> str:
    codes = [f"{meaning} ({scheme} {code})" for scheme, code, meaning in label.terminology.values()]
    return f"{label.name} (value {label.value}): {', '.join(codes)}"


def _input_lines(card: Card) -> list[str]:
    extent = card.field * card.spacing_mm
    slices = "those that contain lung, found in HU" if card.slices == "lung" else "all"
    return [
        f"- Modality: {card.modality}",
        f"- Intensities: {_normalization(card.normalization)}, scaled to -1..1",
        f"- Pixels: {card.spacing_mm:g} mm in-plane; the field is {card.field} x {card.field} pixels "
        f"({extent:g} x {extent:g} mm)",
        f"- Slices: {slices}",
        *([f"- Probability: smoothed over the slices, sigma {card.smoothing_mm:g} mm"] if card.smoothing_mm else []),
        f"- Threshold on the probability: {card.threshold:g}",
        *_candidate_lines(card),
        *_prompt_lines(card),
    ]


def _candidate_lines(card: Card) -> list[str]:
    rule = card.candidates
    if rule is None:
        return []
    limits = f"mean probability from {rule.mean:g}, volume from {rule.volume_cc:g} cc"
    return [f"- Likely lesion candidates: {limits}; chosen on {rule.chosen_on}"]


def _prompt_lines(card: Card) -> list[str]:
    prompt = card.prompt
    if prompt is None:
        return []
    least, most = prompt.pixel_mm
    return [
        f"- Clicks: channels {', '.join(prompt.channels)}; Gaussians of {prompt.click_pixels:g} pixels",
        f"- Squares: pixels of {least:g} to {most:g} mm, so that a structure is {prompt.diameter_pixels:g} pixels "
        "wide; the field above is that of a middle size",
        f"- A structure ends below {prompt.smallest_mm2:g} mm2, and where slices are more than "
        f"{prompt.largest_gap_mm:g} mm apart",
    ]


def _normalization(normalization: Normalization) -> str:
    low, high = f"{normalization.low:g}", f"{normalization.high:g}"
    if normalization.kind == "window":
        return f"clipped to {low} to {high} HU"
    if not normalization.landmarks:
        return f"clipped at the volume's percentiles {low} and {high}"
    top = normalization.maximum or normalization.landmarks[-1][1]
    return f"histogram standardized by {len(normalization.landmarks)} landmarks, clipped to 0 to {top:g}"


def _figure(figure: dict[str, Any]) -> str:
    spread = f" ± {figure['spread']:g}" if "spread" in figure else ""
    return f"{figure['measure']}: {figure['value']:g}{spread} (N = {figure['n']}; {figure['data']})"


def _network(spec: NetworkSpec) -> str:
    arguments = ", ".join(f"{key} {_plain(value)}" for key, value in spec.arguments.items())
    return f"{spec.name}: {spec.kind}{f' ({arguments})' if arguments else ''}, reads {', '.join(spec.inputs)}"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
