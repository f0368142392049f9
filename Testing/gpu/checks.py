"""What only a GPU can show, one check a process: a CUDA graph, bfloat16, resumption, the ladder when memory runs out.

    python Testing/gpu/checks.py graph --device cuda

prints one JSON object: ``state`` is ``passed``, ``failed``, or ``skipped`` where the device has no such thing, beside
the figures that say why. No pytest: the image of a rented GPU has none. Networks are narrow; what is checked does not
depend on their width.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from plans import TESTING

from CMEDLSegmentLib.base.progress import Progress
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.settings.configuration import PRESETS, TINY_WIDTHS, Configuration, Network, with_settings
from CMEDLTrainLib.training.engine import Trainer

sys.path.append(str(TESTING))  # the tests' stores and students
from train.cohort.stores import disc_store

STEPS = 8
"""A graph is captured in the fourth."""
CLOSE = 0.05
"""Relative difference of a loss that rounding and the order of sums may make."""
ROOM = 1.02
"""Of the memory that a network alone takes, what the ladder's check leaves it, so that no large batch fits."""


def settings(device: str, *changes: str) -> Configuration:
    """CMEDL with the least networks there are."""
    base = replace(PRESETS["tiny"], method="cmedl", device=device, network=Network(arguments=TINY_WIDTHS["unet"]))
    return with_settings(base, ("images.field=32", "optimization.batch=2", *changes))


def losses(device: str, folder: Path, steps: int, *changes: str) -> dict[str, float]:
    """The loss terms of the last of so many steps."""
    trainer = Trainer(
        run_folder.create(folder / "run", settings(device, *changes)), disc_store(folder / "store", teachers=2)
    )
    for step in range(steps):
        terms = trainer._step(step)
    return {name: float(value) for name, value in terms.items()}


def compared(expected: dict[str, float], measured: dict[str, float]) -> dict[str, Any]:
    """Whether two ways of training have the same losses."""
    apart = {name: abs(measured[name] - value) / max(abs(value), 0.1) for name, value in expected.items()}
    worst = max(apart, key=lambda name: apart[name])
    return {
        "state": "passed" if apart[worst] <= CLOSE else "failed",
        "largest_difference": apart[worst],
        "of": worst,
        "limit": CLOSE,
    }


def graph(device: str, folder: Path) -> dict[str, Any]:
    """A step as a CUDA graph teaches what the same step does operation by operation."""
    if device == "cpu":
        return {"state": "skipped", "why": "a CPU has no CUDA graphs"}
    eager, captured = (losses(device, folder / on, STEPS, f"optimization.graph={on}") for on in ("false", "true"))
    return compared(eager, captured)


def bf16(device: str, folder: Path) -> dict[str, Any]:
    """bfloat16 gives the losses that single precision does, to its rounding: of the first step, before they part."""
    single, half = (losses(device, folder / kind, 1, f"optimization.precision={kind}") for kind in ("fp32", "bf16"))
    return compared(single, half)


def resumed(device: str, folder: Path) -> dict[str, Any]:
    """Training that was stopped and resumed ends with the weights of training that was not, bit for bit."""
    changes = ["optimization.epochs=2"] + (["optimization.graph=true"] if device != "cpu" else [])
    store = disc_store(folder / "store", teachers=2)
    weights = []
    for name, stops in (("whole", False), ("parts", True)):
        run = run_folder.create(folder / name, settings(device, *changes))
        if stops:
            first = Trainer(run, store)
            with run.held():
                first.train(progress=Progress(cancelled=lambda first=first: first.progress.step >= STEPS // 2))
        trainer = Trainer(run, store)
        with run.held():
            trainer.train()
        weights.append({key: value.detach().cpu() for key, value in trainer.networks.state_dict().items()})
    apart = max(float((weights[1][key].double() - value.double()).abs().max()) for key, value in weights[0].items())
    return {"state": "passed" if apart == 0 else "failed", "largest_difference": apart, "steps": trainer.progress.step}


def ladder(device: str, folder: Path) -> dict[str, Any]:
    """Where memory does not suffice for the batch, the Segmenter goes down the ladder and marks the same."""
    if device == "cpu":
        return {"state": "skipped", "why": "the memory of a CPU cannot be limited"}
    from CMEDLSegmentLib.inference.segmenter import Segmenter
    from CMEDLSegmentLib.models.model_card import NetworkSpec
    from segment.inference.small_models import a_card, a_model, blobs

    student = a_model(a_card(networks=(NetworkSpec("segmentor", "unet", {}),), field=256))
    volume = blobs()
    expected = Segmenter(student, device, "torch", "fp32", batch=64).segment(volume)
    reserved = torch.cuda.max_memory_reserved()
    torch.cuda.empty_cache()
    left = (torch.cuda.memory_reserved() + ROOM * reserved / 4) / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(left)
    segmentation = Segmenter(student, device, "torch", "fp32", batch=64).segment(volume)
    apart = int((segmentation.label != expected.label).sum())
    voxels = int((expected.label > 0).sum())
    fine = bool(segmentation.warnings) and apart <= max(10, voxels // 1000)
    figures = {"said": segmentation.warnings, "voxels_apart": apart, "of": voxels, "ran_at_last": segmentation.runtime}
    return {"state": "passed" if fine else "failed", **figures}


CHECKS: dict[str, Callable[[str, Path], dict[str, Any]]] = {
    "graph": graph,
    "bf16": bf16,
    "resumed": resumed,
    "ladder": ladder,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=CHECKS)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args()
    if options.device == "cpu":
        torch.set_num_threads(1)  # of networks this small more threads are slower
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(CHECKS[options.check](options.device, Path(folder))))


if __name__ == "__main__":
    main()
