"""The actions of ``cmedl-segment models``; imported only when one is asked for."""

from __future__ import annotations

import argparse
import json
from typing import Any

from . import models
from .console import emit_json
from .errors import CMEDLError, ModelError
from .model_text import list_text, show_text


def list_students(options: argparse.Namespace) -> int:
    """``models list``: every student, the bundled and the user's own."""
    entries = models.list_models()
    if options.json:
        emit_json({"models": [_entry_json(entry) for entry in entries], "folder": models.user_folder()})
    else:
        print(f"{list_text(entries)}\nYour own students are in {models.user_folder()}")
    return 0


def show(options: argparse.Namespace) -> int:
    """``models show NAME|FILE``: the model card."""
    entry = models.entry(options.student)
    if entry.card is None:
        raise ModelError(entry.problem)
    versions = models.versions(entry.name)
    if options.json:
        kept = [{"version": found.version, "current": found.current} for found in versions]
        emit_json({**_entry_json(entry), "versions": kept, "card": json.loads(entry.card.to_json())})
    else:
        print(show_text(entry, versions), end="")
    return 0


def verify(options: argparse.Namespace) -> int:
    """``models verify [NAME|FILE]``: check hashes, tensors and networks of one student, or of all."""
    entries = [models.entry(options.student)] if options.student else models.list_models()
    good, problems = [], []
    for entry in entries:
        try:
            models.verify(entry.path)
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
        print(list_text([]), end="")
    return 0


def install(options: argparse.Namespace) -> int:
    """``models install FILE``."""
    return _tell(models.install(options.student), options)


def remove(options: argparse.Namespace) -> int:
    """``models remove NAME``."""
    return _tell(models.remove(options.student), options)


def rollback(options: argparse.Namespace) -> int:
    """``models rollback NAME [VERSION]``."""
    return _tell(models.rollback(options.student, options.version), options)


ACTIONS = {
    "list": list_students,
    "show": show,
    "verify": verify,
    "install": install,
    "remove": remove,
    "rollback": rollback,
}


def _entry_json(entry: models.Entry) -> dict[str, Any]:
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


def _tell(change: models.Change, options: argparse.Namespace) -> int:
    if options.json:
        names = ("name", "message", "path", "version", "previous")
        emit_json({name: getattr(change, name) for name in names})
    else:
        print(change.message)
    return 0
