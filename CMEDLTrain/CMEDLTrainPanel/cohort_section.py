"""Section "Cohort": the cases to train with."""

from __future__ import annotations

from CMEDLSegmentPanel.section import Section


class CohortSection(Section):
    """The cohort's folder."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self.ui.cohortProgressWidget.visible = False
        self.ui.cohortPathLineEdit.connect("currentPathChanged(QString)", self.onFolder)

    def refresh(self) -> None:
        """Show the folder."""
        if self.ui.cohortPathLineEdit.currentPath != self.parameters.cohort:
            self.ui.cohortPathLineEdit.currentPath = self.parameters.cohort

    def onFolder(self, path: str) -> None:
        """Another folder was chosen."""
        if self.parameters and path != self.parameters.cohort:
            self.parameters.cohort = path
