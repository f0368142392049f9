"""The demo: a thorax phantom with a tumor, segmented by a model and compared with its expert contour.

It takes the way a patient's scan takes, from file to file, so it also shows that an installation works. The
phantom is synthetic and every file's neighbor ``README.txt`` says so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.errors import InputError
from ..base.files import atomic_path
from ..base.progress import SILENT, Progress
from ..base.text import plain, table
from ..inference.options import SegmentationOptions
from ..inference.pipeline import PipelineResult, SegmentationJob, check_writable, run, segmenters

if TYPE_CHECKING:
    from ..phantom import Phantom

README = "README.txt"
README_TEXT = """\
Made by: cmedl-segment demo

A synthetic thorax phantom and a network's segmentation of it. This is no patient, and how well a
model does here says nothing about how well it does on patients. Research use, not a medical device.

ct.nii.gz           the phantom's CT, in HU
expert.seg.nrrd     the expert contour: the tumor that the phantom was made with
student.seg.nrrd  the model's segmentation, for 3D Slicer
student.nii.gz    the same as a label map
probability.nii.gz  the model's probability of tumor, 0 to 1
demo.png            the model's contour in red beside the expert's in yellow
agreement.json      how well the two agree
"""

SEED = 7
SIZE = (96, 256, 256)
SPACING = (3.0, 1.5, 1.5)
"""Voxels (z, y, x) and their size in mm: a chest CT of 288 x 384 x 384 mm."""

LOADED, MADE, SEGMENTED = 0.05, 0.20, 0.92
"""Fractions of the demo at which its stages end."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo made: the folder, and the result with its agreement."""

    folder: Path
    result: PipelineResult

    @property
    def figures(self) -> dict[str, float]:
        """``measures.compare`` of the model (a) with the expert (b)."""
        return next(iter(self.result.agreement.values()))

    def to_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        return {**self.result.to_json(), "folder": str(self.folder), "picture": str(self.folder / "demo.png")}

    def report(self) -> str:
        """The agreement as a table, and where to look."""
        figures = self.figures
        rows = [
            ("DSC", f"{figures['dsc']:.3f}"),
            (f"surface DSC at {figures['tolerance_mm']:g} mm", f"{figures['surface_dice']:.3f}"),
            ("HD95 (mm)", f"{figures['hd95_mm']:.1f}"),
            ("volume, model (cc)", f"{figures['volume_a_cc']:.1f}"),
            ("volume, expert (cc)", f"{figures['volume_b_cc']:.1f}"),
        ]
        return "\n".join(
            [
                self.result.report(),
                "",
                table(("model against expert", "phantom"), rows),
                "",
                f"Picture: {self.folder / 'demo.png'}",
                "This is a synthetic phantom, not a patient. Research use, not a medical device.",
            ]
        )


def run_demo(folder: Path, options: SegmentationOptions, progress: Progress = SILENT) -> DemoResult:
    """Make the phantom, segment it as ``options`` say and compare, all in ``folder``.

    The folder is made if missing; it must be empty or an earlier demo's, whose files are replaced.

    Raises:
        InputError: the folder holds other files or cannot be written to, or the model or device is bad.
        Cancelled: it was cancelled.
    """
    _check_folder(folder)
    progress("Loading the model", 0.0)
    load = segmenters(options)
    load(options.model)
    progress.stop_if_cancelled()
    progress("Making the phantom", LOADED)
    from ..io import segmentation_writer
    from ..io.images import write_image
    from ..io.labels import TUMOR
    from ..phantom import thorax_ct

    phantom = thorax_ct(seed=SEED, size=SIZE, spacing=SPACING, tumor="lung")
    geometry = phantom.image.geometry
    with atomic_path(folder / README) as beside:
        beside.write_text(README_TEXT, encoding="utf-8")
    progress.stop_if_cancelled()
    write_image(folder / "ct.nii.gz", phantom.image.array, geometry)
    expert = replace(TUMOR, name="Tumor (expert)", color=(0.98, 0.84, 0.24))
    facts = {"source": phantom.description}
    segmentation_writer.write_segmentation(folder / "expert.seg.nrrd", phantom.mask, geometry, [expert], facts)
    job = SegmentationJob(
        input=folder / "ct.nii.gz",
        output=folder / "student.seg.nrrd",
        options=options,
        modality="CT",
        expert=folder / "expert.seg.nrrd",
        probability=folder / "probability.nii.gz",
        overwrite=True,
    )
    result = run(job, progress.part(MADE, SEGMENTED), load)
    progress("Drawing the picture", SEGMENTED)
    write_image(folder / "student.nii.gz", result.segmentation.label, geometry)
    demo = DemoResult(folder, result)
    _draw(folder / "demo.png", phantom, demo)
    with atomic_path(folder / "agreement.json") as beside:
        figures = {"a": "student", "b": "expert", **demo.figures, "data": phantom.description}
        beside.write_text(json.dumps(plain(figures), indent=1) + "\n", encoding="utf-8")
    progress("Done", 1.0)
    return demo


def _check_folder(folder: Path) -> None:
    """Only an empty folder or an earlier demo's is written to: nobody's ``ct.nii.gz`` is replaced."""
    check_writable(folder.absolute())
    if not folder.exists() or not any(folder.iterdir()):
        return
    try:
        first = (folder / README).read_bytes().splitlines()[:1]
    except OSError:
        first = []
    if first != [README_TEXT.splitlines()[0].encode()]:
        raise InputError(f"The folder {folder} holds files that no demo made; give an empty or a new one.")


def _draw(path: Path, phantom: Phantom, demo: DemoResult) -> None:
    from ..io.volume import axial_view
    from ..report.contour_drawing import comparison, save_png

    geometry = phantom.image.geometry
    view = axial_view(phantom.image.array, geometry)
    model = axial_view(demo.result.segmentation.label, geometry).array
    expert = axial_view(phantom.mask, geometry).array
    title = f"Lung tumor on a synthetic CT, segmented by {demo.result.card.name}"
    save_png(comparison(view.array, view.spacing, model, expert, title, _notes(demo.figures)), path)


def _notes(figures: dict[str, float]) -> Sequence[str]:
    return (
        f"Whole tumor: DSC {figures['dsc']:.2f}, surface DSC at {figures['tolerance_mm']:g} mm "
        f"{figures['surface_dice']:.2f}, HD95 {figures['hd95_mm']:.1f} mm, volume "
        f"{figures['volume_a_cc']:.1f} cc (expert {figures['volume_b_cc']:.1f} cc)",
        "A phantom, not a patient: it says nothing about how a model does on patients. "
        "Research use, not a medical device.",
    )
