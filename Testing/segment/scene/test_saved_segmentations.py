"""What Slicer's own code saves, cropped and in layers where segments overlap, is read as the raters drew it."""

from __future__ import annotations

import numpy as np
import pytest
import slicer

from CMEDLSegmentLib.io.contour_files import read_delineation
from CMEDLSegmentPanel.scene.volume_nodes import volume_of
from segment.scene.patients import BLOB, FAR, KINDS, SHAPE, a_segmentation, a_volume, box_label, grid


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cropped", [False, True])
def test_a_saved_segmentation_with_overlapping_raters_is_read_as_it_was_drawn(
    scene: slicer.vtkMRMLScene, tmp_path, kind: str, cropped: bool
) -> None:
    volume = a_volume(matrix=grid(kind))
    shifted = np.roll(box_label(BLOB), (1, 2, 3), (0, 1, 2))
    drawn = {"Dr. Ä <b>": box_label(BLOB), "腫瘍": shifted, "both": box_label(BLOB, FAR), "none": np.zeros(SHAPE)}
    node = a_segmentation(volume, drawn)
    node.AddDefaultStorageNode()
    storage = node.GetStorageNode()
    storage.SetCropToMinimumExtent(cropped)
    storage.SetFileName(str(tmp_path / "raters.seg.nrrd"))
    assert storage.WriteData(node)
    geometry = volume_of(volume).geometry
    for name, label in drawn.items():
        delineation = read_delineation(tmp_path / "raters.seg.nrrd", "A", geometry, name)
        np.testing.assert_array_equal(delineation.mask, label.astype(bool))
        assert (delineation.segment, delineation.source, delineation.notes) == (name, "segmentation", ())
