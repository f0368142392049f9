"""An installed extension: a tree as Slicer unpacks it is importable and finds the bundled students."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from extension.module_lists import LISTS, MODULES, REPOSITORY, listed

SLICER_LIB = "lib/Slicer-5.10/qt-scripted-modules"

# What the real find_package(Slicer) brings, as far as this extension uses it: every listed file is installed under
# its relative name, and one that is missing stops the configuration.
STAND_IN = f"""
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR {SLICER_LIB})
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR ./{SLICER_LIB})
set(Slicer_USE_FILE ${{CMAKE_CURRENT_LIST_DIR}}/Use.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${{CMAKE_CURRENT_LIST_DIR}}/Use.cmake)
set(Slicer_EXTENSION_CPACK ${{CMAKE_CURRENT_LIST_DIR}}/Use.cmake)
set(BUILD_TESTING ON)
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${{ARGN}})
  if(MY_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "unknown: ${{MY_UNPARSED_ARGUMENTS}}")
  endif()
  foreach(file ${{MY_SCRIPTS}} ${{MY_RESOURCES}})
    if(NOT EXISTS ${{CMAKE_CURRENT_SOURCE_DIR}}/${{file}})
      message(FATAL_ERROR "no such file: ${{file}}")
    endif()
    get_filename_component(folder ${{file}} DIRECTORY)
    install(FILES ${{file}} DESTINATION ${{Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}}/${{folder}})
  endforeach()
endmacro()
function(slicer_add_python_unittest)
  cmake_parse_arguments(MY "" "SCRIPT" "" ${{ARGN}})
  if(NOT EXISTS ${{CMAKE_CURRENT_SOURCE_DIR}}/${{MY_SCRIPT}})
    message(FATAL_ERROR "no such test: ${{MY_SCRIPT}}")
  endif()
endfunction()
"""


def students() -> list[Path]:
    folder = REPOSITORY / "Resources" / "Models"
    return sorted(path for ending in ("safetensors", "json", "md") for path in folder.glob(f"*.{ending}"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed tree, copied as the lists say."""
    tree = tmp_path_factory.mktemp("extension") / SLICER_LIB
    files = [
        (REPOSITORY / module / file, file) for module in MODULES for name in LISTS for file in listed(module, name)
    ]
    files += [(path, f"Resources/Models/{path.name}") for path in students()]
    for source, name in files:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, tree / name)
    return tree


START = """
import json, sys
sys.path.insert(0, sys.argv[1])
# An editable installation of the checkout would find what the tree lacks.
sys.meta_path[:] = [finder for finder in sys.meta_path if not finder.__module__.startswith("__editable__")]
"""


def ask(tree: Path, program: str) -> Any:
    """Run ``program`` in a fresh Python that sees ``tree`` first, not the checkout; it prints JSON."""
    command = [sys.executable, "-I", "-c", START + program, str(tree)]
    answer = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, cwd=tree)
    return json.loads(answer.stdout)


def test_cmake_installs_what_the_lists_say(installed: Path, tmp_path: Path) -> None:
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("CMake is not installed")
    slicer = tmp_path / "slicer"
    slicer.mkdir()
    (slicer / "SlicerConfig.cmake").write_text(STAND_IN, encoding="utf-8")
    (slicer / "Use.cmake").touch()
    build, prefix = tmp_path / "build", tmp_path / "prefix"
    # No compiler is looked for: the extension has nothing to compile.
    no_compiler = ["-DCMAKE_C_COMPILER_WORKS=1", "-DCMAKE_CXX_COMPILER_WORKS=1"]
    configure = [cmake, "-S", str(REPOSITORY), "-B", str(build), f"-DSlicer_DIR={slicer}", *no_compiler]
    install = [cmake, "--install", str(build), "--prefix", str(prefix)]
    for command in (configure, install):
        done = subprocess.run(command, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
    assert names_under(prefix / SLICER_LIB) == names_under(installed)
    # The build tree alone serves too, for running Slicer on it without installing.
    built = build / SLICER_LIB / "Resources" / "Models"
    assert names_under(built) == {path.name for path in students()}


def names_under(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_every_module_of_both_libraries_is_imported_from_the_installed_tree(installed: Path) -> None:
    files = {name for name in names_under(installed) if name.endswith(".py") and "Lib/" in name}
    names = sorted(name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files)
    answer = ask(
        installed,
        "import importlib\n"
        f"names = {[name for name in names if not name.endswith('__main__')]}\n"
        "print(json.dumps([importlib.import_module(name).__file__ for name in names]))",
    )
    assert len(answer) > 100
    assert all(Path(path).is_relative_to(installed) for path in answer)


@pytest.mark.parametrize("command", [["experiment", "phantom", "--keep"], ["evaluate", ".", "--figures"]])
def test_the_installed_tree_says_where_the_paper_s_figures_and_experiments_are(
    command: list[str], installed: Path
) -> None:
    code, message = ask(
        installed,
        "import contextlib, io\n"
        "from CMEDLTrainLib.cli import main\n"
        "with contextlib.redirect_stderr(io.StringIO()) as said:\n"
        f"    code = main({command})\n"
        "print(json.dumps([code, said.getvalue()]))",
    )
    assert code == 2
    assert "pip install cmedl" in message
    assert len(message.splitlines()) == 1


def test_the_panels_compile_and_have_their_forms(installed: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "compileall", "-q", str(installed)], capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout
    for module in MODULES:
        assert (installed / f"{module}.py").is_file()
        assert (installed / "Resources" / "UI" / f"{module}.ui").is_file()


def check_bundled(tree: Path, folder: str) -> None:
    """The bundled students are found in a folder of an installed tree, and nothing is wrong with them."""
    answer = ask(
        tree,
        "from CMEDLSegmentLib.models import registry\n"
        "print(json.dumps({entry.name: [str(entry.path), entry.problem] for entry in registry.list_models()\n"
        "                  if entry.origin == registry.BUNDLED}))",
    )
    assert "lung-ct" in answer
    for path, problem in answer.values():
        assert Path(path).is_relative_to(tree / folder)
        assert problem == ""


def test_the_bundled_students_are_found_in_the_installed_tree(installed: Path) -> None:
    check_bundled(installed, "Resources/Models")
