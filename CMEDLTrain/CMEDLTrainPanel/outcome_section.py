"""Section "Outcome": what came out of a run."""

from __future__ import annotations

from pathlib import Path

from slicer.i18n import tr as _

from CMEDLSegmentPanel.section import Section, setText
from CMEDLTrainLib.run_list import RUNS
from CMEDLTrainLib.runs import Run


class OutcomeSection(Section):
    """The finished student of the run that the panel shows."""

    def refresh(self) -> None:
        """Say whether there is a student."""
        chosen = self.parameters.run
        student = Run(Path(self.parameters.cohort, RUNS, chosen)).student if chosen else None
        text = _("A finished run leaves a student here.")
        if student and student.is_file():
            text = _("The student of this run: {path}").format(path=student)
        setText(self.ui.outcomeLabel, text)
