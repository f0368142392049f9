"""How fast the measures of agreement are, beside surface-distance, MONAI and MedPy, in one run; and whether they agree.

    python Testing/bench/agreement.py [--slices 150] [--repeats 3] [--only lungs]

In a volume of 512 x 512 voxels two raters' lungs, the lungs of one who drew them larger, and two raters' tumor are
compared. Each program computes what it is known for: this one all of its measures, surface-distance DSC, surface DSC,
HD95 and the average distances, MONAI DSC, surface DSC, HD95 and ASSD, MedPy DSC, HD95 and ASSD. MONAI and MedPy are
left out where they are not installed (``pip install --no-deps monai medpy``, into an environment that is thrown away).
The programs take turns, so that other work on the machine disturbs all alike; every figure is the best of the repeats,
but for MONAI and MedPy, which take minutes and run once, and not on the larger lungs.
Where the machine is busy, the ratio of the processor times means more than that of the times on the clock.

Last, five raters' and the student's lungs and tumors: all pairs, all slices, and how high the memory rises.

Results go to ``results/``, with the machine.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable

import numpy as np
from measuring import Stopwatch, arguments_of, forget_peak, machine, memory_mb, store

from CMEDLSegmentLib.metrics.measures import MaskPairs, measure

SPACING = (2.0, 0.75, 0.75)
TOLERANCE_MM = 2.0
SLOW = ("monai", "medpy")
Program = Callable[[np.ndarray, np.ndarray], dict[str, float]]


def a_rater(kind: str, seed: int, slices: int, larger: float = 0.0) -> np.ndarray:
    """Lungs or a tumor of 3 cm, bool (z, y, x), as one rater draws them: with bumps of a few millimeters.

    ``larger`` is by what share all radii are.
    """
    shape = (slices, 512, 512)
    z, y, x = (((np.arange(n) - (n - 1) / 2) * step).astype(np.float32) for n, step in zip(shape, SPACING, strict=True))
    z, y, x = z[:, None, None], y[:, None], x
    height = 0.46 * slices * SPACING[0]
    bodies = [(0.0, -82.0, (height, 105.0, 68.0)), (0.0, 82.0, (height, 105.0, 68.0))]
    if kind == "tumor":
        bodies = [(-20.0, 70.0, (15.0, 15.0, 15.0))]
    mask = np.zeros(shape, bool)
    for number, (cy, cx, radii) in enumerate(bodies):
        dz, dy, dx = z / radii[0], (y - cy) / radii[1], (x - cx) / radii[2]
        # The same irregular body for all raters, and bumps of their own, as waves of random direction and phase.
        bumps = 0.1 * waves(np.random.default_rng(number), dz, dy, dx)
        bumps += 0.02 * waves(np.random.default_rng((seed, number)), 2 * dz, 2 * dy, 2 * dx)
        mask |= dz**2 + dy**2 + dx**2 < (1 + larger + bumps) ** 2
    return mask


def waves(random: np.random.Generator, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A smooth random field of about unit size."""
    field = np.zeros((), np.float32)
    for _ in range(4):
        (a, b, c), phase = random.normal(0, 4, 3), random.uniform(0, 2 * np.pi)
        field = field + np.sin(a * z + b * y + c * x + phase, dtype=np.float32) / 2
    return field


def programs() -> dict[str, Program]:
    """What is compared; those that are installed."""
    installed: dict[str, Program] = {"CMEDL": lambda a, b: measure(a, b, SPACING, TOLERANCE_MM).values}
    for start in (surface_distance, monai, medpy):
        try:
            installed[start.__name__.replace("_", "-")] = start()
        except ImportError as error:
            print(f"left out: {error}")
    return installed


def surface_distance() -> Program:
    import surface_distance as package

    def run(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
        distances = package.compute_surface_distances(a, b, SPACING)
        return {
            "dsc": package.compute_dice_coefficient(a, b),
            "surface_dice": package.compute_surface_dice_at_tolerance(distances, TOLERANCE_MM),
            "hd95_mm": package.compute_robust_hausdorff(distances, 95),
            "masd_mm": sum(package.compute_average_surface_distance(distances)) / 2,
        }

    return run


def monai() -> Program:
    import torch
    from monai import metrics

    def run(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
        reference, tested = (torch.from_numpy(mask)[None, None] for mask in (a, b))
        given = {"y_pred": tested, "y": reference, "include_background": True, "spacing": SPACING}
        surface = metrics.compute_surface_dice(**given, class_thresholds=[TOLERANCE_MM], use_subvoxels=True)
        return {
            "dsc": float(metrics.compute_dice(tested, reference)),
            "surface_dice": float(surface),
            "hd95_unweighted_mm": float(metrics.compute_hausdorff_distance(**given, percentile=95)),
            "assd_unweighted_mm": float(metrics.compute_average_surface_distance(**given, symmetric=True)),
        }

    return run


def medpy() -> Program:
    from medpy.metric import binary

    def run(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
        # Its assd is the mean of two means over boundary voxels, which is none of this project's measures.
        binary.assd(b, a, SPACING)
        return {"dsc": binary.dc(b, a), "hd95_pooled_unweighted_mm": binary.hd95(b, a, SPACING)}

    return run


def compare(name: str, a: np.ndarray, b: np.ndarray, compared: dict[str, Program], repeats: int) -> dict:
    """One pair of masks by all programs in turns."""
    best: dict[str, dict] = {}
    figures: dict[str, dict[str, float]] = {}
    for which in [*compared, *[which for which in compared if which not in SLOW] * (repeats - 1)]:
        with Stopwatch() as watch:
            figures[which] = compared[which](a, b)
        row = best.setdefault(which, {"seconds": watch.seconds, "processor_seconds": watch.processor})
        row["seconds"] = min(row["seconds"], watch.seconds)
        row["processor_seconds"] = min(row["processor_seconds"], watch.processor)
    own, ours = best["CMEDL"], figures["CMEDL"]
    shown = {key: ours[key] for key in ("dsc", "surface_dice", "hd95_mm", "assd_mm")}
    print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in shown.items()))
    for which, row in best.items():
        row["ratio"] = row["seconds"] / own["seconds"]
        row["processor_ratio"] = row["processor_seconds"] / own["processor_seconds"]
        others = {} if row is own else figures[which]
        row["largest_difference"] = max((abs(value - ours[key]) for key, value in others.items()), default=0.0)
        print(
            f"  {which:18}{row['seconds']:8.3f} s {row['ratio']:6.1f}x   processor {row['processor_seconds']:8.3f} s "
            f"{row['processor_ratio']:6.1f}x   differs by at most {row['largest_difference']:.1e}"
        )
    return {"figures": shown, "programs": best}


def everybody(kind: str, slices: int) -> dict:
    """Five raters and the student: all pairs and all slices, as a report needs them."""
    masks = [a_rater(kind, seed, slices) for seed in range(6)]
    pairs = list(itertools.combinations(range(6), 2))
    forget_peak()
    before = memory_mb("VmRSS")
    with Stopwatch() as measuring:
        compared = MaskPairs(masks, SPACING, TOLERANCE_MM)
        for a, b in pairs:
            compared.pair(a, b)
    with Stopwatch() as slicing:
        for a, b in pairs:
            compared.slices(a, b)
    beyond, processor = memory_mb("VmHWM") - before, measuring.processor + slicing.processor
    print(
        f"six {kind} masks: 15 pairs {measuring.seconds:.2f} s, their slices {slicing.seconds:.2f} s, processor "
        f"{processor:.2f} s, {beyond:.0f} MB beyond the masks' {masks[0].nbytes * 6 / 1e6:.0f}"
    )
    return {
        "pairs_seconds": measuring.seconds,
        "slices_seconds": slicing.seconds,
        "processor_seconds": processor,
        "beyond_the_masks_mb": beyond,
    }


def main() -> None:
    parser = arguments_of(__doc__, slices=150, repeats=3)
    parser.add_argument("--only", choices=("lungs", "larger", "tumor", "everybody"), help="one part, not stored")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    n = arguments.slices
    result: dict = {"shape": [n, 512, 512], "spacing_mm": SPACING, "tolerance_mm": TOLERANCE_MM}
    result["machine"] = {**machine(), "numpy": np.__version__}
    kinds = {"lungs": ("lungs", 0.0), "larger": ("lungs", 0.08), "tumor": ("tumor", 0.0)}
    compared = programs()
    for name, (kind, larger) in kinds.items():
        if arguments.only in (None, name):
            chosen = {which: program for which, program in compared.items() if name != "larger" or which not in SLOW}
            masks = a_rater(kind, 0, n), a_rater(kind, 1, n, larger)
            result[name] = compare(name, *masks, chosen, arguments.repeats)
    if arguments.only in (None, "everybody"):
        result["everybody"] = {kind: everybody(kind, n) for kind in ("lungs", "tumor")}
    if not arguments.only:
        store(f"agreement_{n}", result, show=False)


if __name__ == "__main__":
    main()
