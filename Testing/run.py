"""Set up and run, from a fresh clone, with nothing installed but Python 3.10 to 3.12.

python3 Testing/run.py demo            segment a phantom chest CT; the results lie in the folder ``demo``
python3 Testing/run.py check           check style, types and which file may import which
python3 Testing/run.py test [ARGS...]  check, and run the tests; ARGS go to pytest

All work in ``.venv`` in this checkout, made on the first call and kept up to date by later ones. Only the
standard library is used here.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
CONSTRAINTS = ROOT / ".ci" / "constraints.txt"
MODULES = ("CMEDLSegment", "CMEDLTrain")
STAMP = ENVIRONMENT / "cmedl-setup.txt"
SUPPORTED = ("3.12", "3.11", "3.10")
SCRIPTS = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
CHECKS = (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["lint-imports", "--no-logo", "--no-cache"])
"""What is asked before the tests; all of it is configured in ``pyproject.toml``."""
MOST_PROCESSES = 4
"""Test processes at a time at most: each may hold some GB."""


class SetupError(Exception):
    """Setting up failed; the message says why and what to do."""


def version_of(interpreter: str) -> str | None:
    """``3.11`` for an interpreter that runs; None for one that does not run."""
    question = [interpreter, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        answer = subprocess.run(question, capture_output=True, encoding="utf-8", timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def supported_interpreter() -> str:
    """This interpreter if its version is supported, else another one that is on the PATH.

    Raises:
        SetupError: there is none.
    """
    own = "{}.{}".format(*sys.version_info[:2])
    if own in SUPPORTED:
        # Outside any environment: the one that this runs in may be the one to be made anew.
        return getattr(sys, "_base_executable", sys.executable)
    for version in SUPPORTED:
        other = shutil.which(f"python{version}")
        if other and version_of(other) == version:
            return other
    raise SetupError(
        f"Python 3.10, 3.11 or 3.12 is needed and this is {own}; install one of them and call it, as in "
        "'python3.12 Testing/run.py demo'."
    )


def stamp_of(interpreter: str) -> str:
    """What the environment was made from: when this changes, it is set up again."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "setup.py", ".ci/constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    # The checkout's path: an environment names it, so a moved checkout needs a new one.
    return f"{digest.hexdigest()} {version_of(interpreter)} {platform.machine()} {ROOT}\n"


def pip(*arguments: str) -> None:
    """Run pip in the environment.

    Raises:
        SetupError: pip failed; what it printed stands above.
    """
    command = [str(SCRIPTS / "python"), "-m", "pip", "--disable-pip-version-check"]
    if not sys.stdout.isatty():
        # Nobody watches: no progress bars, only errors.
        command.append("-qq")
    if subprocess.run([*command, *arguments], cwd=ROOT).returncode != 0:
        raise SetupError(
            "The packages could not be installed (pip's own words are above); check the network connection, "
            "the proxy settings and the free disk space (about 6 GB), and call this again."
        )


def pinned(package: str) -> str:
    """The requirement that the constraints file gives for ``package``, as in ``torch==2.13.0``."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith(f"{package}=="))


def set_up() -> None:
    """Make ``.venv`` and install the project with its test tools, unless that was done before.

    Raises:
        SetupError: no supported Python version, no ``venv``, or packages that could not be installed.
    """
    interpreter = supported_interpreter()
    stamp = stamp_of(interpreter)
    if STAMP.is_file() and STAMP.read_text(encoding="utf-8") == stamp:
        return
    started = time.monotonic()
    print(f"Setting up {ENVIRONMENT} (once; a few minutes, most of them for PyTorch) ...", flush=True)
    made = subprocess.run([interpreter, "-m", "venv", "--clear", str(ENVIRONMENT)])
    if made.returncode != 0:
        raise SetupError(
            f"{interpreter} could not make a virtual environment in {ENVIRONMENT}; on Debian and Ubuntu "
            "install its venv package first ('sudo apt-get install python3-venv'), elsewhere check that the "
            "folder is writable."
        )
    # PyTorch first and pinned: a looser request could take another build, with gigabytes of its own. Not compiled:
    # Python compiles the few files that it imports by itself.
    pip("install", "--no-compile", pinned("torch"))
    pip("install", "--no-compile", "--constraint", str(CONSTRAINTS), "--editable", ".[test]")
    STAMP.write_text(stamp, encoding="utf-8")
    print(f"Set up in {time.monotonic() - started:.0f} s.", flush=True)


def demo() -> int:
    """Segment the phantom with the bundled student; the results lie in ``demo``."""
    return subprocess.run([str(SCRIPTS / "cmedl-segment"), "demo", "-o", "demo"], cwd=ROOT).returncode


def check() -> int:
    """Check style, types and imports; 0 only if all is well."""
    # The panels are no part of the installed package.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / module) for module in MODULES)}
    codes = [subprocess.run([SCRIPTS / name, *more], cwd=ROOT, env=environment).returncode for name, *more in CHECKS]
    return next((code for code in codes if code), 0)


def test(arguments: list[str]) -> int:
    """Check, then run the tests (also when something is wrong with the style); 0 only if all is well."""
    python = str(SCRIPTS / "python")
    # The files of tests in several processes of one thread each: most tests are too small for more threads.
    spread = ["-n", str(min(MOST_PROCESSES, os.cpu_count() or 1)), "--dist", "loadfile"]
    tests = [python, "-m", "pytest", *spread, *arguments]
    environment = {"OMP_NUM_THREADS": "1", "PYTHONWARNDEFAULTENCODING": "1", **os.environ}
    checked = check()
    return subprocess.run(tests, cwd=ROOT, env=environment).returncode or checked


def main(arguments: list[str]) -> int:
    """Carry out ``demo``, ``check`` or ``test``; returns the exit code."""
    if not arguments or arguments[0] not in ("demo", "check", "test") or (arguments[0] != "test" and arguments[1:]):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    try:
        set_up()
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    return test(arguments[1:]) if arguments[0] == "test" else {"demo": demo, "check": check}[arguments[0]]()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(3)
