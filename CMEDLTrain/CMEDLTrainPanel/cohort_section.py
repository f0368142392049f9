"""Step 1, cases: the folder, its cases in two tables, what is wrong with them, and what can be done to them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import qt
import slicer
from slicer.i18n import tr as _

from CMEDLSegmentLib.base.errors import CMEDLError
from CMEDLSegmentLib.io.cohort_table import ROLES, Case
from CMEDLSegmentPanel.input_section import BLOCKED, DOUBTFUL
from CMEDLSegmentPanel.poller import Background, Watch
from CMEDLSegmentPanel.section import Section, followPath, plainToolTip, rememberPath, setText, show_errors
from CMEDLTrainLib.cohort.checks import ERROR, Finding, summary
from CMEDLTrainLib.cohort.folder import CohortFolder
from CMEDLTrainLib.cohort.survey import Survey
from CMEDLTrainLib.settings.configuration import METHODS, labels_of

from .case_adding import CaseAdding
from .case_view import CaseView
from .cases_table import CasesTable, Row, splitTitles

if TYPE_CHECKING:
    from CMEDLSegmentLib.io.volume import Volume

    from .scene.case_nodes import Structure

WATCH_MS = 2000
"""How often the folder is looked at while the panel is seen: others may change it."""
FILL_EVERY = 25
"""Polls of the checks after which the tables are filled with what was found, twice a second or so."""


class CohortSection(Section):
    """The cohort that the panel shows.

    Attributes:
        cohort: the opened folder; None while there is none.
        survey: what is known of its cases.
        findings: what is wrong, by case, errors first; under "" what is wrong with the cohort as a whole.
    """

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self.cohort: CohortFolder | None = None
        self.survey: Survey | None = None
        self._path, self._refused, self._polls = "", "", 0
        self._labels = labels_of("")
        self.findings: dict[str, list[Finding]] = {}
        self._checks, self._view = Background(panel.uiWidget), CaseView(panel.uiWidget, self._showButtons)
        self._adding = CaseAdding(self)
        self._watch = Watch(panel.uiWidget, WATCH_MS, self._look_at_folder, self._looked)
        slots = (self.onSplitChosen, self.showCase)
        self._tables = {
            "student": CasesTable(self.ui.studentTable, *slots, lambda: self.onSelection("student", "teacher")),
            "teacher": CasesTable(self.ui.teacherTable, *slots, lambda: self.onSelection("teacher", "student")),
        }
        menu = qt.QMenu(self.ui.addCasesButton)
        for title, add in (
            (_("From the scene..."), self._adding.fromScene),
            (_("From DICOM studies in the scene..."), lambda: self._adding.fromScene(dicom=True)),
            (_("From a folder..."), self._adding.fromFolder),
        ):
            menu.addAction(title).connect("triggered(bool)", lambda checked, add=add: add())
        self.ui.addCasesButton.setMenu(menu)
        self.ui.cohortProgressWidget.visible = False
        followPath(self.ui.cohortPathLineEdit, self.onFolder)
        self.ui.openCaseButton.connect("clicked(bool)", self.onOpenCase)
        self.ui.removeCaseButton.connect("clicked(bool)", self.onRemove)
        self.ui.splitButton.connect("clicked(bool)", self.onSplit)
        self.ui.cohortCancelButton.connect("clicked(bool)", self.onCancel)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the masks' values; those before where what is typed is none yet, as Training tells."""
        with contextlib.suppress(CMEDLError):
            self._labels = labels_of(self.parameters.labels)
        return self._labels

    @property
    def _opened(self) -> CohortFolder:
        """The cohort, for what is offered only while one is open."""
        assert self.cohort is not None
        return self.cohort

    @property
    def checking(self) -> bool:
        """Whether cases are being looked at."""
        return self._checks.busy

    @property
    def shownCase(self) -> Case | None:
        """The case that is in the views, or on its way there."""
        return self._view.case

    def refresh(self) -> None:
        """Show the folder that the parameter node names; open it if it is another one than before."""
        path = self.parameters.cohort
        if self.ui.cohortPathLineEdit.currentPath != path:
            self.ui.cohortPathLineEdit.currentPath = path
        opened = path != self._path or (self.cohort is None and bool(path))
        if opened:
            self._open(path)
        if path:
            self._watch.start()
        examine = self.cohort is not None and (opened or self.survey is None or self.survey.labels != self.labels)
        self._showAndExamine() if examine else self.show()

    def onFolder(self, path: str) -> None:
        """Another folder was chosen."""
        if self.parameters and path != self.parameters.cohort:
            self.parameters.cohort = path

    def _look_at_folder(self) -> Callable[[], tuple[CohortFolder | None, bool, bool]]:
        """What a look reads, in a thread: whether somebody has changed the table, or let go of the cohort."""
        cohort, path = self.cohort, self._path

        def look() -> tuple[CohortFolder | None, bool, bool]:
            if cohort is None:
                return None, _opens(path), False
            if cohort.changed():
                return cohort, True, False
            blocking_reason = cohort.blocking_reason
            cohort.take() if blocking_reason else cohort.beat()
            return cohort, False, cohort.blocking_reason != blocking_reason

        return look

    def _looked(self, state: tuple[CohortFolder | None, bool, bool]) -> None:
        cohort, changed, freed = state
        if cohort is not self.cohort:
            return
        if changed and cohort is None:
            self.refreshSoon()
        elif changed:
            self.reload()
        elif freed:
            self.show()

    def onSelection(self, role: str, other: str) -> None:
        """Only one table has selected rows: buttons mean what was clicked last."""
        if self._tables[role].selected:
            self._tables[other].table.clearSelection()
        self._showButtons()

    def onSplitChosen(self, cases: list[Case], split: str) -> None:
        """Put patients into a split."""
        with show_errors(_("The split was not changed.")):
            self._opened.set_splits({case.patient: split for case in cases})
        self.reload()

    def onSplit(self, checked: bool = False) -> None:
        """Divide the patients at random."""
        shares = tuple(box.value for box in (self.ui.trainSpinBox, self.ui.validationSpinBox, self.ui.testSpinBox))
        with show_errors(_("The patients were not divided.")):
            assert self.survey is not None
            volumes = self.survey.volumes(self._opened.cases)
            self._opened.split(shares, self.ui.seedSpinBox.value, volumes, not self.ui.keepSplitCheckBox.checked)
        self.reload()

    def onRemove(self, checked: bool = False) -> None:
        """Take the selected cases out, after asking."""
        names = [case.case for case in self._selected()]
        text = _("Take {count} of the cases out of the cohort: {names}? Their copies go to the folder's bin.")
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        if not slicer.util.confirmYesNoDisplay(text.format(count=len(names), names=shown)):
            return
        self._view.hide()
        with show_errors(_("The cases were not taken out.")):
            self._opened.remove(names)
        self.reload()

    def onOpenCase(self, checked: bool) -> None:
        """Show the selected case in the views, or take it out of them."""
        selected = self._selected()
        if checked and selected:
            self.showCase(selected[0])
        else:
            self._view.hide()
            self._showButtons()

    def showCase(self, case: Case, more: Callable[[Volume], list[Structure]] | None = None) -> None:
        """Show a case with its contour in the views, until another one is shown or the panel is left.

        Args:
            case: the case.
            more: further structures on its image's grid; called in a thread with the image.
        """
        self._view.show(case, self.labels, more)

    def onCancel(self, checked: bool = False) -> None:
        """Stop adding, or checking; what was added and found stays."""
        self._adding.cancel()
        self._checks.drop()
        self.reload(check=False)

    def reload(self, check: bool = True) -> None:
        """Read the table again, show it, and look at cases that are new."""
        if self.cohort is None:
            return
        try:
            self.cohort.reload()
            self.cohort.take()
            self._refused = ""
        except CMEDLError as error:
            self._refused = str(error)
        self._showAndExamine() if check and not self._adding.busy and self.parameters else self.show()

    def show(self) -> None:
        """Fill the tables and the lines around them."""
        cohort = self.cohort
        findings = self.findings = self._findings()
        editable = cohort is not None and not cohort.blocking_reason and not self._refused and not self._adding.busy
        known = self.survey.known if self.survey else {}
        splits = splitTitles()
        rows: dict[str, list[Row]] = {role: [] for role in self._tables}
        for case in cohort.cases if cohort else ():
            row = Row(case, splits[case.split], known.get(case.case), findings.get(case.case, ()))
            rows[case.role or ROLES[0]].append(row)
        for role, table in self._tables.items():
            table.show(rows[role], editable)
            table.table.visible = bool(rows[role])
        self.ui.studentCasesLabel.visible = bool(rows["student"])
        self.ui.teacherCasesLabel.visible = bool(rows["teacher"])
        self.ui.addCasesButton.enabled = editable
        for widget in (self.ui.openCaseButton, self.ui.removeCaseButton, self.ui.splitButton, self.ui.sharesGroupBox):
            widget.visible = any(rows.values())
        self.ui.splitButton.enabled = editable
        errors = sum(finding.severity == ERROR for own in findings.values() for finding in own)
        self._showNote(findings.get("", []), errors)
        self._showProgress()
        self._showButtons()
        self.panel.steps.refreshSoon()

    def leave(self) -> None:
        """The panel is no longer seen: others may change the cohort. What is being added goes on."""
        super().leave()
        self._watch.stop()
        self._close()

    def cleanup(self) -> None:
        """The panel is closed for good."""
        self._watch.stop()
        self._adding.cancel()
        self._checks.drop()
        self._view.hide()

    def _open(self, path: str) -> None:
        self._close()
        self._path = path
        if not path:
            return
        try:
            self.cohort = CohortFolder(path)
        except CMEDLError as error:
            self._refused = str(error)
            return
        rememberPath(self.ui.cohortPathLineEdit)
        self.cohort.take()

    def _close(self) -> None:
        self._checks.drop()
        self._view.hide()
        for table in self._tables.values():
            table.closeBox()
        if self.cohort and not self._adding.busy:
            self.cohort.release()
        self.cohort = self.survey = None
        self._path = self._refused = ""

    def _showAndExamine(self) -> None:
        """Show what is remembered of the cases, and look at those that are new or have changed in the background."""
        if self.survey is None or self.survey.labels != self.labels:
            self.survey = Survey(self._opened.folder, self.labels)
        cases, survey = self._opened.cases, self.survey
        survey.recall(cases)
        self.show()
        if cases:
            self._checks.run(lambda progress: survey.look(cases, progress), self._surveyed, self._surveying)
            self._showProgress()

    def _surveying(self, stage: str, fraction: float) -> None:
        self._polls += 1
        self._showProgress(stage, fraction)
        if self._polls % FILL_EVERY == 0:
            self.show()

    def _surveyed(self, result: None, error: Exception | None) -> None:
        self.show()
        if error:
            raise error

    def _findings(self) -> dict[str, list[Finding]]:
        findings: dict[str, list[Finding]] = {}
        if self.cohort and self.cohort.cases and self.survey and self.parameters:
            method = METHODS.get(self.parameters.method)
            roles = {"roles": method.roles} if method else {}
            for finding in self.survey.findings(self.cohort.cases, self.cohort.problems, **roles):
                findings.setdefault(finding.case, []).append(finding)
        for own in findings.values():
            own.sort(key=lambda finding: finding.severity != ERROR)
        return findings

    def _showNote(self, findings: list[Finding], errors: int) -> None:
        """The line below the folder, and the one below the tables: ``findings`` are the cohort's, ``errors`` all."""
        note, style = "", BLOCKED
        if self._refused:
            note = self._refused
        elif not self.cohort:
            note, style = _("Choose the folder of a cohort, or an empty one for a new cohort."), ""
        elif self.cohort.blocking_reason:
            note, style = self.cohort.blocking_reason, DOUBTFUL
        elif self.cohort.is_new:
            note, style = _("A new cohort: it begins with the first case that is added."), ""
        setText(self.ui.cohortNoteLabel, note)
        self.ui.cohortNoteLabel.toolTip = plainToolTip(note)
        self.ui.cohortNoteLabel.styleSheet = style
        self.ui.cohortNoteLabel.visible = bool(note)
        lines = [summary(self.cohort.cases, errors)] if self.cohort and self.cohort.cases else []
        lines += [finding.sentence for finding in findings]
        setText(self.ui.cohortSummaryLabel, "\n".join(lines))
        self.ui.cohortSummaryLabel.visible = bool(lines)
        blocked = any(finding.severity == ERROR for finding in findings)
        self.ui.cohortSummaryLabel.styleSheet = BLOCKED if blocked else DOUBTFUL if findings else ""

    def _showProgress(self, stage: str = "", fraction: float = 0.0) -> None:
        self.ui.cohortProgressWidget.visible = self._adding.busy or self._checks.busy
        if self._adding.busy:
            stage, fraction = self._adding.stage
        setText(self.ui.cohortProgressLabel, stage)
        self.ui.cohortProgressBar.value = round(1000 * fraction)

    def _showButtons(self) -> None:
        selected = self._selected()
        self.ui.openCaseButton.enabled = bool(selected) or self._view.shown
        self.ui.openCaseButton.checked = self._view.shown
        self.ui.removeCaseButton.enabled = bool(selected) and self._tables["student"].editable
        findings = self.findings.get(selected[0].case, ()) if len(selected) == 1 else ()
        setText(self.ui.caseNoteLabel, "\n".join(finding.sentence for finding in findings))
        self.ui.caseNoteLabel.visible = bool(findings)

    def _selected(self) -> list[Case]:
        return [case for table in self._tables.values() for case in table.selected]


def _opens(path: str) -> bool:
    """Whether the folder of a cohort that could not be opened can be now."""
    try:
        CohortFolder(path)
    except CMEDLError:
        return False
    return True
