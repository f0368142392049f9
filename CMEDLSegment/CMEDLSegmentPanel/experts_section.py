"""Section "Compare with experts": whose contours are compared with the model's, and how they are shown."""

from __future__ import annotations

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from .agreement_view import GRAY
from .scene import contour_views, expert_segments, result_nodes
from .scene.expert_segments import SegmentRef
from .section import Section, fitHeight, plainToolTip, setText, show_errors, signals_blocked, tickItem

EXPERT, SHOW, RATER, STRUCTURE, DICE = range(5)


class ExpertsSection(Section):
    """The table of all segments, the two layouts, the look of the contours, and the way from slice to slice."""

    def __init__(self, panel) -> None:
        super().__init__(panel)
        self._refs: list[SegmentRef] = []
        self._problems: dict[tuple, list[str]] = {}
        self._figures: dict[SegmentRef, str] = {}
        self._fresh = True
        self._styled: tuple = ()
        self._usual: int | None = None
        self._several = False
        header = self.ui.expertsTable.horizontalHeader()
        for column in (EXPERT, SHOW, DICE):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        for column in (RATER, STRUCTURE):
            header.setSectionResizeMode(column, qt.QHeaderView.Stretch)
        self._buttons = {
            contour_views.OVERLAY: self.ui.overlayButton,
            contour_views.SIDE_BY_SIDE: self.ui.sideBySideButton,
        }
        self.ui.compareCollapsibleButton.connect("contentsCollapsed(bool)", self.refreshSoon)
        self.ui.expertsTable.connect("cellChanged(int,int)", self.onCellChanged)
        self.ui.overlayButton.connect("clicked(bool)", self.onOverlay)
        self.ui.sideBySideButton.connect("clicked(bool)", self.onSideBySide)
        self.ui.previousSliceButton.connect("clicked(bool)", self.onPreviousSlice)
        self.ui.nextSliceButton.connect("clicked(bool)", self.onNextSlice)
        self.ui.jumpButton.connect("clicked(bool)", self.onJump)

    @property
    def volume(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The CT that is contoured: the result's, else the chosen one."""
        result = self.parameters.result
        return (result_nodes.volume_of_result(result) if result else None) or self.parameters.ct

    def refresh(self) -> None:
        """Show the segments of the scene, the layout that is on, and the contours as they are wanted."""
        if self.stale(self.volume):
            self._refs = expert_segments.all_segments()
            self._fill()
            self._followScene()
        self._unfold()
        fitHeight(self.ui.expertsTable)
        self._showLayout()
        self._style()
        marked = bool(self.parameters.result or expert_segments.with_roles())
        for button in (self.ui.previousSliceButton, self.ui.nextSliceButton, self.ui.jumpButton):
            button.enabled = marked
        for button in self._buttons.values():
            button.enabled = marked and bool(self.volume)

    def showNewResult(self, result: slicer.vtkMRMLSegmentationNode) -> None:
        """Bring a new result before the eyes: in the layout that is on, at its tumor."""
        self._style()
        self.rearrange()
        self._jump()
        if self._hasViews():
            contour_views.show_in_3d(result)

    def showFigures(self, figures: dict[SegmentRef, str], fresh: bool) -> None:
        """Show how far each segment agrees with the others.

        Args:
            figures: the text of each segment that has one.
            fresh: whether they are those of the present contours; else they are gray.
        """
        if (figures, fresh) == (self._figures, self._fresh):
            return
        self._figures, self._fresh = figures, fresh
        table = self.ui.expertsTable
        with signals_blocked(table):
            for row, ref in enumerate(self._refs):
                self._figure(row, ref)

    def restoreLayout(self) -> None:
        """Bring back the layout that a scene was saved with."""
        if self.parameters.layout and self.volume and self._hasViews():
            self._arrange(self.parameters.layout)

    def onCellChanged(self, row: int, column: int) -> None:
        """A tick was set or taken away, or a text was edited."""
        item = self.ui.expertsTable.item(row, column)
        ref = self._refs[row]
        role = expert_segments.role_of(ref)
        with show_errors(_("The segment could not be changed.")):
            if column == SHOW:
                contour_views.set_visible(ref, item.checkState() == qt.Qt.Checked)
            elif column == EXPERT:
                expert_segments.set_role(ref, ref.name if item.checkState() == qt.Qt.Checked else None)
                self.rearrange()
            elif column == RATER and role:
                expert_segments.set_role(ref, item.text(), role.structure)
            elif column == STRUCTURE and role:
                expert_segments.set_role(ref, role.rater, item.text())
        self.changed()

    def onOverlay(self, checked: bool) -> None:
        """All contours in each view."""
        self._choose(contour_views.OVERLAY, checked)

    def onSideBySide(self, checked: bool) -> None:
        """The model's contour left, the experts' right."""
        self._choose(contour_views.SIDE_BY_SIDE, checked)

    def onPreviousSlice(self, checked: bool = False) -> None:
        """Towards the feet."""
        self._step(-1)

    def onNextSlice(self, checked: bool = False) -> None:
        """Towards the head."""
        self._step(1)

    def onJump(self, checked: bool = False) -> None:
        """To the middle of the tumor."""
        self._jump()

    def _choose(self, layout: str, wanted: bool) -> None:
        """Switch a layout on, or go back to the one that was there before ours."""
        with show_errors(_("The views could not be arranged."), waitCursor=True):
            if wanted:
                if contour_views.current_layout() is None:
                    self._usual = slicer.app.layoutManager().layout
                self._arrange(layout)
            else:
                usual = self._usual or slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
                slicer.app.layoutManager().setLayout(usual)
        self.changed()

    def _arrange(self, layout: str) -> None:
        contour_views.show(layout, self.parameters.result, expert_segments.with_roles(), self.volume)

    def rearrange(self) -> None:
        """After a change of who is an expert, or of the result, the contours have other views; none of them moves."""
        layout = self._layout()
        if layout and self.volume:
            self._arrange(layout)

    @staticmethod
    def _hasViews() -> bool:
        """Whether Slicer has a window with views."""
        return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode") is not None

    def _layout(self) -> str | None:
        """Which of the two layouts is on."""
        return contour_views.current_layout() if self._hasViews() else None

    def _step(self, direction: int) -> None:
        with show_errors(_("There is no slice to go to.")):
            if not contour_views.step(self.parameters.result, expert_segments.with_roles(), direction):
                slicer.util.showStatusMessage(_("No further slice with tumor."), 2000)

    def _jump(self) -> None:
        center = contour_views.tumor_center(self.parameters.result, expert_segments.with_roles())
        if center is None:
            slicer.util.showStatusMessage(_("Nothing is marked."), 2000)
        else:
            contour_views.jump(center)

    def _showLayout(self) -> None:
        current = self._layout()
        for layout, button in self._buttons.items():
            button.checked = layout == current
        if self.parameters.layout != (current or ""):
            self.parameters.layout = current or ""

    def _style(self) -> None:
        """Bring the contours to the chosen width and fill, when either or whose they are has changed."""
        parameters = self.parameters
        chosen = expert_segments.with_roles()
        wanted = (parameters.result, *chosen, parameters.outlineWidth, parameters.fill)
        if wanted != self._styled:
            self._styled = wanted
            contour_views.set_style(parameters.result, chosen, round(parameters.outlineWidth), parameters.fill)

    def _followScene(self) -> None:
        scene = slicer.mrmlScene
        pairs = [(scene, event) for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent)]
        pairs += [(node, vtk.vtkCommand.ModifiedEvent) for node in slicer.util.getNodesByClass("vtkMRMLLayoutNode")]
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
            made = node.GetSegmentation()
            events = (made.SegmentAdded, made.SegmentRemoved, made.SegmentModified, made.SourceRepresentationModified)
            pairs += [(made, event) for event in events]
            pairs.append((node, node.DisplayModifiedEvent))
        self.follow(*pairs)

    def _unfold(self) -> None:
        """Open the section, once, when there is a contour to compare the model's with."""
        result = self.parameters.result
        several = bool(result) and any(ref.node_id != result.GetID() for ref in self._refs)
        if several and not self._several:
            self.ui.compareCollapsibleButton.collapsed = False
        self._several = several

    def _fill(self) -> None:
        notes: list[str] = []
        table = self.ui.expertsTable
        with signals_blocked(table):
            table.setRowCount(len(self._refs))
            for row, ref in enumerate(self._refs):
                role = expert_segments.role_of(ref)
                self._tick(row, EXPERT, role is not None)
                show = self._tick(row, SHOW, contour_views.is_visible(ref))
                show.setBackground(qt.QBrush(qt.QColor.fromRgbF(*expert_segments.color_of(ref))))
                problems = self._problemsOf(ref) if role else []
                rater = self._text(row, RATER, role.rater if role else ref.name, editable=role is not None)
                names = dict.fromkeys([role.rater if role else ref.name, f"{ref.name} ({ref.source})"])
                rater.setToolTip(plainToolTip("\n".join([*names, *problems])))
                if role is None:
                    rater.setForeground(qt.QBrush(qt.QColor(*GRAY)))
                self._text(row, STRUCTURE, role.structure if role else "", editable=role is not None)
                self._figure(row, ref)
                notes += [f"{role.rater}: {problem}" for problem in problems if role]
        setText(self.ui.expertsNoteLabel, "\n".join(notes))
        self.ui.expertsNoteLabel.visible = bool(notes)

    def _figure(self, row: int, ref: SegmentRef) -> None:
        item = self._text(row, DICE, self._figures.get(ref, ""))
        item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        if not self._fresh:
            item.setForeground(qt.QBrush(qt.QColor(*GRAY)))

    def _tick(self, row: int, column: int, checked: bool) -> qt.QTableWidgetItem:
        item = tickItem(checked)
        self.ui.expertsTable.setItem(row, column, item)
        return item

    def _text(self, row: int, column: int, text: str, editable: bool = False) -> qt.QTableWidgetItem:
        item = qt.QTableWidgetItem(text)
        flags = qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable
        item.setFlags(flags | qt.Qt.ItemIsEditable if editable else flags)
        item.setToolTip(plainToolTip(text))
        self.ui.expertsTable.setItem(row, column, item)
        return item

    def _problemsOf(self, ref: SegmentRef) -> list[str]:
        """What is wrong with an expert's segment on the CT; looked at anew only when one of them has changed."""
        node, volume = slicer.mrmlScene.GetNodeByID(ref.node_id), self.volume
        if volume is None:
            return []
        segment = node.GetSegmentation().GetSegment(ref.segment_id)
        key = (ref, volume.GetID(), volume.GetMTime(), segment.GetMTime())
        if key not in self._problems:
            self._problems = {known: sentences for known, sentences in self._problems.items() if known[0] != ref}
            self._problems[key] = expert_segments.problems(ref, volume)
        return self._problems[key]
