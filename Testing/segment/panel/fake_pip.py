"""A PythonSlicer whose pip installs nothing: it notes what it was asked, and what it was to leave as it is.

    python fake_pip.py NOTES [-c CODE | WORKER ARGUMENTS...]

``NOTES`` is a folder: ``commands`` gets a line of JSON for each call of pip, with the constraints that were given; with
a file ``fails`` it fails, and while there is a file ``slow`` it goes on for ever. Anything else is done by the quick
worker.
"""

from __future__ import annotations

import json
import runpy
import sys
import tempfile
import time
from pathlib import Path


def pip(notes: Path, words: list[str]) -> int:
    """Note a command; its exit code."""
    given = words[words.index("--constraint") + 1 :][:1] if "--constraint" in words else []
    constraints = [line for path in given for line in Path(path).read_text("utf-8").splitlines()]
    entry = {"words": words, "constraints": constraints, "temporary": tempfile.gettempdir()}
    with (notes / "commands").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry) + "\n")
    print("Collecting", words[-1], flush=True)
    # What is half downloaded.
    Path(tempfile.gettempdir(), "torch.whl.part").write_bytes(b"half")
    while (notes / "slow").exists():
        time.sleep(0.05)
    if (notes / "fails").exists():
        print("ERROR: no matching distribution", flush=True)
        return 1
    print("Successfully installed", words[-1], flush=True)
    return 0


if __name__ == "__main__":
    folder, *words = sys.argv[1:]
    if words[0] in ("-m", "-c"):
        sys.exit(pip(Path(folder), words[1:]))
    worker = Path(__file__).with_name("quick_worker.py")
    sys.argv = [str(worker), *words]
    runpy.run_path(str(worker), run_name="__main__")
