"""The one place that asks for Python packages: what is missing, and how Slicer installs it.

torch comes through the PyTorch extension when it is there, because that one knows which build fits the graphics
card. The rest is in ``Resources/CMEDLSegmentRequirements.txt`` and goes through ``slicer.packaging`` (Slicer 5.12) or
``slicer.util.pip_install`` (5.10). Offline, pip takes the packages from a folder of wheels when ``PIP_NO_INDEX=1`` and
``PIP_FIND_LINKS=folder`` are in the environment that Slicer is started in.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from CMEDLSegmentLib.errors import InputError

TORCH = "torch>=2.6,<2.14"
REQUIREMENTS = Path(__file__).resolve().parents[1] / "Resources" / "CMEDLSegmentRequirements.txt"


class Declined(Exception):
    """The user did not want the packages to be installed."""


def required() -> list[str]:
    """The requirements of a run, as pip writes them, torch first."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return [TORCH, *(line.strip() for line in lines if line.strip() and not line.startswith("#"))]


def missing() -> list[str]:
    """The requirements that are not installed, or in another version; nothing is imported to find out."""
    from packaging.requirements import Requirement

    importlib.invalidate_caches()
    found = []
    for line in required():
        requirement = Requirement(line)
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            found.append(line)
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            found.append(line)
    return found


def ensure() -> None:
    """Install what a run needs and is missing, after asking; to be called at a click, never at start-up.

    Raises:
        Declined: the user said no.
        InputError: the installation failed; the message says what to do.
    """
    wanted = missing()
    if not wanted:
        return
    before = _versions()
    try:
        if TORCH in wanted and _installTorch():
            wanted.remove(TORCH)
        if wanted:
            _install(wanted)
    except subprocess.CalledProcessError as error:
        raise InputError(
            _(
                "The Python packages could not be installed; look into the log for pip's reason. Without a network, "
                "start Slicer with PIP_NO_INDEX=1 and PIP_FIND_LINKS set to a folder with the wheels."
            )
        ) from error
    still = missing()
    if still:
        raise InputError(
            _("Still missing: {packages}. Restart Slicer and try again.").format(packages=", ".join(still))
        )
    _offerRestart(outdated(before, _versions()))


def _installTorch() -> bool:
    """Let the PyTorch extension install torch; False if that extension is not there."""
    try:
        import PyTorchUtils
    except ImportError:
        return False
    installed = PyTorchUtils.PyTorchUtilsLogic().installTorch(
        askConfirmation=True, torchVersionRequirement=TORCH.removeprefix("torch")
    )
    if installed is None:
        raise Declined
    return True


def _install(requirements: list[str]) -> None:
    """Ask, and let Slicer's pip install ``requirements``."""
    question = _("CMEDL needs these Python packages in Slicer: {packages}. Install them now? It can take minutes.")
    if TORCH in requirements:
        question += " " + _(
            "The PyTorch extension is not installed; with it, the build of torch would fit the graphics card. Cancel "
            "to install that extension first."
        )
    text = question.format(packages=", ".join(requirements))
    if not slicer.util.confirmOkCancelDisplay(text, _("CMEDL: install Python packages")):
        raise Declined
    from packaging.requirements import Requirement

    try:
        from slicer.packaging import pip_ensure
    except ImportError:  # Slicer 5.10
        slicer.util.pip_install(requirements)
    else:
        pip_ensure([Requirement(line) for line in requirements], prompt_install=False, prompt_restart=False)


def _versions() -> dict[str, str]:
    importlib.invalidate_caches()
    return {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}


def outdated(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """The packages that are in memory in a version that is no longer the installed one.

    Args:
        before, after: versions by package, before and after an installation.
    """
    changed = {name for name, version in before.items() if after.get(name) != version}
    names = importlib.metadata.packages_distributions().items()
    in_memory = {package for module, packages in names if module in sys.modules for package in packages}
    # Python 3.10 knows the modules of some packages only; most are called like their package.
    in_memory |= {name for name in changed if name.lower().replace("-", "_") in sys.modules}
    return sorted(in_memory & changed)


def _offerRestart(packages: list[str]) -> None:
    """Slicer itself goes on with the old versions in memory until it is restarted; the worker has the new ones."""
    if not packages:
        return
    text = _("{packages} was in use in another version, so Slicer should be restarted. Restart now?")
    if slicer.util.confirmYesNoDisplay(text.format(packages=", ".join(packages)), _("CMEDL: restart")):
        slicer.util.restart()
