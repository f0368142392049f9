"""Adding cases to the cohort: asked for in a dialog, copied one after the other while Slicer goes on answering."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from CMEDLSegmentLib.base.errors import CMEDLError
from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.io.case_folders import TrainingCase
from CMEDLSegmentPanel.export_section import REVIEWER
from CMEDLSegmentPanel.poller import Background
from CMEDLTrainLib.cohort.collecting import Collected
from CMEDLTrainLib.cohort.folder import CohortFolder

from .add_dialogs import FolderDialog, SceneDialog
from .scene.case_proposals import proposals


class CaseAdding:
    """What is being added to a cohort. It goes on when the panel is left.

    Args:
        section: the panel's section "Cohort".
    """

    def __init__(self, section) -> None:
        self._section = section
        self._work = Background(section.panel.uiWidget)
        self._waiting: list[Callable[[], TrainingCase]] = []
        self._done = self._total = 0
        self._refused: list[str] = []
        self._cohort: CohortFolder | None = None
        self.stage = ("", 0.0)
        """What is being done, and the share of it that is done."""

    @property
    def busy(self) -> bool:
        """Whether cases are being added."""
        return self._cohort is not None

    def fromScene(self, dicom: bool = False) -> None:
        """Ask which images of the scene become cases, and copy them."""
        offered = proposals(dicom)
        if not offered:
            text = _("No study in the scene has an image with an RTSTRUCT or SEG; load both from the DICOM module.")
            if not dicom:
                text = _("The scene has no image with a segment drawn on it; load or draw one first.")
            slicer.util.infoDisplay(text)
            return
        dialog = SceneDialog(offered, self._section.labels, slicer.util.settingsValue(REVIEWER, ""))
        if not dialog.ask():
            return
        slicer.app.userSettings().setValue(REVIEWER, dialog.reviewer)
        self._waiting = dialog.cases(self._begin().folder)
        self._total = len(self._waiting)
        self._next()

    def fromFolder(self) -> None:
        """Ask for a folder and a pattern, and copy what is found."""
        form = self._section.panel.resourcePath("UI/AddFromFolder.ui")
        dialog = FolderDialog(form, self._section.labels)
        if not dialog.ask():
            return
        cohort, source, rules = self._begin(), Path(dialog.source), dialog.rules()
        self._start(lambda progress: cohort.collect(source, rules, progress), self._collected)

    def cancel(self) -> None:
        """Add no more; what was added stays."""
        self._waiting.clear()
        self._work.drop()
        self._end()

    def _begin(self) -> CohortFolder:
        cohort = self._section.cohort
        self._cohort, self._done, self._refused = cohort, 0, []
        return cohort

    def _next(self) -> None:
        """Copy the next case; taking it out of the scene is done here, writing it in a thread."""
        while self._waiting:
            make = self._waiting.pop(0)
            self._done += 1
            self._tell(_("Adding case {number} of {count}").format(number=self._done, count=self._total), 0.0)
            try:
                case = make()
            except CMEDLError as error:
                self._refused.append(str(error))
                continue
            assert self._cohort is not None
            self._start(partial(_add, self._cohort, case), self._added)
            return
        self._finish()

    def _start(self, work: Callable[[Progress], object], done: Callable) -> None:
        self._work.run(work, done, self._tell)

    def _tell(self, stage: str, fraction: float) -> None:
        if self._total:
            fraction = (self._done - 1) / self._total
        self.stage = (stage or self.stage[0], fraction)
        self._section.show()

    def _added(self, result: Path | None, error: Exception | None) -> None:
        self._failed(error)
        self._section.reload(check=False)
        self._next()

    def _collected(self, result: Collected | None, error: Exception | None) -> None:
        if not self._failed(error) and result is not None:
            self._refused += [f"{name}: {why}" for name, why in result.refused]
            self._refused += [_("{name} is in the cohort already.").format(name=name) for name in result.there]
        self._finish()

    def _failed(self, error: Exception | None) -> bool:
        """Whether something went wrong; what the user can mend is told at the end."""
        if isinstance(error, CMEDLError):
            self._refused.append(str(error))
        elif error:
            self._end()
            raise error
        return error is not None

    def _finish(self) -> None:
        refused = self._refused
        self._end()
        self._section.reload()
        if refused:
            shown = refused[:10] + ([_("... and {count} more").format(count=len(refused) - 10)] if refused[10:] else [])
            slicer.util.errorDisplay(_("Not everything was added.") + "\n\n" + "\n".join(shown))

    def _end(self) -> None:
        cohort, self._cohort, self._total = self._cohort, None, 0
        # The panel was left meanwhile, or shows another cohort.
        if cohort is not None and cohort is not self._section.cohort:
            cohort.release()


def _add(cohort: CohortFolder, case: TrainingCase, progress: Progress) -> Path:
    return cohort.add(case)
