"""Setting up from a fresh clone: which Python is taken, what is pinned, what a user reads when it cannot be done."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from extension.module_lists import REPOSITORY


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> types.ModuleType:
    """``Testing/run.py`` with an environment elsewhere, where pip and the tools are never called."""
    spec = importlib.util.spec_from_file_location("setup_under_test", REPOSITORY / "Testing" / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ENVIRONMENT", tmp_path / ".venv")
    monkeypatch.setattr(module, "STAMP", tmp_path / ".venv" / "stamp")
    return module


def test_ci_runs_the_second_command_and_nothing_else() -> None:
    lines = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "exec python3 Testing/run.py test"
    assert [line for line in lines if "pip" in line or "pytest" in line] == []


def test_the_tests_run_also_where_a_check_fails_and_the_failure_stays(
    run: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit is checked by ``check`` alone; see .pre-commit-config.yaml."""
    hooks = (REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert "entry: python3 Testing/run.py check\n" in hooks
    asked: list[str] = []

    def answer(command: list[str], **_: object) -> types.SimpleNamespace:
        asked.append(Path(command[0]).name if "pytest" not in command else "pytest")
        return types.SimpleNamespace(returncode=7 if asked[-1] == "mypy" else 0)

    monkeypatch.setattr(run.subprocess, "run", answer)
    assert run.test([]) == 7
    assert asked == ["ruff", "ruff", "mypy", "lint-imports", "pytest"]


def test_an_unsupported_python_hands_over_to_one_on_the_path(
    run: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "sys", types.SimpleNamespace(version_info=(3, 9), executable=sys.executable))
    monkeypatch.setattr(run.shutil, "which", lambda name: f"/bin/{name}" if name != "python3.12" else None)
    # The first that is found answers with another version, as a version manager's shim may.
    monkeypatch.setattr(run, "version_of", lambda path: None if path == "/bin/python3.11" else path[-4:])
    assert run.supported_interpreter() == "/bin/python3.10"


def test_without_a_supported_python_a_sentence_says_so(
    run: types.ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = types.SimpleNamespace(version_info=(3, 9), executable=sys.executable, stderr=sys.stderr)
    monkeypatch.setattr(run, "sys", own)
    monkeypatch.setattr(run.shutil, "which", lambda name: None)
    with pytest.raises(run.SetupError, match=r"3\.9"):
        run.set_up()


@pytest.mark.parametrize(("failing", "named"), [("venv", "python3-venv"), ("pip", "pip")])
def test_what_fails_is_told_in_a_sentence(
    failing: str, named: str, run: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(command: list[str], **settings: object) -> types.SimpleNamespace:
        return types.SimpleNamespace(returncode=int(failing in command), stdout="3.11\n")

    monkeypatch.setattr(run.subprocess, "run", call)
    with pytest.raises(run.SetupError, match=named):
        run.set_up()
    assert not run.STAMP.exists()


def test_a_second_call_installs_nothing(run: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    installed: list[tuple[str, ...]] = []
    monkeypatch.setattr(run, "pip", lambda *arguments: installed.append(arguments))
    real = subprocess.run

    def call(command: list[str], **settings: object) -> object:
        if "venv" not in command:
            return real(command, **settings)
        run.ENVIRONMENT.mkdir(exist_ok=True)
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setattr(run.subprocess, "run", call)
    run.set_up()
    # PyTorch first, pinned: the order is what keeps gigabytes of another build away.
    assert [arguments[-1] for arguments in installed] == ["torch==2.13.0", ".[test]"]
    run.set_up()
    assert len(installed) == 2


def test_a_word_that_it_does_not_know_ends_with_the_usage() -> None:
    command = [sys.executable, str(REPOSITORY / "Testing" / "run.py"), "dmeo"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 2
    assert "Testing/run.py demo" in done.stderr


@pytest.mark.parametrize("python", [(3, 10), (3, 11), (3, 12)])
def test_every_requirement_is_pinned_once_for_each_python(python: tuple[int, int]) -> None:
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    wanted = {name.lower() for name in re.findall(r'"([A-Za-z0-9_-]+)(?:>=|==)[\d.]', project)}
    pins = []
    for line in (REPOSITORY / ".ci" / "constraints.txt").read_text(encoding="utf-8").splitlines():
        pin, _, marker = line.partition(";")
        bound = re.fullmatch(r'\s*python_version (>=|<) "3\.(\d+)"', marker)
        newer = bound is None or python >= (3, int(bound[2]))
        if "==" in pin and (bound is None or newer == (bound[1] == ">=")):
            pins.append(pin.partition("==")[0].lower())
    assert wanted <= set(pins)
    assert len(pins) == len(set(pins))
