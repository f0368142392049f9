"""Many processes want one lock at the same moment: never more than one has it, also where a dead owner left it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.process import lock
from segment.process.processes import soon

TRIALS, RIVALS = 30, 3
RIVAL = """
import os, random, sys, time
from pathlib import Path
from CMEDLSegmentLib.process import lock
def slowly(step):
    return lambda *arguments: (time.sleep(random.choice((0, 0.001, 0.005))), step(*arguments))[1]
for name in ("_create", "_read", "_claim"):
    setattr(lock, name, slowly(getattr(lock, name)))
fsync = os.fsync
os.fsync = lambda descriptor: (time.sleep(float(sys.argv[1])), fsync(descriptor))
for line in sys.stdin:
    with lock.hold(Path(line.rstrip())) as mine:
        print(int(mine), flush=True)
        sys.stdin.readline()
    print("released", flush=True)
"""


@pytest.fixture
def rivals() -> Iterator[list[subprocess.Popen]]:
    """Processes that want the lock that is named to them, and release it at the next line; each has a slower disk."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": environment, "encoding": "utf-8"}
    commands = [[sys.executable, "-c", RIVAL, f"{0.12 * number}"] for number in range(RIVALS)]
    processes = [subprocess.Popen(command, bufsize=1, **pipes) for command in commands]
    yield processes
    for process in processes:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def dead(**changes: object) -> str:
    """What an owner leaves that was killed."""
    return json.dumps({**lock.this_process(), **changes})


LEFT = {
    "nothing": None,
    "a process of before the restart": dead(mark="another-boot 1"),
    "another machine that is silent": dead(host="node7"),
    "a file of an older version": json.dumps({"pid": 17, "host": "node7"}),
    "a file that was cut": "",
}


@pytest.mark.parametrize("left", LEFT)
def test_of_rivals_at_the_same_moment_exactly_one_has_the_lock(
    left: str, rivals: list[subprocess.Popen], tmp_path: Path
) -> None:
    for trial in range(TRIALS):
        file = tmp_path / f"{trial}.lock"
        if (text := LEFT[left]) is not None:
            file.write_text(text, "utf-8")
            os.utime(file, (1, 1))
        for process in rivals:
            process.stdin.write(f"{file}\n")
        answers = [int(process.stdout.readline()) for process in rivals]
        assert sum(answers) == 1, f"trial {trial}"
        owner = lock.owner(file)
        assert owner is not None
        assert owner["pid"] == rivals[answers.index(1)].pid
        for process in rivals:
            process.stdin.write("\n")
        assert [process.stdout.readline() for process in rivals] == ["released\n"] * RIVALS
        assert not list(tmp_path.iterdir())


def test_a_lock_is_taken_over_from_one_who_died_while_taking_it_over(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    file.write_text(dead(mark="another-boot 1"), "utf-8")
    lock._claim(file, file.read_bytes()).write_text(dead(mark="another-boot 2"), "utf-8")
    with lock.hold(file) as mine:
        assert mine
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [dead(host="node7"), dead(mark=None), json.dumps({"pid": 17, "host": "node7"}), ""],
    ids=["elsewhere", "without a mark", "of before", "not written yet"],
)
def test_an_owner_that_beats_is_never_taken_over(text: str, tmp_path: Path) -> None:
    """One elsewhere, one of an older version, one that is just writing its file."""
    file = tmp_path / "lock"
    file.write_text(text, "utf-8")
    with lock.hold(file) as mine:
        assert not mine
    assert not lock.acquire(file)
    assert file.read_text("utf-8") == text
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_the_disk_s_clock_decides_whether_an_owner_elsewhere_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "lock"
    file.write_text(dead(host="node7"), "utf-8")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600)  # this machine's own goes wrong
    assert not lock.acquire(file)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_an_owner_that_was_taken_over_touches_and_removes_nothing_of_the_next(tmp_path: Path) -> None:
    """A laptop that slept with its lid closed wakes up."""
    file = tmp_path / "lock"
    with lock.hold(file) as mine:
        assert mine
        file.write_text(dead(host="node7"), "utf-8")
        os.utime(file, (1, 1))
        lock.refresh(file)
        lock.update(file, device="cpu")
        assert file.stat().st_mtime == 1
    assert json.loads(file.read_text("utf-8"))["host"] == "node7"


def test_an_owner_beats_while_its_work_is_busy_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT_S", 0.01)
    file = tmp_path / "lock"
    with lock.hold(file):
        os.utime(file, (1, 1))
        assert soon(lambda: file.stat().st_mtime > time.time() - 60)


def test_a_folder_that_takes_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing"):
        lock.acquire(tmp_path / "missing" / "lock")
