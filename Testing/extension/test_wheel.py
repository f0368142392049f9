"""An installed wheel holds both libraries whole and finds its bundled students."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from extension.module_lists import MODULES, REPOSITORY, sources
from extension.test_installed import check_bundled, students


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of a copy of the sources: setuptools would leave its build folders in the checkout."""
    for tool in ("pip", "setuptools"):
        if importlib.util.find_spec(tool) is None:
            pytest.skip(f"{tool} is not installed")
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE.txt"):
        shutil.copy(REPOSITORY / name, source)
    leave_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in (*MODULES, "Resources/Models"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=leave_out)
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "-w", str(folder), str(source)], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_both_libraries_and_the_students(wheel: Path) -> None:
    files = [path.relative_to(REPOSITORY / module) for module in MODULES for path in sources(module).values()]
    expected = {path.as_posix() for path in files if path.parts[0].endswith("Lib")}
    assert {"CMEDLTrainLib/experiments/plan.py", "CMEDLTrainLib/figures/tsne_map.py"} <= expected
    expected |= {f"CMEDLSegmentLib/bundled/{path.name}" for path in students()}
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert inside == expected


def test_an_installed_wheel_finds_its_students_and_has_both_commands(wheel: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    done = subprocess.run([*pip, "--target", str(tmp_path), str(wheel)], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    check_bundled(tmp_path, "CMEDLSegmentLib/bundled")
    commands = next(tmp_path.glob("cmedl-*.dist-info")) / "entry_points.txt"
    assert "cmedl-segment = CMEDLSegmentLib.cli:main" in commands.read_text(encoding="utf-8")
    assert "cmedl-train = CMEDLTrainLib.cli:main" in commands.read_text(encoding="utf-8")
