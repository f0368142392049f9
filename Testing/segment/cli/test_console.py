"""Start-up, help, the frame of a command, the bar and the tables."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.base.text import table
from CMEDLSegmentLib.cli.console import Bar, Interrupt, emit_json, guarded

REPOSITORY = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "SimpleITK", "numpy", "scipy", "skimage", "PIL")


def fresh(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a fresh Python that finds the package."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "CMEDLSegment")}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, encoding="utf-8", env=environment, timeout=60, check=False
    )


def test_help_is_there_without_a_heavy_import():
    code = (
        "import sys; from CMEDLSegmentLib import cli; from CMEDLSegmentLib.base import schema\n"
        "from CMEDLSegmentLib.io import cohort_table\n"
        "code = cli.main(['run', '--help']) or cli.main(['compare', '--help'])\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
        "sys.exit(code)"
    )
    ended = fresh("-c", code)
    assert ended.returncode == 0
    assert "--probability" in ended.stdout
    assert "--rater NAME=FILE" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "[]"


def test_help_answers_at_once():
    # Seconds of computing, not of the clock: a shared machine may let a process wait. Windows counts none.
    def once() -> float:
        before = os.times()
        assert fresh("-m", "CMEDLSegmentLib", "--help").returncode == 0
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(once() for _ in range(3)) < 0.3


@pytest.mark.parametrize("name", ["demo", "run", "batch", "compare", "models"])
def test_every_command_has_help(command, name):
    ended = command(name, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert f"usage: cmedl-segment {name}" in ended.out


@pytest.mark.parametrize("arguments", [[], ["sing"], ["models"], ["models", "eat"], ["run"]])
def test_a_wrong_command_ends_with_2_and_says_where_help_is(command, arguments):
    ended = command(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert "--help" in ended.err


def test_json_holds_no_nan_and_no_type_of_its_own(capsys):
    emit_json({"a": np.float32(0.5), "b": [float("nan"), np.int64(3)], "c": (Path("x"), float("inf")), "d": True})
    assert capsys.readouterr().out == '{"a": 0.5, "b": [null, 3], "c": ["x", null], "d": true}\n'


def failing(error: Exception):
    """What a command does that meets an error."""

    def work(arguments, interrupt):
        raise error

    return work


def test_an_unexpected_exception_is_a_sentence_also_without_a_place_for_the_log(capsys, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setattr("CMEDLSegmentLib.base.fault_log.log_folder", lambda: blocked / "log")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(blocked))
    assert guarded("cmedl-segment", [], failing(KeyError("x"))) == 1
    assert "(KeyError)" in capsys.readouterr().err
    assert guarded("cmedl-segment", [], failing(MemoryError())) == 1
    assert "memory" in capsys.readouterr().err


@pytest.mark.parametrize("flag", [[], ["--json"]])
def test_errors_are_one_sentence_on_stderr_and_with_json_an_object_too(capsys, flag):
    assert guarded("cmedl-segment", flag, failing(InputError("The scan is bad; give another."))) == 2
    captured = capsys.readouterr()
    assert captured.err == "The scan is bad; give another.\n"
    assert captured.out == ('{"error": "The scan is bad; give another."}\n' if flag else "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send itself SIGTERM")
def test_a_signal_is_a_wish_the_second_one_a_stop_and_the_old_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    interrupt = Interrupt()
    with interrupt.listening():
        assert not interrupt()
        signal.raise_signal(signal.SIGTERM)
        assert interrupt()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clocked() -> tuple[Terminal, Bar, list[float]]:
    """A terminal, a bar on it, and the time that its clock shows."""
    stream, now = Terminal(), [0.0]
    return stream, Bar(stream, clock=lambda: now[0]), now


def test_on_a_terminal_one_line_is_redrawn_with_percent_and_the_time_left(monkeypatch, clocked):
    monkeypatch.setenv("COLUMNS", "100")
    stream, bar, now = clocked
    bar("Segmenting", 0.0)
    now[0] = 10.0
    bar("Segmenting", 0.25)
    assert "\n" not in stream.getvalue()
    last = stream.getvalue().split("\r")[-1]
    assert last.startswith("██████░")
    assert " 25%  Segmenting  10 s, about 30 s left" in last
    bar.clear()
    assert stream.getvalue().endswith("\r")


def test_the_bar_is_drawn_at_most_ten_times_a_second_and_never_wider_than_the_terminal(monkeypatch, clocked):
    monkeypatch.setenv("COLUMNS", "40")
    stream, bar, now = clocked
    for step in range(1000):
        now[0] = step / 1000
        bar("A stage with quite a long name that will not fit", step / 1001)
    drawn = stream.getvalue().split("\r")[1:]
    assert 9 <= len(drawn) <= 12
    assert max(map(len, drawn)) < 40


def test_without_a_terminal_a_stage_is_a_line_and_quiet_is_silent():
    stream = io.StringIO()
    bar = Bar(stream)
    for fraction in (0.1, 0.2, 0.3):
        bar("Reading", fraction)
    bar("Writing", 0.9)
    assert stream.getvalue() == "Reading (10%)\nWriting (90%)\n"
    silent = Terminal()
    quiet = Bar(silent, quiet=True)
    quiet("Reading", 0.5)
    quiet.clear()
    assert silent.getvalue() == ""


def test_a_closed_stderr_does_not_end_the_work():
    stream = io.StringIO()
    bar = Bar(stream)
    stream.close()
    bar("Reading", 0.5)


def test_a_table_aligns_figures_right_and_words_left():
    text = table(("case", "cc"), [("a", "1.5"), ("long name", "-"), ("c", "22.0")])
    assert text.splitlines() == [
        "case         cc",
        "---------  ----",
        "a           1.5",
        "long name     -",
        "c          22.0",
    ]
