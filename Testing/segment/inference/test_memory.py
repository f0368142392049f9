"""Peak memory: the volume plus 1 GB, also for 512 x 512 x 1500."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.inference.options import SegmentationOptions
from CMEDLSegmentLib.inference.segmenter import Segmenter
from CMEDLSegmentLib.io.volume import Geometry, Volume
from segment.inference.small_models import a_card, a_model, linear

BENCH = Path(__file__).resolve().parents[2] / "bench" / "segmentation.py"


def test_arrays_beside_the_volume_are_the_label_and_the_models_probability() -> None:
    """Foreground in every slice, in many pieces; nothing of the size of a float or an integer volume appears."""
    array = np.full((40, 512, 512), -1000, dtype=np.int16)
    array[:, ::32, ::32] = 500
    array[:, 100:300, 100:300] = 400
    volume = Volume(array=array, geometry=Geometry((512, 512, 40), (0.75, 0.75, 2.0)), modality="CT")
    card = a_card(field=256, smoothing_mm=3.0)
    segmenter = Segmenter(a_model(card), "cpu", "torch", start=linear(20.0, -0.5))
    tracemalloc.start()
    try:
        result = segmenter.segment(volume, SegmentationOptions(minimum_cc=1.0))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(result.components) == 1
    slack = 32e6
    assert peak < result.label.nbytes + result.probability.values.nbytes + slack


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_a_volume_of_1500_slices_takes_less_than_1_gb_more_than_itself() -> None:
    """The paper's Unet in a process of its own for each runtime; torch and the rest of the program are counted."""
    command = [sys.executable, str(BENCH), "--memory", "--slices", "1500", "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8")
    result = json.loads(done.stdout.splitlines()[-1])["memory"]
    assert "torch fp32" in result
    for figures in result.values():
        assert figures["lung_slices"] > 900
        assert figures["beyond_the_volume_mb"] * 1e6 < 2**30
