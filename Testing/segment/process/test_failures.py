"""A worker that dies, hangs, prints garbage or cannot start, a full disk, a folder without permission."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from CMEDLSegmentLib.base.errors import CMEDLError, InputError
from CMEDLSegmentLib.process.client import WorkerClient
from segment.process.processes import ANY, FAKE, PATIENCE, a_volume, exists, is_right, over, soon, until_stage

Maker = Callable[..., WorkerClient]


def assert_recovers(client: WorkerClient, place: Path) -> None:
    """Nothing of the failed run is left, and the same client does the next one with a worker that works."""
    assert not client.busy
    assert soon(lambda: not list(place.iterdir()))
    client._hang_seconds = 60.0
    client._python = [sys.executable, str(FAKE), "quick"]
    volume = a_volume()
    assert is_right(client.start(volume, ANY).result(PATIENCE).label, volume)


@pytest.mark.parametrize(
    ("behavior", "said"),
    [
        ("garbage_at_once", "no message"),
        ("one_endless_line", "no message"),
        ("garbage_later", "no message"),
        ("wrong_message", "no message"),
        ("exit_at_once", "could not be started by .*exit code 7"),
        ("die_in_work", "ended in the middle of the work .*memory ran out"),
        ("no_result", "result could not be read"),
        ("cut_result", "result could not be read .*cut short"),
    ],
)
def test_a_worker_that_misbehaves_gives_a_sentence_and_the_next_run_is_fine(
    behavior: str, said: str, make_client: Maker, place: Path
) -> None:
    client = make_client(behavior)
    run = client.start(a_volume(), ANY)
    error = over(run).exception()
    assert re.search(said, str(error)), str(error)
    assert soon(lambda: not client._belongings.processes)
    assert_recovers(client, place)


@pytest.mark.parametrize(("behavior", "words"), [("exit_at_once", "no module"), ("die_in_work", "the last words")])
def test_the_detail_of_a_failure_holds_what_the_worker_printed_last(
    behavior: str, words: str, make_client: Maker
) -> None:
    client = make_client(behavior)
    run = client.start(a_volume(), ANY)
    assert words in over(run).detail


@pytest.mark.parametrize("behavior", ["sleep_at_once", "sleep_later"])
def test_a_worker_without_a_sign_of_work_is_ended(behavior: str, make_client: Maker, place: Path) -> None:
    """Also one whose heart beats on while its work stands still."""
    client = make_client(behavior, hang_seconds=1.0)
    run = client.start(a_volume(), ANY)
    error = over(run).exception()
    assert "no sign of work for 1 s" in str(error)
    assert_recovers(client, place)


@pytest.mark.skipif(os.name != "posix", reason="stops a process by a signal")
def test_a_stopped_worker_is_ended(make_client: Maker, place: Path) -> None:
    client = make_client("quick", "60")
    run = client.start(a_volume(), ANY)
    until_stage(run, "Segmenting")
    worker = client.pid
    os.kill(worker, signal.SIGSTOP)
    client._hang_seconds = 1.0
    error = over(run).exception()
    assert "no sign of work" in str(error)
    assert soon(lambda: not exists(worker))
    assert_recovers(client, place)


def test_work_without_progress_is_no_hang(make_client: Maker) -> None:
    """The processor time that goes with the heartbeats counts, for three times as long as a hang may last."""
    client = make_client("slow_start", hang_seconds=1.0)
    run = client.start(a_volume(), ANY)
    with pytest.raises(InputError, match="took long"):
        run.result(60)


def test_nobody_looking_is_no_hang(make_client: Maker) -> None:
    """A dialog, or a lid that was closed, keeps the timer from looking: not the worker's fault."""
    client = make_client("quick", "4", hang_seconds=3.5)
    run = client.start(a_volume(), ANY)
    until_stage(run, "Segmenting")
    client._looked -= 3600
    assert not run.done()
    run.result(PATIENCE)


def test_a_worker_killed_at_work_gives_a_sentence(make_client: Maker, place: Path) -> None:
    client = make_client("quick", "60")
    run = client.start(a_volume(), ANY)
    until_stage(run, "Segmenting")
    os.kill(client.pid, signal.SIGKILL)
    error = over(run).exception()
    assert "signal 9" in str(error)
    assert "memory" in str(error)
    assert_recovers(client, place)


def test_a_worker_killed_between_two_clicks_is_replaced_without_a_word(make_client: Maker) -> None:
    client = make_client("quick")
    volume = a_volume()
    for wait in (0.0, 0.0, 0.2):
        run = client.start(volume, ANY)
        assert is_right(run.result(60).label, volume)
        os.kill(client.pid, signal.SIGKILL)
        time.sleep(wait)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("fault", "fault of its own"), ("memory", "ran out of memory"), ("package", "'a_missing_package' is missing")],
)
def test_a_fault_in_the_work_becomes_a_sentence_and_ends_the_worker(
    kind: str, said: str, make_client: Maker, place: Path, tmp_path: Path
) -> None:
    client = make_client("failing", kind, environment={**os.environ, "XDG_STATE_HOME": str(tmp_path)})
    run = client.start(a_volume(), ANY)
    error = over(run).exception()
    assert said in str(error)
    assert "DOE^JOHN" not in str(error) + run.detail
    assert not client.warm
    assert_recovers(client, place)


def test_a_command_that_is_not_there_is_named(make_client: Maker, place: Path) -> None:
    client = make_client(python=["no-such-python"])
    run = client.start(a_volume(), ANY)
    with pytest.raises(CMEDLError, match=r"could not be started by 'no-such-python' \(No such file.*install"):
        run.result(60)
    assert_recovers(client, place)


def test_a_folder_that_takes_no_files_is_named(make_client: Maker, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    client = make_client("quick", folder=file)
    run = client.start(a_volume(), ANY)
    with pytest.raises(InputError, match=r"private folder could be made in .*file .*choose another folder"):
        run.result(60)
    assert not client.busy


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permission bits do not bind this user")
def test_a_folder_without_permission_is_named(make_client: Maker, place: Path) -> None:
    client = make_client("quick")
    place.chmod(0o500)
    run = client.start(a_volume(), ANY)
    with pytest.raises(InputError, match=r"Permission denied.*choose another folder"):
        run.result(60)
    place.chmod(0o700)
    assert_recovers(client, place)


@pytest.fixture
def little_space() -> Iterator[None]:
    """Files of this process end after 100 kB."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("little_space")
def test_no_space_for_the_image_gives_a_sentence(make_client: Maker, place: Path) -> None:
    client = make_client("quick")
    run = client.start(a_volume(depth=3000), ANY)
    with pytest.raises(InputError, match=r"image \(0 MB\) could not be written.*too large.*free some space"):
        run.result(60)
    assert_recovers(client, place)


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
def test_no_space_for_the_result_gives_a_sentence_and_the_worker_stays(make_client: Maker, place: Path) -> None:
    client = make_client("small_disk")
    run = client.start(a_volume(depth=100), ANY)
    with pytest.raises(InputError, match=r"result could not be written.*free some space"):
        run.result(60)
    worker = client.pid
    run = client.start(a_volume(), ANY)
    run.result(PATIENCE)
    assert client.pid == worker
    assert not list(place.iterdir())


def test_what_libraries_print_becomes_log_and_disturbs_nothing(make_client: Maker) -> None:
    client = make_client("chatty")
    run = client.start(a_volume(), ANY)
    run.result(PATIENCE)
    lines = run.printed()
    assert not run.printed()
    for words in ("sitecustomize was here", "print of a library", "write of a library", "no UTF-8", "print of a child"):
        assert any(words in line for line in lines), (words, lines)
