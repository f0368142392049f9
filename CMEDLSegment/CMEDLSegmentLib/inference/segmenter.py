"""The Segmenter: a volume in, the model's label, probability and components out."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..base.errors import DeviceError, InputError
from ..base.progress import SILENT, Progress
from .options import DEFAULTS, SegmentationOptions
from .probability import Component, ProbabilityField, label_probabilities, smooth_over_slices
from .resampling import FieldSampler, ModelField
from .runtimes import Plan, lighter, make_plan, out_of_memory, return_freed_memory, start_runtime

if TYPE_CHECKING:
    import torch

    from ..io.volume import AxialView, Geometry, Volume
    from ..models.model_card import Card
    from ..models.model_file import ModelFile

OBLIQUE_DEGREES = 10.0
"""From this angle between the volume's axes and the patient's on, the user is told of it."""

LARGE_VOXELS = 2**28
"""From this size on (512 x 512 x 1024), the network is let go to make room for the label: 100 MB against a second."""


@dataclass
class Segmentation:
    """What the model makes of a volume.

    Attributes:
        label: uint8 (z, y, x) on the volume's own grid; 0 is background.
        probability: the model's probability, on its own grid, smoothed over the slices where its card says so;
            ``probability.segment(t)`` thresholds anew.
        components: the pieces of the label, highest mean probability first; before them the tumors that were clicked.
        lung_slices: how many slices hold lung; 0 where the model does not ask.
        warnings: sentences for the user.
        device, runtime: where and with what it was computed, after any step down the ladder.
        seconds: from the volume in memory to the label.
        timings: seconds by stage: anatomy, resampling, network, back; clicks, where another model or its own
            probability answered them.
        click_card: of the model that answered the clicks; None where none did.
    """

    label: np.ndarray
    probability: ProbabilityField
    components: list[Component]
    lung_slices: int
    warnings: list[str]
    device: str
    runtime: str
    seconds: float
    timings: dict[str, float]
    click_card: Card | None = None

    @property
    def volume_cc(self) -> float:
        """Volume of all that was marked, in cc."""
        return sum(component.volume_cc for component in self.components)


@dataclass(frozen=True)
class FieldSlices:
    """What a model looks at of a volume: some of its slices, on the model's field.

    Attributes:
        slices: axial indices (n,), rising.
        field: where the field lies on them.
        geometry: the volume's grid.
        sampler: for a device, a function from some of the axial indices (m,) to images (m, 1, pixels, pixels) there,
            float32 in -1..1.
        lung_slices: how many slices hold lung; 0 where the model does not ask.
        warnings: sentences for the user.
    """

    slices: np.ndarray
    field: ModelField
    geometry: Geometry
    sampler: Callable[[str], Callable[[np.ndarray], torch.Tensor]]
    lung_slices: int = 0
    warnings: tuple[str, ...] = ()


class Segmenter:
    """Runs one model on volumes; the network is built at the first volume and kept, unless a volume is very large.

    Args:
        model: a loaded model.
        device: "auto", "cuda", "cuda:N", "mps" or "cpu".
        runtime: "auto", "torch" or "openvino".
        precision: "auto", "fp32", "bf16", "fp16" or "int8".
        batch: slices at a time; None chooses by device.
        start: makes the runtime of a plan.

    Raises:
        DeviceError: the device, runtime or precision asked for cannot be had.
    """

    def __init__(
        self,
        model: ModelFile,
        device: str = "auto",
        runtime: str = "auto",
        precision: str = "auto",
        batch: int | None = None,
        start: Callable[[ModelFile, Plan], Callable[[torch.Tensor], torch.Tensor]] = start_runtime,
    ) -> None:
        self.model = model
        self.plan = make_plan(model, device, runtime, precision, batch)
        self._start = start
        self._started: tuple[Plan, Callable[[torch.Tensor], torch.Tensor]] | None = None

    def segment(
        self,
        volume: Volume | FieldSlices,
        options: SegmentationOptions = DEFAULTS,
        progress: Progress = SILENT,
    ) -> Segmentation:
        """Segment a volume.

        Args:
            volume: the volume; its array is only read. Or what this model looks at of one that is not at hand.
            options: how to segment; model and device are the segmenter's own.
            progress: told the stage and the fraction of the whole.

        Raises:
            InputError: the volume is not what the model reads, has no lungs where it needs them, or an
                argument makes no sense.
            DeviceError: memory ran out even on the last rung of the ladder, or the network gave NaN.
            Cancelled: it was cancelled.
        """
        begin = time.perf_counter()
        timings = {"anatomy": 0.0, "resampling": 0.0, "network": 0.0, "back": 0.0}
        card = self.model.card
        if card.prompt is not None:
            return self._segment_clicks(volume, options, progress)
        inputs = (
            volume
            if isinstance(volume, FieldSlices)
            else self._inputs(volume, options.all_slices, progress.part(0.0, 0.1))
        )
        warnings = list(inputs.warnings)
        timings["anatomy"] = time.perf_counter() - begin
        values, plan = self._probabilities(inputs, warnings, timings, progress.part(0.1, 0.9))
        progress("Bringing the result to the image", 0.9)
        back = time.perf_counter()
        if math.prod(inputs.geometry.size) >= LARGE_VOXELS:
            self._started = None
            gc.collect()
        return_freed_memory()
        if card.smoothing_mm > 0:
            smooth_over_slices(values, inputs.slices, card.smoothing_mm / inputs.geometry.axial_spacing[0], progress)
        probability = ProbabilityField(
            values, inputs.slices, inputs.field, inputs.geometry, tuple(label.value for label in card.labels)
        )
        label, components = probability.segment(
            card.threshold if options.threshold is None else options.threshold, options.minimum_cc, progress
        )
        timings["back"] = time.perf_counter() - back
        progress("Segmented", 1.0)
        return Segmentation(
            label=label,
            probability=probability,
            components=components,
            lung_slices=inputs.lung_slices,
            warnings=warnings,
            device=plan.device,
            runtime=str(plan),
            seconds=time.perf_counter() - begin,
            timings=timings,
        )

    def _segment_clicks(
        self, volume: Volume | FieldSlices, options: SegmentationOptions, progress: Progress
    ) -> Segmentation:
        """:meth:`segment` of a model that reads clicks."""
        from .prompted import clicked_probability

        begin, network = time.perf_counter(), 0.0
        if isinstance(volume, FieldSlices):
            raise InputError(f"Model '{self.model.card.name}' reads clicks, for which it needs the scan itself.")
        warnings = [*volume.warnings, *self._looked_at(volume)[1]]
        threshold = self.model.card.threshold if options.threshold is None else options.threshold

        def infer(images: torch.Tensor) -> np.ndarray:
            nonlocal network
            started = time.perf_counter()
            values = self._infer(self.plan, images.to(self.plan.device))
            network += time.perf_counter() - started
            return values[:, 0].astype(np.float32)

        probability = clicked_probability(
            volume, self.model.card, options.clicks, threshold, infer, progress.part(0.0, 0.9)
        )
        followed = time.perf_counter()
        label, components = probability.segment(threshold, options.minimum_cc, progress)
        progress("Segmented", 1.0)
        return Segmentation(
            label=label,
            probability=probability,
            components=components,
            lung_slices=0,
            warnings=warnings,
            device=self.plan.device,
            runtime=str(self.plan),
            seconds=time.perf_counter() - begin,
            timings={
                "anatomy": 0.0,
                "resampling": followed - begin - network,
                "network": network,
                "back": time.perf_counter() - followed,
            },
        )

    def _looked_at(self, volume: Volume) -> tuple[AxialView, list[str]]:
        """The volume in axial order, and what the user is told of its axes.

        Raises:
            InputError: the model reads another modality.
        """
        from ..io.volume import axial_view

        card = self.model.card
        if volume.modality is not None and volume.modality != card.modality:
            raise InputError(
                f"The image is {volume.modality}, but model '{card.name}' reads {card.modality}; choose a "
                f"model for {volume.modality} or a {card.modality} image."
            )
        view = axial_view(volume.array, volume.geometry)
        if view.obliquity_degrees < OBLIQUE_DEGREES:
            return view, []
        return view, [
            f"The image is tilted by {view.obliquity_degrees:.0f} degrees to the patient's axes; the model was not "
            "trained on tilted slices."
        ]

    def _inputs(self, volume: Volume, all_slices: bool, progress: Progress) -> FieldSlices:
        """What the model looks at of a volume."""
        card = self.model.card
        view, tilted = self._looked_at(volume)
        slices, center, lung_slices, warnings = self._region(view, all_slices, progress)
        warnings = [*volume.warnings, *warnings, *tilted]
        field = ModelField(
            shape=view.array.shape[1:],
            spacing=view.spacing[1:],
            center=center,
            pixels=card.field,
            pixel_mm=card.spacing_mm,
        )
        intensities = card.normalization.fit(view.array)

        def sampler(device: str) -> Callable[[np.ndarray], torch.Tensor]:
            sample = FieldSampler(field, intensities, device)
            return lambda slices: sample(view.array[slices])

        return FieldSlices(slices, field, volume.geometry, sampler, lung_slices, tuple(warnings))

    def _region(
        self, view: AxialView, all_slices: bool, progress: Progress
    ) -> tuple[np.ndarray, tuple[float, float], int, list[str]]:
        """The slices (axial indices, rising), the field's center (y, x) in voxels, slices with lung, warnings.

        Lungs are looked for only where the card asks for them.
        """
        progress.stop_if_cancelled()
        depth, height, width = view.array.shape
        everything = np.arange(depth)
        center = ((height - 1) / 2, (width - 1) / 2)
        if self.model.card.slices != "lung":
            return everything, center, 0, []
        from .lungs import check_hounsfield, field_center, find_lungs

        progress("Looking for the lungs", 0.0)
        warnings = list(check_hounsfield(view.array))
        try:
            lungs = find_lungs(view.array, view.spacing, progress=progress)
        except InputError as error:
            if not all_slices:
                raise
            warnings.append(f"{error} All slices are segmented, as asked for.")
            return everything, center, 0, warnings
        chosen = everything if all_slices else np.asarray(lungs.slices)
        return chosen, field_center(lungs), len(lungs.slices), warnings + list(lungs.warnings)

    def _probabilities(
        self, inputs: FieldSlices, warnings: list[str], timings: dict[str, float], progress: Progress
    ) -> tuple[np.ndarray, Plan]:
        """Run the network over the slices, stepping down the ladder when memory runs out.

        Returns:
            float16 (slices, labels, pixels, pixels), and the plan that was in force at the end.
        """
        chosen, pixels = inputs.slices, inputs.field.pixels
        values = np.empty((len(chosen), len(self.model.card.labels), pixels, pixels), dtype=np.float16)
        plan, sampler, start = self.plan, None, 0
        while start < len(chosen):
            progress.stop_if_cancelled()
            progress(f"Segmenting on {plan.device}", start / len(chosen))
            batch = chosen[start : start + plan.batch]
            ran_out = False
            try:
                self._runtime(plan)
                begin = time.perf_counter()
                if sampler is None:
                    sampler = inputs.sampler(plan.device)
                images = sampler(batch)
                _wait(plan.device)
                sampled = time.perf_counter()
                values[start : start + len(batch)] = self._infer(plan, images)
                timings["resampling"] += sampled - begin
                timings["network"] += time.perf_counter() - sampled
            except (RuntimeError, MemoryError) as error:
                ran_out = out_of_memory(error)
                if not ran_out:
                    raise
            if ran_out:
                # Only here, outside the except block, is the failed batch's memory released.
                images = sampler = None
                plan = self._step_down(plan, warnings)
            else:
                start += len(batch)
        return values, plan

    def _runtime(self, plan: Plan) -> Callable[[torch.Tensor], torch.Tensor]:
        """The runtime of ``plan``; the one in use is let go first when the plan has changed."""
        if self._started is None or self._started[0] != plan:
            self._started = None
            self._started = (plan, self._start(self.model, plan))
        return self._started[1]

    def _step_down(self, plan: Plan, warnings: list[str]) -> Plan:
        """The next rung of the ladder, with its sentence added to ``warnings``."""
        import torch

        self._started = None
        step = lighter(plan, self.model)
        if step is None:
            raise DeviceError(
                f"Memory of {plan.device} ran out even for one slice; close other programs and try again."
            )
        if plan.device.startswith("cuda"):
            torch.cuda.empty_cache()
        down, sentence = step
        warnings.append(sentence)
        return down

    def _infer(self, plan: Plan, images: torch.Tensor) -> np.ndarray:
        """Probabilities of the labels, float16 (n, labels, pixels, pixels), of normalized slices.

        Raises:
            DeviceError: a logit is NaN or infinite.
        """
        import torch

        with torch.inference_mode():
            logits = self._runtime(plan)(images)
            if not torch.isfinite(logits).all():
                raise DeviceError(
                    f"Model '{self.model.card.name}' gave values that are no numbers; its weights do not "
                    f"suit this image or {plan}: choose device cpu, or verify the model file."
                )
            return label_probabilities(logits).half().cpu().numpy()


def _wait(device: str) -> None:
    """Wait for a GPU's queue, so that the stage that queued the work is charged with its time."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)
