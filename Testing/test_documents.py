"""The pages name files, functions and headings that exist: a page is wrong as soon as one of them moves."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

import CMEDLSegmentLib
from CMEDLSegmentLib.cli import program as segment_program
from CMEDLTrainLib.cli import program as train_program

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = (*sorted((REPOSITORY / "Docs").glob("*.md")), *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")))
LINKED = (*PAGES, REPOSITORY / "CHANGELOG.md")
ROOTS = [
    REPOSITORY / below
    for below in ("", "CMEDLSegment", "CMEDLSegment/CMEDLSegmentLib", "CMEDLTrain", "CMEDLTrain/CMEDLTrainLib")
]
"""Where a path that a page names may begin."""
TOP = re.compile(r"(?<![\w/.])(?:CMEDLSegment|CMEDLTrain|Testing|Docs|Resources|\.ci)/[\w./-]*\w")
"""A path from the repository's root, wherever it stands."""
BELOW = re.compile(r"`((?:[\w.-]+/)*(?:[\w-]+\.(?:py|md|toml|cff|yaml)|[\w-]+/))(?::([\w.]+))?`")
"""A file or a folder in backticks, perhaps with the name of a class, function or method behind."""


COMMAND = re.compile(r"(?:^ {4,}|`)(cmedl-(?:segment|train) (?:[^`\n\\]|\\\n)+)", re.MULTILINE)
"""A command line in a block or in backticks, over several lines where a backslash ends one."""
PARSERS = {"cmedl-segment": segment_program.parser, "cmedl-train": train_program.parser}


def located(path: str) -> Path | None:
    return next((root / path for root in ROOTS if (root / path).exists()), None)


def names_of(file: Path) -> set[str]:
    """Classes and functions of a module, and methods as ``Class.method``."""
    kinds = (ast.ClassDef, ast.FunctionDef)
    names = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, kinds):
            names.add(node.name)
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, kinds)}
    return names


def anchors_of(page: Path) -> set[str]:
    """The headings of a page as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def relative(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_the_files_and_functions_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    named = [(path, "") for path in TOP.findall(text)] + BELOW.findall(text)
    missing = {path for path, _ in named if located(path) is None}
    missing |= {
        f"{path}:{name}" for path, name in named if name and (file := located(path)) and name not in names_of(file)
    }
    assert missing == set()


def test_every_room_stands_in_the_tree_of_the_architecture() -> None:
    text = (REPOSITORY / "Docs" / "architecture.md").read_text("utf-8")
    rooms = {folder.name for root in ROOTS for folder in root.glob("*/") if (folder / "__init__.py").is_file()}
    assert "io" in rooms
    assert {room for room in rooms if f"{room}/" not in text} == set()


@pytest.mark.parametrize("page", LINKED, ids=relative)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not re.match(r"https?:", target) and not (file.exists() and (not anchor or anchor in anchors_of(file))):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_the_commands_of_a_page_are_understood(page: Path) -> None:
    for text in COMMAND.findall(page.read_text("utf-8")):
        program, command, *arguments = shlex.split(text.replace("\\\n", " "), comments=True)
        assert re.search(rf"^    {command}\b", PARSERS[program]().format_help(), re.MULTILINE), text
        if arguments:
            PARSERS[program]().parse_args([command, *arguments])


def test_the_citation_has_the_version_of_the_program() -> None:
    text = (REPOSITORY / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {CMEDLSegmentLib.__version__}\n" in text
