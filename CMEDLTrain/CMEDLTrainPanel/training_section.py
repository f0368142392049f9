"""Section "Training": what is trained, how, and where."""

from __future__ import annotations

from slicer.i18n import tr as _

from CMEDLSegmentLib import models
from CMEDLSegmentPanel.devices import Devices
from CMEDLSegmentPanel.section import Section, setText
from CMEDLTrainLib import configuration

from .choices import showChoices


class TrainingSection(Section):
    """The selectors of a run's settings."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self.devices = Devices(self.refreshSoon)
        self._boxes = {
            "method": self.ui.methodComboBox,
            "preset": self.ui.presetComboBox,
            "segmentor": self.ui.segmentorComboBox,
            "translation": self.ui.translationComboBox,
            "device": self.ui.trainingDeviceComboBox,
            "initial": self.ui.initialComboBox,
        }
        for name, box in self._boxes.items():
            box.connect("activated(int)", lambda index, name=name: self.onChosen(name, index))

    def refresh(self) -> None:
        """Show the parameters."""
        self.devices.ask()
        for name, titles in self._titles().items():
            showChoices(self._boxes[name], titles, getattr(self.parameters, name))
        entry = configuration.METHODS.get(self.parameters.method)  # a saved scene may name another program's
        setText(self.ui.trainingNoteLabel, entry.words if entry else "")

    def onChosen(self, parameter: str, index: int) -> None:
        """Remember a choice in the scene."""
        if self.parameters:
            setattr(self.parameters, parameter, self._boxes[parameter].itemData(index))

    def cleanup(self) -> None:
        """The panel is closed for good."""
        self.devices.close()

    def _titles(self) -> dict[str, dict[str, str]]:
        """What each selector offers."""
        students = {entry.name: entry.card.title for entry in models.list_models() if entry.current and entry.card}
        return {
            "method": {name: name for name in configuration.METHODS},
            "preset": {"paper": _("Paper"), "fast": _("Fast"), "tiny": _("Tiny (to try the program)")},
            "segmentor": {"unet": "Unet", "densefcn": "DenseFCN", "mrrn": "MRRN"},
            "translation": {"": _("The method's own"), "cyclegan": "CycleGAN", "drit": "DRIT"},
            "device": self.devices.titles,
            "initial": {"": _("Scratch"), **students},
        }
