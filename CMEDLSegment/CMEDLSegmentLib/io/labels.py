"""The structures that a segmentation marks: value, name, color and codes."""

from __future__ import annotations

from dataclasses import dataclass

from ..base import field_checks as fields


@dataclass(frozen=True)
class Label:
    """One structure that a model marks.

    Attributes:
        value: the voxel value in a labelmap, 1..255.
        name: the segment's name.
        color: red, green, blue, each 0..1.
        terminology: ``category`` and ``type``, and where it applies ``region``; each [scheme, code, meaning].
    """

    value: int
    name: str
    color: tuple[float, float, float]
    terminology: dict[str, list[str]]

    def __post_init__(self) -> None:
        fields.integer(self.value, "labels.value", 1, 255)
        fields.text(self.name, "labels.name")
        color = fields.items(self.color, "labels.color", 3)
        if len(color) != 3:
            raise fields.wrong("labels.color", "red, green and blue", self.color)
        color = tuple(fields.number(part, "labels.color", 0.0, 1.0) for part in color)
        object.__setattr__(self, "color", color)
        codes = fields.only(self.terminology, "labels.terminology", ("category", "type"), optional=("region",))
        for key, code in codes.items():
            if len(fields.items(code, f"labels.terminology.{key}")) != 3:
                raise fields.wrong(f"labels.terminology.{key}", "a scheme, a code and its meaning", code)
            for part in code:
                fields.text(part, f"labels.terminology.{key}")
        object.__setattr__(self, "terminology", codes)


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
