"""The training loop: batches, phases, average of the student, validation, early stopping, checkpoints.

One loop for every method. What is random in step k comes from generators seeded with (seed, k), so a run resumed from
any checkpoint repeats the steps that were lost and ends with the same weights, bit for bit on a CPU. Several processes
can train one run (:mod:`.distribution`): all of them go through this loop in step, and the first one alone writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.progress import SILENT, Progress
from CMEDLSegmentLib.process import lock

from .. import methods
from ..cohort.sampling import Sampler
from ..cohort.store import Store
from ..computing.distribution import ALONE, Processes, pooling
from ..methods import Batch, Phase, Step
from ..runs.run_folder import Run
from . import checkpoints, previews
from .augmentation import augment
from .click_validation import validate_clicks
from .cuda_graph import StepGraph
from .divergence_guard import DivergenceGuard, TrainingFailed, check_validation, check_weights
from .progress_reports import ProgressReports
from .prompts import batch_with_prompts
from .setup import device_of, start_from
from .validation import validate
from .weight_average import WeightAverage

REPORT_STEPS, REPORT_S = 50, 30.0
"""Losses are read from the device and reported after so many steps or seconds: reading waits for the device."""
CHECKPOINT_S = 120.0
"""A run loses at most so much work when it is killed."""
WRITING_SHARE = 0.05
"""Of the time since the last checkpoint, what writing one may take for a validation to be followed by one: those of
joint training hold hundreds of megabytes, and on a GPU ten epochs can pass in the seconds that one takes."""
COMPILER = "inductor"
"""What ``torch.compile`` makes of the networks."""


@dataclass
class TrainingProgress:
    """How far a run is: what a checkpoint stores beside the tensors."""

    step: int = 0
    best_loss: float = math.inf
    best_epoch: int = -1
    validation: dict[str, float] = field(default_factory=dict)
    """Figures of the last epoch."""
    best_validation: dict[str, float] = field(default_factory=dict)
    """Figures of the best epoch, whose weights the student has."""
    processes: int = 1
    """How many train the run: a step's patches and the number of steps depend on it."""


class Trainer:
    """One run being trained: built from its configuration, continued from its last checkpoint."""

    def __init__(self, run: Run, store: Store, processes: Processes = ALONE) -> None:
        """Build networks and optimizers, and restore the last checkpoint if the run has one.

        Raises:
            InputError: the cohort has no training or validation patches, the checkpoint does not fit, or the device
                cannot do what the settings ask for.
            DeviceError: the configured device is absent.
        """
        self.run, self.store, self.processes = run, store, processes
        self.configuration = run.configuration
        settings = self.configuration.optimization
        self.device = device_of(self.configuration, processes)
        torch.manual_seed(self.configuration.seed)
        self.method = methods.create(self.configuration)
        self.networks = nn.ModuleDict(self.method.networks).to(self.device, memory_format=torch.channels_last)
        if self.configuration.initial and not run.last.is_file():
            start_from(self.configuration.initial, self.method)
        self.average = WeightAverage(
            {spec.name: self.networks[spec.name] for spec in self.method.student}, settings.ema_half_life_steps
        )
        self.optimizers = {phase.name: self._optimizer(phase) for phase in self.method.phases}
        self.samplers = {role: self._sampler("train", role) for role in self.configuration.entry.roles}
        self._sampler("validation", "student")
        self.steps_per_epoch = self.samplers["student"].steps_per_epoch
        self.steps = settings.epochs * self.steps_per_epoch
        self.steps_between_validations = settings.validate_every * self.steps_per_epoch
        self._modules = checkpoints.modules_of(self.networks, self.average.networks, processes)
        self.progress = self._continued() if run.last.is_file() else TrainingProgress(processes=processes.count)
        # Equal already but for the rounding of another machine's initialization.
        processes.copy_first([weight.data for weight in self.networks.parameters()])
        self._guard = DivergenceGuard()
        self._reports: ProgressReports | None = None  # of the first process
        self._random = torch.Generator(self.device)
        if settings.compile:
            for network in self.networks.values():
                network.compile(backend=COMPILER, dynamic=False)
        self._update = StepGraph(self._descend, (self._random,)) if settings.graph else self._descend

    def train(self, progress: Progress = SILENT) -> bool:
        """Train until the end, the early stop, or a request to stop; True when the run is finished.

        Raises:
            TrainingFailed: a loss term or a weight is not finite, or a loss term exploded.
            ProcessLost: one of several processes ended.
        """
        if self.processes.first:
            lock.update(self.run.trainer, device=str(self.device))
            images = self.configuration.optimization.batch * self.processes.count
            self._reports = ProgressReports(self.run, self.device, images, self.steps, self.steps_per_epoch, progress)
            self._reports.start(self.progress.step, self.processes.count, self.progress.validation)
        try:
            finished = self._train(progress)
        except TrainingFailed as error:
            self._tell("failed", step=self.progress.step, term=error.term)
            raise
        if finished:
            self._tell("finished", step=self.progress.step, best_epoch=self.progress.best_epoch)
        else:
            self._tell("stopped", step=self.progress.step)
        return finished

    def _train(self, progress: Progress) -> bool:
        """The loop: a step, what it tells, and after some steps a validation and a checkpoint; True at its end."""
        saved = reported = time.monotonic()
        writing_s = 0.0
        while not self._ended():
            terms = self._step(self.progress.step)
            self.progress.step += 1
            now = time.monotonic()
            asked, late, silent_long = self.processes.any_wants(
                progress.cancelled() or self.run.stop_asked(), now - saved > CHECKPOINT_S, now - reported > REPORT_S
            )
            if self.progress.step % REPORT_STEPS == 0 or silent_long:
                self._report(self._checked(terms))
                reported = now
            if self._reports is not None:
                self._reports.show(self.progress.step)
            due = self.progress.step % self.steps_between_validations == 0 or self.progress.step == self.steps
            if due or late or asked:
                losses = self._checked(terms)
                if due:
                    self._validate(losses)
                ended = self._ended()
                before = time.monotonic()
                worth_it = writing_s <= WRITING_SHARE * (before - saved)
                if any(self.processes.any_wants(late or asked or ended or worth_it)):
                    self.save(ended)
                    saved = time.monotonic()
                    writing_s = saved - before
            if asked:
                return False
        return True

    def _ended(self) -> bool:
        """Whether all steps are done, or early stopping ends the run."""
        epoch = self.progress.step // self.steps_per_epoch
        patience = self.configuration.optimization.patience
        return self.progress.step >= self.steps or epoch - max(self.progress.best_epoch, 0) > patience

    def save(self, ended: bool = False) -> None:
        """Write the checkpoint that a later start resumes from.

        One of a run that has ended is without the optimizers' state, two thirds of its size: nothing resumes from it.

        Raises:
            TrainingFailed: a weight is not finite; nothing is written then.
        """
        check_weights(self.networks, self.progress.step)
        modules = self._modules | checkpoints.pools_of_others(self.networks, self.processes)
        if self.processes.first:
            checkpoints.save(self.run.last, modules, {} if ended else self.optimizers, vars(self.progress))

    def _step(self, step: int) -> dict[str, Tensor]:
        """One update of every phase on fresh batches; returns the loss terms, still on the device."""
        rank = (self.processes.rank,) if self.processes.rank else ()
        entropy = np.random.SeedSequence([self.configuration.seed, step, *rank]).generate_state(1, np.uint64)[0]
        seed = int(entropy) & (2**63 - 1)
        torch.manual_seed(seed)  # dropout, sampled styles
        self._random.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        batches = {role: self._batch(sampler(step), generator) for role, sampler in self.samplers.items()}
        self.networks.train()
        for phase in self.method.phases:
            for part, group in zip(phase.parts, self.optimizers[phase.name].param_groups, strict=True):
                rate = part.learning_rate * self._rate(step)
                group["lr"] = group["lr"].fill_(rate) if isinstance(group["lr"], Tensor) else rate
        self.average.weigh(step)
        return self._update(batches)

    def _descend(self, batches: dict[str, Batch]) -> dict[str, Tensor]:
        """The device's part of a step: every phase in turn, then the average."""
        shared = Step(self._random)
        terms: dict[str, Tensor] = {}
        for phase in self.method.phases:
            for name, network in self.networks.items():
                network.requires_grad_(name in phase.modules)
            optimizer = self.optimizers[phase.name]
            with self._autocast(), pooling(self.processes):
                losses = phase.losses(batches, shared)
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(losses.values())).sum().backward()
            weights = [weight for name in phase.modules for weight in self.networks[name].parameters()]
            self.processes.average([weight.grad for weight in weights if weight.grad is not None])
            optimizer.step()
            terms |= {name: value.detach() for name, value in losses.items()}
        self.processes.average(list(_running_statistics(self.networks)))
        self.average.update()
        return terms

    def _batch(self, indices: np.ndarray, generator: torch.Generator) -> Batch:
        settings = self.configuration
        if settings.network.prompt:
            drawn = batch_with_prompts(self.store, indices, settings, generator)
            images, *others = (part.to(self.device, non_blocking=True) for part in drawn.parts if part is not None)
            return Batch(images.contiguous(memory_format=torch.channels_last), *others)
        images, masks = self.store.read(indices)
        patches = torch.from_numpy(images)[:, None].to(self.device, non_blocking=True)
        labels = torch.from_numpy(masks).to(self.device, non_blocking=True)
        patches, labels = augment(patches, labels, settings.augmentation, settings.images.spacing_mm, generator)
        return Batch(patches.contiguous(memory_format=torch.channels_last), labels)

    def _rate(self, step: int) -> float:
        """Learning rate of ``step`` as a fraction of the configured one."""
        if self.configuration.optimization.schedule == "constant":
            return 1.0
        warm = max(1, round(0.02 * self.steps))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))

    def _validate(self, losses: dict[str, float]) -> None:
        """Validate the averaged student; keep it if its segmentation loss is the lowest so far."""
        epoch = self.progress.step // self.steps_per_epoch
        with self._autocast():
            given = (self.average.networks, self.method, self.store, self.device)
            if self.configuration.network.prompt:
                figures = validate_clicks(*given, self.configuration, self.processes)
            else:
                figures = validate(*given, self.processes)
        check_validation(figures["loss"], self.progress.step)
        self._preview()
        self.progress.validation = figures
        if figures["loss"] < self.progress.best_loss:
            self.progress.best_loss, self.progress.best_epoch = figures["loss"], epoch
            self.progress.best_validation = figures
            if self.processes.first:
                checkpoints.save(self.run.best, self.average.networks, {}, vars(self.progress))
        if self._reports is not None:
            self._reports.validated(self.progress.step, figures, losses, self.progress.best_epoch)

    def _report(self, losses: dict[str, float]) -> None:
        if self._reports is not None:
            self._reports.losses(self.progress.step, losses, self._rate(self.progress.step))
            if not (self.run.folder / "previews").exists():
                self._preview()

    def _preview(self) -> None:
        if self._reports is not None:
            with self._autocast():
                networks = {**self.networks, **self.average.networks}
                previews.write(self.run, self.method, networks, self.store, self.progress.step)

    def _checked(self, terms: dict[str, Tensor]) -> dict[str, float]:
        """The loss terms as numbers, the mean over the processes.

        Raises:
            TrainingFailed: one shows that training has failed; this comes before anything is saved.
        """
        values = torch.stack([value.float() for value in terms.values()])
        self.processes.average([values])
        losses = dict(zip(terms, values.tolist(), strict=True))
        self._guard.losses(losses, self.progress.step)
        return losses

    def _tell(self, event: str, **figures: Any) -> None:
        if self._reports is not None:
            self._reports.tell(event, **figures)

    def _continued(self) -> TrainingProgress:
        """Restore the last checkpoint."""
        progress = TrainingProgress(**checkpoints.progress(self.run.last))
        if progress.processes != self.processes.count:
            raise InputError(
                f"The run was trained by {progress.processes} processes, and these are {self.processes.count}; resume "
                "it with as many as before."
            )
        checkpoints.load(self.run.last, self._modules, self.optimizers)
        return progress

    def _optimizer(self, phase: Phase) -> torch.optim.Optimizer:
        groups = [
            {
                "params": [weight for name in part.modules for weight in self.networks[name].parameters()],
                "lr": part.learning_rate,
                "betas": part.betas,
            }
            for part in phase.parts
        ]
        graph = self.configuration.optimization.graph
        if graph:
            for group in groups:
                group["lr"] = torch.tensor(group["lr"], device=self.device)
        return torch.optim.Adam(groups, fused=self.device.type in ("cuda", "cpu"), capturable=graph)

    def _sampler(self, split: str, role: str) -> Sampler:
        settings = self.configuration.optimization
        try:
            return Sampler(
                self.store,
                split,
                role,
                settings.batch,
                settings.sampling,
                self.configuration.seed,
                self.processes.rank,
                self.processes.count,
                with_structure=bool(self.configuration.network.prompt),
            )
        except ValueError as error:
            raise InputError(
                f"The cohort gives {error}; mark cases of that role with split '{split}' in the table."
            ) from error

    def _autocast(self) -> torch.autocast:
        on = self.configuration.optimization.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=on)


def _running_statistics(networks: nn.ModuleDict) -> Iterator[Tensor]:
    for module in networks.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            yield module.running_mean
            yield module.running_var
