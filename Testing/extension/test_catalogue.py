"""The extension's texts for Slicer's catalog stand in three files and agree."""

from __future__ import annotations

import json
import re

import pytest
from PIL import Image

from extension.module_lists import MODULES, REPOSITORY

CMAKE = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
CATALOG = json.loads((REPOSITORY / "CMEDL.json").read_text(encoding="utf-8"))
# Line by line "key value"; lines that start with # are comments.
S4EXT = {
    line.partition(" ")[0]: line.partition(" ")[2]
    for line in (REPOSITORY / "CMEDL.s4ext").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
}


def from_cmake(name: str) -> str:
    line = re.search(rf'set\(EXTENSION_{name} "(.*)"\)', CMAKE)
    assert line is not None, f"CMakeLists.txt sets no EXTENSION_{name}"
    return line[1]


@pytest.mark.parametrize(
    "key", ["homepage", "category", "contributors", "description", "iconurl", "screenshoturls", "depends"]
)
def test_the_older_description_repeats_the_build(key: str) -> None:
    assert S4EXT[key] == from_cmake(key.upper())


def test_the_newer_description_repeats_the_older() -> None:
    repeated = {"scm_url": "scmurl", "scm_revision": "scmrevision"}
    repeated |= {key: key for key in ("category", "build_subdirectory")}
    assert {key: CATALOG[key] for key in repeated} == {key: S4EXT[older] for key, older in repeated.items()}
    assert CATALOG["build_dependencies"] == S4EXT["depends"].split()


def test_the_newer_description_has_only_keys_of_its_schema() -> None:
    known = {"$schema", "category", "scm_url", "scm_revision", "scm_type", "build_dependencies"}
    known |= {"dicom_support_rule", "build_subdirectory", "enabled", "tier"}
    assert CATALOG.keys() <= known
    assert {"$schema", "category", "scm_url"} <= CATALOG.keys()
    assert 1 <= CATALOG["tier"] <= 5


def test_the_project_is_named_as_the_extension_is() -> None:
    assert re.findall(r"^project\((\w+)\)$", CMAKE, re.MULTILINE) == ["CMEDL"]


@pytest.mark.parametrize("name", ["ICONURL", "SCREENSHOTURLS"])
def test_a_picture_that_the_catalog_shows_is_in_the_tree(name: str) -> None:
    url = from_cmake(name)
    path = REPOSITORY / url.partition("/raw/main/")[2]
    assert path.is_file(), f"{url} leads to no file of this tree"


@pytest.mark.parametrize(
    "path",
    ["Resources/Icons/CMEDL.png", *(f"{module}/Resources/Icons/{module}.png" for module in MODULES)],
)
def test_an_icon_is_a_png_of_128_by_128(path: str) -> None:
    with Image.open(REPOSITORY / path) as icon:
        assert (icon.format, icon.size) == ("PNG", (128, 128))
