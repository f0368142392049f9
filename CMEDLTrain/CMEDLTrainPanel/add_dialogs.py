"""The questions that are asked before cases are added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from CMEDLSegmentLib.io.case_folders import TrainingCase
from CMEDLSegmentLib.io.cohort_table import MODALITIES, ROLES
from CMEDLSegmentPanel.scene.training_case import Mark, collect, pseudonym
from CMEDLSegmentPanel.section import buttonBox, followPath, plainToolTip, rememberPath
from CMEDLTrainLib.cohort.collecting import CollectionOptions

from .scene.case_proposals import Proposal
from .tables import fillSelector, selected

ADD, IMAGE, SEGMENT, MODALITY, ROLE, PATIENT, NOTE = range(7)
WIDTH, HEIGHT = 820, 380


def roleTitles() -> dict[str, str]:
    """What a person reads for each role."""
    return dict(zip(ROLES, (_("student"), _("teacher")), strict=True))


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
        proposals: what the scene offers.
        labels: names of the masks' values.
        reviewer: who drew them, as the last time.
    """

    def __init__(self, proposals: Sequence[Proposal], labels: Sequence[str], reviewer: str) -> None:
        super().__init__(_("Add cases from the scene"), _("Add"))
        self.resize(WIDTH, HEIGHT)
        self._proposals, self._labels = proposals, labels
        text = _(
            "Ticked segments are copied with their images. Those of one image become one case; each becomes the label "
            "of its name, or the first: {labels}."
        )
        label = qt.QLabel(text.format(labels=", ".join(f"{value} {name}" for value, name in enumerate(labels, 1))))
        label.setWordWrap(True)
        self.rows.addWidget(label)
        self.table = qt.QTableWidget(len(proposals), 7)
        self.table.setHorizontalHeaderLabels(
            [_("Add"), _("Image"), _("Segment"), _("Modality"), _("Role"), _("Patient"), _("Note")]
        )
        self.table.verticalHeader().setVisible(False)
        self.table.horizontalHeader().setStretchLastSection(True)
        ticked = self._proposed()
        for row, proposal in enumerate(proposals):
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

    def cases(self, folder: Path) -> list[Callable[[], TrainingCase]]:
        """For each image of which something is ticked what takes its case out of the scene, for a cohort's folder."""
        rows: dict[str, list[int]] = {}
        for row, proposal in enumerate(self._proposals):
            if self._ticked(row):
                rows.setdefault(proposal.volume.GetID(), []).append(row)
        return [
            partial(
                collect,
                self._proposals[own[0]].volume,
                list(map(self._mark, own)),
                folder,
                self.reviewer,
                selected(self.table.cellWidget(own[0], ROLE)),
                "",
                self.table.item(own[0], PATIENT).text(),
                selected(self.table.cellWidget(own[0], MODALITY)),
            )
            for own in rows.values()
        ]

    def _ticked(self, row: int) -> bool:
        return self.table.item(row, ADD).checkState() == qt.Qt.Checked

    def _showReady(self) -> None:
        """Something is to be added, and it is known who drew it: a refusal after the dialog would lose the ticks."""
        self.accepting.enabled = bool(self.reviewer) and any(map(self._ticked, range(len(self._proposals))))

    def _proposed(self) -> set[int]:
        """Rows that are ticked at first: of each image one segment for each label, by name, else its first one.

        What several people drew of one structure must not be united by an inattentive click.
        """
        taken: dict[tuple[str, str], int] = {}
        names = {label.casefold() for label in self._labels}
        images = {p.volume.GetID() for p in self._proposals if p.possible and p.ref.name.casefold() in names}
        for row, proposal in enumerate(self._proposals):
            image, name = proposal.volume.GetID(), proposal.ref.name.casefold()
            if proposal.possible and (name in names or image not in images):
                taken.setdefault((image, name if image in images else ""), row)
        return set(taken.values())

    def _mark(self, row: int) -> Mark:
        """The segment of a row, as the label of its name or else the first."""
        ref, names = self._proposals[row].ref, [label.casefold() for label in self._labels]
        value = names.index(ref.name.casefold()) + 1 if ref.name.casefold() in names else 1
        return Mark(slicer.mrmlScene.GetNodeByID(ref.node_id), ref.segment_id, value)

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
        self._offer(row, ROLE, roleTitles(), proposal.role)

    def _offer(self, row: int, column: int, titles: dict[str, str], chosen: str) -> None:
        box = qt.QComboBox()
        fillSelector(box, titles, chosen)
        self.table.setCellWidget(row, column, box)


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
        fillSelector(self.ui.modalityComboBox, dict(zip(MODALITIES, MODALITIES, strict=True)), MODALITIES[0])
        fillSelector(self.ui.roleComboBox, roleTitles(), ROLES[0])
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
        return CollectionOptions(
            role=selected(self.ui.roleComboBox),
            modality=selected(self.ui.modalityComboBox),
            image=self.ui.imagePatternLineEdit.text.strip(),
            mask=self.ui.maskPatternLineEdit.text.strip(),
            structures=tuple(name.strip() for name in self.ui.structuresLineEdit.text.split(",") if name.strip()),
            copy=True,
        )

    def onModality(self, index: int) -> None:
        """CT is usually the student's, MR the teacher's."""
        self.ui.roleComboBox.currentIndex = index
