"""The pictures of an evaluation and the quality of its translations, made case by case as the cases are scored.

Nothing of a case is kept but a few numbers and pixels, so that memory does not grow with the cohort. Written to one
folder: ``contours/CASE.png`` of each case and ``contours.png`` of the worst, the median and the best, ``features.png``
and ``embedding.png``. What a method lacks, a teacher or a translation, its pictures lack too.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from CMEDLSegmentLib.base.colors import EXPERT_YELLOW, MODEL_RED, Color
from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.progress import SILENT, Progress
from CMEDLSegmentLib.inference.segmenter import Segmentation
from CMEDLSegmentLib.io.cohort_table import Case
from CMEDLSegmentLib.io.volume import Volume
from CMEDLSegmentLib.models import registry
from CMEDLSegmentLib.networks import Segmentor
from CMEDLSegmentLib.report.contour_drawing import View, save_png

from ..computing.distribution import choose_device
from ..evaluation import translation_quality
from ..evaluation.case_view import CaseView, last_features
from ..evaluation.teacher_inference import TeacherInference
from ..runs.run_folder import Run
from ..training.previews import TEACHER_BLUE
from ..training.train_run import slices_of
from . import contour_panels, tsne_map
from .feature_sheet import Maps, sheet


class _Reader:
    """A student whose features are looked at, and the pixels' features that it gave so far."""

    def __init__(self, path: Path | str, device: torch.device, name: str = "") -> None:
        student = registry.load(path)
        self.name, self.card = name or student.card.name, student.card
        self.network = student.build().to(device)
        self.features: list[np.ndarray] = []
        self.inside: list[np.ndarray] = []

    def layers(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Feature maps of the last two layers for images (n, 1, f, f)."""
        return last_features(cast(Segmentor, self.network.networks[-1]), lambda: self.network(images))


@dataclass(frozen=True)
class _Drawn:
    """A case whose picture is written: which slices it shows, and the mean DSC of its slices with the structure."""

    path: Path
    slices: tuple[int, ...]
    squares: tuple[View, ...]
    dsc: float


@dataclass
class _LargestSlice:
    """The slice of the feature maps: the one with the largest structure so far."""

    case: str
    slice: int
    area_mm2: float
    beside: Image.Image
    maps: list[Maps]


class Figures:
    """Takes each case as it is scored, and writes the pictures.

    Args:
        run: a finished run.
        folder: where the pictures go; ``contours`` in it is emptied.
        cases: the student cases that will come.
        table: all cases of their cohort; a teacher's case of the same patient and split makes a pair.
        device: as ``--device``.
        against: a student to compare with, a file or the name of an installed one.

    Raises:
        InputError: the run has not finished, or the other student cannot be read.
    """

    def __init__(
        self,
        run: Run,
        folder: Path,
        cases: Sequence[Case],
        table: Sequence[Case],
        device: str = "auto",
        against: Path | str | None = None,
    ) -> None:
        self._folder, self._device = folder, choose_device(device)
        self._own = _Reader(run.student, self._device, "student")
        self._against = None if against is None else _Reader(against, self._device)
        self._teacher = TeacherInference.of(run, self._own.network, self._device)
        if self._teacher.translate is not None:
            store = slices_of(run)
            self._normalization = store.normalizations["teacher"]
            self._real = translation_quality.real_intensities(store)
        self._translated = translation_quality.Intensities()
        self._partners = translation_quality.partners(cases, table)
        self._pairs: list[translation_quality.PairQuality] = []
        self._quota = min(tsne_map.CASE_PIXELS, max(2, tsne_map.POINTS // max(1, len(cases))))
        self._drawn: dict[str, _Drawn] = {}
        self._largest: _LargestSlice | None = None
        shutil.rmtree(folder / "contours", ignore_errors=True)

    def student(self, case: Case, volume: Volume, expert: np.ndarray, result: Segmentation) -> None:
        """A case that the run's student has segmented.

        Args:
            expert: label values (z, y, x) on the volume's grid.
        """
        view = CaseView(case.case, volume, expert, result, self._own.card)
        translate = self._teacher.translate
        if translate is not None:
            translation_quality.add_translations(self._translated, view, translate, self._device)
            if case.case in self._partners:
                partner = self._partners[case.case]
                pair = translation_quality.pair_quality(view, partner, self._normalization, translate, self._device)
                self._pairs += [pair] if pair else []
        if len(view.structure_slices()):
            self._draw(view)
            self._sample(self._own, view)
            self._keep_features(view)

    def compared(self, case: Case, volume: Volume, expert: np.ndarray, result: Segmentation) -> None:
        """The same case, after :meth:`student`, as the other student has segmented it."""
        assert self._against is not None
        drawn = self._drawn.get(case.case)
        if drawn is None:
            return
        view = CaseView(case.case, volume, expert, result, self._against.card)
        captions = [self._against.name] * len(drawn.slices)
        row = self._student_row(view, drawn.slices, drawn.squares, captions, contour_panels.COMPARED_GREEN)
        with Image.open(drawn.path) as before:
            whole = contour_panels.stack([before.convert("RGB"), row])
        save_png(whole, drawn.path)
        self._sample(self._against, view)
        if self._largest is not None and self._largest.case == case.case:
            images = next(view.images(np.array([self._largest.slice]), self._device))
            self._largest.maps.insert(0, Maps(self._against.name, _first_maps(self._against.layers(images)), group=1))

    def finish(self, progress: Progress = SILENT) -> dict[str, Any]:
        """Write the pictures over all cases.

        Returns:
            What ``evaluation.json`` says of them: ``contours``, ``features`` and ``embedding`` with their files and
            what they show, ``translation`` with the figures of :mod:`.translation_quality`.

        Raises:
            Cancelled: it was cancelled.
        """
        record: dict[str, Any] = {}
        progress.stop_if_cancelled()
        progress("Pictures", 0.0)
        if self._drawn:
            record["contours"] = self._overview()
        if self._largest is not None:
            save_png(sheet(self._largest.maps, self._largest.beside), self._folder / "features.png")
            names = [maps.name for maps in self._largest.maps]
            where = {"case": self._largest.case, "axial_slice": self._largest.slice}
            record["features"] = {"file": "features.png", **where, "networks": names}
        progress.stop_if_cancelled()
        record["embedding"] = self._embedding(progress.part(0.1, 0.95))
        if self._teacher.translate is not None:
            record["translation"] = translation_quality.summary(self._real, self._translated, self._pairs)
        progress("Pictures", 1.0)
        return record

    def _draw(self, view: CaseView) -> None:
        """Write the picture of a case."""
        marked = view.structure_slices()
        scores = view.scores(view.predicted[marked], marked)
        chosen = contour_panels.telling_slices(scores)
        slices = tuple(int(marked[place]) for _, place in chosen)
        squares = tuple(contour_panels.squares_around(view, slices))
        last = len(view.predicted) - 1
        captions = [f"{word}: slice {z} (0 to {last})" for (word, _), z in zip(chosen, slices, strict=True)]
        rows = [self._student_row(view, slices, squares, captions, MODEL_RED)]
        entries = [("student", MODEL_RED), ("expert", EXPERT_YELLOW)]
        if self._teacher.translate is not None:
            rows.append(self._teacher_row(view, slices, squares))
        if self._teacher.teacher is not None:
            entries.insert(1, ("teacher", TEACHER_BLUE))
        if self._against is not None:
            entries.insert(-1, (contour_panels.shortened(self._against.name, 200), contour_panels.COMPARED_GREEN))
        path = self._folder / "contours" / f"{view.case}.png"
        save_png(contour_panels.with_title(view.case, entries, rows), path)
        self._drawn[view.case] = _Drawn(path, slices, squares, float(np.nanmean(scores)))

    @staticmethod
    def _student_row(
        view: CaseView, slices: Sequence[int], squares: Sequence[View], captions: Sequence[str], color: Color
    ) -> Image.Image:
        """A student's contours on the image it saw, under captions with the DSC."""
        scores = view.scores(view.predicted[list(slices)], np.array(slices))
        panels = []
        for z, score, caption, square in zip(slices, scores, captions, squares, strict=True):
            drawn = contour_panels.contours(view, z, view.predicted[z], color)
            caption = contour_panels.score_caption(contour_panels.shortened(caption, 190, 15), score)
            panels.append(contour_panels.draw_panel(view.image(z), drawn, caption, square, view.spacing))
        return contour_panels.side_by_side(panels)

    def _teacher_row(self, view: CaseView, slices: Sequence[int], squares: Sequence[View]) -> Image.Image:
        """The translated slices with the teacher's contours; with the student's where there is no teacher."""
        images, labels = self._teacher.segment(view, slices)
        captions, color = [self._teacher.pseudo] * len(slices), MODEL_RED
        if labels is None:
            labels = view.predicted[list(slices)]
        else:
            scores, color = view.scores(labels, np.array(slices)), TEACHER_BLUE
            captions = [contour_panels.score_caption(f"{self._teacher.pseudo}, teacher", score) for score in scores]
        panels = [
            contour_panels.draw_panel(
                image, contour_panels.contours(view, z, label, color), caption, square, view.spacing
            )
            for image, z, label, caption, square in zip(images, slices, labels, captions, squares, strict=True)
        ]
        return contour_panels.side_by_side(panels)

    def _overview(self) -> dict[str, Any]:
        """The pictures of the worst, the median and the best case, by the mean DSC of their slices, in one."""
        names = list(self._drawn)
        ranked = contour_panels.telling_slices(np.array([drawn.dsc for drawn in self._drawn.values()]))
        lines = [f"the {word} of {len(names)} cases" if len(names) > 1 else "the only case" for word, _ in ranked]
        parts = [(line, self._drawn[names[place]].path) for line, (_, place) in zip(lines, ranked, strict=True)]
        save_png(contour_panels.draw_overview(parts), self._folder / "contours.png")
        files = {name: f"contours/{drawn.path.name}" for name, drawn in self._drawn.items()}
        return {"file": "contours.png", "shown": [names[place] for _, place in ranked], "cases": files}

    @torch.inference_mode()
    def _sample(self, reader: _Reader, view: CaseView) -> None:
        """Features of a case's pixels, balanced, for the t-SNE map."""
        slices = view.structure_slices()
        random = np.random.default_rng(len(reader.features))
        places, inside = tsne_map.balanced_pixels(view.structure_on_field(slices), self._quota, random)
        taken, first = [], 0
        for images in view.images(slices, self._device):
            layers = reader.layers(images)
            for index in range(len(images)):
                here = places[places[:, 0] == first + index]
                taken.append(tsne_map.features_at([layer[index] for layer in layers], here[:, 1], here[:, 2]))
            first += len(images)
        reader.features.append(np.concatenate(taken))
        reader.inside.append(inside)

    def _embedding(self, progress: Progress) -> dict[str, Any]:
        """The t-SNE maps side by side, or why there are none.

        Raises:
            Cancelled: it was cancelled; it is asked between the maps, of which each takes minutes.
        """
        readers = [reader for reader in (self._against, self._own) if reader is not None]
        maps = []
        try:
            for number, reader in enumerate(readers):
                if not reader.features:
                    raise InputError("The t-SNE map needs pixels of a structure, and no case has one.")
                progress.stop_if_cancelled()
                progress(f"t-SNE map {number + 1} of {len(readers)}", number / len(readers))
                pixels = np.concatenate(reader.features), np.concatenate(reader.inside)
                maps.append((reader.name, tsne_map.embed(*pixels)))
        except InputError as error:
            return {"left_out": str(error)}
        labels = self._own.card.labels
        structure = labels[0].name.lower() if len(labels) == 1 else "structure"
        save_png(tsne_map.picture(maps, structure), self._folder / "embedding.png")
        return {
            "file": "embedding.png",
            "perplexity": tsne_map.PERPLEXITY,
            "iterations": tsne_map.ITERATIONS,
            "pixels_per_case_at_most": self._quota,
            "maps": [{"student": name, "points": len(points.points), "kl": points.divergence} for name, points in maps],
        }

    @torch.inference_mode()
    def _keep_features(self, view: CaseView) -> None:
        """Keep the feature maps of this case's largest structure slice if it is the largest so far."""
        areas = np.count_nonzero(view.expert, axis=(1, 2)) * view.spacing[0] * view.spacing[1]
        z = int(np.argmax(areas))
        if self._largest is not None and areas[z] <= self._largest.area_mm2:
            return
        images = next(view.images(np.array([z]), self._device))
        maps = [Maps("student", _first_maps(self._own.layers(images)))]
        teacher = self._teacher.teacher
        if teacher is not None and self._teacher.translate is not None:
            pseudo = self._teacher.translate(images)
            layers = last_features(teacher, lambda: teacher(pseudo))
            maps.insert(0, Maps(f"teacher on {self._teacher.pseudo}", _first_maps(layers)))
        (square,) = contour_panels.squares_around(view, [z])
        drawn = contour_panels.contours(view, z, view.predicted[z], MODEL_RED)
        caption = "expert yellow, student red"
        panel = contour_panels.draw_panel(view.image(z), drawn, caption, square, view.spacing)
        self._largest = _LargestSlice(view.case, z, float(areas[z]), panel, maps)


def _first_maps(layers: tuple[Tensor, Tensor]) -> np.ndarray:
    """The last layer's maps (c, h, w) of the first image."""
    return layers[-1][0].float().cpu().numpy()
