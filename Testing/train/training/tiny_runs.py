"""Tiny runs for tests: their settings, trained here or stopped after a step, and compared to the bit."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from CMEDLSegmentLib.base.progress import Progress
from CMEDLTrainLib.cohort.store import Store
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.settings.configuration import PRESETS, Configuration, Network, with_settings
from CMEDLTrainLib.training.engine import Trainer


def settings(method: str, *changes: str) -> Configuration:
    """The preset ``tiny`` on the CPU, with networks two channels wide."""
    base = replace(PRESETS["tiny"], method=method, network=Network(arguments={"width": 2}), device="cpu")
    return with_settings(base, ("translation.width=2", *changes))


def trained(
    folder: Path, store: Store, configuration: Configuration, cancelled: Callable[[], bool] = lambda: False
) -> tuple[run_folder.Run, Trainer]:
    """The run in ``folder``, made if it is not there, trained from where it is until it ends or is cancelled."""
    run = run_folder.open_run(folder) if folder.exists() else run_folder.create(folder, configuration)
    with run.held():
        trainer = Trainer(run, store)
        trainer.train(progress=Progress(cancelled=cancelled))
    return run, trainer


@contextmanager
def stopped_after_a_step() -> Iterator[None]:
    """Within, every run is asked to stop."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder.Run, "stop_asked", lambda self: True)
        yield


def assert_same_tensors(file: Path, expected: Path) -> None:
    """Two safetensors files hold the same tensors, bit for bit."""
    ours, theirs = load_file(file), load_file(expected)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def environment(**more: object) -> dict[str, str]:
    """The environment of a process that finds the packages where this one does, and ``more``."""
    paths = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, "PYTHONPATH": paths, **{name: str(value) for name, value in more.items()}}
