"""A training step of each network beside the same mathematics in a naive structure, in one run.

    python Testing/bench/step.py [--device cuda] [--repeats 5] [--threads 2] [--row "Unet, CMEDL" --json] [--no-graph]

A step is the engine's own: patches from a store, augmentation, all losses, both phases, the optimizers. On a CPU
networks are narrow (a quarter of the paper's width, patches of 64 x 64) and numbers are float32; on CUDA they are the
paper's (256 x 256) in bfloat16 with the whole step as a CUDA graph. Batch 2 + 2, as in the paper.

The naive structure updates generators, discriminators and segmentors one after the other, translates anew for each of
them, computes the gradients of all networks each time, keeps all pairs of the contextual loss, is eager, in strict
float32 and the plain layout, and reads its losses after every step. Both take turns; times are medians. On a machine
that others use too, the processor's own time (``times_less_work``) tells more than what passed; threads that wait
should not count there, which ``OMP_WAIT_POLICY=passive`` sees to.

The arithmetic of a step is counted (``tflop``, two for a multiplication with an addition), and how fast the device
multiplies large matrices of the same type is measured beside it (``ceiling_tflops``): their ratio is how much of the
device a step uses.

Memory is the peak of a process of its own: on CUDA of what the allocator gave out, on a CPU of what is resident (with
the allocator handing freed blocks back at once, on Linux), less what was before the first step.

Results go to ``results/``, with the machine. Needs torch, numpy and safetensors.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from measuring import HANDS_BACK, Stopwatch, answer, arguments_of, machine, memory_mb, store
from torch.utils.flop_counter import FlopCounterMode

from CMEDLTrainLib.losses.adversarial import discriminator_loss, generator_loss
from CMEDLTrainLib.losses.hint import hint_loss
from CMEDLTrainLib.losses.segmentation import soft_dice_loss
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.settings.configuration import PRESETS, TINY_WIDTHS, Configuration, Network, with_settings
from CMEDLTrainLib.training.engine import Trainer
from train.cohort.stores import disc_store

ROWS = {
    "Unet, CMEDL": ("cmedl", "unet", {"width": 16}),
    "DenseFCN57, CMEDL": ("cmedl", "densefcn", {"width": 12, "growth": 4}),
    "MRRN, CMEDL": ("cmedl", "mrrn", {"width": 8}),
    "Unet, VAE-CMEDL": ("vae-cmedl", "unet", {"width": 16}),
}
"""Of each row: method, segmentor, and what makes it narrow."""
NARROW = ("images.field=64", "translation.width=16", "features=random:16")
TINY = ("images.field=32", "translation.width=2", "translation.blocks=1", "features=random:4")
FULL = ("features=random", "optimization.precision=bf16", "optimization.graph=true")
EAGER = "optimization.graph=false"
STRICT = ("features=random", "optimization.precision=fp32", "optimization.graph=false")
SIDES = {"cpu": 1024, "cuda": 8192}
"""Of the matrices that tell the ceiling."""
WARM_UP = 5
"""Steps before the clock starts; a graph is captured in the fourth."""


def configuration(row: str, device: str, naive: bool = False, graph: bool = True, tiny: bool = False) -> Configuration:
    """The paper's settings with the networks of a row."""
    method, segmentor, narrow = ROWS[row]
    on_cpu = device == "cpu"
    width = TINY_WIDTHS[segmentor] if tiny else narrow if on_cpu else {}
    base = replace(PRESETS["paper"], method=method, device=device, network=Network(segmentor, width))
    settings = with_settings(base, TINY if tiny else NARROW if on_cpu else STRICT if naive else FULL)
    return settings if graph else with_settings(settings, [EAGER])


def trainer(row: str, arguments: argparse.Namespace, folder: Path, naive: bool = False, graph: bool = True) -> Trainer:
    """A run of the row below ``folder``, ready for its first step, on synthetic patches."""
    settings = configuration(row, arguments.device, naive, graph and not arguments.no_graph, arguments.tiny)
    store = disc_store(folder / "store", patients=6, slices=4, teachers=4, field=settings.images.field)
    made = Trainer(run_folder.create(folder / "run", settings), store)
    if naive:
        made.networks.to(memory_format=torch.contiguous_format)
    return made


def contextual_loss(generated: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Equations 3 and 4, all pairs at once."""
    ours, theirs = generated.flatten(2).mT, target.flatten(2).mT
    center = theirs.mean(dim=1, keepdim=True)
    ours, theirs = (F.normalize(values - center, dim=2) for values in (ours, theirs))
    distance = (1 - ours @ theirs.mT) / 2
    weights = torch.exp((1 - distance / (distance.min(dim=2, keepdim=True).values + 1e-5)) / 0.5)
    similarity = weights / weights.sum(dim=2, keepdim=True)
    return -similarity.max(dim=1).values.mean(dim=1).log().mean()


class Naive:
    """CMEDL's update as it is usually written; see the module."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._networks = trainer, trainer.networks
        self._networks.requires_grad_(True).train()
        groups = {"segmentors": ("segmentor", "teacher"), "generators": ("to_teacher", "to_student")}
        groups["judges"] = ("judge_teacher", "judge_student")
        self._optimizers = {
            group: torch.optim.Adam(
                [weight for name in names for weight in self._networks[name].parameters()],
                lr=2e-4 if group == "segmentors" else 1e-4,
                betas=(0.9 if group == "segmentors" else 0.5, 0.999),
                foreach=False,
                fused=False,
            )
            for group, names in groups.items()
        }

    def __call__(self, step: int) -> list[float]:
        """One update on the batches of ``step``; its three losses."""
        random = torch.Generator().manual_seed(step)
        batches = {role: self._trainer._batch(draw(step), random) for role, draw in self._trainer.samplers.items()}
        (c, y_c), (m, y_m) = (
            (batches[role].images.contiguous(), batches[role].masks) for role in ("student", "teacher")
        )
        return [
            self._descend("generators", self._generators(c, m) + self._segmentors(c, y_c, m, y_m)),
            self._descend("judges", self._judges(c, m, random)),
            self._descend("segmentors", self._segmentors(c, y_c, m, y_m)),
        ]

    def _descend(self, group: str, loss: torch.Tensor) -> float:
        self._networks.zero_grad()
        loss.backward()
        self._optimizers[group].step()
        return loss.item()

    def _generators(self, c: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        """Equations 4 to 6, each translation made where it is needed."""
        to_m, to_c = self._networks["to_teacher"], self._networks["to_student"]
        adversarial = generator_loss(self._networks["judge_teacher"](to_m(c)))
        adversarial = adversarial + generator_loss(self._networks["judge_student"](to_c(m)))
        cycle = F.l1_loss(to_c(to_m(c)), c) + F.l1_loss(to_m(to_c(m)), m)
        features = self._networks["features"]
        pairs = zip(features(to_m(c)), features(m), strict=True)
        return adversarial + 10 * cycle + sum(contextual_loss(ours, theirs) for ours, theirs in pairs)

    def _segmentors(self, c: torch.Tensor, y_c: torch.Tensor, m: torch.Tensor, y_m: torch.Tensor) -> torch.Tensor:
        """Equations 1 and 2."""
        to_m, student, teacher = (self._networks[name] for name in ("to_teacher", "segmentor", "teacher"))
        logits, hints = student(c)
        pseudo_logits, pseudo_hints = teacher(to_m(c))
        loss = soft_dice_loss(logits, y_c) + soft_dice_loss(pseudo_logits, y_c)
        return 5 * (loss + soft_dice_loss(teacher(m)[0], y_m)) + hint_loss(hints, pseudo_hints)

    def _judges(self, c: torch.Tensor, m: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        """Equation 5; scores of real and translated images in calls of their own."""
        networks = self._networks
        loss = c.new_zeros(())
        for role, real, fake in (
            ("teacher", m, networks["to_teacher"](c)),
            ("student", c, networks["to_student"](m)),
        ):
            judge = networks[f"judge_{role}"]
            pooled = networks[f"pool_{role}"](fake, random)
            # The pool gives no gradient; what the translation's own scores would send back is made and thrown away.
            loss = loss + 0.5 * discriminator_loss(judge(real), judge(pooled)) + 0 * fake.sum()
        return loss


def taken(step: Callable[[int], object], number: int, device: str) -> tuple[float, float]:
    """Seconds of one step, the device's work included, and seconds of this process's threads in it."""
    with Stopwatch() as watch:
        step(number)
        if device != "cpu":
            torch.cuda.synchronize()
    return watch.seconds, watch.processor


def timed(row: str, arguments: argparse.Namespace) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of a step, and of a naive one where the method has one; taken in turns. Elapsed, and worked."""
    with tempfile.TemporaryDirectory() as folder:
        steps: dict[str, Callable[[int], object]] = {"ours": trainer(row, arguments, Path(folder) / "a")._step}
        if ROWS[row][0] == "cmedl":
            steps["naive"] = Naive(trainer(row, arguments, Path(folder) / "b", naive=True))
        seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in steps}
        warm_up = 1 if arguments.device == "cpu" else WARM_UP
        for number in range(warm_up + arguments.repeats):
            for way, step in steps.items():
                seconds[way].append(taken(step, number, arguments.device))
    elapsed, worked = (
        {way: statistics.median(pair[kind] for pair in pairs[warm_up:]) for way, pairs in seconds.items()}
        for kind in range(2)
    )
    return elapsed, worked


def tflop(row: str, arguments: argparse.Namespace) -> float:
    """The arithmetic of one step, 10^12 operations."""
    with tempfile.TemporaryDirectory() as folder, FlopCounterMode(display=False) as counter:
        trainer(row, arguments, Path(folder), graph=False)._step(0)
    return counter.get_total_flops() / 1e12


def ceiling(device: str, numbers: torch.dtype) -> float:
    """10^12 operations a second in the product of two large matrices, the best of several."""
    side = SIDES[device.partition(":")[0]]
    a, b = (torch.randn(side, side, device=device).to(numbers) for _ in range(2))
    seconds = min(taken(lambda _: a @ b, 0, device)[0] for _ in range(20))
    return 2 * side**3 / seconds / 1e12


def memory(row: str, way: str, arguments: argparse.Namespace) -> float:
    """Peak MB beyond what there was before the first step; to be called once in a process."""
    with tempfile.TemporaryDirectory() as folder:
        device = arguments.device
        made = trainer(row, arguments, Path(folder) / "run", naive=way == "naive")
        step = Naive(made) if way == "naive" else made._step
        before = memory_mb("VmRSS") if device == "cpu" else 0.0
        for number in range(2 if device == "cpu" else WARM_UP):
            step(number)
    return memory_mb("VmHWM") - before if device == "cpu" else torch.cuda.max_memory_allocated() / 1e6


def measured(row: str, arguments: argparse.Namespace) -> dict[str, object]:
    """A row of the table."""
    seconds, worked = timed(row, arguments)
    settings = configuration(row, arguments.device, tiny=arguments.tiny)
    images = 2 * settings.optimization.batch
    figures: dict[str, object] = {
        "milliseconds": {way: round(1000 * value, 1) for way, value in seconds.items()},
        "processor_milliseconds": {way: round(1000 * value, 1) for way, value in worked.items()},
        "images_per_second": {way: round(images / value, 2) for way, value in seconds.items()},
        "peak_mb": {
            # In a process of its own, with this one's arguments.
            way: round(answer(__file__, *sys.argv[1:], "--memory-of", row, way, **HANDS_BACK))
            for way in seconds
        },
        "field": settings.images.field,
        "segmentor": settings.network.arguments,
        "translation_width": settings.translation.width,
    }
    numbers = torch.bfloat16 if settings.optimization.precision == "bf16" else torch.float32
    figures["tflop"], figures["ceiling_tflops"] = tflop(row, arguments), ceiling(arguments.device, numbers)
    figures["share_of_ceiling"] = figures["tflop"] / seconds["ours"] / figures["ceiling_tflops"]
    figures["graph"] = arguments.device != "cpu" and not arguments.no_graph
    if "naive" in seconds:
        figures["times_faster"] = round(seconds["naive"] / seconds["ours"], 2)
        figures["times_less_work"] = round(worked["naive"] / worked["ours"], 2)
    return figures


def main() -> None:
    parser = arguments_of(__doc__, repeats=5, threads=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--row", choices=ROWS, help="one row alone")
    parser.add_argument("--tiny", action="store_true", help="the least there is, to see that it runs")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON and write no file")
    parser.add_argument("--no-graph", action="store_true", help="each operation of a step launched by itself")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        print(memory(*arguments.memory_of, arguments))
        return
    chosen = [arguments.row] if arguments.row else list(ROWS)
    result = {"machine": machine(arguments.device), "rows": {}}
    if arguments.json:
        result["rows"] = {row: measured(row, arguments) for row in chosen}
        print(json.dumps(result))
        return
    print(f"{'':20}{'ms':>9}{'naive ms':>10}{'times':>7}{'images/s':>10}{'peak MB':>9}{'naive MB':>10}")
    for row in chosen:
        figures = result["rows"][row] = measured(row, arguments)
        times, peak = figures["milliseconds"], figures["peak_mb"]
        print(
            f"{row:20}{times['ours']:9.1f}{times.get('naive', '-'):>10}{figures.get('times_faster', '-'):>7}"
            f"{figures['images_per_second']['ours']:10.2f}{peak['ours']:9}{peak.get('naive', '-'):>10}",
            flush=True,
        )
        store(f"step_{arguments.device}", result, show=False)


if __name__ == "__main__":
    main()
