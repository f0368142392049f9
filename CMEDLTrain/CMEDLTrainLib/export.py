"""A finished run's student as one file for others: half precision or less, its card completed, int8 checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.schema import read_object
from CMEDLSegmentLib.inference.runtimes.int8_check import agreement, check_int8
from CMEDLSegmentLib.inference.runtimes.quantization import calibrate_int8
from CMEDLSegmentLib.models.model_card import FOUND, Card
from CMEDLSegmentLib.models.model_file import ModelFile, load_model, save_model

from .cohort.store import Store
from .computing.distribution import choose_device
from .evaluation.evaluation_file import ANEW
from .evaluation.scoring import MEASURES, definition
from .runs.run_folder import Run
from .training.prompts import batch_with_prompts
from .training.train_run import best_networks, slices_of

CALIBRATION_SLICES = 64
BATCH = 8
MARKING = ("modality", "normalization", "spacing_mm", "field", "slices", "threshold", "smoothing_mm")
"""Entries of a card that a student marks by: figures are true of no others."""


def export(run: Run, path: Path, entries: dict[str, Any], stored: str, int8: bool) -> str:
    """Write a finished run's student to ``path``.

    Args:
        run: a finished run.
        path: ends in ``.safetensors``.
        entries: of the model card, such as name, title, data and use.
        stored: what weights become, one of :data:`CMEDLSegmentLib.models.model_file.STORED`.
        int8: calibrate int8 on training slices and keep it if it agrees with fp32 on the validation patients.

    Returns:
        A sentence that says what became of int8, or how weights that are stored as int8 agree with those of fp32 on the
        validation patients; empty where neither was asked for.

    Raises:
        InputError: the run has not finished, or an entry does not fit the card.
    """
    student_file = run.finished_student()
    unknown = sorted(set(entries) - {item.name for item in fields(Card)})
    if unknown:
        raise InputError(f"A model card has no entry '{unknown[0]}'; remove it.")
    evaluated = load_model(student_file).card
    card = replace(evaluated, **entries)
    if "figures" not in entries and all(getattr(card, name) == getattr(evaluated, name) for name in MARKING):
        card = replace(card, figures=tuple(_figures(run, evaluated, entries)))
    networks = best_networks(run)
    # First, because the cohort may be gone: then nothing is written.
    store = slices_of(run) if int8 or stored == "int8" else None
    save_model(path, card, networks, stored)
    if store is None:
        return ""
    if not int8:
        device = choose_device(run.configuration.device)
        plain, rounded = (_running(load_model(file), device) for file in (student_file, path))
        figures = agreement(card, plain, rounded, _patients(run, store))
        return f"Rounded weights agree with fp32 to a DSC of {_agreement(figures)}."
    # int8 is calibrated and checked on the weights as they were just stored.
    student = load_model(path)
    random = np.random.default_rng(run.configuration.seed)
    train = _asked(run, store, store.select("train"))
    chosen = random.choice(train, min(CALIBRATION_SLICES, len(train)), replace=False)
    parts = (_images(run, store, part) for part in np.array_split(chosen, BATCH))
    ranges = calibrate_int8(student.build(), parts)
    checked = check_int8(ModelFile(card, student.state, path, ranges), _patients(run, store))
    sentence = f"int8 agrees with fp32 to a DSC of {_agreement(checked)}"
    if not checked["passed"]:
        return f"{sentence}, which is too little: the student runs without int8."
    save_model(path, replace(card, int8=checked), networks, stored, int8=ranges)
    return f"{sentence}."


def _running(student: ModelFile, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """The student's networks on ``device``, for images and logits in memory."""
    network = student.build().to(device)
    return lambda images: network(images.to(device)).cpu()


def _agreement(figures: dict[str, Any]) -> str:
    return f"{figures['dsc_mean']:.4f} (N = {figures['cases']} validation patients)"


def _figures(run: Run, card: Card, entries: dict[str, Any]) -> list[dict[str, Any]]:
    """The held-out figures of this very student, where it was evaluated on the run's own test patients."""
    if not run.evaluation.is_file():
        return []
    evaluation = read_object(run.evaluation, ANEW)
    if evaluation["weights_sha256"] != card.weights_sha256 or not evaluation.get("own_cohort"):
        return []
    # The first source is the cohort's; others are what the weights started from.
    name_of_data = next((source["name"] for source in entries.get("data", ())), "the cohort")
    data = f"test patients of {name_of_data}"
    missed, patients = (evaluation["missed"][name] for name in ("patients", "of_patients"))
    found = [{"measure": FOUND, "value": patients - missed, "n": patients, "data": data}] if patients else []
    return found + [
        {
            "measure": definition(name, evaluation["tolerance_mm"]),
            "value": round(figures["mean"], 4),
            "spread": round(figures["std"], 4),
            "n": figures["n"],
            "data": data,
        }
        for name, figures in evaluation["summary"].items()
        if name in MEASURES and figures["n"]
    ]


def _patients(run: Run, store: Store) -> Iterator[torch.Tensor]:
    """What the student is given of each validation patient, (n, channels, field, field)."""
    for indices in store.by_patient("validation"):
        if len(asked := _asked(run, store, indices)):
            yield _images(run, store, asked)


def _asked(run: Run, store: Store, indices: np.ndarray) -> np.ndarray:
    """Of some slices those that the student may be given: one that reads clicks is asked for a structure."""
    return indices[store.patches.records["pixels"][indices] > 0] if run.configuration.network.prompt else indices


def _images(run: Run, store: Store, indices: np.ndarray) -> torch.Tensor:
    if run.configuration.network.prompt:
        generator = torch.Generator().manual_seed(run.configuration.seed)
        return batch_with_prompts(store, indices, run.configuration, generator).read()
    return torch.from_numpy(store.read(indices)[0])[:, None]
