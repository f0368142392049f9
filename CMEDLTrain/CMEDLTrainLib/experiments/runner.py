"""Run what an experiment has not done yet: each cell is a run's folder, trained, then scored on its test patients.

Nothing is remembered but those folders: a cell whose student was scored is finished, any other goes on from its last
checkpoint, so that an experiment can be stopped at any moment, by a budget too, and called again. A run is named after
what it was trained with, so experiments that share a work folder share their runs; called several times at once, one
after the other on each GPU or core, they leave each other's cells alone.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType

import torch

from CMEDLSegmentLib.base.errors import Cancelled, InputError
from CMEDLSegmentLib.base.progress import SILENT, Progress

from ..computing.distribution import choose_device
from ..runs import run_folder
from ..training.divergence_guard import TrainingFailed
from ..training.train_run import train
from .experiment_cohorts import make_cohort, real_images
from .plan import SYNTHESIS, Experiment, ExperimentRun
from .run_scoring import is_scored, score
from .run_states import FAILED, FINISHED, FinishedRun, RunStatus


class ExperimentRunner:
    """An experiment on this machine: its work folder, its cohort, and its cells' runs.

    Args:
        experiment: which one.
        work: where runs and slices lie.
        device: as ``--device``.
        kept: finished cells whose runs lie elsewhere; one that is finished here too counts as it is here.
        out: where the results go; None: beside the experiment's file.
        graph: whether steps run as CUDA graphs, which changes nothing of what is trained; None: as the settings say.
    """

    def __init__(
        self,
        experiment: Experiment,
        work: Path,
        device: str = "auto",
        kept: Mapping[ExperimentRun, FinishedRun] = MappingProxyType({}),
        out: Path | None = None,
        graph: bool | None = None,
    ) -> None:
        self.experiment, self.work, self.device, self.kept = experiment, work.resolve(), device, kept
        self.out = experiment.folder if out is None else out
        self.graph = graph

    def run_of(self, cell: ExperimentRun) -> run_folder.Run:
        """The run of a cell, whether or not it was begun."""
        return run_folder.Run(self.work / "runs" / self.experiment.run_name(cell))

    def progress_of(self, cell: ExperimentRun) -> RunStatus:
        """How far a cell is: read from its run's folder, unless it is finished elsewhere alone."""
        run = self.run_of(cell)
        begun = (run.folder / "configuration.json").is_file()
        status, events = (run.status(), run.read_events()) if begun else ({"state": "not begun"}, [])
        state = status["state"]
        if state == FINISHED and not is_scored(run, SYNTHESIS in self.experiment.measures):
            state = "trained"
        elif state == "crashed" and events[-1]["event"] == FAILED:
            state = FAILED
        if state != FINISHED and cell in self.kept:
            return self.kept[cell]
        if not begun:
            return RunStatus(cell, state)
        device = next((event["name"] for event in reversed(events) if event["event"] == "machine"), "")
        contextual = any(name.startswith("contextual") for name in status["losses"])
        return RunStatus(cell, state, status["step"], status["steps"], training_seconds(run), device, contextual)

    def progress(self) -> list[RunStatus]:
        """How far each cell is."""
        return [self.progress_of(cell) for cell in self.experiment.cells]

    def work_off(
        self, budget_s: float | None, done: Callable[[ExperimentRun], None], progress: Progress = SILENT
    ) -> bool:
        """Train and score, in order, the cells that are not finished and that nobody else trains; True when all are.

        Args:
            budget_s: seconds after which no more is begun and the run at hand is stopped with a checkpoint; None: none.
            done: told of each cell as it is finished, or failed.

        Raises:
            InputError: the cohort cannot be made, or a run's folder belongs to other settings.
        """
        end = None if budget_s is None else time.monotonic() + budget_s

        def over() -> bool:
            return progress.cancelled() or (end is not None and time.monotonic() >= end)

        watched, tables, cells = Progress(progress, over), None, self.experiment.cells
        for number, cell in enumerate(cells):
            if self.progress_of(cell).state in (FINISHED, "running"):
                continue
            if over():
                return False
            try:
                tables = tables or make_cohort(self.experiment, self.work, watched)
            except Cancelled:
                return False
            share = watched.part(number / len(cells), (number + 1) / len(cells))
            if not self._work_off(cell, tables[cell.fold - 1], share.under(cell.name)):
                return False
            done(cell)
        return all(status.state == FINISHED for status in self.progress())

    def _work_off(self, cell: ExperimentRun, cohort: Path, progress: Progress) -> bool:
        """Train and score one cell; False if it was stopped before its end."""
        run = self._opened(cell, cohort)
        try:
            if not run.student.is_file():
                with run.held():
                    run.report("machine", name=machine(run.configuration.device))
                    if not train(run, progress.part(0.0, 0.95)):
                        return False
            experiment = self.experiment
            real = real_images(experiment, cell.fold) if SYNTHESIS in experiment.measures else None
            score(run, cohort, experiment.tolerance_mm, real, self.device, progress.part(0.95, 1.0))
        except (TrainingFailed, run_folder.BeingTrained):
            # The run's events name the term; another process was quicker. The other cells can still be done.
            return True
        except Cancelled:
            return False
        return True

    def _opened(self, cell: ExperimentRun, cohort: Path) -> run_folder.Run:
        """The run of a cell: made if it is not there, and of these very settings if it is.

        Where the cohort and the files lie that the settings name, and how steps run, may be other than when the run was
        begun: run folders are moved.
        """
        run = self.run_of(cell)
        wanted = self.experiment.configuration(cell, cohort, self.device)
        if self.graph is not None:
            wanted = replace(wanted, optimization=replace(wanted.optimization, graph=self.graph))
        if not (run.folder / "configuration.json").is_file():
            return run_folder.create(run.folder, wanted)
        begun = run.configuration
        # A run goes on where it was begun, whatever device is named now.
        wanted = replace(wanted, device=begun.device)
        elsewhere = ("cohort", *self.experiment.files_of(cell))
        settings = replace(
            begun,
            optimization=replace(begun.optimization, graph=wanted.optimization.graph),
            **{name: getattr(wanted, name) for name in elsewhere},
        )
        if settings != wanted:
            other = next(key for key, value in asdict(wanted).items() if asdict(settings)[key] != value)
            raise InputError(
                f"The run {run.folder} was begun with other settings ('{other}'); remove it, or name another --work."
            )
        if begun != wanted:
            run.change(wanted)
        return run


def training_seconds(run: run_folder.Run) -> float:
    """Time from the start of each of a run's sessions to its last event, added up; what comes before is no training."""
    total, begun, last = 0.0, None, 0.0
    for event in run.read_events():
        if event["event"] in ("machine", "estimate", "start"):
            total += 0.0 if begun is None else last - begun
            begun = event["time"] if event["event"] == "start" else None
        last = event["time"]
    return total + (0.0 if begun is None else last - begun)


def machine(device: str) -> str:
    """The name of what trains on ``device``: the graphics card's, or the processor's with its threads."""
    chosen = choose_device(device)
    if chosen.type == "cuda":
        return torch.cuda.get_device_name(chosen)
    threads = torch.get_num_threads()
    return f"{platform.machine()} CPU, {threads} {'thread' if threads == 1 else 'threads'}"
