"""Stands in for the interpreter that starts the worker, and misbehaves in the way its first argument names.

The worker's own command line follows: ``-u -m CMEDLSegmentLib.jobs.worker ...``.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path


def say(message: str, **fields: object) -> None:
    print(json.dumps({"message": message, **fields}), flush=True)


def hello() -> None:
    say("Hello", pid=os.getpid())


def ask() -> dict:
    """Wait for what the front end asks."""
    return json.loads(sys.stdin.readline())


def garbage_at_once() -> None:
    while True:
        print("this is no protocol", flush=True)


def one_endless_line() -> None:
    while True:
        sys.stdout.write("x" * 4096)


def garbage_later() -> None:
    hello()
    ask()
    say("Taken")
    print("Traceback of a library", flush=True)
    time.sleep(60)


def wrong_message() -> None:
    hello()
    ask()
    say("Progressed", text="Segmenting", fraction="half")
    time.sleep(60)


def sleep_at_once() -> None:
    time.sleep(60)


def sleep_later() -> None:
    """Beat on without doing anything, as a worker does whose work stands still."""
    hello()
    ask()
    say("Taken")
    while True:
        say("Alive", cpu_s=0.5)
        time.sleep(0.02)


def exit_at_once() -> None:
    print("no module of that name", file=sys.stderr)
    sys.exit(7)


def die_in_work() -> None:
    """Leave a child behind that would hold on to everything."""
    hello()
    ask()
    say("Taken")
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print("the last words", file=sys.stderr, flush=True)
    os.abort()


def no_result() -> None:
    hello()
    ask()
    say("Taken")
    say("Done")
    time.sleep(60)


def cut_result() -> None:
    hello()
    folder = Path(ask()["folder"])
    array = {"shape": [2, 3, 4], "dtype": "|u1", "first": 0, "end": 2}
    (folder / "label.raw").write_bytes(b"\1" * 5)
    (folder / "summary.json").write_text(json.dumps({"summary": {}, "arrays": {"label.raw": array}}))
    say("Taken")
    say("Done")
    time.sleep(60)


def launcher() -> None:
    """A real worker, but as a child: what Slicer's launcher does."""
    print("greetings of a launcher", flush=True)
    sys.exit(subprocess.call([sys.executable, *sys.argv[2:]]))


def with_child() -> None:
    """A real worker that has a child, whose number it writes to a file."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(sys.argv.pop(2)).write_text(str(child.pid))
    run_worker()


def small_disk() -> None:
    """A real worker for which files end after a few bytes."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    run_worker()


def chatty() -> None:
    """A real worker in which libraries print: in Python and past it, on stdout and stderr."""
    print("sitecustomize was here", flush=True)
    sys.path.insert(0, str(Path.cwd()))
    from CMEDLSegmentLib.jobs import worker

    segment = worker.Worker._segment

    def noisy(*arguments):
        print("print of a library")
        os.write(1, b"write of a library\n")
        os.write(2, b"\xff no UTF-8\n")
        subprocess.run([sys.executable, "-c", "print('print of a child')"], check=True)
        return segment(*arguments)

    worker.Worker._segment = noisy
    sys.argv[1:] = sys.argv[5:]
    worker.main()


def failing() -> None:
    """A real worker whose work fails in the way the next argument names."""
    kind = sys.argv.pop(2)
    sys.path.insert(0, str(Path.cwd()))
    from CMEDLSegmentLib.jobs import worker

    def fail(*arguments):
        if kind == "fault":
            raise RuntimeError("secret name of a patient")
        if kind == "memory":
            raise MemoryError
        import a_missing_package  # noqa: F401

    worker.Worker._segment = fail
    sys.argv[1:] = sys.argv[5:]
    worker.main()


def run_worker() -> None:
    sys.path.insert(0, str(Path.cwd()))
    sys.argv[1:] = sys.argv[5:]
    runpy.run_module("CMEDLSegmentLib.jobs.worker", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
