"""Commands and trainers of ``cmedl-train`` as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from CMEDLSegmentLib.base.errors import Cancelled, CMEDLError
from CMEDLSegmentLib.process.supervisor import Command, Program
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.settings.configuration import PRESETS
from segment.process.processes import exists, soon

MODULE = "CMEDLTrainLib"


def cmedl_train(*arguments: str) -> Command:
    return Program([sys.executable], os.environ, MODULE).start(arguments)


def instead(folder: Path, program: str) -> Program:
    """Runs ``program`` whatever it is called with."""
    path = folder / "program.py"
    path.write_text(program, encoding="utf-8")
    return Program([sys.executable, str(path)], os.environ, MODULE)


def test_a_command_s_object_is_its_result(tmp_path: Path) -> None:
    run = run_folder.create(tmp_path / "run", PRESETS["tiny"])
    command = cmedl_train("status", str(run.folder))
    assert soon(command.done)
    assert command.result() == run.status()


def test_a_sentence_is_its_error(tmp_path: Path) -> None:
    command = cmedl_train("status", str(tmp_path))
    assert soon(command.done)
    with pytest.raises(CMEDLError, match="is not a run"):
        command.result()


def test_its_progress_is_heard_while_it_works(tmp_path: Path) -> None:
    program = """
import pathlib, sys, time
from CMEDLSegmentLib.cli.console import Bar, emit_json
bar = Bar(sys.stderr, quiet=True)
bar("Half way", 0.5)
print("a library's advice", file=sys.stderr, flush=True)
while not pathlib.Path(GO).exists(): time.sleep(0.02)
emit_json({"answer": "x" * 200_000})
"""
    go = tmp_path / "go"
    command = instead(tmp_path, program.replace("GO", repr(str(go)))).start([])
    assert soon(lambda: command.done() or command.stage == ("Half way", 0.5))
    assert not command.done()
    go.touch()
    assert soon(command.done)
    assert command.result() == {"answer": "x" * 200_000}
    assert list(command.lines) == ["a library's advice"]


def test_one_that_dies_without_a_word_is_told(tmp_path: Path) -> None:
    command = instead(tmp_path, "import os; os.abort()").start([])
    assert soon(command.done)
    with pytest.raises(CMEDLError, match="without a result"):
        command.result()


@pytest.mark.skipif(sys.platform == "win32", reason="asks the kernel for processes")
@pytest.mark.parametrize("how", ["cancelled", "forgotten"])
def test_ended_it_leaves_no_process(tmp_path: Path, how: str) -> None:
    program = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, file=sys.stderr, flush=True)
time.sleep(600)
"""
    command = instead(tmp_path, program).start([])
    assert soon(lambda: command.done() or command.lines)
    pids = [command.pid, int(command.lines[-1].split()[1])]
    if how == "cancelled":
        command.cancel()
        assert soon(command.done)
        with pytest.raises(Cancelled):
            command.result()
    else:
        del command
    assert soon(lambda: not any(exists(pid) for pid in pids))


@pytest.mark.skipif(sys.platform == "win32", reason="asks the kernel for processes")
def test_a_trainer_outlives_the_process_that_started_it(tmp_path: Path) -> None:
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
