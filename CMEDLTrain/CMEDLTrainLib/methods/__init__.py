"""The methods of the paper as data: which networks, which losses, which phases. The engine knows none by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module

from ..settings.configuration import Configuration
from .method import Batch, Method, OptimizedPart, Phase, Step


def create(configuration: Configuration, features: bool = True) -> Method:
    """Build the networks and phases of the configured method.

    Args:
        configuration: of the run.
        features: whether to train, with the contextual loss where the method has one; False leaves out its network,
            whose weights are large and may have to be downloaded, and which no trained network needs.

    Raises:
        InputError: no such method, or the features cannot be had.
    """
    entry = configuration.entry
    for group, values in (*entry.changes.items(), *(() if features else (("translation", {"contextual": 0.0}),))):
        configuration = replace(configuration, **{group: replace(getattr(configuration, group), **values)})
    module, _, function = entry.builder.partition(".")
    build: Callable[[Configuration], Method] = getattr(import_module(f".{module}", __name__), function)
    return build(configuration)


__all__ = ["Batch", "Method", "OptimizedPart", "Phase", "Step", "create"]
