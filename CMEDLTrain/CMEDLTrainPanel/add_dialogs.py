"""The questions that are asked before cases are added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import qt
import slicer
from slicer.i18n import tr as _

from CMEDLSegmentLib.io.cohort_table import MODALITIES, ROLES
from CMEDLSegmentPanel.scene.training_case import Mark, pseudonym
from CMEDLSegmentPanel.section import buttonBox, followPath, plainToolTip, rememberPath
from CMEDLTrainLib.cohort.collecting import CollectionOptions

from .scene.case_proposals import Proposal

ADD, IMAGE, SEGMENT, MODALITY, ROLE, PATIENT, NOTE = range(7)
WIDTH, HEIGHT = 820, 380


@dataclass(frozen=True)
class CaseRequest:
    """A case that somebody wants: an image with its structures, see ``training_case.collect``."""

    volume: slicer.vtkMRMLScalarVolumeNode
    marks: list[Mark]
    role: str
    modality: str
    patient: str


class _Dialog(qt.QDialog):
    """A dialog with an OK button of its own text."""

    def __init__(self, title: str, accept: str) -> None:
        qt.QDialog.__init__(self, slicer.util.mainWindow())
        self.setWindowTitle(title)
        self.rows = qt.QVBoxLayout(self)
        self.buttons = buttonBox(qt.QDialogButtonBox.Ok | qt.QDialogButtonBox.Cancel)
        self.accepting = self.buttons.button(qt.QDialogButtonBox.Ok)
        self.accepting.setText(accept)
        self.buttons.connect("accepted()", self.accept)
        self.buttons.connect("rejected()", self.reject)

    def ask(self) -> bool:
        """Show it and wait; whether it was accepted."""
        self.rows.addWidget(self.buttons)
        return bool(self.exec_())


class SceneDialog(_Dialog):
    """Which images and segments of the scene become cases.

    Args:
        found: what the scene offers.
        labels: names of the masks' values.
        reviewer: who drew them, as told the last time.
    """

    def __init__(self, found: Sequence[Proposal], labels: Sequence[str], reviewer: str) -> None:
        super().__init__(_("Add cases from the scene"), _("Add"))
        self.resize(WIDTH, HEIGHT)
        self._found, self._labels = found, labels
        text = _(
            "Ticked segments are copied with their images. Those of one image become one case; each becomes the label "
            "of its name, or the first: {labels}."
        )
        told = ", ".join(f"{value} {name}" for value, name in enumerate(labels, start=1))
        label = qt.QLabel(text.format(labels=told))
        label.setWordWrap(True)
        self.rows.addWidget(label)
        self.table = qt.QTableWidget(len(found), 7)
        self.table.setHorizontalHeaderLabels(
            [_("Add"), _("Image"), _("Segment"), _("Modality"), _("Role"), _("Patient"), _("Note")]
        )
        self.table.verticalHeader().setVisible(False)
        self.table.horizontalHeader().setStretchLastSection(True)
        ticked = self._proposed()
        for row, proposal in enumerate(found):
            self._fill(row, proposal, row in ticked)
        self.table.resizeColumnsToContents()
        self.rows.addWidget(self.table)
        line = qt.QHBoxLayout()
        line.addWidget(qt.QLabel(_("Drawn or checked by:")))
        self._reviewer = qt.QLineEdit(reviewer)
        self._reviewer.placeholderText = _("Name or initials, needed to add cases")
        line.addWidget(self._reviewer)
        self.rows.addLayout(line)
        self._reviewer.connect("textChanged(QString)", lambda text: self._showReady())
        self.table.connect("cellChanged(int,int)", lambda row, column: self._showReady())
        self._showReady()

    @property
    def reviewer(self) -> str:
        """Who drew them."""
        return self._reviewer.text.strip()

    def wishes(self) -> list[CaseRequest]:
        """A case for each image of which something is ticked."""
        made: dict[str, CaseRequest] = {}
        for row, proposal in enumerate(self._found):
            if not self._ticked(row):
                continue
            node = slicer.mrmlScene.GetNodeByID(proposal.ref.node_id)
            mark = Mark(node, proposal.ref.segment_id, self._value(proposal.ref.name))
            wish = made.get(proposal.volume.GetID())
            if wish is None:
                made[proposal.volume.GetID()] = CaseRequest(
                    proposal.volume,
                    [mark],
                    self._choice(row, ROLE),
                    self._choice(row, MODALITY),
                    self.table.item(row, PATIENT).text(),
                )
            else:
                wish.marks.append(mark)
        return list(made.values())

    def _ticked(self, row: int) -> bool:
        return self.table.item(row, ADD).checkState() == qt.Qt.Checked

    def _showReady(self) -> None:
        """Something is to be added, and it is known who drew it: a refusal after the dialog would lose the ticks."""
        self.accepting.enabled = bool(self.reviewer) and any(map(self._ticked, range(len(self._found))))

    def _proposed(self) -> set[int]:
        """Rows that are ticked at first: of each image one segment for each label, by name, else its first one.

        What several people drew of one structure must not be united by an inattentive click.
        """
        taken: dict[tuple[str, str], int] = {}
        names = {label.casefold() for label in self._labels}
        images = {one.volume.GetID() for one in self._found if one.possible and one.ref.name.casefold() in names}
        for row, proposal in enumerate(self._found):
            image, name = proposal.volume.GetID(), proposal.ref.name.casefold()
            if proposal.possible and (name in names or image not in images):
                taken.setdefault((image, name if image in images else ""), row)
        return set(taken.values())

    def _value(self, segment: str) -> int:
        """The label of that name, else the first."""
        names = [label.casefold() for label in self._labels]
        return names.index(segment.casefold()) + 1 if segment.casefold() in names else 1

    def _fill(self, row: int, proposal: Proposal, ticked: bool) -> None:
        tick = qt.QTableWidgetItem()
        tick.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled if proposal.possible else qt.Qt.NoItemFlags)
        tick.setCheckState(qt.Qt.Checked if ticked else qt.Qt.Unchecked)
        self.table.setItem(row, ADD, tick)
        texts = {IMAGE: proposal.volume.GetName(), SEGMENT: proposal.ref.name, NOTE: proposal.problem}
        for column, text in texts.items():
            item = qt.QTableWidgetItem(text)
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            item.setToolTip(plainToolTip(text))
            self.table.setItem(row, column, item)
        self.table.setItem(row, PATIENT, qt.QTableWidgetItem(pseudonym(proposal.volume)))
        self._offer(row, MODALITY, dict(zip(MODALITIES, MODALITIES, strict=True)), proposal.modality)
        self._offer(row, ROLE, dict(zip(ROLES, (_("student"), _("teacher")), strict=True)), proposal.role)

    def _offer(self, row: int, column: int, titles: dict[str, str], chosen: str) -> None:
        box = qt.QComboBox()
        for name, title in titles.items():
            box.addItem(title, name)
        box.currentIndex = list(titles).index(chosen)
        self.table.setCellWidget(row, column, box)

    def _choice(self, row: int, column: int) -> str:
        box = self.table.cellWidget(row, column)
        return box.itemData(box.currentIndex)


class FolderDialog(_Dialog):
    """A folder of scans and the patterns of their paths.

    Args:
        form: the path of its ``.ui`` file.
        labels: names of the masks' values.
    """

    def __init__(self, form: str, labels: Sequence[str]) -> None:
        super().__init__(_("Add cases from a folder"), _("Add"))
        self.setMinimumWidth(WIDTH // 2)
        widget = slicer.util.loadUI(form)
        self.ui = slicer.util.childWidgetVariables(widget)
        self.rows.addWidget(widget)
        tip = _("Names that become the labels {labels}, between commas; empty takes a labelmap as it is.")
        self.ui.structuresLineEdit.toolTip = plainToolTip(tip.format(labels=", ".join(labels)))
        for name in MODALITIES:
            self.ui.modalityComboBox.addItem(name, name)
        for name, title in zip(ROLES, (_("student"), _("teacher")), strict=True):
            self.ui.roleComboBox.addItem(title, name)
        self.ui.modalityComboBox.connect("activated(int)", self.onModality)
        followPath(self.ui.sourcePathLineEdit, self.onSource)
        self.onSource(self.source)

    def ask(self) -> bool:
        """Show it and wait; whether it was accepted."""
        accepted = super().ask()
        if accepted:
            rememberPath(self.ui.sourcePathLineEdit)
        return accepted

    @property
    def source(self) -> str:
        """The folder."""
        return self.ui.sourcePathLineEdit.currentPath.strip()

    def onSource(self, path: str) -> None:
        """Without a folder there is nothing to look through."""
        self.accepting.enabled = bool(path)

    def rules(self) -> CollectionOptions:
        """What is looked for; everything is copied."""
        role, modality = self.ui.roleComboBox, self.ui.modalityComboBox
        return CollectionOptions(
            role=role.itemData(role.currentIndex),
            modality=modality.itemData(modality.currentIndex),
            image=self.ui.imagePatternLineEdit.text.strip(),
            mask=self.ui.maskPatternLineEdit.text.strip(),
            structures=tuple(name.strip() for name in self.ui.structuresLineEdit.text.split(",") if name.strip()),
            copy=True,
        )

    def onModality(self, index: int) -> None:
        """CT is usually the student's, MR the teacher's."""
        self.ui.roleComboBox.currentIndex = index
