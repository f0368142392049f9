"""How to segment: one object from the command line, a cohort's table or the panel down to the segmenter."""

from __future__ import annotations

from dataclasses import dataclass

from ..base.errors import InputError
from ..base.schema import conform, named, required, setting
from ..models import DEFAULT

TUMOR, ADD, CUT, END = "tumor", "add", "cut", "end"
ACTIONS = (TUMOR, ADD, CUT, END)
AUTO, THRESHOLD = "auto", "threshold"


@dataclass(frozen=True)
class Click:
    """A place that a person pointed at, and what for.

    Attributes:
        point: LPS, mm.
        action: ``tumor`` starts a tumor that lies here. The others mend the last tumor that was started: ``add`` and
            ``cut`` around the place, ``end``: the tumor goes no further than this slice, seen from its first click.

    Raises:
        InputError: a value has a wrong type; the message names it.
    """

    point: tuple[float, float, float] = required(low=-1e5, high=1e5)
    action: str = setting(TUMOR, choices=ACTIONS)

    def __post_init__(self) -> None:
        with named("The click's"):
            conform(self)

    @classmethod
    def parse(cls, text: str) -> Click:
        """A click as people write it: ``X,Y,Z`` in LPS mm, perhaps after ``add:``, ``cut:`` or ``end:``.

        Raises:
            InputError: it is none; the message quotes it.

        >>> Click.parse("cut: -52.5, -30, 12")
        Click(point=(-52.5, -30.0, 12.0), action='cut')
        >>> str(Click((-52.5, -30.0, 12.0)))
        '-52.5,-30,12'
        """
        action, colon, numbers = text.rpartition(":")
        try:
            x, y, z = map(float, numbers.split(","))
            return cls((x, y, z), action.strip().lower() if colon else TUMOR)
        except (ValueError, InputError) as error:
            raise InputError(
                f'"{text}" is no click; give X,Y,Z in mm (LPS), with {ADD}:, {CUT}: or {END}: before it to mend the '
                "tumor that was clicked before."
            ) from error

    def __str__(self) -> str:
        """As :meth:`parse` takes it."""
        place = ",".join(f"{coordinate:.10g}" for coordinate in self.point)
        return place if self.action == TUMOR else f"{self.action}:{place}"


@dataclass(frozen=True)
class SegmentationOptions:
    """What is the same for every scan of a cohort; plain values, so that it travels between processes as JSON.

    Attributes:
        model: a model's name or file.
        device: ``auto``, ``cuda``, ``cuda:N``, ``mps`` or ``cpu``.
        threshold: probability from which a voxel is marked; None is the model's own.
        all_slices: look at every slice, also where the model asks for lung slices only.
        minimum_cc: components below this volume (cc) are dropped.
        clicks: tumors that a person pointed at, in order. Where the model reads clicks they are all that is segmented;
            beside another model they are added to what it finds.
        click_model: who answers the clicks beside a model that reads none: a model's name or file, ``threshold`` (the
            model's own probability around the click), or ``auto``: a model that reads clicks if there is one for these
            images and this label, else ``threshold``.

    Raises:
        InputError: a value has a wrong type or is no number; the message names the option.
    """

    model: str = DEFAULT
    device: str = "auto"
    threshold: float | None = None
    all_slices: bool = False
    minimum_cc: float = 0.0
    clicks: tuple[Click, ...] = ()
    click_model: str = AUTO

    def __post_init__(self) -> None:
        with named("The option"):
            conform(self)


DEFAULTS = SegmentationOptions()
