"""Section "Input": which CT, which model, how; and what is doubtful about it before anyone clicks."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from CMEDLSegmentLib.models.card_text import card_text, headline

from .devices import Devices
from .section import Section, plainToolTip, rememberFold, setText

BLOCKED, DOUBTFUL = "color: #c0392b;", "color: #b9770e;"
"""Red and amber that can be read on light and on dark panels."""


class InputSection(Section):
    """Selectors of CT, model and device, and the line below them."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._details: Any = None
        self.devices = Devices(self.refreshSoon)
        self.fillModels()
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self.onModelChosen)
        self.ui.deviceComboBox.connect("activated(int)", self.onDeviceChosen)
        self.ui.modelDetailsButton.connect("clicked(bool)", self.onDetails)
        rememberFold(self.ui.advancedCollapsibleButton)

    def fillModels(self) -> None:
        """Offer the models that there are now; their cards are the tool tips."""
        box = self.ui.modelComboBox
        blocked = box.blockSignals(True)
        box.clear()
        for index, entry in enumerate(self.logic.models()):
            box.addItem(entry.card.title, entry.name)
            box.setItemData(index, plainToolTip(f"{entry.card.summary}\n{entry.note}".strip()), qt.Qt.ToolTipRole)
        box.currentIndex = -1
        box.blockSignals(blocked)

    def refresh(self) -> None:
        """Show the parameters and what the input is worth."""
        parameters = self.parameters
        self.devices.ask()
        names = [entry.name for entry in self.logic.models()]
        chosen = names.index(parameters.model) if parameters.model in names else -1
        self.ui.modelComboBox.currentIndex = chosen
        self.ui.modelDetailsButton.enabled = chosen >= 0
        card = self.logic.card(parameters.model)
        self.ui.modelComboBox.toolTip = plainToolTip(card.summary) if card else _("Choose a model.")
        setText(self.ui.qualityLabel, headline(card) if card else "")
        self.ui.qualityLabel.visible = card is not None
        self.ui.thresholdSlider.enabled = parameters.ownThreshold
        if card and not parameters.ownThreshold:
            parameters.threshold = card.threshold
        self._showDevices()
        self._showNote()
        ct = parameters.ct
        if ct:
            events = (vtk.vtkCommand.ModifiedEvent, ct.ImageDataModifiedEvent, ct.TransformModifiedEvent)
            self.follow(*((ct, event) for event in events))
        else:
            self.follow()

    def onModelChosen(self, index: int) -> None:
        """Remember the model in the scene."""
        if self.parameters and index >= 0:
            self.parameters.model = self.logic.models()[index].name

    def onDeviceChosen(self, index: int) -> None:
        """Remember the device in the scene."""
        if self.parameters:
            self.parameters.device = self.ui.deviceComboBox.itemData(index)

    def onDetails(self, checked: bool = False) -> None:
        """Show the model's card in a window of its own."""
        card = self.logic.card(self.parameters.model)
        self._details = qt.QDialog(slicer.util.mainWindow())
        self._details.setWindowTitle(card.title)
        self._details.resize(680, 640)
        layout = qt.QVBoxLayout(self._details)
        text = qt.QPlainTextEdit()
        text.setPlainText(card_text(card))
        text.setReadOnly(True)
        layout.addWidget(text)
        self._details.show()

    def cleanup(self) -> None:
        """The panel is closed for good."""
        self.devices.close()
        if self._details:
            self._details.close()

    def _showDevices(self) -> None:
        box = self.ui.deviceComboBox
        titles = dict(self.devices.titles)
        chosen = self.parameters.device
        # A scene can come from a computer with other cards.
        titles.setdefault(chosen, _("{device} (not found here)").format(device=chosen))
        if [box.itemData(index) for index in range(box.count)] != list(titles):
            box.clear()
            for name, title in titles.items():
                box.addItem(title, name)
        box.currentIndex = list(titles).index(chosen)

    def _showNote(self) -> None:
        """The one line: what keeps from a run, else what is doubtful, else what the CT is."""
        parameters = self.parameters
        inputChecks = self.logic.inputChecks(parameters.ct, parameters.model)
        label = self.ui.inputNoteLabel
        if inputChecks:
            first = next((check for check in inputChecks if check.blocks), inputChecks[0])
            more = _(" (and {count} more)").format(count=len(inputChecks) - 1) if len(inputChecks) > 1 else ""
            setText(label, first.text + more)
            label.styleSheet = BLOCKED if first.blocks else DOUBTFUL
        else:
            columns, rows, slices = parameters.ct.GetImageData().GetDimensions()
            x, y, z = parameters.ct.GetSpacing()
            size = f"{columns} x {rows} x {slices}, {x:.2f} x {y:.2f} x {z:.2f} mm"
            setText(label, _("Ready: {size}").format(size=size))
            label.styleSheet = ""
        label.toolTip = plainToolTip("\n".join(check.text for check in inputChecks))
        # What keeps from a run keeps the button from being pressed.
        self.panel.run.refreshSoon()
