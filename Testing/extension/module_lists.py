"""The files that each module's CMakeLists.txt installs, and those it should.

The extension has what its two panels and the programs that they start import, in functions too; the Python package has
both libraries whole. ``python3 Testing/extension/module_lists.py`` writes both lists of both modules anew from the
tree; the tests compare.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = ("CMEDLSegment", "CMEDLTrain")
LISTS = ("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES")
STARTED = (*MODULES, "CMEDLSegmentLib.__main__", "CMEDLTrainLib.__main__", "CMEDLSegmentLib.process.worker")
"""What Slicer loads, and the programs that the panels start."""
LOADED_BY_NAME = ("CMEDLTrainLib.methods.", "CMEDLTrainLib.translation.")
"""Modules that a configuration names."""
PACKAGE_ONLY = ("CMEDLTrainLib.experiments", "CMEDLTrainLib.figures")
"""Rooms that only the Python package has, and with them what nothing else imports."""


def _block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(set\({name}\n)(.*?)(  \))", re.DOTALL)


def listed(module: str, name: str) -> list[str]:
    """What the list ``name`` of ``module`` names, relative to the module's folder, as CMake reads it."""
    block = _block(name).search((REPOSITORY / module / "CMakeLists.txt").read_text(encoding="utf-8"))
    if block is None:
        return []
    return [line.strip().replace("${MODULE_NAME}", module) for line in block[2].splitlines()]


def sources(module: str) -> dict[str, Path]:
    """Every Python file of the module, its library and its panel, by its import name; in a stable order."""
    folder = REPOSITORY / module
    parts = [path for part in ("Lib", "Panel") for path in sorted((folder / f"{module}{part}").rglob("*.py"))]
    files = [folder / f"{module}.py", *parts]
    return {".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def imports(name: str, path: Path) -> Iterator[str]:
    """What a file may import: modules, and names in modules."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def needed() -> set[Path]:
    """The files that the extension needs."""
    files = {name: path for module in MODULES for name, path in sources(module).items()}
    waiting = [*STARTED, *(name for name in files if name.startswith(LOADED_BY_NAME))]
    reached = set()
    while waiting:
        name = waiting.pop()
        if name not in reached and not name.startswith(PACKAGE_ONLY):
            reached.add(name)
            # The packages that a module lies in are imported with it.
            waiting += [name.rpartition(".")[0]] if "." in name else []
            waiting += imports(name, files[name]) if name in files else []
    return {files[name] for name in reached & files.keys()}


def present(module: str, name: str) -> list[str]:
    """What the list should name: the Python files that are needed, or every resource."""
    folder = REPOSITORY / module
    if name == "MODULE_PYTHON_SCRIPTS":
        wanted = needed()
        files = [path for path in sources(module).values() if path in wanted]
    else:
        files = sorted(path for path in (folder / "Resources").rglob("*") if path.is_file())
    return [path.relative_to(folder).as_posix() for path in files]


def write(module: str) -> None:
    """Write the lists of ``module`` anew."""
    path = REPOSITORY / module / "CMakeLists.txt"
    text = path.read_text(encoding="utf-8")
    for name in LISTS:
        lines = "".join(f"  {file.replace(module, '${MODULE_NAME}')}\n" for file in present(module, name))
        text = _block(name).sub(lambda block, lines=lines: block[1] + lines + block[3], text)
    path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    for each in MODULES:
        write(each)
