"""Section "Correct and export": to the Segment Editor, to a cohort for training, to DICOM."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from . import dependencies
from .scene import dicom_export, result_nodes, training_case
from .scene.rejected_candidates import label_segments
from .section import Section, followPath, inBackground, plainToolTip, setText, show_errors

REVIEWER, COHORT = "CMEDL/Reviewer", "CMEDL/CohortFolder"
"""Keys of the application's settings: both belong to the person at this computer, not to the scene."""


class ExportSection(Section):
    """What can be done with a result that was looked at."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._saving = False
        self.ui.reviewerLineEdit.text = slicer.util.settingsValue(REVIEWER, "")
        self.ui.cohortPathLineEdit.currentPath = slicer.util.settingsValue(COHORT, "")
        self.ui.reviewerLineEdit.connect("textChanged(QString)", self.refreshSoon)
        followPath(self.ui.cohortPathLineEdit, lambda path: self.refreshSoon())
        self.ui.editButton.connect("clicked(bool)", self.onEdit)
        self.ui.saveCaseButton.connect("clicked(bool)", self.onSaveCase)
        self.ui.exportRtstructButton.connect("clicked(bool)", lambda: self.onExport("RTSTRUCT"))
        self.ui.exportSegButton.connect("clicked(bool)", lambda: self.onExport("SEG"))
        self.ui.exportFileButton.connect("clicked(bool)", self.onExportFile)

    def refresh(self) -> None:
        """Offer what can be done."""
        result = self.parameters.result
        exports = (self.ui.exportRtstructButton, self.ui.exportSegButton, self.ui.exportFileButton)
        for button in (self.ui.editButton, *exports):
            button.enabled = bool(result)
        named = self.ui.reviewerLineEdit.text.strip() and self.ui.cohortPathLineEdit.currentPath.strip()
        self.ui.saveCaseButton.enabled = bool(result and named) and not self._saving

    def onEdit(self, checked: bool = False) -> None:
        """Open the result in the Segment Editor."""
        result = self.parameters.result
        volume = result_nodes.volume_of_result(result)
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        editor.setSegmentationNode(result)
        if volume:
            editor.setSourceVolumeNode(volume)
        editor.setCurrentSegmentID(next(iter(label_segments(result).values()), ""))
        editor.setActiveEffectByName("Paint")

    def onSaveCase(self, checked: bool = False) -> None:
        """Write CT, mask and reviewer into the cohort's folder."""
        reviewer, folder = self.ui.reviewerLineEdit.text.strip(), self.ui.cohortPathLineEdit.currentPath.strip()
        settings = slicer.app.userSettings()
        settings.setValue(REVIEWER, reviewer)
        settings.setValue(COHORT, folder)
        self._saving, self.ui.saveCaseButton.enabled = True, False
        try:
            with show_errors(_("The training case was not saved.")):
                result, volume = self._pair()
                segment = next(iter(label_segments(result).values()), "")
                # Compressing a whole CT takes seconds.
                case = training_case.collect(volume, [training_case.Mark(result, segment)], folder, reviewer)
                path = inBackground(case.write)
                self._say(_("Saved in {path}").format(path=path))
        finally:
            self._saving = False
            self.refreshSoon()

    def onExport(self, kind: str) -> None:
        """Ask for a file and write the result as DICOM."""
        ready = False
        with show_errors(_("Nothing was exported.")):
            ready = dependencies.ensure(kind.casefold())
        if not ready:
            return
        result, volume = self._pair()
        title = _("Export {kind}").format(kind=kind)
        chosen = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, f"{kind}.dcm", "DICOM (*.dcm)")
        if not chosen:
            return
        with show_errors(_("Nothing was exported."), waitCursor=True):
            path = Path(chosen).with_suffix(".dcm")
            rtstruct, seg = (path, None) if kind == "RTSTRUCT" else (None, path)
            dicom_export.export_dicom(volume, result, rtstruct, seg)
            self._say(_("Exported to {path}").format(path=path))

    def onExportFile(self, checked: bool = False) -> None:
        """Ask for a file and write the result as a segmentation or a labelmap."""
        result, volume = self._pair()
        chosen = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(),
            _("Export"),
            "Tumor.seg.nrrd",
            "Segmentation (*.seg.nrrd);;Labelmap (*.nii.gz *.nrrd)",
        )
        if not chosen:
            return
        with show_errors(_("Nothing was exported."), waitCursor=True):
            path = Path(chosen)
            dicom_export.export_file(volume, result, path)
            self._say(_("Exported to {path}").format(path=path))

    def _say(self, text: str) -> None:
        """Show what was done; a path that cannot be broken into lines is whole in the tool tip."""
        setText(self.ui.handOnLabel, text)
        self.ui.handOnLabel.toolTip = plainToolTip(text)

    def _pair(self) -> tuple[slicer.vtkMRMLSegmentationNode, slicer.vtkMRMLScalarVolumeNode | None]:
        """The result and the CT that it was made on."""
        result = self.parameters.result
        return result, result_nodes.volume_of_result(result)
