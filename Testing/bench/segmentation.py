"""How fast and how lean the Segmenter is on a 512 x 512 x 150 CT, beside plain eager PyTorch, in one run.

    python Testing/bench/segmentation.py [--network mrrn] [--device cuda] [--slices 150] [--quick]
    python Testing/bench/segmentation.py --memory [--slices 1500]

The reference is what a straightforward program does: every slice resized and run through the network in fp32, one at
a time, over all slices. The Segmenter looks at the two thirds that hold lung. Weights are random, because speed does
not depend on them; int8 ranges are calibrated on slices of the phantom. Every figure is the best of ``--repeats``
passes, and passes of the candidates take turns, so that other work on the machine disturbs all alike.

Results go to ``results/``, with the machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
from measuring import Stopwatch, answer, arguments_of, forget_peak, machine, memory_mb, store

LUNG_SHARE = 2 / 3
MARKED_SHARE = 0.01
"""Of a slice: a tumor of 4 cm in a field of 38 cm."""
STUDENT_SLICES = 60
"""Of the volume that a stored student's ranges are found on."""


def a_volume(slices: int):
    """A chest CT of 512 x 512 voxels of 0.75 mm whose middle two thirds hold lung, with noise as grainy as a CT's."""
    from scipy.ndimage import gaussian_filter

    from CMEDLSegmentLib.io.volume import Geometry, Volume

    y, x = np.meshgrid(np.arange(512) - 255.5, np.arange(512) - 255.5, indexing="ij")
    body = (x / 230) ** 2 + (y / 160) ** 2 < 1
    lungs = (((np.abs(x) - 105) / 80) ** 2 + (y / 115) ** 2) < 1
    noise = gaussian_filter(np.random.default_rng(0).normal(0, 1, (512, 512)), 1.5)
    noise = (noise * (25 / noise.std())).astype(np.int16)
    plain = (np.where(body, 40, -1000) + noise).astype(np.int16)
    chest = (np.where(lungs, -820, plain) + noise).astype(np.int16)
    array = np.empty((slices, 512, 512), dtype=np.int16)
    first, last = round(slices * (1 - LUNG_SHARE) / 2), round(slices * (1 + LUNG_SHARE) / 2)
    for z in range(slices):
        array[z] = np.roll(chest if first <= z < last else plain, z % 7, axis=1)
    return Volume(array=array, geometry=Geometry((512, 512, slices), (0.75, 0.75, 2.0)), modality="CT")


def a_model(kind: str, volume):
    """The paper's width, random weights, a field of 256 pixels of 1.5 mm, smoothed over slices as the bundled one."""
    import torch

    from CMEDLSegmentLib.models.model_card import NetworkSpec
    from segment.inference.small_models import a_card
    from segment.inference.small_models import a_model as of_card

    network = NetworkSpec("segmentor", kind, {})
    student = of_card(a_card(networks=(network,), field=256, slices="lung", smoothing_mm=3.0))
    # A head that marks as much of a lung slice as a trained one does, so that the way back is timed on real work.
    with torch.inference_mode():
        logits = student.build()(a_lung_slice(student, volume))
    bias = next(key for key in reversed(student.state) if key.endswith("bias") and student.state[key].numel() == 1)
    student.state[bias] = student.state[bias] - logits.quantile(1 - MARKED_SHARE)
    return student


def a_lung_slice(student, volume):
    """The middle slice (1, 1, 256, 256) as the student sees it."""
    from CMEDLSegmentLib.inference.resampling import FieldSampler, ModelField

    field = ModelField((512, 512), (0.75, 0.75), (255.5, 255.5), 256, 1.5)
    sampler = FieldSampler(field, student.card.normalization.fit(volume.array), "cpu")
    middle = len(volume.array) // 2
    return sampler(volume.array[middle : middle + 1])


def add_int8(student, volume):
    """The student with int8 ranges, as if it had been checked."""
    from CMEDLSegmentLib.inference.runtimes.quantization import calibrate_int8

    student.int8 = calibrate_int8(student.build(), [a_lung_slice(student, volume)])
    student.card = dataclasses.replace(student.card, int8={"passed": True, "runtime": "not checked: a bench"})
    return student


def eager(student, volume, device: str, share: int) -> float:
    """Seconds for all slices of plain eager PyTorch, slice by slice; measured on every ``share``-th slice."""
    import torch

    network = student.build().to(device)
    chosen = volume.array[::share]
    with Stopwatch() as watch, torch.no_grad():
        for native in chosen:
            image = torch.from_numpy(native.astype(np.float32)).to(device)[None, None]
            image = torch.nn.functional.interpolate(image, size=(256, 256), mode="bilinear", antialias=True)
            image = (image.clamp(-1000, 500) + 1000) / 750 - 1
            probability = torch.sigmoid(network(image))
            back = torch.nn.functional.interpolate(probability, size=(512, 512), mode="bilinear")
            (back[0, 0] > 0.5).to(torch.uint8).cpu().numpy()
    return watch.seconds * len(volume.array) / len(chosen)


def candidates(device: str) -> list[tuple[str, str, str]]:
    """(name, runtime, precision) of what is timed on the device."""
    from CMEDLSegmentLib.inference.runtimes.plan import openvino_installed

    if device != "cpu":
        return [("torch bf16", "torch", "bf16"), ("torch fp32", "torch", "fp32")]
    precisions = ("fp32", "bf16", "int8") if openvino_installed() else ()
    return [("torch fp32", "torch", "fp32"), *((f"openvino {kind}", "openvino", kind) for kind in precisions)]


def compare(arguments: argparse.Namespace) -> dict:
    """Time the reference and every candidate; the first call, which builds and compiles, is stated apart."""
    from CMEDLSegmentLib.inference.options import SegmentationOptions
    from CMEDLSegmentLib.inference.segmenter import Segmenter

    volume = a_volume(arguments.slices)
    student = add_int8(a_model(arguments.network, volume), volume)
    share = 10 if arguments.quick else 1
    segmenters, first = {}, {}
    size = (*volume.geometry.size[:2], 4)
    small = dataclasses.replace(
        volume, array=volume.array[:4], geometry=dataclasses.replace(volume.geometry, size=size)
    )
    for name, runtime, precision in candidates(arguments.device):
        segmenters[name] = Segmenter(student, arguments.device, runtime, precision)
        with Stopwatch() as watch:
            segmenters[name].segment(small, SegmentationOptions(all_slices=True))
        first[name] = watch.seconds
    reference, best = [], {}
    for _ in range(arguments.repeats):
        reference.append(eager(student, volume, arguments.device, share))
        for name, segmenter in segmenters.items():
            segmentation = segmenter.segment(volume)
            best[name] = min(best.get(name, segmentation), segmentation, key=lambda result: result.seconds)
    rows = {
        name: {
            "seconds": result.seconds,
            "ratio_to_eager": min(reference) / result.seconds,
            "first_call_seconds": first[name],
            "network_and_resampling_seconds": result.timings["network"] + result.timings["resampling"],
            "lung_slices": result.lung_slices,
            **{f"{stage}_seconds": seconds for stage, seconds in result.timings.items()},
            "runtime": f"{result.runtime} on {result.device}",
        }
        for name, result in best.items()
    }
    return {"eager_seconds": min(reference), "eager_measured_every": share, "candidates": rows}


def memory(arguments: argparse.Namespace) -> dict:
    """Peak resident memory beyond the volume, each candidate in a process of its own, torch and all included."""
    from CMEDLSegmentLib.models.model_file import save_model

    volume = a_volume(STUDENT_SLICES)
    student = add_int8(a_model(arguments.network, volume), volume)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "student.safetensors")
        save_model(path, student.card, {"segmentor": student.build().networks[0]}, int8=student.int8)
        return {
            name: answer(__file__, "--memory-of", runtime, precision, path, "--slices", arguments.slices)
            for name, runtime, precision in candidates("cpu")
            if arguments.runtime in (None, name)
        }


def measure_memory(arguments: argparse.Namespace) -> dict:
    """Run one segmentation in this process and say how high its memory rose; runs in a child, with a stored student.

    Of the batches every fiftieth goes through the network, whose memory is the same each time; the others take its
    last result, which saves most of the hours.
    """
    from CMEDLSegmentLib.inference.runtimes import start_runtime
    from CMEDLSegmentLib.inference.segmenter import Segmenter
    from CMEDLSegmentLib.models.model_file import load_model

    def now_and_then(student, plan):
        network, calls, last = start_runtime(student, plan), 0, None

        def run(images):
            nonlocal calls, last
            if calls % 50 == 0 or len(last) != len(images):
                last = network(images)
            calls += 1
            return last

        return run

    runtime, precision, path = arguments.memory_of
    volume = a_volume(arguments.slices)
    student = load_model(path)
    forget_peak()
    segmentation = Segmenter(student, "cpu", runtime, precision, start=now_and_then).segment(volume)
    size = volume.array.nbytes / 1e6
    beyond = memory_mb("VmHWM") - size
    return {"volume_mb": size, "beyond_the_volume_mb": beyond, "lung_slices": segmentation.lung_slices}


def show(result: dict) -> str:
    """The result as a table."""
    if "memory" in result:
        lines = [f"{name:16} {row['beyond_the_volume_mb']:7.0f} MB" for name, row in result["memory"].items()]
        return "\n".join(["beyond the volume:", *lines])
    lines = [
        f"plain eager PyTorch, slice by slice, all slices: {result['eager_seconds']:.2f} s",
        f"{'':16} seconds  ratio  anatomy  resampling  network  back  first call",
    ]
    for name, row in result["candidates"].items():
        stages = [row[f"{stage}_seconds"] for stage in ("anatomy", "resampling", "network", "back")]
        lines.append(
            f"{name:16} {row['seconds']:7.2f} {row['ratio_to_eager']:5.1f}x"
            + "  {:7.2f}  {:10.2f}  {:7.2f}  {:4.2f}".format(*stages)
            + f"  {row['first_call_seconds']:10.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = arguments_of(__doc__, slices=150, repeats=3)
    parser.add_argument("--network", choices=("unet", "densefcn", "mrrn"), default="unet")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="time the reference on every tenth slice")
    parser.add_argument("--memory", action="store_true", help="measure memory, not time")
    parser.add_argument("--runtime", help="with --memory: one candidate only, such as 'torch fp32'")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON and write no file")
    parser.add_argument("--memory-of", nargs=3, metavar=("RUNTIME", "PRECISION", "STUDENT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print(json.dumps(measure_memory(arguments)))
        return
    figures = {"memory": memory(arguments)} if arguments.memory else compare(arguments)
    shape = [arguments.slices, 512, 512]
    result = {"network": arguments.network, "shape": shape, "machine": machine(arguments.device), **figures}
    if arguments.json:
        print(json.dumps(result))
        return
    print(show(result))
    kind = "memory" if arguments.memory else "time"
    device = arguments.device.replace(":", "")
    store(f"segmentation_{kind}_{arguments.network}_{device}_{arguments.slices}", result, show=False)


if __name__ == "__main__":
    main()
