"""Commands whose answer is waited for, and programs that are let go, as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from CMEDLSegmentLib.base.errors import Cancelled, CMEDLError
from CMEDLSegmentLib.process.supervisor import Command, Program
from segment.process.processes import exists, soon

MODULE = "CMEDLSegmentLib"
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="asks the kernel for processes")


def cmedl_segment(*arguments: str, **environment: str) -> Command:
    return Program([sys.executable], {**os.environ, **environment}, MODULE).start(arguments)


def instead(folder: Path, program: str) -> Command:
    """Runs ``program`` whatever it is called with."""
    path = folder / "program.py"
    path.write_text(program, encoding="utf-8")
    return Program([sys.executable, str(path)], os.environ, MODULE).start([])


def test_a_command_s_object_is_its_result(tmp_path: Path) -> None:
    command = cmedl_segment("models", "list", CMEDL_MODELS=str(tmp_path))
    assert command.result(60)["folder"] == str(tmp_path)
    assert command.done()


@pytest.mark.parametrize("arguments", [("models", "show", "--", "--nobody"), ("no-such-command",)])
def test_a_sentence_is_its_error(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CMEDLError) as caught:
        cmedl_segment(*arguments).result(60)
    assert arguments[-1] in str(caught.value)


def test_its_progress_is_heard_while_it_works(tmp_path: Path) -> None:
    program = """
import pathlib, sys, time
from CMEDLSegmentLib.cli.console import Bar, emit_json
bar = Bar(sys.stderr, quiet=True)
print("a site's greeting", flush=True)
bar("Half way", 0.5)
print("a library's advice", file=sys.stderr, flush=True)
while not pathlib.Path(GO).exists(): time.sleep(0.02)
emit_json({"answer": "x" * 200_000})
"""
    go = tmp_path / "go"
    command = instead(tmp_path, program.replace("GO", repr(str(go))))
    assert soon(lambda: command.done() or command.stage == ("Half way", 0.5))
    assert not command.done()
    go.touch()
    assert command.result(60) == {"answer": "x" * 200_000}
    assert sorted(command.lines) == ["a library's advice", "a site's greeting"]


@pytest.mark.parametrize(
    ("program", "last_line"),
    [
        ("import os; os.abort()", "it said nothing"),
        ("import sys; print('no module of that name', file=sys.stderr); sys.exit(7)", "exit code 7.*no module"),
        ("while True: print('garbage', flush=True)", "garbage"),
        (
            "import subprocess, sys; print('gone', flush=True)\n"
            "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])",
            "gone",
        ),
    ],
    ids=["dies", "exits", "garbage", "a child holds the pipes"],
)
def test_one_that_ends_without_an_answer_is_told(program: str, last_line: str, tmp_path: Path) -> None:
    with pytest.raises(CMEDLError, match=last_line):
        instead(tmp_path, program).result(60)


@POSIX
@pytest.mark.parametrize("how", ["cancelled", "cancelled at once", "forgotten"])
def test_ended_it_leaves_no_process(tmp_path: Path, how: str) -> None:
    program = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, file=sys.stderr, flush=True)
time.sleep(600)
"""
    command = instead(tmp_path, program)
    pids = [command.pid]
    if how != "cancelled at once":
        assert soon(lambda: command.done() or bool(command.lines))
        pids.append(int(command.lines[-1].split()[1]))
    if how == "forgotten":
        del command
    else:
        command.cancel()
        with pytest.raises(Cancelled):
            command.result(60)
    assert soon(lambda: not any(exists(pid) for pid in pids))


@POSIX
def test_what_is_let_go_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    log = tmp_path / "trainer.log"
    (tmp_path / "slow.py").write_text("import time; print('training', flush=True); time.sleep(600)", "utf-8")
    python = [sys.executable, str(tmp_path / "slow.py")]
    program = f"""
import os
from pathlib import Path
from CMEDLSegmentLib.process.supervisor import Program
print(Program({python!r}, os.environ, {MODULE!r}).detach([], Path({str(log)!r})).pid, flush=True)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, encoding="utf-8", check=True
    )
    pid = int(done.stdout)
    assert soon(lambda: log.read_text("utf-8") == "training\n")
    assert exists(pid)
    os.killpg(pid, signal.SIGKILL)
