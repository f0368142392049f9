"""A case to score a student on that is read without its scan and without SimpleITK: what the student sees of it.

The file, ``*.npz``, has the slices on the student's field in 8 bits, where that field lies on which grid, and the
expert's labels on that grid. So the student's labels are made and measured in full resolution, as from the scan. The
scan itself, outside the field and finer than its pixels, is not there.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from CMEDLSegmentLib.base.errors import InputError, ModelError
from CMEDLSegmentLib.base.files import atomic_path
from CMEDLSegmentLib.base.schema import SchemaError, parse_object, read, required
from CMEDLSegmentLib.inference.resampling import ModelField
from CMEDLSegmentLib.inference.segmenter import FieldSlices
from CMEDLSegmentLib.io.volume import Geometry, Volume, axial_view
from CMEDLSegmentLib.models.model_card import Card
from CMEDLSegmentLib.models.normalization import Normalization

if TYPE_CHECKING:
    import torch

SUFFIX = ".npz"
UNREADABLE = (OSError, EOFError, zipfile.BadZipFile, ValueError, KeyError, TypeError, ModelError, SchemaError)
"""What a cut or foreign ``.npz`` may raise."""
HALF_RANGE = 127.5
"""Values of 8 bits on either side of the middle: 2 HU each of a window of 500 HU."""


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Normalized intensities -1..1 -> uint8."""
    return np.round((values + 1) * HALF_RANGE).astype(np.uint8)


def from_bytes(values: np.ndarray) -> np.ndarray:
    """The inverse of :func:`to_bytes`, float32, to half a level."""
    return values.astype(np.float32) / np.float32(HALF_RANGE) - 1


@dataclass(frozen=True, kw_only=True)
class PackedCaseEntries:
    """What is said of a case beside its arrays.

    Attributes:
        field: where the field lies on the slices that the student looks at.
        geometry: of the scan.
        normalization: that the images were made with: a window, because others need the scan.
        modality: of the scan.
        lung_slices: how many slices hold lung; 0 where the student does not ask.
    """

    field: ModelField
    geometry: Geometry
    normalization: Normalization = required(formerly="normalisation")
    modality: str
    lung_slices: int

    def entries_to_json(self) -> dict[str, Any]:
        """The entries in JSON's types."""
        return {
            "field": asdict(self.field),
            "geometry": asdict(self.geometry),
            "normalisation": self.normalization.to_dict(),
            "modality": self.modality,
            "lung_slices": self.lung_slices,
        }


@dataclass(frozen=True, kw_only=True)
class PackedCase(PackedCaseEntries):
    """A case as a student sees it.

    Attributes:
        images: uint8 (n, pixels, pixels), the slices that the student looks at, see :func:`to_bytes`.
        slices: their axial indices (n,), rising.
        expert: uint8 (z, y, x), the expert's labels on the scan's grid, in its own axes.
    """

    images: np.ndarray
    slices: np.ndarray
    expert: np.ndarray

    def seen_by(self, card: Card) -> FieldSlices:
        """What the student of a card looks at.

        Raises:
            InputError: the student sees other images than these.
        """
        own = (self.modality, self.normalization, self.field.pixels, self.field.pixel_mm)
        if (card.modality, card.normalization, card.field, card.spacing_mm) != own:
            raise InputError(
                f"The student '{card.name}' sees images of another window, size or spacing than the case was packed "
                "with; score it on the scans."
            )

        def sampler(device: str) -> Callable[[np.ndarray], torch.Tensor]:
            import torch

            def sample(slices: np.ndarray) -> torch.Tensor:
                images = from_bytes(self.images[np.searchsorted(self.slices, slices)])
                return torch.from_numpy(images)[:, None].to(device)

            return sample

        return FieldSlices(self.slices, self.field, self.geometry, sampler, self.lung_slices)

    def volume(self) -> Volume:
        """The scan as far as it is known, to be looked at: the field's slices brought to its grid, else the darkest."""
        low, high = self.normalization.low, self.normalization.high
        array = np.full(self.geometry.shape, low, np.float32)
        view = axial_view(array, self.geometry).array
        rows, columns = self.field.to_native
        for z, image in zip(self.slices, self.images, strict=True):
            view[z] += rows @ (from_bytes(image) + 1) @ columns.T * ((high - low) / 2)
        return Volume(array, self.geometry, self.modality)

    def save(self, path: Path) -> None:
        """Write it to ``path``, which ends in ``.npz``."""
        about = self.entries_to_json()
        with atomic_path(path) as beside:
            np.savez(beside, images=self.images, slices=self.slices, expert=self.expert, about=json.dumps(about))


def read_packed_case(path: Path) -> PackedCase:
    """A case that :meth:`PackedCase.save` wrote.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            about = read(PackedCaseEntries, parse_object(str(file["about"])))
            arrays = {name: file[name] for name in ("images", "slices", "expert")}
        return PackedCase(**vars(about), **arrays)
    except UNREADABLE as error:
        raise InputError(f"{path} is not a case that was packed ({error}); unpack it anew.") from error
