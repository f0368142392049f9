"""What a run is built from before it has slices: the device, the networks, the student that it starts from.

What cannot be had is refused here, and not after slices were prepared for minutes.
"""

from __future__ import annotations

import torch

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.models import registry

from .. import methods
from ..computing.distribution import ALONE, Processes, choose_device
from ..methods import Method
from ..settings.configuration import Configuration


def check_settings(configuration: Configuration, processes: Processes = ALONE) -> None:
    """Build everything that a new run needs beside its slices once, and let go of it.

    Raises:
        InputError: a network's arguments, the features, or the student to start from do not do.
        DeviceError: the configured device is absent.
    """
    device_of(configuration, processes)
    if configuration.network.prompt:
        _check_prompt(configuration)
    method = methods.create(configuration)
    if configuration.initial:
        start_from(configuration.initial, method)


def _check_prompt(configuration: Configuration) -> None:
    """Raise InputError where a student that reads clicks cannot be trained with these settings."""
    if len(configuration.labels) > 1:
        raise InputError(
            f"A student that reads clicks has one label, and these are {', '.join(configuration.labels)}; train one "
            "for each."
        )
    if not configuration.augmentation.window:
        raise InputError(
            "A student that reads clicks sees squares around structures; set their side in pixels, "
            "augmentation.window=96."
        )


def device_of(configuration: Configuration, processes: Processes = ALONE) -> torch.device:
    """The configured device, of a process among several.

    Raises:
        InputError: it cannot do what the settings ask for.
        DeviceError: it is absent.
    """
    device = choose_device(configuration.device, processes)
    if configuration.optimization.graph and (device.type != "cuda" or processes.count > 1):
        raise InputError(
            f"A step cannot be a CUDA graph on the device '{device}' with {processes.count} processes; set "
            "optimization.graph=false, or train with one process on an NVIDIA GPU."
        )
    return device


def start_from(student_file: str, method: Method) -> None:
    """Put the weights of an existing student into the method's networks that will be the student.

    Raises:
        ModelError: the student cannot be read.
        InputError: its networks are others.
    """
    state = registry.load(student_file).state
    for name in (spec.name for spec in method.student):
        own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        try:
            method.networks[name].load_state_dict(own)
        except RuntimeError as error:
            raise InputError(
                f"The student {student_file} has another '{name}' than this run is configured for; choose the "
                "network and widths that its card names."
            ) from error
