"""Step 2, method and settings: what is trained, how, and where; the paper's settings beside; what it would take."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from CMEDLSegmentLib.base.errors import CMEDLError
from CMEDLSegmentLib.base.text import duration
from CMEDLSegmentLib.models import registry
from CMEDLSegmentPanel import dependencies
from CMEDLSegmentPanel.devices import Devices
from CMEDLSegmentPanel.poller import Poller
from CMEDLSegmentPanel.section import Section, setText, show_errors, signals_blocked
from CMEDLTrainLib.cli.run_options import SEGMENTORS
from CMEDLTrainLib.settings import configuration
from CMEDLTrainLib.settings.settings_table import Setting, settings_of

from .tables import fillSelector, fillTable

KEY, VALUE, PAPER = range(3)
VALUE_WIDTH = 84
"""Pixels of a column of values."""
OF_TRANSLATION = ("translation.", "distillation.", "features", "images.teacher_", "optimization.translation_")
"""Settings of methods that learn from a teacher's modality."""
OF_MUTUAL = ("distillation.output", "distillation.temperature")
OF_JOINT = ("distillation.", "features", "translation.kind", "translation.contextual", "translation.both_ways")
"""Settings of mutual distillation, and those that only joint training has."""


class TrainingSection(Section):
    """The settings of the next run."""

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
        self._settings: list[Setting] = []
        self._problem = ""
        for column in (VALUE, PAPER):
            self.ui.settingsTable.horizontalHeader().resizeSection(column, VALUE_WIDTH)
        self.ui.settingsTable.horizontalHeader().setSectionResizeMode(KEY, qt.QHeaderView.Stretch)
        self.ui.settingsTable.connect("itemChanged(QTableWidgetItem*)", self.onValueEdited)
        self.ui.settingsTable.connect("currentCellChanged(int,int,int,int)", self.onCurrentChanged)
        self.ui.settingsFilterLineEdit.connect("textChanged(QString)", self._filter)
        self.ui.resetSettingsButton.connect("clicked(bool)", self.onReset)
        self._estimate = Poller(panel.uiWidget)
        self._estimated: list[str] = []
        self.ui.estimateButton.connect("clicked(bool)", self.onEstimate)
        self.ui.estimateProgressBar.visible = self.ui.settingDescriptionLabel.visible = False
        self._say("")

    def refresh(self) -> None:
        """Show the parameters."""
        self.devices.ask()
        for name, titles in self._titles().items():
            fillSelector(self._boxes[name], titles, getattr(self.parameters, name))
        entry = configuration.METHODS.get(self.parameters.method)  # a saved scene may name another program's
        # Other methods than joint ones have a translation of their own, or none.
        free = entry is not None and entry.builder.startswith("joint.") and self.parameters.method != "vae-cmedl"
        for widget in (self.ui.translationComboBox, self.ui.translationComboBoxCaption):
            widget.visible = free
        try:
            settings = self.logic.settings(self.parameters)
            changed = {change.partition("=")[0] for change in self.parameters.changes}
            self._settings = [
                setting for setting in settings_of(settings) if setting.key in changed or concerns(setting, settings)
            ]
            self._problem = ""
        except CMEDLError as error:
            self._problem = str(error)
        setText(self.ui.trainingNoteLabel, self._problem or (entry.description if entry else ""))
        self._fill()
        self.ui.estimateButton.enabled = self._estimate.busy or bool(self.parameters.cohort and not self._problem)
        if self._estimated and self._estimated != self.logic.arguments(self.parameters):
            # What was estimated holds for other settings.
            self._estimated = []
            self._say("")

    def onChosen(self, parameter: str, index: int) -> None:
        """Remember a choice in the scene."""
        if self.parameters:
            setattr(self.parameters, parameter, self._boxes[parameter].itemData(index))

    def onValueEdited(self, item: qt.QTableWidgetItem) -> None:
        """A value was typed: take it, or tell why it cannot be one."""
        if item.column() != VALUE or not self.parameters:
            return
        setting, text = self._settings[item.row()], item.text().strip()
        before = list(self.parameters.changes)
        kept = [change for change in before if change.partition("=")[0] != setting.key]
        self.parameters.changes = [*kept, f"{setting.key}={text}"] if text else kept
        with show_errors(_("The setting was not changed.")):
            try:
                self.logic.settings(self.parameters)
            except CMEDLError:
                self.parameters.changes = before
                raise
        self.refreshSoon()

    def onCurrentChanged(self, row: int, column: int, rowBefore: int, columnBefore: int) -> None:
        """Say below the table what the chosen setting means."""
        known = 0 <= row < len(self._settings)
        description = self._settings[row].description if known else ""
        setText(self.ui.settingDescriptionLabel, description)
        self.ui.settingDescriptionLabel.visible = bool(description)

    def onReset(self, checked: bool = False) -> None:
        """Forget all changed values."""
        self.parameters.changes = []

    def onEstimate(self, checked: bool = False) -> None:
        """Try steps in the background, or stop trying."""
        if self._estimate.busy:
            self._estimate.cancel()
            return
        with show_errors(_("Nothing could be estimated.")):
            if not dependencies.ensure("train"):
                return
            self._estimate.start(self.logic.estimate(self.parameters), self._onEstimated, self._estimating)
            self._estimated = self.logic.arguments(self.parameters)
            setText(self.ui.estimateButton, _("Cancel"))
            self._say("")
            self.ui.estimateProgressBar.value = 0
            self.ui.estimateProgressBar.visible = True

    def cleanup(self) -> None:
        """The panel is closed for good."""
        self.devices.close()
        self._estimate.drop()

    def _estimating(self, stage: str, fraction: float) -> None:
        self.ui.estimateProgressBar.value = round(1000 * fraction)
        self._say(stage)

    def _say(self, text: str) -> None:
        setText(self.ui.estimateLabel, text)
        self.ui.estimateLabel.visible = bool(text)

    def _onEstimated(self, estimate: dict | None, error: CMEDLError | None) -> None:
        setText(self.ui.estimateButton, _("Estimate"))
        self.ui.estimateProgressBar.visible = False
        self._say(_description(estimate) if estimate else str(error))
        self.refreshSoon()

    def _fill(self) -> None:
        """Show the settings; what was changed is bold."""
        table = self.ui.settingsTable
        changed = {change.partition("=")[0] for change in self.parameters.changes}
        rows = [[s.key, s.text(s.value), s.text(s.paper)] for s in self._settings]
        tips = [f"{s.key} = {s.text(s.value)}\n{s.description}\n({s.wanted})" for s in self._settings]
        with signals_blocked(table):
            fillTable(table, rows, tips, figures=table.columnCount)
            for row, setting in enumerate(self._settings):
                table.item(row, VALUE).setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEditable)
                for column in (KEY, VALUE):
                    font = table.item(row, column).font()
                    font.setBold(setting.key in changed)
                    table.item(row, column).setFont(font)
        self.ui.resetSettingsButton.enabled = bool(changed)
        self._filter(self.ui.settingsFilterLineEdit.text)

    def _filter(self, text: str) -> None:
        """Hide what neither is called nor means what was typed."""
        wanted = text.strip().lower()
        for row, setting in enumerate(self._settings):
            self.ui.settingsTable.setRowHidden(row, wanted not in f"{setting.key} {setting.description}".lower())

    def _titles(self) -> dict[str, dict[str, str]]:
        """What each selector offers."""
        models = {entry.name: entry.name for entry in registry.list_models() if entry.current and entry.card}
        segmentors = {"unet": "Unet", "densefcn": "DenseFCN", "mrrn": "MRRN"}
        return {
            "method": {name: name for name in configuration.METHODS},
            "preset": {"paper": _("Paper"), "fast": _("Fast"), "tiny": _("Tiny (to try the program)")},
            "segmentor": {name: segmentors[name] for name in SEGMENTORS},
            "translation": {"": _("The method's own"), "cyclegan": "CycleGAN", "drit": "DRIT"},
            "device": self.devices.titles,
            "initial": {"": _("Scratch"), **models},
        }


def concerns(setting: Setting, settings: configuration.Configuration) -> bool:
    """Whether a setting is one of the configured method's."""
    if settings.entry.roles == ("student",):
        return not setting.key.startswith(OF_TRANSLATION)
    joint = settings.entry.builder.startswith("joint.")
    if settings.method in ("vae-cmedl", "pmri-drit"):
        kind = "drit"
    else:
        kind = settings.translation.kind if joint else "cyclegan"
    # The help of a translation's own setting begins with its name.
    if setting.description.startswith("CycleGAN" if kind == "drit" else "DRIT"):
        return False
    mutual = settings.method == "mutual" and setting.key in OF_MUTUAL
    return joint or mutual or not setting.key.startswith(OF_JOINT)


def _description(estimate: dict) -> str:
    """What an estimate says, for a person."""
    lines = [
        _("{seconds:.3g} s a step with batch {batch} on {device}").format(
            seconds=estimate["seconds_per_step"], batch=estimate["batch"], device=estimate["device"]
        )
    ]
    if estimate["memory_gb"] is not None:
        lines.append(_("Memory: {gb:.2f} GB").format(gb=estimate["memory_gb"]))
        if estimate["available_gb"] is not None:
            lines[-1] += _(" of {gb:.1f} GB").format(gb=estimate["available_gb"])
    lines.append(
        _("Epochs: {epochs} at most, {epoch} each, {whole} in all, validation aside").format(
            epoch=duration(estimate["seconds_per_epoch"]),
            epochs=estimate["epochs"],
            whole=duration(estimate["seconds"]),
        )
    )
    if not estimate["prepared"]:
        lines.append(_("The slices are not prepared yet; there may be fewer of them."))
    return "\n".join(lines)
