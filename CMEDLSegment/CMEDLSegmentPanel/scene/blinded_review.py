"""A blinded review: contours shown one by one, in one color, shuffled and without names, and scored by a person.

What is scored is kept in a table of the scene, from the first score on, so that a review can be saved in the middle and
gone on with. The experts' own segments are never changed: copies are shown in their place (:class:`Blind`), which are
not saved with the scene.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import Any

import slicer

from CMEDLSegmentLib.base.errors import InputError

from .agreement_nodes import fill_table, find_all, map_of, own
from .attributes import PREFIX, get_json, set_json
from .expert_segments import one_line
from .rated_scene import RatedScene
from .result_nodes import is_result, probability_of
from .segment_masks import add_segment, new_segmentation, show_surface

SCORES = ("accept", "minor edit", "major edit", "reject")
"""From best to worst: can be used as it is; usable after small, after large corrections; would be drawn anew."""

REASONS = (
    "too large",
    "too small",
    "part of the tumor is missed",
    "takes in a vessel or the chest wall",
    "takes in collapsed or inflamed lung",
    "slices at an end",
    "another structure",
    "rough edge",
    "other",
)

LIME, GRAY = (0.55, 1.0, 0.35), (0.62, 0.62, 0.62)
"""Of the contour that is scored, and of the others: no rater's and not the model's."""

_KIND, _STATE = "review", "review"
_HIDDEN = PREFIX + "hidden"


@dataclass(frozen=True)
class Scored:
    """A contour of a review.

    Attributes:
        rater: whose it is, a rater or the model (``delineation.MODEL``).
        score: one of :data:`SCORES`, or "" as long as there is none.
        reason: one of :data:`REASONS`, or "".
        comment: in the reviewer's own words.
    """

    rater: str
    score: str = ""
    reason: str = ""
    comment: str = ""


class Review:
    """A review in the scene.

    Attributes:
        node: its table.
    """

    def __init__(self, node: slicer.vtkMRMLTableNode) -> None:
        self.node = node

    @classmethod
    def start(cls, rated: RatedScene, reviewer: str) -> Review:
        """Begin a review of everybody's contours, the model's among them, in an order that nobody knows.

        Raises:
            InputError: nobody is named as the reviewer, or one review is going on already.
        """
        reviewer = one_line(reviewer)
        if not reviewer:
            raise InputError("A review tells who scored; give the reviewer's name or initials.")
        if pending(rated.volume):
            raise InputError("A review of these contours is unfinished; continue or cancel it first.")
        names = [entry.name for entry in rated.entries]
        secrets.SystemRandom().shuffle(names)
        review = cls(own("vtkMRMLTableNode", _KIND, rated, several=True))
        contours = [asdict(Scored(name)) for name in names]
        set_json(review.node, _STATE, {"reviewer": reviewer, "started": _now(), "ended": "", "contours": contours})
        return review

    def resume(self, rated: RatedScene) -> None:
        """Go on with a review: contours that are gone and have no score yet are left out of it.

        Raises:
            InputError: none of its contours is there any more.
        """
        names = {entry.name for entry in rated.entries}
        contours = [contour for contour in self.contours if contour.score or contour.rater in names]
        if not names & {contour.rater for contour in contours}:
            raise InputError("None of the contours of this review is there any more; cancel it and start another one.")
        self._change(contours=[asdict(contour) for contour in contours])

    @property
    def reviewer(self) -> str:
        """Who scores."""
        return self._state["reviewer"]

    @property
    def ended(self) -> str:
        """When it was ended (ISO 8601); empty while it is going on."""
        return self._state["ended"]

    @property
    def contours(self) -> list[Scored]:
        """The contours in the order in which they are shown."""
        return [Scored(**contour) for contour in self._state["contours"]]

    @property
    def complete(self) -> bool:
        """Whether every contour has a score."""
        return all(contour.score for contour in self.contours)

    def score(self, number: int, **changes: str) -> None:
        """Change ``score``, ``reason`` or ``comment`` of a contour.

        Raises:
            InputError: a score or a reason that does not exist, or the review was ended.
        """
        if self.ended:
            raise InputError("The names of this review are known; start another one to score anew.")
        if changes.get("score", "") not in ("", *SCORES) or changes.get("reason", "") not in ("", *REASONS):
            raise InputError(f"A contour cannot be scored {changes}; scores are {', '.join(SCORES)}.")
        if "comment" in changes:
            changes["comment"] = one_line(changes["comment"])
        contours = self.contours
        contours[number] = replace(contours[number], **changes)
        self._change(contours=[asdict(contour) for contour in contours])

    def end(self) -> None:
        """Keep the scores and name the raters.

        Raises:
            InputError: a contour has no score yet.
        """
        if not self.complete:
            raise InputError("Not every contour is scored; score them all, then the names are told.")
        self._change(ended=_now())
        rows = self.rows()
        fill_table(self.node, {key.capitalize(): [row[key] for row in rows] for key in rows[0]})

    def cancel(self) -> None:
        """Forget the review and its scores."""
        slicer.mrmlScene.RemoveNode(self.node)

    def rows(self) -> list[dict[str, str]]:
        """What the review says of each contour, with ``rater``, ``score``, ``reason``, ``comment``, ``reviewer``,
        ``date``; empty as long as it is going on, because the names are not to be told."""
        if not self.ended:
            return []
        return [{**asdict(contour), "reviewer": self.reviewer, "date": self.ended} for contour in self.contours]

    @property
    def _state(self) -> dict[str, Any]:
        return get_json(self.node, _STATE)

    def _change(self, **changes: Any) -> None:
        set_json(self.node, _STATE, {**self._state, **changes})


def reviews(volume: slicer.vtkMRMLVolumeNode | None) -> list[Review]:
    """The reviews of contours on a CT, oldest first."""
    started = [Review(node) for node in find_all("vtkMRMLTableNode", _KIND, volume) if get_json(node, _STATE)]
    return sorted(started, key=lambda review: review._state["started"])


def pending(volume: slicer.vtkMRMLVolumeNode | None) -> Review | None:
    """The review that is going on, if there is one."""
    return next((review for review in reviews(volume) if not review.ended), None)


def scores(volume: slicer.vtkMRMLVolumeNode | None) -> list[dict[str, str]]:
    """What all reviews that were ended say; see :meth:`Review.rows`."""
    return [row for review in reviews(volume) for row in review.rows()]


def unhide(review: Review) -> None:
    """Show the segmentations that a review has hidden: also those of a scene that was saved in the middle of one."""
    node = review.node
    for index in range(node.GetNumberOfNodeReferences(_HIDDEN)):
        # By its ID, which the table also knows when it was taken out of the scene.
        display = slicer.mrmlScene.GetNodeByID(node.GetNthNodeReferenceID(_HIDDEN, index) or "")
        if display is not None:
            display.SetVisibility(True)
    node.RemoveNodeReferenceIDs(_HIDDEN)


class Blind:
    """Copies of the contours shown in place of all segmentations of the scene, until :meth:`restore`.

    Volumes that give away whose a contour is, or what most raters think, are taken out of the slice views meanwhile: a
    model's probability, the agreement map, labelmaps. Nothing tells when a scene is saved: which segmentations are
    hidden is therefore remembered with the review, in the scene.

    Args:
        rated: the contours.
        review: says in which order; those of its contours that are in ``rated`` are shown.
        outline: width, pixels.
    """

    def __init__(self, rated: RatedScene, review: Review, outline: int = 2) -> None:
        self._review = review
        volume = rated.volume
        self._node = new_segmentation(volume, "Blinded review")
        self._node.SetHideFromEditors(True)
        self._node.SetSaveWithScene(False)
        marked = {delineation.name: delineation.mask for delineation in rated.case.all}
        self._segments: dict[int, str] = {}
        for number, contour in enumerate(review.contours):
            if contour.rater in marked:
                mask, title = rated.mask(marked[contour.rater]), f"Contour {number + 1}"
                self._segments[number] = add_segment(self._node, title.replace(" ", "_"), title, GRAY, mask, {})
        # Of two displays the second one is drawn over the first: the chosen contour over the others.
        self._others, self._chosen = self._add_display(1), self._add_display(max(2, outline))
        self._others.SetVisibility3D(False)
        show_surface(self._node)
        for display in slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode"):
            if display not in (self._others, self._chosen) and display.GetVisibility():
                display.SetVisibility(False)
                review.node.AddNodeReferenceID(_HIDDEN, display.GetID())
        self._layers = self._take_layers(volume)

    @staticmethod
    def _take_layers(volume: slicer.vtkMRMLScalarVolumeNode) -> list[tuple[str, str | None, str | None]]:
        """Take telling volumes out of the views; each view's composite node with the foreground and label it had."""
        results = filter(is_result, slicer.util.getNodesByClass("vtkMRMLSegmentationNode"))
        telling = {node.GetID() for node in (map_of(volume), *map(probability_of, results)) if node is not None}
        taken = []
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            foreground, label = composite.GetForegroundVolumeID(), composite.GetLabelVolumeID()
            taken.append((composite.GetID(), foreground, label))
            if foreground in telling:
                composite.SetForegroundVolumeID(None)
            composite.SetLabelVolumeID(None)
        return taken

    def _add_display(self, outline: int) -> slicer.vtkMRMLSegmentationDisplayNode:
        display = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationDisplayNode")
        display.SetSaveWithScene(False)
        display.SetVisibility2DFill(False)
        display.SetSliceIntersectionThickness(outline)
        display.SetOpacity2DOutline(1.0)
        self._node.AddAndObserveDisplayNodeID(display.GetID())
        return display

    @property
    def numbers(self) -> list[int]:
        """The contours that can be shown."""
        return list(self._segments)

    def show(self, number: int, others: bool = False) -> None:
        """Show one contour, and the others in gray if they are wanted too."""
        for which, segment_id in self._segments.items():
            self._node.GetSegmentation().GetSegment(segment_id).SetColor(*(LIME if which == number else GRAY))
            self._chosen.SetSegmentVisibility(segment_id, which == number)
            self._others.SetSegmentVisibility(segment_id, others and which != number)

    def restore(self) -> None:
        """Show the segmentations again that were seen before, and take the copies out of the scene."""
        unhide(self._review)
        for composite_id, foreground, label in self._layers:
            composite = slicer.mrmlScene.GetNodeByID(composite_id)
            if composite is not None:
                composite.SetForegroundVolumeID(foreground)
                composite.SetLabelVolumeID(label)
        for node in (self._node, self._others, self._chosen):
            if node.GetScene():
                slicer.mrmlScene.RemoveNode(node)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
