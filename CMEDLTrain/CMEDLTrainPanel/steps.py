"""The way from cases to a model: which step is next, in one sentence, and what of the panel is open at it."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from CMEDLSegmentLib.base.text import duration
from CMEDLSegmentPanel.section import Section, setText
from CMEDLTrainLib.cohort.checks import ERROR
from CMEDLTrainLib.runs.run_list import Entry
from CMEDLTrainLib.settings.configuration import METHODS

CASES, SETTINGS, TRAIN, MODEL = "cases", "settings", "train", "model"
PARTS = ("cohort", "training", "run", "outcome")
"""The panel's sections, in the order of their numbers."""
OPEN = {CASES: ("cohort",), SETTINGS: ("training", "run"), TRAIN: ("run",), MODEL: ("outcome",)}
"""What is open at a step until somebody opens or folds something."""
LEAST_PATIENTS = 3
"""Of the student: one to train, one to validate, one to test."""


class Steps(Section):
    """The line at the top of the panel, and the folding of the sections below it."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._step = ""
        self._folding = False
        self._buttons = {part: getattr(self.ui, f"{part}CollapsibleButton") for part in PARTS}
        for button in self._buttons.values():
            button.connect("contentsCollapsed(bool)", self.onFolded)

    def refresh(self) -> None:
        """Say what is next, and open what it needs where that is another step than before."""
        cohort, run = self.panel.cohort, self.panel.run
        if cohort.cohort is not None and not run.looked:
            return  # whether there are runs is not known yet
        if cohort.checking and not run.chosen:
            setText(self.ui.nextLabel, _("Next: wait until the cases have been checked."))
            return
        step, sentence = self._next()
        setText(self.ui.nextLabel, sentence)
        if step == self._step:
            return
        self._step, self._folding = step, True
        opened = slicer.util.settingsValue(_key(step), ",".join(OPEN[step])).split(",")
        for part, button in self._buttons.items():
            button.collapsed = part not in opened
        self._folding = False

    def onFolded(self, folded: bool) -> None:
        """Remember what a person has open at this step."""
        if self._step and not self._folding:
            opened = [part for part, button in self._buttons.items() if not button.collapsed]
            slicer.app.userSettings().setValue(_key(self._step), ",".join(opened))

    def _next(self) -> tuple[str, str]:
        """The next step, and a sentence about it."""
        entry = self.panel.run.chosen
        if entry is None and self.panel.run.entries:
            return TRAIN, _("Next: click a run in the table, or start another one.")
        if entry is None:
            lacking = self._lacking()
            return (CASES, lacking) if lacking else (SETTINGS, _("Next: choose a method, then press Start."))
        if entry.state == "finished" and not entry.holder:
            return MODEL, self._judging(entry)
        return TRAIN, self._training(entry)

    def _lacking(self) -> str:
        """What the cohort lacks to be trained from; empty where nothing does."""
        section = self.panel.cohort
        if section.cohort is None:
            return _("Next: choose a folder for the cases.")
        cases = section.cohort.cases
        patients = {role: {case.patient for case in cases if case.role == role} for role in ("student", "teacher")}
        missing = LEAST_PATIENTS - len(patients["student"])
        if missing > 0:
            modality = next((case.modality for case in cases if case.role == "student"), "CT")
            text = _(
                "Next: add at least {count} {modality} cases of different patients, each with a contour ({labels})."
            )
            if missing == 1:
                text = _("Next: add at least one more {modality} case, of another patient, with a contour ({labels}).")
            return text.format(count=missing, modality=modality, labels=", ".join(section.labels))
        method = METHODS.get(self.parameters.method)
        if method and "teacher" in method.roles and not patients["teacher"]:
            return _("Next: add MR cases of other patients for the teacher, or choose the method ct-only.")
        faulty = sum(own[0].severity == ERROR for case, own in section.findings.items() if case)
        if faulty:
            text = _("Next: mend or remove the {count} cases with errors.") if faulty > 1 else ""
            return text.format(count=faulty) or _("Next: mend or remove the case with an error.")
        if not all(case.split for case in cases) or any(own.severity == ERROR for own in section.findings.get("", ())):
            return _("Next: press Split by patient, or choose the splits in the table.")
        return ""

    def _training(self, entry: Entry) -> str:
        if entry.problem:
            return _("Next: choose another run; {run} cannot be read.").format(run=entry.name)
        if entry.holder or self.panel.run.starting(entry):
            left = entry.status["seconds_left"]
            text = _("Next: wait until {run} has finished ({time} left).") if left else _("Next: wait; {run} starts.")
            return text.format(run=entry.name, time=left and duration(left))
        return _("Next: press Resume to go on with {run}.").format(run=entry.name)

    def _judging(self, entry: Entry) -> str:
        outcome = self.panel.outcome
        model = self.panel.student.installed.get(outcome.card.weights_sha256) if outcome.card else None
        if model:
            text = _("Done: CMEDLSegment segments with {model}, the model of {run}.")
            return text.format(model=model, run=entry.name)
        if outcome.scored is None:
            return _("Next: press Evaluate to score {run} on its test cases.").format(run=entry.name)
        return _("Next: press Install in CMEDLSegment, or train another run.")


def _key(step: str) -> str:
    return f"CMEDLTrain/open/{step}"
