"""The training loop: batches, phases, average of the student, validation, early stopping, checkpoints.

One loop for every method. What is random in step k comes from generators seeded with (seed, k), so a run resumed from
any checkpoint repeats the steps that were lost and ends with the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from CMEDLSegmentLib.errors import CMEDLError, DeviceError, InputError
from CMEDLSegmentLib.progress import CancelCheck, Progress, never, silent

from . import checkpoints, holders, methods, previews
from .augmentation import augment
from .cohort.sampling import Sampler
from .cohort.store import Store
from .configuration import Configuration
from .evaluation.validation import validate
from .methods import Batch, Phase, Step
from .runs import Run

REPORT_STEPS = 50
"""Losses are read from the device and reported this often: reading waits for the device."""
CHECKPOINT_S = 120.0
"""A run loses at most so much work when it is killed."""


class TrainingFailed(CMEDLError):
    """A loss became infinite or not a number; the last checkpoint is intact."""


@dataclass
class Progressed:
    """How far a run is: what a checkpoint stores beside the tensors."""

    step: int = 0
    best_loss: float = math.inf
    best_epoch: int = -1
    validation: dict[str, float] = field(default_factory=dict)
    """Figures of the last epoch."""
    best_validation: dict[str, float] = field(default_factory=dict)
    """Figures of the best epoch, whose weights the student has."""


class Trainer:
    """One run being trained: built from its configuration, continued from its last checkpoint."""

    def __init__(self, run: Run, store: Store) -> None:
        """Build networks and optimisers, and restore the last checkpoint if the run has one.

        Raises:
            InputError: the cohort has no training or validation patches, or the checkpoint does not fit.
            DeviceError: the configured device is absent.
        """
        self.run, self.store = run, store
        self.configuration: Configuration = run.configuration()
        settings = self.configuration.optimisation
        self.device = choose_device(self.configuration.device)
        torch.manual_seed(self.configuration.seed)
        self.method = methods.create(self.configuration)
        self.networks = nn.ModuleDict(self.method.networks).to(self.device, memory_format=torch.channels_last)
        if self.configuration.initial and not run.last.is_file():
            self._start_from(self.configuration.initial)
        self.average = _Average(
            {spec.name: self.networks[spec.name] for spec in self.method.student}, settings.ema_half_life_steps
        )
        self.optimisers = {phase.name: self._optimiser(phase) for phase in self.method.phases}
        self.samplers = {role: self._sampler("train", role) for role in self.configuration.entry.roles}
        self._sampler("validation", "student")
        self.steps_per_epoch = self.samplers["student"].steps_per_epoch
        self.steps = settings.epochs * self.steps_per_epoch
        self.steps_between_validations = settings.validate_every * self.steps_per_epoch
        self.progress = Progressed()
        if run.last.is_file():
            self.progress = Progressed(**checkpoints.load(run.last, self._modules(), self.optimisers))

    def train(self, progress: Progress = silent, cancelled: CancelCheck = never) -> bool:
        """Train until the end, the early stop, or a request to stop; True when the run is finished.

        Raises:
            TrainingFailed: a loss term is infinite or not a number.
        """
        started, first = time.monotonic(), self.progress.step
        saved = started
        terms: dict[str, Tensor] = {}
        holders.add(self.run.trainer, device=str(self.device))
        self.run.report("start", step=first, steps=self.steps, device=str(self.device))
        while self.progress.step < self.steps and not self._stopping_early():
            step = self.progress.step
            terms = self._step(step)
            self.progress.step = step + 1
            now = time.monotonic()
            if self.progress.step % REPORT_STEPS == 0:
                self._report(terms, (now - started) / (self.progress.step - first), progress)
            if self.progress.step % self.steps_between_validations == 0 or self.progress.step == self.steps:
                self._validate(terms)
                self.save()
                saved = time.monotonic()
            elif now - saved > CHECKPOINT_S:
                self._check(terms)
                self.save()
                saved = time.monotonic()
            if cancelled() or self.run.stop_asked():
                self._check(terms)
                self.save()
                self.run.report("stopped", step=self.progress.step)
                return False
        self.run.report("finished", step=self.progress.step, best_epoch=self.progress.best_epoch)
        return True

    def save(self) -> None:
        """Write the checkpoint that a later start resumes from."""
        checkpoints.save(self.run.last, self._modules(), self.optimisers, vars(self.progress))

    def _step(self, step: int) -> dict[str, Tensor]:
        """One update of every phase on fresh batches; returns the loss terms, still on the device."""
        seed = np.random.SeedSequence([self.configuration.seed, step]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(seed) & (2**63 - 1))
        torch.manual_seed(int(seed) & (2**63 - 1))  # dropout
        batches = {role: self._batch(sampler(step), generator) for role, sampler in self.samplers.items()}
        shared = Step(generator)
        self.networks.train()
        terms: dict[str, Tensor] = {}
        for phase in self.method.phases:
            for name, network in self.networks.items():
                network.requires_grad_(name in phase.modules)
            optimiser = self.optimisers[phase.name]
            for part, group in zip(phase.parts, optimiser.param_groups, strict=True):
                group["lr"] = part.learning_rate * self._rate(step)
            with self._autocast():
                losses = phase.losses(batches, shared)
            optimiser.zero_grad(set_to_none=True)
            torch.stack(list(losses.values())).sum().backward()
            optimiser.step()
            terms |= {name: value.detach() for name, value in losses.items()}
        self.average.update(step)
        return terms

    def _batch(self, indices: np.ndarray, generator: torch.Generator) -> Batch:
        images, masks = self.store.read(indices)
        settings = self.configuration
        patches = torch.from_numpy(images)[:, None].to(self.device, non_blocking=True)
        labels = torch.from_numpy(masks).to(self.device, non_blocking=True)
        patches, labels = augment(patches, labels, settings.augmentation, settings.images.spacing_mm, generator)
        return Batch(patches.contiguous(memory_format=torch.channels_last), labels)

    def _rate(self, step: int) -> float:
        """Learning rate of ``step`` as a fraction of the configured one."""
        if self.configuration.optimisation.schedule == "constant":
            return 1.0
        warm = max(1, round(0.02 * self.steps))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))

    def _validate(self, terms: dict[str, Tensor]) -> None:
        """Validate the averaged student; keep it if its segmentation loss is the lowest so far."""
        self._check(terms)
        epoch = self.progress.step // self.steps_per_epoch
        with self._autocast():
            figures = validate(self.average.networks, self.method, self.store, self.device)
            networks = {**self.networks, **self.average.networks}
            previews.write(self.run, self.method, networks, self.store, self.progress.step)
        self.progress.validation = figures
        if figures["loss"] < self.progress.best_loss:
            self.progress.best_loss, self.progress.best_epoch = figures["loss"], epoch
            self.progress.best_validation = figures
            checkpoints.save(self.run.best, self.average.networks, {}, vars(self.progress))
        self.run.report(
            "epoch",
            epoch=epoch,
            step=self.progress.step,
            validation=figures,
            best_epoch=self.progress.best_epoch,
        )

    def _stopping_early(self) -> bool:
        epoch = self.progress.step // self.steps_per_epoch
        return epoch - max(self.progress.best_epoch, 0) > self.configuration.optimisation.patience

    def _report(self, terms: dict[str, Tensor], seconds_per_step: float, progress: Progress) -> None:
        losses = self._check(terms)
        left = (self.steps - self.progress.step) * seconds_per_step
        epoch = self.progress.step // self.steps_per_epoch
        figures: dict[str, Any] = {
            "step": self.progress.step,
            "steps": self.steps,
            "epoch": epoch,
            "losses": losses,
        }
        figures["learning_rate"] = self._rate(self.progress.step)
        figures["images_per_second"] = round(self.configuration.optimisation.batch / seconds_per_step, 2)
        if self.device.type == "cuda":
            figures["gpu_memory_gb"] = round(torch.cuda.max_memory_allocated(self.device) / 1e9, 2)
        self.run.report("step", **figures, seconds_left=round(left))
        words = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
        dsc = self.progress.validation.get("dsc")
        words += "" if dsc is None else f", validation DSC {dsc:.3f}"
        progress(
            f"Epoch {min(epoch + 1, self.configuration.optimisation.epochs)}: {words}", self.progress.step / self.steps
        )

    def _check(self, terms: dict[str, Tensor]) -> dict[str, float]:
        """The loss terms as numbers; stops the run, before anything is saved, when one is not finite."""
        losses = {name: float(value) for name, value in terms.items()}
        for name, value in losses.items():
            if not math.isfinite(value):
                self.run.report("failed", step=self.progress.step, term=name)
                raise TrainingFailed(
                    f"The loss term '{name}' became {value} before step {self.progress.step}; the last checkpoint is "
                    "intact. Resume with a lower learning rate, or with precision fp32."
                )
        return losses

    def _modules(self) -> dict[str, nn.Module]:
        averages = {f"average.{name}": module for name, module in self.average.networks.items()}
        return {**dict(self.networks.items()), **averages}

    def _optimiser(self, phase: Phase) -> torch.optim.Optimizer:
        groups = [
            {
                "params": [weight for name in part.modules for weight in self.networks[name].parameters()],
                "lr": part.learning_rate,
                "betas": part.betas,
            }
            for part in phase.parts
        ]
        return torch.optim.Adam(groups, fused=self.device.type in ("cuda", "cpu"))

    def _sampler(self, split: str, role: str) -> Sampler:
        settings = self.configuration.optimisation
        try:
            return Sampler(self.store, split, role, settings.batch, settings.sampling, self.configuration.seed)
        except ValueError as error:
            raise InputError(
                f"The cohort gives {error}; mark cases of that role with split '{split}' in the table."
            ) from error

    def _autocast(self) -> torch.autocast:
        on = self.configuration.optimisation.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=on)

    def _start_from(self, student_file: str) -> None:
        """Weights of an existing student of the same architecture."""
        from CMEDLSegmentLib.student import load_student

        state = load_student(student_file).state
        for name in (spec.name for spec in self.method.student):
            own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
            try:
                self.networks[name].load_state_dict(own)
            except RuntimeError as error:
                raise InputError(
                    f"The student {student_file} has another '{name}' than this run is configured for; choose the "
                    "network and widths that its card names."
                ) from error


class _Average:
    """Exponential moving average of the student's weights and running statistics, by half-life in steps."""

    def __init__(self, networks: dict[str, nn.Module], half_life: float) -> None:
        self._live = networks
        self._half_life = half_life
        self.networks = {name: copy.deepcopy(network).requires_grad_(False) for name, network in networks.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        # At the start the average follows closely, so that the random initial weights are forgotten.
        weight = 1.0
        if self._half_life > 0:
            weight = max(1 - 0.5 ** (1 / self._half_life), 1 / (step + 1))
        for name, network in self.networks.items():
            live = self._live[name].state_dict()
            for key, value in network.state_dict().items():
                if value.is_floating_point():
                    value.lerp_(live[key], weight)
                else:
                    value.copy_(live[key])


def choose_device(name: str) -> torch.device:
    """``auto``, ``cuda``, ``cuda:N``, ``mps`` or ``cpu`` as a device that is there.

    Raises:
        DeviceError: it is not.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"The device '{name}' is not available on this machine; choose auto or cpu.") from error
    return device
