"""Section "Agreement with experts": figures of who agrees with whom, kept up to date while contours change."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _

from CMEDLSegmentLib.base.errors import CMEDLError
from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.io.delineation import MODEL
from CMEDLSegmentLib.metrics.measures import MEASURES

from . import agreement_view as view
from . import dependencies, requirements
from .poller import Background
from .scene import agreement_nodes, contour_views
from .scene.coordinates import FLIP, to_numpy
from .scene.layouts import slice_views
from .scene.rated_scene import Entry, RatedScene, RatedSceneReader, entries, middle_of, structures
from .section import Section, inBackground, setText, show_errors, signals_blocked

if TYPE_CHECKING:
    from CMEDLSegmentLib.agreement.raters import Agreement
    from CMEDLSegmentLib.agreement.vote_map import SliceRow

SETTLED_MS = 400
"""So long after the last change of a contour figures are worked out anew: strokes of a brush come quickly."""
REPORTS = "CMEDL/ReportFolder"


@dataclass(frozen=True)
class Figures:
    """What is shown.

    Attributes:
        state: of the scene that it was worked out of.
        rated: the case.
        agreement: its figures.
        some, everybody: for every slice of the case, the pixels that anybody and that everybody marked.
    """

    state: Hashable
    rated: RatedScene
    agreement: Agreement
    some: list[int]
    everybody: list[int]


def work(state: Hashable, rated: RatedScene, tolerance: float, progress: Progress) -> Figures:
    """The figures of a case; touches no scene."""
    from CMEDLSegmentLib.agreement.raters import analyze

    agreement = analyze(rated.case, tolerance, progress)
    some, everybody = [], []
    for marks in zip(*(delineation.mask for delineation in rated.case.all), strict=True):
        some.append(int(np.count_nonzero(np.logical_or.reduce(marks))))
        everybody.append(int(np.count_nonzero(np.logical_and.reduce(marks))))
    return Figures(state, rated, agreement, some, everybody)


class AgreementSection(Section):
    """The raters' table, the matrix, the strip of slices, the map, the consensus, tables and the report."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self.figures: Figures | None = None
        self._collector = RatedSceneReader()
        self._background = Background(panel.uiWidget)
        self._wanted: Hashable = None
        self._drawn: tuple = ()
        self._views: list = []
        self._worst = -1
        self._reporting = False
        self._settled = qt.QTimer(panel.uiWidget)
        self._settled.setSingleShot(True)
        self._settled.connect("timeout()", self._begin)
        self._strip = view.Strip(self.ui.stripTable)
        self.ui.ratersTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        self.ui.ratersTable.horizontalHeader().setSectionResizeMode(view.NAME, qt.QHeaderView.Stretch)
        self.ui.matrixTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        self.ui.figuresWidget.visible = False
        self._say("")
        for measure in MEASURES:
            self.ui.measureComboBox.addItem(agreement_nodes.heading(measure), measure)
        self.ui.structureComboBox.connect("activated(int)", self.onStructure)
        self.ui.measureComboBox.connect("activated(int)", self.onMeasure)
        self.ui.stripTable.connect("cellClicked(int,int)", self.onStrip)
        self.ui.worstSliceButton.connect("clicked(bool)", self.onWorst)
        self.ui.nextWorstButton.connect("clicked(bool)", self.onNextWorst)
        self.ui.agreementPackagesButton.connect("clicked(bool)", self.onPackages)
        self.ui.mapCheckBox.connect("toggled(bool)", self.onMap)
        self.ui.consensusButton.connect("clicked(bool)", self.onConsensus)
        self.ui.tablesButton.connect("clicked(bool)", self.onTables)
        self.ui.reportButton.connect("clicked(bool)", self.onReport)

    @property
    def volume(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The CT that is contoured."""
        return self.panel.experts.volume

    @property
    def currentFigures(self) -> Figures:
        """The figures, for what is offered only while there are some."""
        assert self.figures is not None
        return self.figures

    @property
    def fresh(self) -> bool:
        """Whether the figures are those of the present contours."""
        return self.figures is not None and self.figures.state == self._wanted

    def refresh(self) -> None:
        """Show the figures of the ticked segments, or have them worked out."""
        self._followScene()
        compared, volume = self._entries(), self.volume
        missing = bool(len(compared) > 1 and requirements.missing("agreement"))
        self.ui.agreementPackagesButton.visible = missing
        try:
            if missing:
                self._nothing(_("The figures need Python packages that are not installed."))
                return
            if volume is None or len(compared) < 2:
                self._nothing(_("Tick at least two contours above, or one beside the model's."))
                return
            state = (RatedSceneReader.state(volume, compared), self.parameters.tolerance)
        except CMEDLError as error:
            self._nothing(str(error))
            return
        if state != self._wanted:
            self._wanted = state
            self._background.drop()
            if not self.fresh:
                self._settled.start(SETTLED_MS if self.figures else 0)
            else:
                self._settled.stop()
        self._show()

    def leave(self) -> None:
        """The panel is no longer seen: nothing is worked out any more."""
        super().leave()
        self._settled.stop()
        self._background.drop()
        self._wanted, self._views = None, []

    def cleanup(self) -> None:
        """The panel is closed for good."""
        self._background.drop()

    def onStructure(self, index: int) -> None:
        """Compare another structure."""
        self.parameters.structure = self.ui.structureComboBox.itemText(index)

    def onMeasure(self, index: int) -> None:
        """Show another measure in the matrix."""
        self.parameters.measure = self.ui.measureComboBox.itemData(index)

    def onStrip(self, row: int, column: int) -> None:
        """Go to a slice."""
        self._goTo(self._strip.slice(column))

    def onWorst(self, checked: bool = False) -> None:
        """Go to the slice with most disagreement."""
        self._goToWorst(0)

    def onNextWorst(self, checked: bool = False) -> None:
        """Go to the next in order of disagreement; after the last, to the first."""
        self._goToWorst(self._worst + 1)

    def onPackages(self, checked: bool = False) -> None:
        """Install what the figures need; they are worked out then."""
        with show_errors(_("The figures cannot be worked out.")):
            dependencies.ensure("agreement")
        self.changed()
        self.panel.run.refreshSoon()

    def onMap(self, shown: bool) -> None:
        """Put the agreement map over the CT, or take it away."""
        with show_errors(_("The agreement map could not be shown.")):
            if shown:
                agreement_nodes.show_map(
                    agreement_nodes.set_map(self.currentFigures.rated, self.currentFigures.agreement)
                )
            else:
                agreement_nodes.hide_map(agreement_nodes.map_of(self.volume))
        self.changed()

    def onConsensus(self, checked: bool = False) -> None:
        """Add a consensus of the raters as a segmentation."""
        from CMEDLSegmentLib.agreement.consensus import consensus_mask

        rated = self.currentFigures.rated
        method = list(agreement_nodes.METHODS)[self.ui.consensusComboBox.currentIndex]
        with show_errors(_("The consensus could not be added.")):
            node = agreement_nodes.add_consensus(rated, consensus_mask(rated.case, method), method)
            self._say(_("Added: {name}").format(name=node.GetName()))

    def onTables(self, checked: bool = False) -> None:
        """Put the figures into tables and plots of the scene."""
        with show_errors(_("The tables could not be made.")):
            agreement_nodes.set_tables(self.currentFigures.rated, self.currentFigures.agreement)
            self._say(_("Tables and plots are in the scene; they follow later figures."))

    def onReport(self, checked: bool = False) -> None:
        """Ask for a folder and write the report into it."""
        settings = slicer.app.userSettings()
        chosen = qt.QFileDialog.getExistingDirectory(
            slicer.util.mainWindow(), _("Folder of the report"), slicer.util.settingsValue(REPORTS, "")
        )
        if not chosen:
            return
        settings.setValue(REPORTS, chosen)
        self._report(Path(chosen))

    def _report(self, folder: Path) -> None:
        from CMEDLSegmentLib.report.case_report import CASE_FILES, REPORT, REVIEWS, write_report

        figures = self.currentFigures
        replace = any((folder / name).exists() for name in (*CASE_FILES, REVIEWS))
        question = _("There is a report in {folder}. Replace it?").format(folder=folder)
        if replace and not slicer.util.confirmYesNoDisplay(question, _("CMEDL: report")):
            return
        self._reporting, self.ui.reportButton.enabled = True, False
        try:
            with show_errors(_("The report was not written.")):
                case, reviews = figures.rated.case, self.panel.review.scores(figures.rated)
                inBackground(lambda: write_report(case, figures.agreement, folder, reviews=reviews, overwrite=replace))
                self._say(_("Report written: {path}").format(path=folder / REPORT))
        finally:
            self._reporting = False
            self.refreshSoon()

    def _entries(self) -> list[Entry]:
        """Who is compared, of the structure that is chosen."""
        known, box = structures(), self.ui.structureComboBox
        chosen = self.parameters.structure
        current = chosen if chosen in known else next(iter(known), "")
        if [box.itemText(index) for index in range(box.count)] != known:
            with signals_blocked(box):
                box.clear()
                box.addItems(known)
        if current:
            box.currentIndex = known.index(current)
        box.visible = self.ui.structureLabel.visible = len(known) > 1
        return entries(self.parameters.result, current) if current else []

    def _followScene(self) -> None:
        scene = slicer.mrmlScene
        pairs = [(scene, event) for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent)]
        moved = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
            made = node.GetSegmentation()
            events = (made.SegmentAdded, made.SegmentRemoved, made.SegmentModified, made.SourceRepresentationModified)
            pairs += [(made, event) for event in events]
            pairs.append((node, moved))
        if self.volume:
            pairs += [(self.volume, moved), (self.volume, vtk.vtkCommand.ModifiedEvent)]
        self.follow(*pairs)
        views = slicer.util.getNodesByClass("vtkMRMLSliceNode")
        if views != self._views:
            self._views = views
            self.removeObservers(self.onSliceMoved)
            for node in views:
                self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.onSliceMoved)

    def onSliceMoved(self, caller=None, event=None) -> None:
        """A view shows another slice: mark it in the strip."""
        if self.figures is None or not self.parameters:
            return
        views = slice_views(contour_views.current_layout() or contour_views.OVERLAY)
        if not views:
            return
        geometry = self.figures.rated.case.geometry
        place = to_numpy(views[0].GetSliceToRAS())[:3, 3] @ FLIP[:3, :3]
        self._strip.mark(int(np.rint(geometry.to_index(place[None])[0, 2])))

    def _begin(self) -> None:
        """Take the case out of the scene and have it worked out."""
        if not self.parameters:
            return
        state, tolerance = self._wanted, self.parameters.tolerance
        try:
            rated = self._collector.collect(self.volume, self._entries())
        except CMEDLError as error:
            self._nothing(str(error))
            return
        self._background.run(lambda progress: work(state, rated, tolerance, progress), self._finish, self._progress)
        self._show()

    def _progress(self, stage: str, fraction: float) -> None:
        setText(self.ui.agreementProgressLabel, _("Working out the figures: {share:.0%}").format(share=fraction))

    def _finish(self, figures: Figures | None, error: Exception | None) -> None:
        if error is None:
            self.figures, self._worst = figures, -1
            self._bringUpToDate()
            self._show()
        elif isinstance(error, CMEDLError):
            self._nothing(str(error))
        else:
            self._nothing(_("The figures could not be worked out; the error log says why."))
            logging.error("".join(traceback.format_exception(error)))

    def _bringUpToDate(self) -> None:
        """What was made of earlier figures follows."""
        with show_errors(_("Nodes of earlier figures could not be brought up to date.")):
            volume = self.volume
            if agreement_nodes.map_of(volume):
                agreement_nodes.set_map(self.currentFigures.rated, self.currentFigures.agreement)
            if agreement_nodes.tables_of(volume):
                agreement_nodes.set_tables(self.currentFigures.rated, self.currentFigures.agreement)

    def _nothing(self, sentence: str) -> None:
        """There are no figures, and why."""
        self._settled.stop()
        self._background.drop()
        self.figures, self._wanted, self._drawn = None, None, ()
        setText(self.ui.agreementLabel, sentence)
        setText(self.ui.agreementProgressLabel, "")
        self.ui.agreementLabel.enabled, self.ui.figuresWidget.visible = True, False
        self.panel.experts.showFigures({}, True)
        self.panel.review.refreshSoon()

    def _show(self) -> None:
        """Show the figures, in gray while they are not those of the present contours."""
        figures, fresh = self.figures, self.fresh
        self.ui.figuresWidget.visible = figures is not None
        setText(self.ui.agreementProgressLabel, "" if fresh else _("Working out the figures ..."))
        # Words that hold no more stay, in gray: a line that comes and goes would move everything below it.
        self.ui.agreementLabel.enabled = fresh or figures is None
        if figures is None:
            setText(self.ui.agreementLabel, "")
            return
        blinded = self.panel.review.blinded
        if blinded:
            setText(self.ui.agreementLabel, _("A blinded review is going on: names, colors and figures are hidden."))
        elif fresh:
            setText(self.ui.agreementLabel, self._summary())
        box = self.ui.measureComboBox
        box.currentIndex = max(box.findData(self.parameters.measure), 0)
        colors = [entry.color for entry in (self._entries() if fresh else figures.rated.entries)]
        drawn = (id(figures), fresh, self.parameters.measure, tuple(colors), blinded)
        if drawn != self._drawn:
            self._drawn = drawn
            self._draw(colors)
            self.panel.review.refreshSoon()
        for button in (self.ui.consensusButton, self.ui.tablesButton):
            button.enabled = fresh
        self.ui.reportButton.enabled = fresh and not self._reporting
        self.ui.mapCheckBox.enabled = fresh or self.ui.mapCheckBox.checked
        self._showMap()

    def _draw(self, colors: list[tuple[float, float, float]]) -> None:
        figures, fresh = self.currentFigures, self.fresh
        agreement = figures.agreement
        view.fillRaters(self.ui.ratersTable, agreement, colors, fresh)
        view.fillMatrix(self.ui.matrixTable, agreement, self.ui.measureComboBox.currentData, fresh)
        tips = {row.index: self._sliceTip(row) for row in agreement.slices}
        setText(self.ui.stripLabel, _("Slices, feet to head: blue by everybody, orange by some."))
        self._strip.fill(figures.some, figures.everybody, tips, fresh)
        self.onSliceMoved()
        mean = {row.name: view.figure("dsc", row.values["dsc"].mean) for row in agreement.raters}
        dice = {ref: mean[entry.name] for entry in figures.rated.entries for ref in entry.refs}
        self.panel.experts.showFigures(dice, fresh)
        answer = "\n".join(filter(None, [agreement.range.sentence if agreement.range else "", self._tumors()]))
        setText(self.ui.rangeLabel, answer)
        self.ui.rangeLabel.visible = bool(answer)
        self.ui.rangeLabel.enabled = fresh

    def _summary(self) -> str:
        """Who is compared, how far the raters agree, and what is doubtful."""
        agreement = self.currentFigures.agreement
        raters = len(agreement.rater_names)
        who = _("{count} raters").format(count=raters) if raters > 1 else _("One rater")
        if agreement.has_model:
            who = _("{who} and the model").format(who=who)
        lines = [who + "."]
        if raters > 1:
            lines[0] += " " + _("All raters mark {full:.1f} cc, any of them {any:.1f} cc.").format(
                full=agreement.full_cc, any=agreement.any_cc
            )
        return "\n".join([*lines, *agreement.notes])

    def _tumors(self) -> str:
        """What the model missed and what it marked in excess, against the majority of the raters."""
        match = self.currentFigures.agreement.tumors.get(MODEL)
        if match is None or not (match.missed or match.extra):
            return ""
        lost, more = (sum(lesion.volume_cc for lesion in tumors) for tumors in (match.missed, match.extra))
        sentence = _("Tumors: the model misses {missed} ({lost:.1f} cc) and marks {extra} more ({more:.1f} cc).")
        return sentence.format(missed=len(match.missed), lost=lost, extra=len(match.extra), more=more)

    def _sliceTip(self, row: SliceRow) -> str:
        figures = self.currentFigures
        position = middle_of(figures.rated, row.index)[2]
        lines = [_("Slice {index}, {position:.1f} mm").format(index=row.index, position=position)]
        if row.worst_pair and not self.panel.review.blinded:
            a, b = map(view.displayName, row.worst_pair)
            lines.append(
                _("DSC {mean:.2f} on average, at least {least:.2f} ({a} and {b})").format(
                    mean=row.dsc_mean, least=row.dsc_min, a=a, b=b
                )
            )
        lines.append(_("Disputed: {cc:.2f} cc").format(cc=row.with_model_cc))
        return "\n".join(lines)

    def _goToWorst(self, which: int) -> None:
        worst = self.currentFigures.agreement.worst
        if worst:
            self._worst = which % len(worst)
            self._goTo(worst[self._worst])

    def _goTo(self, index: int) -> None:
        figures = self.currentFigures
        contour_views.jump(middle_of(figures.rated, index))
        row = next((row for row in figures.agreement.slices if row.index == index), None)
        setText(self.ui.stripLabel, self._sliceTip(row).replace("\n", "; ") if row else "")

    def _showMap(self) -> None:
        node = agreement_nodes.map_of(self.volume)
        box = self.ui.mapCheckBox
        with signals_blocked(box):
            box.checked = agreement_nodes.map_is_shown(node)
        raters = len(self.currentFigures.agreement.rater_names)
        squares = []
        for count, color in enumerate(agreement_nodes.count_colors(raters), start=1):
            name = qt.QColor.fromRgbF(*color).name()
            squares.append(f'<span style="color:{name}">\u25a0</span> {count}')
        setText(self.ui.mapLegendLabel, "&nbsp; ".join(squares))

    def _say(self, sentence: str) -> None:
        """Tell below the buttons what was done; an empty sentence hides the line."""
        setText(self.ui.agreementDoneLabel, sentence)
        self.ui.agreementDoneLabel.visible = bool(sentence)
