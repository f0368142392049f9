"""The one place that asks for Python packages: at the click that needs them, and only those that it needs.

torch comes in the build that the PyTorch extension chooses, because that one knows which fits the graphics card; where
it is not installed it is offered, and pip's own build is the last resort. What is installed already, by Slicer or for
other extensions, keeps its version (``requirements.constraints``). Offline, pip takes the packages from a folder of
wheels when ``PIP_NO_INDEX=1`` and ``PIP_FIND_LINKS=folder`` are in the environment that Slicer is started in.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import qt
import slicer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from slicer.i18n import tr as _

from CMEDLSegmentLib.base.errors import Cancelled, InputError

from . import interpreter, requirements
from .installation import Installation
from .requirements import TORCH

EXTENSION, ITS_MODULE = "PyTorch", "PyTorchUtils"
CHOOSER = "light-the-torch>=0.5"
"""What that extension installs torch with: pip with the index that fits the graphics card's driver."""
RUN_CHOOSER = """
import runpy, sys
sys.path.insert(0, sys.argv.pop(1))
runpy.run_module("light_the_torch", run_name="__main__")
"""
"""It, from the folder that is the first argument."""
REOPEN = "CMEDL/OpenAfterRestart"
"""Key of the application's settings: the module to open at the next start."""
TITLE = "CMEDL"

_busy = False


def installing() -> bool:
    """Whether packages, or the extension, are being installed at this moment."""
    return _busy


def ensure(purpose: str) -> bool:
    """Install what ``purpose`` needs and is missing, after asking; at a click, never at start-up.

    Args:
        purpose: one of ``requirements.NEEDS``.

    Returns:
        Whether all is there now: False where somebody said no or cancelled, where Slicer has to be restarted first, or
        where an installation is going on already.

    Raises:
        InputError: the installation failed; the message says what to do.
    """
    global _busy
    if _busy:
        return False
    wanted = requirements.missing(purpose)
    if not wanted:
        return True
    _busy = True
    replaced = _in_use(wanted)
    try:
        if not _agreed(wanted):
            return False
        _install(wanted)
    except Cancelled:
        return False
    finally:
        _busy = False
    still = requirements.missing(purpose)
    if still:
        raise InputError(
            _("Still missing: {packages}. Restart Slicer and try again.").format(packages=", ".join(still))
        )
    _offerRestart(replaced)
    return True


def openAgain() -> None:
    """At Slicer's start: open the module that was waiting for the restart."""
    settings = slicer.app.userSettings()
    module = settings.value(REOPEN)
    if module:
        settings.remove(REOPEN)
        slicer.util.selectModule(module)


def _agreed(wanted: Sequence[str]) -> bool:
    """Ask; where torch is wanted and the PyTorch extension is not there, that one is offered first."""
    needed = _("CMEDL needs these Python packages in Slicer: {packages}. What is installed already keeps its version.")
    needed = needed.format(packages=", ".join(wanted))
    size = _("pip's own build of PyTorch takes {gb:.1f} GB to download.").format(gb=requirements.torch_gb())
    manager = _extensionsManager()
    if TORCH not in wanted or _hasExtension() or manager is None:
        own = [size] if TORCH in wanted and not _hasExtension() else []
        text = " ".join([needed, *own, _("Install them now? It can take minutes.")])
        return slicer.util.confirmOkCancelDisplay(text, TITLE)
    there = manager.isExtensionInstalled(EXTENSION)
    box = qt.QMessageBox(slicer.util.mainWindow())
    box.setWindowTitle(TITLE)
    box.setIcon(qt.QMessageBox.Question)
    choice = _(
        "Slicer's PyTorch extension chooses the build of PyTorch that fits the graphics card. It is not loaded, and "
        "Slicer has to be restarted for it, so save the scene before."
    )
    box.setText("\n\n".join([needed, choice, size]))
    box.setStandardButtons(qt.QMessageBox.Yes | qt.QMessageBox.No | qt.QMessageBox.Cancel)
    box.button(qt.QMessageBox.Yes).setText(_("Restart Slicer") if there else _("Install the extension"))
    box.button(qt.QMessageBox.No).setText(_("Use pip's own build"))
    chosen = box.exec_()
    if chosen == qt.QMessageBox.Yes:
        if not there:
            _installExtension(manager)
        _restartForExtension()
    return chosen == qt.QMessageBox.No


def _installExtension(manager) -> None:
    """Let Slicer's Extensions Manager install the extension.

    Raises:
        InputError: it could not be installed.
    """
    slicer.util.showStatusMessage(_("Installing the PyTorch extension ..."))
    interactive, manager.interactive = manager.interactive, False
    try:
        installed = manager.installExtensionFromServer(EXTENSION, False)
    finally:
        manager.interactive = interactive
        slicer.util.showStatusMessage("")
    if not installed:
        raise InputError(
            _("The PyTorch extension could not be installed; try it in the Extensions Manager, or use pip's build.")
        )


def _restartForExtension() -> None:
    text = _(
        "The PyTorch extension is there once Slicer has been restarted. Restart now? What is not saved in the scene is "
        "lost."
    )
    if slicer.util.confirmYesNoDisplay(text, TITLE):
        slicer.app.userSettings().setValue(REOPEN, slicer.util.selectedModule())
        slicer.util.restart()


def _extensionsManager():
    """Slicer's Extensions Manager; None in a build without it."""
    ask = getattr(slicer.app, "extensionsManagerModel", None)
    return ask() if ask else None


def _hasExtension() -> bool:
    return importlib.util.find_spec(ITS_MODULE) is not None


def _install(wanted: Sequence[str]) -> None:
    """Let pip install ``wanted``.

    Raises:
        Cancelled: somebody pressed Cancel.
        InputError: pip failed, or Slicer's interpreter was not found.
    """
    python = interpreter.python()
    with tempfile.TemporaryDirectory(prefix="cmedl-constraints-") as folder:
        pins = Path(folder, "constraints.txt")
        pins.write_text("\n".join(requirements.constraints(wanted)) + "\n", "utf-8")
        options, commands, rest = requirements.pip_options(pins), [], list(wanted)
        if TORCH in rest and _hasExtension():
            rest.remove(TORCH)
            # In a folder of its own, as it wants an older pip than Slicer's.
            tool = str(Path(folder, "tool"))
            commands.append([python, "-m", "pip", "install", "--prefer-binary", "--target", tool, CHOOSER])
            commands.append([python, "-c", RUN_CHOOSER, tool, "install", *options, TORCH])
        if rest:
            commands.append([python, "-m", "pip", "install", *options, *rest])
        Installation(commands).run()


def _in_use(lines: Sequence[str]) -> list[str]:
    """Of the packages that are to be installed those that this Slicer has loaded, in another version."""
    wanted = {canonicalize_name(Requirement(line).name) for line in lines}
    found = importlib.metadata.packages_distributions()
    loaded = {name for module, names in found.items() if module in sys.modules for name in names}
    return sorted(name for name in loaded if canonicalize_name(name) in wanted)


def _offerRestart(packages: Sequence[str]) -> None:
    """Slicer itself goes on with the old versions in memory until it is restarted; the worker has the new ones."""
    if not packages:
        return
    text = _("{packages} was in use in another version, so Slicer should be restarted. Restart now?")
    if slicer.util.confirmYesNoDisplay(text.format(packages=", ".join(packages)), TITLE):
        slicer.util.restart()
