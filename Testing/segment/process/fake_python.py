"""Stands in for the interpreter that starts the worker, and misbehaves in the way its first argument names.

The worker's own command line follows: ``-u -m CMEDLSegmentLib.process.worker ...``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def say(message: str, **fields: object) -> None:
    print(json.dumps({"message": message, **fields}), flush=True)


def take() -> dict:
    """Say hello, wait for what the front end asks, and begin with it."""
    say("Hello", pid=os.getpid())
    asked = json.loads(sys.stdin.readline())
    say("Taken")
    return asked


def garbage_at_once() -> None:
    while True:
        print("this is no protocol", flush=True)


def one_endless_line() -> None:
    while True:
        sys.stdout.write("x" * 4096)


def garbage_later() -> None:
    take()
    print("Traceback of a library", flush=True)
    time.sleep(60)


def wrong_message() -> None:
    take()
    say("Progressed", encoding="utf-8", fraction="half")
    time.sleep(60)


def sleep_at_once() -> None:
    time.sleep(60)


def sleep_later() -> None:
    """Beat on without doing anything, as a worker does whose work stands still."""
    take()
    while True:
        say("Alive", cpu_s=0.5)
        time.sleep(0.02)


def exit_at_once() -> None:
    print("no module of that name", file=sys.stderr)
    sys.exit(7)


def die_in_work() -> None:
    """Leave a child behind that would hold on to everything."""
    take()
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print("the last words", file=sys.stderr, flush=True)
    os.abort()


def no_result() -> None:
    take()
    say("Done", result={})
    time.sleep(60)


def cut_result() -> None:
    folder = Path(take()["folder"])
    array = {"shape": [2, 3, 4], "dtype": "|u1", "first": 0, "end": 2}
    (folder / "label.raw").write_bytes(b"\1" * 5)
    (folder / "summary.json").write_text(json.dumps({"summary": {}, "arrays": {"label.raw": array}}), "utf-8")
    say("Done", result={})
    time.sleep(60)


def slow_start() -> None:
    """Show signs of work, no progress, for longer than a hang may last; then give up."""
    take()
    for beat in range(30):
        say("Alive", cpu_s=0.1 * beat)
        time.sleep(0.1)
    say("Broken", sentence="It took long.", detail="", kind="InputError", fault=False)
    time.sleep(60)


def launcher() -> None:
    """Another process than the worker, which is its child: what Slicer's own launcher is."""
    print("greetings of a launcher", flush=True)
    sys.exit(subprocess.call([sys.executable, __file__, *sys.argv[2:]]))


def quick(work: Callable[..., None] | None = None) -> None:
    """The real worker with a model so simple that torch is not needed: what is above 0 is tumor.

    Further arguments before ``-u`` say how long the model takes (s), and where to write the number of a child.
    """
    options, arguments = sys.argv[2 : sys.argv.index("-u")], sys.argv[sys.argv.index("-u") + 3 :]
    sys.path.insert(0, str(Path.cwd()))
    import numpy as np

    from CMEDLSegmentLib.process import worker
    from CMEDLSegmentLib.process.protocol import Outcome
    from CMEDLSegmentLib.process.voxel_transfer import read_volume

    def segment(self, folder, task):
        if work is not None:
            work(*options)
        if len(options) == 2 and work is None:
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            Path(options[1]).write_text(str(child.pid), "utf-8")
        volume = read_volume(folder, task.volume)
        self._progress("Segmenting", 0.5)
        time.sleep(float(options[0]) if options and work is None else 0.0)
        label = (volume.array > 0).astype(np.uint8)
        return Outcome(label, label.astype(np.float32) / 2 if task.probability else None, {"told": task.volume})

    worker.Worker._segment = segment
    sys.argv[1:] = arguments
    worker.main()


def small_disk() -> None:
    """Files end after a few bytes."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    quick()


def chatty() -> None:
    """Libraries print: in Python and past it, on stdout and stderr, before the worker says hello and later."""

    def talk() -> None:
        print("print of a library")
        os.write(1, b"write of a library\n")
        os.write(2, b"\xff no UTF-8\n")
        subprocess.run([sys.executable, "-c", "print('print of a child')"], check=True)

    print("sitecustomize was here", flush=True)
    quick(talk)


def failing() -> None:
    """The work fails in the way that the next argument names."""

    def fail(kind: str) -> None:
        if kind == "fault":
            raise RuntimeError("Doe^John".upper())
        if kind == "memory":
            raise MemoryError
        import a_missing_package  # noqa: F401

    quick(fail)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
