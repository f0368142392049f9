"""The structures that a segmentation marks: value, name, color and codes."""

from __future__ import annotations

from dataclasses import dataclass

from ..base.errors import ModelError
from ..base.schema import conform, named, read, required, setting

SEGMENTATION = ".seg.nrrd"
"""How the file of a Slicer segmentation ends."""


@dataclass(frozen=True)
class Label:
    """One structure that a model marks.

    Attributes:
        value: the voxel value in a labelmap, 1..255.
        name: the segment's name.
        color: red, green, blue, each 0..1.
        terminology: ``category`` and ``type``, and where it applies ``region``; each [scheme, code, meaning].
    """

    value: int = required(low=1, high=255)
    name: str = required(filled=True)
    color: tuple[float, float, float] = required(low=0.0, high=1.0)
    terminology: dict[str, list[str]] = required(filled=True)

    def __post_init__(self) -> None:
        with named("the card's field", ModelError):
            conform(self, "labels")
            read(_Terminology, self.terminology, "labels.terminology")


@dataclass(frozen=True)
class _Terminology:
    """The codes of a structure; each a scheme, a code and its meaning."""

    category: tuple[str, str, str] = required(filled=True)
    type: tuple[str, str, str] = required(filled=True)
    region: tuple[str, str, str] | None = setting(None, filled=True)


TUMOR = Label(
    1,
    "Tumor",
    (0.9, 0.1, 0.1),
    {
        "category": ["SCT", "49755003", "Morphologically abnormal structure"],
        "type": ["SCT", "86049000", "Neoplasm, Primary"],
        "region": ["SCT", "39607008", "Lung"],
    },
)
