"""Group "Blinded review": contours without names, one by one, to be scored; then the names."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from .agreement_view import displayName
from .export_section import REVIEWER
from .scene import blinded_review
from .scene.blinded_review import Blind, Review
from .scene.rated_scene import RatedScene
from .section import Section, fitHeight, plainToolTip, setText, show_errors


def scoreText(score: str) -> str:
    """A score or a reason for people; the stored word is what reports and tables hold."""
    return {
        "": "",
        "accept": _("Accept"),
        "minor edit": _("Minor edit"),
        "major edit": _("Major edit"),
        "reject": _("Reject"),
        "too large": _("Too large"),
        "too small": _("Too small"),
        "part of the tumor is missed": _("Part of the tumor is missed"),
        "takes in a vessel or the chest wall": _("Takes in a vessel or the chest wall"),
        "takes in collapsed or inflamed lung": _("Takes in collapsed or inflamed lung"),
        "slices at an end": _("Slices at an end"),
        "another structure": _("Another structure"),
        "rough edge": _("Rough edge"),
        "other": _("Other"),
    }[score]


class ReviewSection(Section):
    """Start, scoring, names, and the scores of the scene.

    While contours are blinded all other segmentations are hidden, and so is what names them in this panel.
    """

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._going: tuple[Review, Blind] | None = None
        self._number, self._written = 0, -1
        self._named = (
            self.ui.resultWidget,
            self.ui.clickWidget,
            self.ui.expertsWidget,
            self.ui.resultGroupBox,
            self.ui.handOnCollapsibleButton,
            self.ui.namedWidget,
            self.ui.summaryWidget,
            self.ui.toolsWidget,
        )
        buttons = (self.ui.acceptButton, self.ui.minorButton, self.ui.majorButton, self.ui.rejectButton)
        self._buttons = dict(zip(blinded_review.SCORES, buttons, strict=True))
        for widget in (self.ui.reviewWidget, self.ui.revealButton, self.ui.cancelReviewButton):
            widget.visible = False
        self.ui.reviewedByLineEdit.text = slicer.util.settingsValue(REVIEWER, "")
        for reason in ("", *blinded_review.REASONS):
            self.ui.reasonComboBox.addItem(scoreText(reason), reason)
        for score, button in self._buttons.items():
            button.connect("clicked(bool)", lambda checked, score=score: self.onScore(score))
        self.ui.reviewedByLineEdit.connect("textChanged(QString)", self.refreshSoon)
        self.ui.startReviewButton.connect("clicked(bool)", self.onStart)
        self.ui.reasonComboBox.connect("activated(int)", self.onReason)
        self.ui.commentLineEdit.connect("textEdited(QString)", self.onComment)
        self.ui.previousContourButton.connect("clicked(bool)", self.onPrevious)
        self.ui.nextContourButton.connect("clicked(bool)", self.onNext)
        self.ui.othersCheckBox.connect("toggled(bool)", self.onOthers)
        self.ui.revealButton.connect("clicked(bool)", self.onReveal)
        self.ui.cancelReviewButton.connect("clicked(bool)", self.onCancel)

    @property
    def blinded(self) -> bool:
        """Whether names and colors are hidden at this moment."""
        return self._going is not None

    @property
    def _reviewed(self) -> tuple[Review, Blind]:
        """What goes on, for what is offered only meanwhile."""
        assert self._going is not None
        return self._going

    def scores(self, rated: RatedScene) -> list[dict[str, str]]:
        """What reviews said of the raters of a case."""
        names = {entry.name for entry in rated.entries}
        volume = slicer.mrmlScene.GetNodeByID(rated.volume_id)
        return [row for row in blinded_review.scores(volume) if row["rater"] in names]

    def refresh(self) -> None:
        """Show the review that is going on, or what earlier ones said."""
        volume = self.panel.agreement.volume
        pending = blinded_review.pending(volume)
        if self._going and (pending is None or pending.node is not self._going[0].node):
            # Its table was removed, or the panel shows another CT.
            self._unblind()
        if pending and not self.blinded:
            # A scene that was saved in the middle of it.
            blinded_review.unhide(pending)
        figures = self.panel.agreement.figures
        ready = figures is not None and self.panel.agreement.fresh
        self.ui.reviewWidget.visible = self.ui.revealButton.visible = self.blinded
        self.ui.cancelReviewButton.visible = pending is not None
        for widget in (self.ui.reviewedByLabel, self.ui.reviewedByLineEdit, self.ui.startReviewButton):
            widget.visible = not self.blinded
        self.ui.startReviewButton.text = _("Continue") if pending else _("Start")
        named = pending is not None or bool(self.ui.reviewedByLineEdit.text.strip())
        self.ui.startReviewButton.enabled = ready and named
        self.ui.reviewedByLineEdit.enabled = pending is None
        if pending:
            self.ui.reviewedByLineEdit.text = pending.reviewer
        setText(self.ui.reviewLabel, self._sentence(pending, ready))
        self.ui.reviewLabel.visible = bool(self.ui.reviewLabel.text)
        if self.blinded:
            self._showContour()
        self._fill(blinded_review.scores(volume))
        scene = slicer.mrmlScene
        self.follow((scene, scene.NodeAddedEvent), (scene, scene.NodeRemovedEvent), (scene, scene.EndBatchProcessEvent))

    def leave(self) -> None:
        """The panel is no longer seen, or the scene is closed: everything is shown as it was."""
        super().leave()
        self._unblind()

    def onStart(self, checked: bool = False) -> None:
        """Begin a review, or go on with an unfinished one."""
        with show_errors(_("The review could not be started.")):
            rated = self.panel.agreement.currentFigures.rated
            pending = blinded_review.pending(self.panel.agreement.volume)
            if pending:
                pending.resume(rated)
            going = pending or Review.start(rated, self.ui.reviewedByLineEdit.text)
            slicer.app.userSettings().setValue(REVIEWER, going.reviewer)
            contours = going.contours
            blind = Blind(rated, going, round(self.parameters.outlineWidth))
            self._going = going, blind
            numbers = blind.numbers
            open_ones = [number for number in numbers if not contours[number].score]
            self._number, self._written = next(iter(open_ones or numbers), 0), -1
            for widget in self._named:
                widget.visible = False
            self.panel.click.stop()
            self.panel.agreement.onWorst()
        self.panel.agreement.changed()
        self.refresh()

    def onScore(self, score: str) -> None:
        """Score the contour."""
        self._score(score=score)

    def onReason(self, index: int) -> None:
        """Say what is wrong with it."""
        self._score(reason=self.ui.reasonComboBox.itemData(index))

    def onComment(self, text: str) -> None:
        """Say it in one's own words."""
        self._score(comment=text)

    def onPrevious(self, checked: bool = False) -> None:
        """The contour before."""
        self._go(-1)

    def onNext(self, checked: bool = False) -> None:
        """The next contour."""
        self._go(1)

    def onOthers(self, checked: bool) -> None:
        """Show the others in gray, or hide them."""
        if self.blinded:
            self._showContour()

    def onReveal(self, checked: bool = False) -> None:
        """Keep the scores and show whose contours they were."""
        with show_errors(_("The review could not be ended.")):
            self._reviewed[0].end()
            self._unblind()
        self.panel.agreement.changed()
        self.refresh()

    def onCancel(self, checked: bool = False) -> None:
        """End without scores, if that is meant."""
        question = _("End the review and forget its scores?")
        if not slicer.util.confirmYesNoDisplay(question, _("CMEDL: blinded review")):
            return
        cancelled = blinded_review.pending(self.panel.agreement.volume)
        self._unblind()
        if cancelled:
            cancelled.cancel()
        self.panel.agreement.changed()
        self.refresh()

    def _score(self, **changes: str) -> None:
        with show_errors(_("The score could not be kept.")):
            self._reviewed[0].score(self._number, **changes)
        self._showContour()

    def _go(self, step: int) -> None:
        numbers = self._reviewed[1].numbers
        self._number = numbers[(numbers.index(self._number) + step) % len(numbers)]
        self._showContour()

    def _unblind(self) -> None:
        if self._going is None:
            return
        self._going[1].restore()
        self._going = None
        for widget in self._named:
            widget.visible = True
        self.panel.result.changed()
        self.panel.click.changed()

    def _sentence(self, pending: Review | None, ready: bool) -> str:
        if self.blinded:
            return ""
        if pending:
            return _("{reviewer} began a review that is unfinished: continue it to end or cancel it.").format(
                reviewer=pending.reviewer
            )
        return "" if ready else _("A review needs contours that can be compared; see above.")

    def _showContour(self) -> None:
        """Show the contour that is scored, and what is said of it so far."""
        going, blind = self._reviewed
        contours, numbers = going.contours, blind.numbers
        chosen = contours[self._number]
        blind.show(self._number, self.ui.othersCheckBox.checked)
        scored = sum(bool(contours[number].score) for number in numbers)
        setText(
            self.ui.contourLabel,
            _("Contour {number} of {count} ({scored} scored)").format(
                number=self._number + 1, count=len(contours), scored=scored
            ),
        )
        for score, button in self._buttons.items():
            button.checked = score == chosen.score
        box = self.ui.reasonComboBox
        box.currentIndex = box.findData(chosen.reason)
        if self._written != self._number:
            # Not over what is being typed.
            self._written, self.ui.commentLineEdit.text = self._number, chosen.comment
        self.ui.revealButton.enabled = going.complete

    def _fill(self, rows: list[dict[str, str]]) -> None:
        """The scores of the scene; none are shown while names are hidden."""
        table = self.ui.reviewTable
        table.visible = bool(rows) and not self.blinded
        table.setRowCount(len(rows))
        for index, row in enumerate(rows):
            who = f"{row['reviewer']}, {row['date'][:10]}"
            texts = (displayName(row["rater"]), scoreText(row["score"]), scoreText(row["reason"]), row["comment"], who)
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setFlags(qt.Qt.ItemIsEnabled)
                item.setToolTip(plainToolTip(text))
                table.setItem(index, column, item)
        fitHeight(table)
