"""What is asked for at the first click: packages, from where, and what happens when they cannot be had."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import types

import pytest

from extension.module_lists import REPOSITORY
from panel.bright import add_ct
from panel.conftest import click_segment, settle


@pytest.fixture
def dependencies(slicer_app, panel, monkeypatch: pytest.MonkeyPatch):
    """The room, with a CT chosen, and as if torch and highdicom were not installed until pip was asked for them."""
    from CMEDLSegmentPanel import dependencies

    panel.parameters.ct = add_ct()
    settle(panel, slicer_app)
    absent = {"torch", "highdicom"}
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name in absent:
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    def install(requirements: list[str]) -> None:
        absent.difference_update(re.split("[<>]", line)[0] for line in requirements)

    monkeypatch.setattr(importlib.metadata, "version", version)
    slicer_app.packaging.install = install
    dependencies.absent = absent
    return dependencies


def test_the_requirement_of_torch_is_the_project_s(panel) -> None:
    from CMEDLSegmentPanel.dependencies import TORCH

    assert f'"{TORCH}"' in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")


def test_nothing_is_asked_before_the_first_click(dependencies, slicer_app) -> None:
    assert slicer_app.messages == []
    assert slicer_app.packaging.asked == []


def test_a_yes_installs_what_is_missing_and_the_run_begins(dependencies, panel, slicer_app) -> None:
    slicer_app.answer("ok")
    click_segment(panel, slicer_app)
    assert slicer_app.packaging.asked == ["torch<2.14,>=2.6", "highdicom>=0.27"]
    (question,) = slicer_app.messages
    assert "torch" in question.text
    assert "PyTorch extension" in question.text
    assert panel.parameters.result


def test_slicer_5_10_installs_by_its_own_function(dependencies, panel, slicer_app, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    slicer_app.answer("ok")
    click_segment(panel, slicer_app)
    assert slicer_app.packaging.asked == ["torch>=2.6,<2.14", "highdicom>=0.27"]


def test_a_no_installs_nothing_and_says_so(dependencies, panel, slicer_app) -> None:
    slicer_app.answer("cancel")
    panel.ui.segmentButton.click()
    assert slicer_app.packaging.asked == []
    assert not panel.logic.busy
    assert "Nothing was installed" in panel.ui.messageLabel.text


def test_torch_comes_through_the_pytorch_extension_when_it_is_there(
    dependencies, panel, slicer_app, monkeypatch
) -> None:
    asked = []

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None):
            asked.append((askConfirmation, torchVersionRequirement))
            dependencies.absent.discard("torch")
            return object()

    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic))
    slicer_app.answer("ok")
    click_segment(panel, slicer_app)
    assert asked == [(True, ">=2.6,<2.14")]
    assert slicer_app.packaging.asked == ["highdicom>=0.27"]


def test_a_failed_installation_is_told_with_the_way_without_a_network(dependencies, panel, slicer_app) -> None:
    def fail(requirements: list[str]) -> None:
        raise subprocess.CalledProcessError(1, "pip")

    slicer_app.packaging.install = fail
    slicer_app.answer("ok")
    panel.ui.segmentButton.click()
    assert "PIP_FIND_LINKS" in slicer_app.messages[-1].text
    assert not panel.logic.busy
    assert panel.ui.segmentButton.enabled


def test_a_package_that_changes_while_it_is_in_use_asks_for_a_restart(
    dependencies, panel, slicer_app, monkeypatch
) -> None:
    versions = iter([{"numpy": "1.0"}, {"numpy": "2.0"}])
    monkeypatch.setattr(dependencies, "_versions", lambda: next(versions))
    slicer_app.answer("ok", "yes")
    panel.ui.segmentButton.click()
    assert "numpy" in slicer_app.messages[-1].text
    assert slicer_app.restarts == 1


def test_scripts_are_told_what_is_missing_and_install_nothing(dependencies, panel, slicer_app) -> None:
    from CMEDLSegmentLib.errors import InputError

    with pytest.raises(InputError, match="torch"):
        panel.logic.segment(panel.parameters.ct)
    assert slicer_app.packaging.asked == []
