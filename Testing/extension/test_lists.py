"""What the CMake lists name is what the tree holds."""

from __future__ import annotations

import pytest

from extension.module_lists import LISTS, MODULES, listed, present


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("module", MODULES)
def test_the_list_names_every_file_and_nothing_else(module: str, name: str) -> None:
    in_list, in_tree = listed(module, name), present(module, name)
    missing = sorted(set(in_tree) - set(in_list))
    surplus = sorted(set(in_list) - set(in_tree))
    assert in_list == in_tree, (
        f"{module}/CMakeLists.txt, {name}: add {missing}, remove {surplus}; "
        "`python3 Testing/extension/module_lists.py` does it"
    )


def test_no_two_modules_install_a_file_under_the_same_name() -> None:
    everything = [file for module in MODULES for name in LISTS for file in listed(module, name)]
    assert len(everything) == len(set(everything))
