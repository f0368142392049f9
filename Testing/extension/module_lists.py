"""The files that each module's CMakeLists.txt installs, and those it should.

``python3 Testing/extension/module_lists.py`` writes both lists of both modules anew from the tree; the tests compare.
"""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = ("CMEDLSegment", "CMEDLTrain")
LISTS = ("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES")


def _block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(set\({name}\n)(.*?)(  \))", re.DOTALL)


def listed(module: str, name: str) -> list[str]:
    """What the list ``name`` of ``module`` names, relative to the module's folder, as CMake reads it."""
    found = _block(name).search((REPOSITORY / module / "CMakeLists.txt").read_text(encoding="utf-8"))
    if found is None:
        return []
    return [line.strip().replace("${MODULE_NAME}", module) for line in found[2].splitlines()]


def present(module: str, name: str) -> list[str]:
    """What the list should name: the module, its library and its panel, or every resource; in a stable order."""
    folder = REPOSITORY / module
    if name == "MODULE_PYTHON_SCRIPTS":
        parts = [path for part in ("Lib", "Panel") for path in sorted((folder / f"{module}{part}").rglob("*.py"))]
        files = [folder / f"{module}.py", *parts]
    else:
        files = sorted(path for path in (folder / "Resources").rglob("*") if path.is_file())
    return [path.relative_to(folder).as_posix() for path in files]


def write(module: str) -> None:
    """Write the lists of ``module`` anew."""
    path = REPOSITORY / module / "CMakeLists.txt"
    text = path.read_text(encoding="utf-8")
    for name in LISTS:
        lines = "".join(f"  {file.replace(module, '${MODULE_NAME}')}\n" for file in present(module, name))
        text = _block(name).sub(lambda found, lines=lines: found[1] + lines + found[3], text)
    path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    for each in MODULES:
        write(each)
