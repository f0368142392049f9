"""A model whose card asks for lung slices: which slices it sees, where its field lies, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.inference.lungs import find_lungs
from CMEDLSegmentLib.inference.options import SegmentationOptions
from CMEDLSegmentLib.inference.segmenter import Segmenter
from CMEDLSegmentLib.io.volume import Volume, axial_view
from CMEDLSegmentLib.phantom import Phantom, thorax_ct
from segment.inference.small_models import a_card, a_model, blobs, linear


@pytest.fixture(scope="module")
def thorax() -> Phantom:
    return thorax_ct(seed=1, size=(40, 96, 96), spacing=(10.0, 4.0, 4.0))


def a_lung_segmenter(**changes: object) -> Segmenter:
    """Marks what is denser than 0 HU."""
    card = a_card(slices="lung", field=128, spacing_mm=3.0, **changes)
    return Segmenter(a_model(card), "cpu", start=linear(30.0, 1 / 3))


def test_only_slices_with_lung_are_seen_and_counted(thorax: Phantom) -> None:
    segmentation = a_lung_segmenter().segment(thorax.image)
    view = axial_view(thorax.image.array, thorax.image.geometry)
    lungs = find_lungs(view.array, view.spacing)
    assert 0 < segmentation.lung_slices < len(view.array)
    assert (segmentation.probability.slices == lungs.slices).all()
    marked = np.flatnonzero(axial_view(segmentation.label, thorax.image.geometry).array.any(axis=(1, 2)))
    assert set(marked) <= set(lungs.slices.tolist())


def test_all_slices_are_seen_when_asked_for(thorax: Phantom) -> None:
    segmentation = a_lung_segmenter().segment(thorax.image, SegmentationOptions(all_slices=True))
    assert len(segmentation.probability.slices) == len(thorax.image.array)
    assert 0 < segmentation.lung_slices < len(thorax.image.array)


def test_the_field_follows_the_lungs_wherever_the_patient_lies(thorax: Phantom) -> None:
    """The same patient at the edge of a larger image gets the same label."""
    first = a_lung_segmenter().segment(thorax.image)
    wide = np.pad(thorax.image.array, ((0, 0), (0, 64), (0, 32)), constant_values=-1000)
    g = thorax.image.geometry
    geometry = type(g)((g.size[0] + 32, g.size[1] + 64, g.size[2]), g.spacing, g.origin, g.direction)
    second = a_lung_segmenter().segment(Volume(array=wide, geometry=geometry, modality="CT"))
    assert (second.label[:, :96, :96] == first.label).all()
    assert second.label[:, 96:].max() == second.label[:, :, 96:].max() == 0


def test_no_lungs_is_an_error_unless_all_slices_are_asked_for() -> None:
    """An abdomen of water and fat: it is a CT in HU, but there is nothing of lung in it."""
    volume = blobs()
    volume.array[:, 5:-5, 5:-5] = -80
    volume.array[:, 12:-12, 12:-12] = 40
    with pytest.raises(InputError, match="lungs"):
        a_lung_segmenter().segment(volume)
    segmentation = a_lung_segmenter().segment(volume, SegmentationOptions(all_slices=True))
    assert segmentation.lung_slices == 0
    assert any("No lungs" in warning for warning in segmentation.warnings)
    assert len(segmentation.probability.slices) == len(volume.array)


def test_an_image_that_cannot_be_in_hounsfield_units_is_refused(thorax: Phantom) -> None:
    volume = Volume(
        array=((thorax.image.array.astype(np.float32) + 1024) / 16).astype(np.uint8), geometry=thorax.image.geometry
    )
    with pytest.raises(InputError):
        a_lung_segmenter().segment(volume)
