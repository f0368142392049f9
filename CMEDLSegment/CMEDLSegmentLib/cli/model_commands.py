"""The actions of ``cmedl-segment models``; imported only when one is asked for."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from ..base.errors import CMEDLError, ModelError
from ..base.text import table
from ..models import registry
from ..models.card_text import card_text
from .console import emit_json


def list_models(options: argparse.Namespace) -> int:
    """``models list``: every model, the bundled and the user's own."""
    entries = registry.list_models()
    if options.json:
        emit_json({"models": [_entry_json(entry) for entry in entries], "folder": registry.user_folder()})
    else:
        print(_list_text(entries))
    return 0


def show(options: argparse.Namespace) -> int:
    """``models show NAME|FILE``: the model card."""
    entry = registry.entry(options.model)
    if entry.card is None:
        raise ModelError(entry.problem)
    versions = registry.versions(entry.name)
    if options.json:
        kept = [{"version": version.version, "current": version.current} for version in versions]
        emit_json({**_entry_json(entry), "versions": kept, "card": json.loads(entry.card.to_json())})
    else:
        print(f"{card_text(entry.card)}\n{entry.name} {entry.version}, {entry.origin}: {entry.path}")
        if entry.note:
            print(f"It is {entry.note}.")
        for version in versions:
            print(f"{version.origin}: {version.version}{' (in use)' if version.current else ''}")
    return 0


def verify(options: argparse.Namespace) -> int:
    """``models verify [NAME|FILE]``: check hashes, tensors and networks of one model, or of all."""
    entries = [registry.entry(options.model)] if options.model else registry.list_models()
    good, problems = [], []
    for entry in entries:
        try:
            registry.load(entry.path)
        except CMEDLError as error:
            problems.append(str(error))
            continue
        good.append(entry)
        if not options.json:
            print(f"{entry.name} {entry.version}: good ({entry.path})")
    if problems:
        raise ModelError("\n".join(problems))
    if options.json:
        emit_json({"models": [_entry_json(entry) for entry in good]})
    elif not good:
        print(NONE)
    return 0


NONE = "There is no model; install one with: cmedl-segment models install FILE"

ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": list_models,
    "show": show,
    "verify": verify,
    "install": lambda options: _tell(registry.install(options.model), options),
    "remove": lambda options: _tell(registry.remove(options.model), options),
    "rollback": lambda options: _tell(registry.rollback(options.model, options.version), options),
}


def _list_text(entries: list[registry.Entry]) -> str:
    """A table of the models, the damaged ones' problems under it."""
    rows = [
        (
            entry.name,
            entry.version or "-",
            entry.card.modality if entry.card else "-",
            entry.origin,
            f"{entry.card.title}{f' ({entry.note})' if entry.note else ''}" if entry.card else "damaged, see below",
        )
        for entry in entries
    ]
    lines = [table(("name", "version", "modality", "from", "title"), rows)] if rows else [NONE]
    lines += ["", *(entry.problem for entry in entries if entry.problem)]
    return "\n".join([*lines, f"Your own models are in {registry.user_folder()}"])


def _entry_json(entry: registry.Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "version": entry.version,
        "title": entry.card.title if entry.card else "",
        "modality": entry.card.modality if entry.card else None,
        "origin": entry.origin,
        "path": entry.path,
        "current": entry.current,
        "note": entry.note,
        "problem": entry.problem,
    }


def _tell(change: registry.Change, options: argparse.Namespace) -> int:
    if options.json:
        names = ("name", "message", "path", "version", "previous")
        emit_json({name: getattr(change, name) for name in names})
    else:
        print(change.message)
    return 0
