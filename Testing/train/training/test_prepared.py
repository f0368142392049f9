"""Training from prepared slices: with torch, numpy and safetensors alone, and without the scans."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from CMEDLSegmentLib.io.cohort_table import read_cohort
from CMEDLSegmentLib.phantom import write_cohort_phantoms
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.settings.configuration import PRESETS, with_settings
from CMEDLTrainLib.training.train_run import slices_of
from train.training.tiny_runs import environment

WITHOUT = """
import sys

ABSENT = {"SimpleITK", "scipy", "skimage", "vtk", "pydicom", "highdicom", "PIL", "openvino"}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, Absent())
from CMEDLTrainLib import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_run_goes_from_prepared_slices_to_its_student_with_three_packages_and_no_scan(tmp_path):
    home, away = tmp_path / "home", tmp_path / "away"
    table = write_cohort_phantoms(home, cases=3, seed=5, size=(12, 48, 48), spacing=(24.0, 8.0, 8.0))
    settings = with_settings(PRESETS["tiny"], [f"cohort={table}", "optimization.epochs=1"])
    slices_of(run_folder.create(home / "run", settings))
    away.mkdir()
    shutil.copytree(home / "slices", away / "slices")
    shutil.copy(table, away)
    assert not any(case.image.exists() for case in read_cohort(away / table.name, check_files=False))
    command = ["run", "cohort.csv", "-o", "run", "--preset", "tiny", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *command, "--set", "optimization.epochs=1"],
        cwd=away,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert Path(away / "run" / "student.safetensors").is_file()
    assert [path.name for path in (away / "slices").iterdir() if path.is_dir()] == [
        path.name for path in (home / "slices").iterdir() if path.is_dir()
    ]
