"""Several raters and the student on one image, by hand and on a real strong disagreement."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from agreement.rated import nodule
from CMEDLSegmentLib.agreement import analyse


def test_the_real_strong_disagreement_has_the_known_mean_dice(data_root: Path):
    found = analyse(nodule(data_root / "lidc_raters" / "LIDC-IDRI-0497_nodule-0"))
    assert found.spread["dsc"].mean == pytest.approx(0.62, abs=0.005)
    assert found.spread["dsc"].n == 6
    assert np.isfinite(found.matrix("hd95_mm")).all()
    json.dumps(found.to_json(), allow_nan=False)
