"""The result below the large button: what is marked, its threshold, its surface, and where it came from."""

from __future__ import annotations

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _

from .scene import result_nodes, segment_masks
from .scene.attributes import CLICKS, PREFIX, WRITTEN, get_json
from .scene.rejected_candidates import label_segments
from .section import Section, setText, show_errors, signals_blocked

SETTLED_MS = 400
"""After so long without a move of the slider the 3-D surface is made anew."""
MAP_OPACITY = 0.5


class ResultSection(Section):
    """The line that says what is marked, the live threshold, the surface, the probability map; selector, provenance."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._settled = qt.QTimer(panel.uiWidget)
        self._settled.setSingleShot(True)
        self._settled.setInterval(SETTLED_MS)
        self._settled.connect("timeout()", self._makeSurface)
        self.ui.resultSelector.addAttribute("vtkMRMLSegmentationNode", PREFIX + WRITTEN)
        self.ui.resultWidget.visible = self.ui.provenanceTextEdit.visible = False
        self.ui.resultThresholdSlider.connect("valueChanged(double)", self.onThreshold)
        self.ui.showProbabilityCheckBox.connect("toggled(bool)", self.onShowProbability)
        self.ui.provenanceButton.connect("toggled(bool)", self.onProvenance)

    @property
    def result(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The segmentation that the panel shows."""
        return self.parameters.result if self.parameters else None

    def refresh(self) -> None:
        """Show the chosen result."""
        result = self.result
        self._showMap(result)
        if not self.stale(result):
            return
        self.ui.resultWidget.visible = bool(result) and not self.panel.review.blinded
        self.ui.show3DButton.setSegmentationNode(result)
        self.ui.provenanceButton.enabled = bool(result)
        self._showThreshold(result)
        self._showProvenance()
        if not result:
            self.follow()
            return
        setText(self.ui.resultLabel, self._summary(result))
        segmentation = result.GetSegmentation()
        self.follow(
            (result, vtk.vtkCommand.ModifiedEvent),
            (result, result.DisplayModifiedEvent),
            (segmentation, segmentation.SourceRepresentationModified),
            (segmentation, segmentation.SegmentModified),
        )

    def leave(self) -> None:
        """The panel is no longer seen."""
        super().leave()
        self._settled.stop()

    def onThreshold(self, value: float) -> None:
        """Bring the result to another threshold; the surface follows when the slider rests."""
        with show_errors(_("The threshold could not be changed.")):
            had = self._hasSurface(self.result)
            result_nodes.rethreshold(self.result, value)
            if had or self._settled.active:
                self._settled.start()

    def onShowProbability(self, shown: bool) -> None:
        """Put the probability over the CT in all slice views, or take it away."""
        node = result_nodes.probability_of(self.result) if shown else None
        slicer.util.setSliceViewerLayers(foreground=node, foregroundOpacity=MAP_OPACITY if shown else 0.0)

    def onProvenance(self, shown: bool) -> None:
        """Show or hide where the result came from."""
        self.ui.provenanceTextEdit.visible = shown
        self._showProvenance()

    def _summary(self, result: slicer.vtkMRMLSegmentationNode) -> str:
        """What is marked, by which model; whether a person has changed it; what was told at the run."""
        volumes = {
            result.GetSegmentation().GetSegment(segment).GetName(): self._cc(result, segment)
            for segment in label_segments(result).values()
        }
        facts = result_nodes.provenance(result)
        run = _("{model} on {device}, {seconds:.1f} s").format(
            model=facts.get("student", "?"), device=facts.get("device", "?"), seconds=float(facts.get("seconds", 0))
        )
        marked = ", ".join(f"{name}: {cc:.1f} cc" for name, cc in volumes.items() if cc)
        lines = [f"{marked}  ({run})" if marked else self._nothing(facts.get("student", ""), run)]
        if result_nodes.is_edited(result):
            lines.append(_("Edited by hand: the panel will not change it."))
        return "\n".join([*lines, *filter(None, [facts.get("warnings", "")])])

    def _nothing(self, model: str, run: str) -> str:
        """That no tumor is marked, what the model is known to miss, and what to do about it."""
        card = self.logic.card(model)
        misses = _(" The model is known to miss {what}.").format(what=card.misses) if card and card.misses else ""
        return _(
            "No tumor is marked ({run}).{misses} Look through the CT; tick a possible candidate below, or draw the "
            "tumor in the Segment Editor."
        ).format(run=run, misses=misses)

    @staticmethod
    def _cc(result: slicer.vtkMRMLSegmentationNode, segment: str) -> float:
        """Volume of a segment."""
        mask = segment_masks.mask_of(result, segment)
        return float(mask.array.sum() * abs(np.linalg.det(mask.matrix[:3, :3]))) / 1000.0

    def _showThreshold(self, result: slicer.vtkMRMLSegmentationNode | None) -> None:
        probability = result_nodes.probability_of(result) if result else None
        live = probability is not None and not get_json(result, CLICKS) and not result_nodes.is_edited(result)
        slider = self.ui.resultThresholdSlider
        slider.visible = self.ui.resultThresholdLabel.visible = probability is not None
        slider.enabled = live
        if live:
            with signals_blocked(slider):
                slider.value = float(result_nodes.provenance(result).get("threshold", 0.5))

    def _showMap(self, result: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Whether there is a probability map, and whether a view shows it."""
        probability = result_nodes.probability_of(result) if result else None
        box = self.ui.showProbabilityCheckBox
        box.visible = probability is not None
        shown = {node.GetForegroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}
        with signals_blocked(box):
            box.checked = probability is not None and probability.GetID() in shown

    def _showProvenance(self) -> None:
        if self.ui.provenanceButton.checked:
            self.ui.provenanceTextEdit.setPlainText(result_nodes.provenance_text(self.result) if self.result else "")

    def _makeSurface(self) -> None:
        if self.result:
            segment_masks.show_surface(self.result)

    @staticmethod
    def _hasSurface(result: slicer.vtkMRMLSegmentationNode) -> bool:
        display = result.GetDisplayNode()
        made = result.GetSegmentation().ContainsRepresentation(segment_masks.SURFACE)
        return bool(made and display and display.GetVisibility3D())
