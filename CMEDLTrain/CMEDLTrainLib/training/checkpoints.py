"""Training state on disk: one safetensors file with the tensors, its metadata with everything else.

Randomness is not stored: what is random in step k is drawn from a generator seeded with (seed, k), so the step number
alone brings a run back to where it was.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.files import atomic_path

from ..computing.distribution import Processes
from ..translation.image_pool import ImagePool


def save(
    path: Path, modules: dict[str, nn.Module], optimizers: dict[str, torch.optim.Optimizer], progress: dict
) -> None:
    """Write weights, optimizer state and ``progress`` (JSON) to one file, beside it first, then renamed."""
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        for key, value in module.state_dict().items():
            tensors[f"module.{name}.{key}"] = value.detach().cpu().contiguous()
    for name, optimizer in optimizers.items():
        for index, entries in optimizer.state_dict()["state"].items():
            for key, value in entries.items():
                tensors[f"optimizer.{name}.{index}.{key}"] = torch.as_tensor(value).detach().cpu().contiguous()
    metadata = {"progress": json.dumps(progress)}
    with atomic_path(path) as beside:
        try:
            # Clones: safetensors refuses tensors that share memory, as a student and its average may at the start.
            save_file({key: value.clone() for key, value in tensors.items()}, beside, metadata)
        except SafetensorError as error:
            raise InputError(
                f"The checkpoint {path.name} could not be written ({error}); free some space and resume the run: "
                "the last good checkpoint is intact."
            ) from error


def progress(path: Path) -> dict[str, Any]:
    """The ``progress`` that :func:`save` was given.

    Raises:
        InputError: the file is cut.
    """
    with _reading(path), safe_open(path, framework="pt") as file:
        return dict(json.loads(file.metadata()["progress"]))  # with an infinite loss before the first validation


def load(path: Path, modules: dict[str, nn.Module], optimizers: dict[str, torch.optim.Optimizer]) -> None:
    """Restore what :func:`save` wrote into the given modules and optimizers; these keep their own settings.

    Raises:
        InputError: the file is cut or belongs to other networks.
    """
    with _reading(path):
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        for name, module in modules.items():
            module.load_state_dict(_below(tensors, f"module.{name}."))
        for name, optimizer in optimizers.items():
            state: dict[int, dict[str, Tensor]] = {}
            states = _below(tensors, f"optimizer.{name}.") or _below(tensors, f"optimiser.{name}.")  # of before
            for key, value in states.items():
                index, entry = key.split(".", 1)
                state.setdefault(int(index), {})[entry] = value
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
            _take_layout(optimizer)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"The checkpoint {path} cannot be read ({error}); it may be cut or belong to other networks. "
            "Resume from a copy, or start a new run."
        ) from error


def modules_of(
    networks: Mapping[str, nn.Module], averages: Mapping[str, nn.Module], processes: Processes
) -> dict[str, nn.Module]:
    """What a checkpoint keeps of one process, by name: all networks, the student's averages, its own image pools."""
    named = {
        _of_process(processes.rank, name) if isinstance(module, ImagePool) else name: module
        for name, module in networks.items()
    }
    return named | {f"average.{name}": module for name, module in averages.items()}


def pools_of_others(networks: Mapping[str, nn.Module], processes: Processes) -> dict[str, nn.Module]:
    """In the first process: copies of the other processes' image pools, by the names that their owners give them.

    All processes have to call it.
    """
    copies: dict[str, nn.Module] = {}
    for name, pool in networks.items():
        if not isinstance(pool, ImagePool) or processes.count == 1:
            continue
        images, counts = (processes.gathered(values.cpu()) for values in (pool.images, pool.count))
        for rank in range(1, len(images)):
            copies[_of_process(rank, name)] = ImagePool(pool.size).holding(images[rank], counts[rank])
    return copies


def _of_process(rank: int, name: str) -> str:
    return f"process{rank}.{name}" if rank else name


def _take_layout(optimizer: torch.optim.Optimizer) -> None:
    """Lay the moments out in memory like their weights: the fused Adam walks both in storage order."""
    for weight, entries in optimizer.state.items():
        for key, value in entries.items():
            if value.shape == weight.shape:
                entries[key] = torch.empty_like(weight).copy_(value)


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
