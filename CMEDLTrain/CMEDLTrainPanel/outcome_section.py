"""Step 4, model, first half: how good the run's model is on held-out cases, beside another model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt
from slicer.i18n import tr as _

from CMEDLSegmentLib.base.errors import CMEDLError, InputError
from CMEDLSegmentLib.io.cohort_table import read_cohort
from CMEDLSegmentLib.models import registry
from CMEDLSegmentLib.models.model_card import Card, read_card
from CMEDLSegmentPanel import dependencies
from CMEDLSegmentPanel.input_section import BLOCKED, DOUBTFUL
from CMEDLSegmentPanel.poller import Poller, Watch
from CMEDLSegmentPanel.section import Section, fitHeight, plainToolTip, setText, show_errors
from CMEDLTrainLib.cohort.folder import RUNS
from CMEDLTrainLib.evaluation.evaluation_summary import EvaluationSummary, ScoredCase, pictures_of, read_summary
from CMEDLTrainLib.evaluation.scoring import SURFACE, format_value, measure_title
from CMEDLTrainLib.runs.run_folder import Run, open_run

from .model_contour import ModelContour
from .tables import fillSelector, fillTable, selected

WATCH_MS = 2000
"""How often the run's folder is looked at while the panel is seen: training and other programs write into it."""
OTHER, P = 2, 3
"""Columns that are shown where the model is compared with another one."""
PAIRED_WIDTHS, SCORED_WIDTHS = (0, 86, 86, 48), (0, 52, 84, 80)
"""Pixels of the columns: all that is in them is seen in a panel of usual width. The first has the rest."""


class OutcomeSection(Section):
    """The figures of the run that the panel shows, and its worst cases.

    Attributes:
        run: the chosen run, if it has a model.
        card: that model's.
        scored: its evaluation; None while there is none.
    """

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self.run: Run | None = None
        self.card: Card | None = None
        self.scored: EvaluationSummary | None = None
        self._state: tuple = ()
        self._problem, self._said, self._style = "", "", ""
        self._evaluation = Poller(panel.uiWidget)
        self._contour = ModelContour(panel, self._sayOfCase)
        for table, widths in ((self.ui.pairedTable, PAIRED_WIDTHS), (self.ui.scoredTable, SCORED_WIDTHS)):
            table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
            for column, width in list(enumerate(widths))[1:]:
                table.horizontalHeader().resizeSection(column, width)
        self._watch = Watch(panel.uiWidget, WATCH_MS, self._look_at_folder, self._looked)
        self.ui.againstComboBox.connect("activated(int)", self.onAgainst)
        self.ui.evaluateButton.connect("clicked(bool)", self.onEvaluate)
        self.ui.scoredTable.connect("cellClicked(int,int)", self.onCaseClicked)
        self.ui.hideScoredButton.connect("clicked(bool)", self.onHide)
        # In the program that the computer has for it.
        self.ui.openPictureButton.connect("clicked(bool)", lambda: self._open(selected(self.ui.picturesComboBox)))
        self.ui.openEvaluationButton.connect("clicked(bool)", lambda: self._open(""))
        self.ui.hideScoredButton.visible = False

    def refresh(self) -> None:
        """Show what the run's folder holds."""
        self._look()
        self._showNote()
        self._showAgainst()
        self._showFigures()
        self._showBusy()
        self._watch.start()
        self.panel.steps.refreshSoon()

    def _look_at_folder(self) -> Callable[[], tuple]:
        folder = self._folder()
        return lambda: _state_of(folder)

    def _looked(self, state: tuple) -> None:
        """Refresh where the folder is not as it was."""
        if state != self._state:
            self.refreshSoon()

    def onAgainst(self, index: int) -> None:
        """Remember the choice in the scene."""
        if self.parameters:
            self.parameters.against = self.ui.againstComboBox.itemData(index)

    def onEvaluate(self, checked: bool = False) -> None:
        """Score the model in the background, or stop that."""
        if self._evaluation.busy:
            self._evaluation.cancel()
            return
        self._say("")
        with show_errors(_("The model could not be evaluated.")):
            if not dependencies.ensure("evaluate"):
                return
            command = self.logic.evaluate(self.run, selected(self.ui.againstComboBox), self.parameters.device)
            self._evaluation.start(command, self._evaluated, self._evaluating)
            self.ui.evaluationProgressBar.value = 0
        self._showBusy()

    def onCaseClicked(self, row: int, column: int) -> None:
        """Show a case in the views, with the expert's contour and the model's."""
        run, card, scored = self.run, self.card, self.scored
        assert run is not None
        assert card is not None
        assert scored is not None
        name = scored.cases[row].case
        with show_errors(_("The case cannot be shown.")):
            cases = read_cohort(run.configuration.cohort, check_files=False)
            case = next((case for case in cases if case.case == name), None)
            if case is None:
                raise InputError(_("The cohort has no case {name} any more; evaluate the run anew.").format(name=name))
            self._contour.show(case, run.student, card, self.parameters.device)

    def onHide(self, checked: bool = False) -> None:
        """Take the case out of the views."""
        self._contour.drop()
        self.ui.scoredTable.clearSelection()
        self.panel.cohort.onOpenCase(False)

    def leave(self) -> None:
        """The panel is no longer seen; an evaluation goes on."""
        super().leave()
        self._watch.stop()
        self._contour.drop()

    def cleanup(self) -> None:
        """The panel is closed for good."""
        self._evaluation.drop()
        self._contour.close()

    def _open(self, name: str) -> None:
        assert self.run is not None
        path = self.run.folder / "evaluation" / name
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))

    def _folder(self) -> Path | None:
        """The chosen run's."""
        cohort, run = self.parameters.cohort, self.parameters.run
        return Path(cohort, RUNS, run) if cohort and run else None

    def _look(self) -> None:
        """Read the run's folder where it is not as it was."""
        state = _state_of(self._folder())
        if state == self._state:
            return
        if state[:1] != self._state[:1]:
            self._contour.drop()
            self._said = ""
        self._state = state
        self.panel.student.refreshSoon()
        self.run = self.card = self.scored = None
        self._problem = ""
        if not state or not Run(state[0]).student.is_file():
            return
        try:
            self.run = open_run(state[0])
            self.card = read_card(self.run.student)
            self.scored = read_summary(self.run)
        except CMEDLError as error:
            self._problem = str(error)
            self.run = self.run if self.card else None

    def _showNote(self) -> None:
        """The line at the top: what there is, and what is doubtful about the figures."""
        text, style = "", ""
        if self._problem:
            text, style = self._problem, BLOCKED
        elif not self.run or not self.card:
            text = _("Choose a run under Run; when it has finished, its model is judged and installed here.")
        elif not self.scored:
            text = _("The model of {run} has not been evaluated yet.").format(run=self.run.folder.name)
        elif self.scored.weights_sha256 != self.card.weights_sha256:
            text, style = _("These figures are of older weights of this run; evaluate it anew."), DOUBTFUL
        elif not self.scored.own_cohort:
            text, style = _("These figures are of another cohort's cases; evaluate the run for its own."), DOUBTFUL
        elif self._otherHasChanged(self.scored):
            text = _("{model} has another version since; evaluate anew to compare with it.")
            text, style = text.format(model=self.scored.against), DOUBTFUL
        setText(self.ui.outcomeLabel, text)
        self.ui.outcomeLabel.styleSheet = style
        self.ui.outcomeLabel.visible = bool(text)
        if not self._evaluation.busy:
            self._tell(self._said, self._style)

    def _otherHasChanged(self, scored: EvaluationSummary) -> bool:
        """Whether the model that was compared with is installed in a version that was not."""
        known = {entry.name: card.weights_sha256 for entry, card in self._students()}
        now = known.get(scored.against)
        return now is not None and now != scored.against_sha256

    def _showAgainst(self) -> None:
        """Offer the models that mark as many structures on the same modality, and the cohort's other runs."""
        titles = {"": _("Nobody")}
        if self.run and self.card:
            own = self.card.modality, len(self.card.labels)
            fits = [(entry, card) for entry, card in self._students() if (card.modality, len(card.labels)) == own]
            titles |= {entry.name: f"{entry.name} {entry.version}" for entry, card in fits}
            others = sorted(self.run.folder.parent.glob("*/student.safetensors"))
            names = [path.parent for path in others if path.parent.name != self.run.folder.name]
            titles |= {str(path): _("Run {name}").format(name=path.name) for path in names}
        chosen = self.parameters.against
        fillSelector(self.ui.againstComboBox, titles, chosen if chosen in titles else "")

    def _showBusy(self) -> None:
        busy, ready = self._evaluation.busy, self.run is not None
        setText(self.ui.evaluateButton, _("Cancel") if busy else _("Evaluate"))
        self.ui.evaluateButton.enabled = busy or ready
        self.ui.againstComboBox.enabled = ready and not busy
        self.ui.evaluationProgressBar.visible = busy

    @staticmethod
    def _students() -> list[tuple[registry.Entry, Card]]:
        return [(entry, entry.card) for entry in registry.list_models() if entry.current and entry.card]

    def _showFigures(self) -> None:
        """Fill both tables."""
        run, scored = self.run, self.scored
        self.ui.figuresWidget.visible = scored is not None
        if scored is None or run is None:
            return
        rows = [[row.title, row.own, row.other, row.p] for row in scored.paired]
        fillTable(self.ui.pairedTable, rows, [row.description for row in scored.paired])
        for column in (OTHER, P):
            self.ui.pairedTable.setColumnHidden(column, not scored.against)
        self.ui.pairedTable.horizontalHeaderItem(OTHER).setToolTip(plainToolTip(scored.against))
        fitHeight(self.ui.pairedTable)
        fillTable(self.ui.scoredTable, [_cells(case) for case in scored.cases], list(map(_tip, scored.cases)))
        box = self.ui.picturesComboBox
        pictures = {str(path): str(path) for path in pictures_of(run)}
        chosen = selected(box)
        fillSelector(box, pictures, chosen if chosen in pictures else next(iter(pictures), ""))
        self.ui.openPictureButton.enabled = box.enabled = bool(pictures)

    def _evaluating(self, stage: str, fraction: float) -> None:
        self._tell(stage or _("Starting"))
        self.ui.evaluationProgressBar.value = round(1000 * fraction)

    def _evaluated(self, result: dict | None, error: CMEDLError | None) -> None:
        self._showBusy()
        self._say(str(error) if error else "", BLOCKED if error else "")
        self.refreshSoon()

    def _sayOfCase(self, text: str) -> None:
        setText(self.ui.scoredCaseLabel, text)
        self.ui.scoredCaseLabel.visible = self.ui.hideScoredButton.visible = bool(text)

    def _say(self, text: str, style: str = "") -> None:
        """Show what stays until the next evaluation, or another run."""
        self._said, self._style = text, style
        self._tell(text, style)

    def _tell(self, text: str, style: str = "") -> None:
        setText(self.ui.evaluationLabel, text)
        self.ui.evaluationLabel.styleSheet = style
        self.ui.evaluationLabel.visible = bool(text)


def _state_of(folder: Path | None) -> tuple:
    """What tells that something in a run's folder has changed."""
    return (folder, *(_stamp(folder / name) for name in ("student.safetensors", "evaluation.json"))) if folder else ()


def _stamp(path: Path) -> tuple[int, int] | None:
    """When a file was written last, and its size; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _cells(case: ScoredCase) -> list[str]:
    return [case.case, *(format_value(case.values[name], name) for name in ("dsc", "hd95_mm")), ", ".join(case.missed)]


def _tip(case: ScoredCase) -> str:
    values = [f"{measure_title(name)} {format_value(case.values[name], name)}" for name in SURFACE]
    return f"{case.case}: " + ", ".join(values)
