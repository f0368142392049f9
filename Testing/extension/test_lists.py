"""What the CMake lists name is what the extension needs, and what lies in no list only the Python package has."""

from __future__ import annotations

import pytest

from extension.module_lists import LISTS, MODULES, PACKAGE_ONLY, imports, listed, needed, present, sources


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


def test_what_is_left_out_is_imported_by_the_paper_s_figures_and_experiments_alone() -> None:
    files = {name: path for module in MODULES for name, path in sources(module).items()}
    extension = needed()
    left_out = {name for name, path in files.items() if path not in extension}
    rooms = {name for name in files if name.startswith(PACKAGE_ONLY)}
    assert rooms < left_out
    used = {target for name in left_out for target in imports(name, files[name])}
    assert left_out - rooms <= {name.rpartition(".")[0] for name in used}
