"""Model cards and lists of students as text: for ``cmedl-segment models`` and for a details view.

The text is Markdown that reads well as plain text; nothing is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from .card import Card, NetworkSpec
from .models import BUNDLED, Entry
from .normalisation import Normalisation


def card_text(card: Card) -> str:
    """The whole card, for a reader who decides whether the student suits an image."""
    parts = [
        f"# {card.title}",
        card.summary,
        _section("Intended use", [card.intended_use]),
        _section("Not intended for", [card.unintended_use]),
        _section("Segments", [f"- {_label(card, index)}" for index in range(len(card.labels))]),
        _section("Input", _input_lines(card)),
        _section("Held-out figures", [f"- {_figure(figure)}" for figure in card.figures] or ["None."]),
        _section("Data", [f"- {_source(source)}" for source in card.data] or ["Not stated."]),
        _section("Networks", [f"- {_network(spec)}" for spec in card.networks]),
        _section("Training", [f"- {key}: {_plain(value)}" for key, value in card.training.items()]),
        _section("Provenance", _provenance_lines(card)),
    ]
    return "\n\n".join(parts) + "\n"


def list_text(entries: Sequence[Entry]) -> str:
    """A table of students, one line each, with notes and problems below."""
    if not entries:
        return "No student is bundled or installed; cmedl-segment models install FILE adds one.\n"
    rows = [("NAME", "VERSION", "FROM", "MODALITY", "TITLE")]
    for entry in entries:
        card = entry.card
        modality, title = (card.modality, card.title) if card else ("", "damaged, see below")
        rows.append((entry.name, entry.version, entry.origin, modality, title))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]
    notes = [f"{entry.name} ({entry.origin}): {entry.note}." for entry in entries if entry.note]
    problems = [entry.problem for entry in entries if entry.problem]
    return "\n".join([*lines, *([""] if notes or problems else []), *notes, *problems]) + "\n"


def show_text(entry: Entry, versions: Iterable[Entry] = ()) -> str:
    """One student: its card, where its file is, and its installed versions.

    Args:
        entry: from ``models.entry``.
        versions: from ``models.versions``; those of a bundled student are none.
    """
    if entry.card is None:
        return f"{entry.problem}\n"
    place = [f"- Name: {entry.name}", f"- Version: {entry.version}", f"- From: {entry.origin}"]
    place.append(f"- File: {entry.path}")
    if entry.note:
        place.append(f"- Note: {entry.note}.")
    kept = [
        f"- Installed: {item.version or item.path.name}{' (in use)' if item.current else ''}"
        for item in (versions if entry.origin != BUNDLED else ())
    ]
    return card_text(entry.card) + "\n" + _section("This file", [*place, *kept]) + "\n"


def _section(title: str, lines: list[str]) -> str:
    return "\n".join([f"## {title}", *lines])


def _label(card: Card, index: int) -> str:
    label = card.labels[index]
    codes = [f"{meaning} ({scheme} {code})" for scheme, code, meaning in label.terminology.values()]
    return f"{label.name} (value {label.value}): {', '.join(codes)}"


def _input_lines(card: Card) -> list[str]:
    extent = card.field * card.spacing_mm
    slices = "those that contain lung, found in HU" if card.slices == "lung" else "all"
    return [
        f"- Modality: {card.modality}",
        f"- Intensities: {_normalisation(card.normalisation)}, scaled to -1..1",
        f"- Pixels: {card.spacing_mm:g} mm in-plane; the field is {card.field} x {card.field} pixels "
        f"({extent:g} x {extent:g} mm)",
        f"- Slices: {slices}",
        f"- Threshold on the probability: {card.threshold:g}",
    ]


def _normalisation(normalisation: Normalisation) -> str:
    low, high = f"{normalisation.low:g}", f"{normalisation.high:g}"
    if normalisation.kind == "window":
        return f"clipped to {low} to {high} HU"
    if not normalisation.landmarks:
        return f"clipped at the volume's percentiles {low} and {high}"
    top = normalisation.maximum or normalisation.landmarks[-1][1]
    return f"histogram standardised by {len(normalisation.landmarks)} landmarks, clipped to 0 to {top:g}"


def _figure(figure: dict[str, Any]) -> str:
    spread = f" ± {figure['spread']:g}" if "spread" in figure else ""
    return f"{figure['measure']}: {figure['value']:g}{spread} (N = {figure['n']}; {figure['data']})"


def _source(source: dict[str, str]) -> str:
    return f"{source['name']}, {source['licence']}. {source['attribution']}"


def _network(spec: NetworkSpec) -> str:
    arguments = ", ".join(f"{key} {_plain(value)}" for key, value in spec.arguments.items())
    return f"{spec.name}: {spec.kind}{f' ({arguments})' if arguments else ''}, reads {', '.join(spec.inputs)}"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _provenance_lines(card: Card) -> list[str]:
    int8 = "not used" if card.int8 is None else _plain(card.int8)
    return [
        f"- Date: {card.date}",
        f"- Made by: CMEDL {card.program_version}",
        f"- Format: {card.format}",
        f"- SHA-256 of the weights: {card.weights_sha256 or 'not saved yet'}",
        f"- int8: {int8}",
    ]
