"""What the panels' files must not say, because in PythonQt it means something else."""

from __future__ import annotations

import ast
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = sorted(REPOSITORY.glob("CMEDL*/**/*.py"))


def kinds_of_qt(tree: ast.AST) -> list[str]:
    """The classes of Qt, CTK or Slicer's widgets that ``isinstance`` or ``issubclass`` are asked about."""
    classes = []
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("isinstance", "issubclass"):
            names = [ast.unparse(node) for node in ast.walk(call.args[1]) if isinstance(node, ast.Attribute)]
            classes += [name for name in names if name.startswith(("qt.", "ctk.", "slicer.q"))]
    return classes


def test_the_question_is_found() -> None:
    tree = ast.parse("isinstance(a, (int, qt.QWidget)) or issubclass(b, slicer.qMRMLWidget) or isinstance(c, list)")
    assert kinds_of_qt(tree) == ["qt.QWidget", "slicer.qMRMLWidget"]


def test_no_file_asks_whether_a_widget_is_of_a_class() -> None:
    """PythonQt's classes are no bases of each other: it is true for the very class only."""
    assert len(FILES) > 50
    classes = {path.name: kinds_of_qt(ast.parse(path.read_text(encoding="utf-8"))) for path in FILES}
    assert {name: kinds for name, kinds in classes.items() if kinds} == {}
