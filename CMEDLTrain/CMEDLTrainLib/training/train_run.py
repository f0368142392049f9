"""From a run's configuration to a finished student: prepare the slices, train, write the student with its card."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from CMEDLSegmentLib import __version__
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.progress import SILENT, Progress
from CMEDLSegmentLib.io.cohort_table import Case, read_cohort
from CMEDLSegmentLib.io.labels import TUMOR, Label
from CMEDLSegmentLib.models.model_card import Card
from CMEDLSegmentLib.models.model_file import save_model

from .. import methods
from ..cohort.contents import table_digest
from ..cohort.preparation import prepare
from ..cohort.store import Store
from ..computing.distribution import joined
from ..runs import run_folder
from ..runs.run_folder import Run
from ..settings.configuration import Configuration
from . import checkpoints
from .dry_run import dry_step
from .engine import Trainer
from .prompts import FIRST_PIXEL_MM, THRESHOLD, prompt_of
from .setup import check_settings

NOT_FOR = (
    "Diagnosis, treatment planning without a clinician's review, any use on patients as a medical device; images of "
    "another modality, body region or intensity scale than those it was trained on."
)


def train(run: Run, progress: Progress) -> bool:
    """Train ``run`` from where it is, with the other processes that torchrun started, if any.

    Returns:
        True when it finished; its student was then written.

    Raises:
        InputError: the cohort or the settings cannot be used.
        DeviceError: the configured device is absent.
        TrainingFailed: a loss term or a weight is not finite, or a loss term exploded.
        ProcessLost: one of several processes ended.
    """
    with joined() as processes:
        configuration = run.configuration  # not before: the first process may be making the run, or moving its cohort
        table = _read_table(configuration)
        new = processes.first and not run.last.is_file()
        if new:
            progress("Building the networks", 0.0)
            check_settings(configuration, processes)
            run.report("cohort", table_sha256=table_digest(table))  # known by it again where it was moved
        cases = _training_cases(configuration, table)
        store = processes.in_turn(lambda: _prepared(run, cases, progress.part(0, 0.02)))
        if new:  # the others wait, as what does not fit is refused
            progress("Trying a step", 0.02)
            estimate = dry_step(configuration, store)
            estimate = replace(estimate, steps_per_epoch=max(1, estimate.steps_per_epoch // processes.count))
            run.report("estimate", **estimate.to_json())
            progress(estimate.report(), 0.02)
        trainer = Trainer(run, store, processes)
        finished = trainer.train(progress.part(0.02, 1.0))
    if finished and processes.first:
        save_model(run.student, _card(trainer), best_networks(run))
    return finished


def slices_of(run: Run, progress: Progress = SILENT) -> Store:
    """The store of the run's training and validation slices: beside the run, or below ``$CMEDL_SLICES``.

    Where it is prepared already, the scans need not be there.

    Raises:
        InputError: the cohort has no case of the method's roles, or one that cannot be read.
    """
    return _prepared(run, training_cases(run.configuration), progress)


def training_cases(configuration: Configuration) -> list[Case]:
    """The cohort's training and validation cases of the method's roles.

    Raises:
        InputError: the table cannot be used, or has no such case where the method needs one.
    """
    return _training_cases(configuration, _read_table(configuration))


def _prepared(run: Run, cases: Sequence[Case], progress: Progress) -> Store:
    images, labels = run.configuration.images, len(run.configuration.labels)
    return prepare(cases, images, labels, run_folder.slices_folder(run.folder), progress)


def _training_cases(configuration: Configuration, table: Sequence[Case]) -> list[Case]:
    roles = configuration.entry.roles
    cases = [case for case in table if case.role in roles and case.split in ("train", "validation")]
    present = {(case.role, case.split) for case in cases}
    for role, split in (*((role, "train") for role in roles), ("student", "validation")):
        if (role, split) not in present:  # told before slices are prepared for hours
            raise InputError(
                f"The cohort {configuration.cohort} has no case of role {role} in split {split}; mark some in the "
                "table."
            )
    return cases


def _read_table(configuration: Configuration) -> tuple[Case, ...]:
    cohort = Path(configuration.cohort)
    if not cohort.is_file():
        raise InputError(f"The cohort {cohort} is not there any more; resume the run with --cohort and its new place.")
    return read_cohort(cohort, required=("mask", "role", "split"), check_files=False)


def best_networks(run: Run) -> dict[str, nn.Module]:
    """The student's networks with the averaged weights of the best validation."""
    method = methods.create(run.configuration, features=False)
    return _restored({spec.name: method.networks[spec.name] for spec in method.student}, run.best)


def networks_of(run: Run) -> tuple[methods.Method, dict[str, nn.Module]]:
    """The run's method, and its networks by name as they were at the last checkpoint, for evaluation.

    The frozen network of the contextual loss is left out. The student's own networks are among them with the weights
    that were being trained; :func:`best_networks` are those of the best validation.

    Raises:
        InputError: the run has no checkpoint yet, or it cannot be read.
    """
    if not run.last.is_file():
        raise InputError(f"The run {run.folder} has no checkpoint yet; let it train until its first validation.")
    method = methods.create(run.configuration, features=False)
    networks = {name: network for name, network in method.networks.items() if any(True for _ in network.parameters())}
    return method, _restored(networks, run.last)


def _restored(networks: dict[str, nn.Module], checkpoint: Path) -> dict[str, nn.Module]:
    """The networks with a checkpoint's weights, to be used and not to be trained."""
    checkpoints.load(checkpoint, networks, {})
    return {name: network.eval().requires_grad_(False) for name, network in networks.items()}


def _card(trainer: Trainer) -> Card:
    """What the program knows of the student; title, data and use are for the person who exports it to say."""
    configuration, store, progress = trainer.configuration, trainer.store, trainer.progress
    modality = store.modalities["student"]
    prompted = bool(configuration.network.prompt)
    slices = configuration.images.slices if modality == "CT" and not prompted else "all"
    return Card(
        name=trainer.run.folder.name[:80].strip() or "student",
        title=f"{configuration.network.kind} student, {configuration.method}",
        summary="A model trained with CMEDLTrain; research use, not a medical device.",
        networks=trainer.method.student,
        labels=card_labels(configuration.labels, slices),
        modality=modality,
        normalization=store.normalizations["student"],
        spacing_mm=FIRST_PIXEL_MM if prompted else configuration.images.spacing_mm,
        field=configuration.augmentation.window if prompted else configuration.images.field,
        prompt=prompt_of(configuration) if prompted else None,
        slices=slices,
        threshold=THRESHOLD if prompted else 0.5,
        training={
            "method": configuration.method,
            "preset": configuration.preset,
            "seed": configuration.seed,
            "epochs_best": progress.best_epoch,
            "steps": progress.step,
            "batch": configuration.optimization.batch,
            "patients": sum(len(list(store.by_patient("train", role))) for role in store.modalities),
            "validation": progress.best_validation,
        },
        intended_use="Research on the segmentation of the structure it was trained on, reviewed by a clinician.",
        unintended_use=NOT_FOR,
        date=datetime.date.today().isoformat(),
        program_version=__version__,
    )


def card_labels(names: Sequence[str], slices: str) -> tuple[Label, ...]:
    """The labels 1, 2, ... of a student with their terminology, by name and by the slices that it looks at.

    A tumor is in the lung where the slices are those with lung; where it is otherwise nobody has said.
    """
    return tuple(_label(value, name, slices == "lung") for value, name in enumerate(names, start=1))


def _label(value: int, name: str, in_lungs: bool) -> Label:
    if value == 1 and name == TUMOR.name:
        codes = {key: code for key, code in TUMOR.terminology.items() if in_lungs or key != "region"}
        return replace(TUMOR, terminology=codes)
    colors = ((0.9, 0.1, 0.1), (0.2, 0.6, 0.9), (0.2, 0.7, 0.4), (0.9, 0.6, 0.1), (0.6, 0.4, 0.8))
    terminology = {
        "category": ["SCT", "123037004", "Anatomical Structure"],
        "type": ["99CMEDL", f"label-{value}", name],
    }
    return Label(value, name, colors[(value - 1) % len(colors)], terminology)
