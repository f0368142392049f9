"""A worker that dies, hangs, prints garbage or cannot start, a full disk, a folder without permission."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from CMEDLSegmentLib.base.errors import CMEDLError, InputError
from CMEDLSegmentLib.process.client import WorkerClient
from segment.process.processes import ANY, FAKE, PATIENCE, a_volume, at_work, exists, is_right, over, soon

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
    ("behavior", "named", "printed"),
    [
        ("garbage_at_once", "no message", ""),
        ("one_endless_line", "no message", ""),
        ("garbage_later", "no message", ""),
        ("wrong_message", "no message", ""),
        ("exit_at_once", "exit code 7", "no module"),
        ("die_in_work", "memory", "the last words"),
        ("no_result", "summary.json", ""),
        ("cut_result", "label.raw", ""),
    ],
)
def test_a_worker_that_misbehaves_gives_a_sentence_and_the_next_run_is_fine(
    behavior: str, named: str, printed: str, make_client: Maker, place: Path
) -> None:
    """The run's detail holds what the worker printed last."""
    client = make_client(behavior)
    run = over(client.start(a_volume(), ANY))
    assert named in str(run.exception())
    assert printed in run.detail
    assert soon(lambda: not client._belongings.processes)
    assert_recovers(client, place)


@pytest.mark.parametrize("behavior", ["sleep_at_once", "sleep_later"])
def test_a_worker_without_a_sign_of_work_is_ended(behavior: str, make_client: Maker, place: Path) -> None:
    """Also one whose heart beats on while its work stands still."""
    client = make_client(behavior, hang_seconds=1.0)
    error = over(client.start(a_volume(), ANY)).exception()
    assert " 1 s" in str(error)
    assert_recovers(client, place)


@pytest.mark.skipif(os.name != "posix", reason="stops a process by a signal")
def test_a_stopped_worker_is_ended(make_client: Maker, place: Path) -> None:
    client = make_client("quick", "60")
    run = at_work(client)
    worker = client.pid
    os.kill(worker, signal.SIGSTOP)
    client._hang_seconds = 1.0
    assert isinstance(over(run).exception(), CMEDLError)
    assert soon(lambda: not exists(worker))
    assert_recovers(client, place)


def test_work_without_progress_is_no_hang(make_client: Maker) -> None:
    """The processor time that goes with the heartbeats counts, for three times as long as a hang may last."""
    client = make_client("slow_start", hang_seconds=1.0)
    with pytest.raises(InputError, match="took long"):
        client.start(a_volume(), ANY).result(60)


def test_nobody_looking_is_no_hang(make_client: Maker) -> None:
    """A dialog, or a lid that was closed, keeps the timer from looking: not the worker's fault."""
    client = make_client("quick", "4", hang_seconds=3.5)
    run = at_work(client)
    client._last_look -= 3600
    assert not run.done()
    run.result(PATIENCE)


def test_a_worker_killed_at_work_gives_a_sentence(make_client: Maker, place: Path) -> None:
    client = make_client("quick", "60")
    run = at_work(client)
    os.kill(client.pid, signal.SIGKILL)
    error = over(run).exception()
    assert "signal 9" in str(error)
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
    ("kind", "named"), [("fault", "log"), ("memory", "memory"), ("package", "'a_missing_package'")]
)
def test_a_fault_in_the_work_becomes_a_sentence_and_ends_the_worker(
    kind: str, named: str, make_client: Maker, place: Path, tmp_path: Path
) -> None:
    client = make_client("failing", kind, environment={**os.environ, "XDG_STATE_HOME": str(tmp_path)})
    run = over(client.start(a_volume(), ANY))
    assert named in str(run.exception())
    assert "DOE^JOHN" not in str(run.exception()) + run.detail
    assert not client.warm
    assert_recovers(client, place)


def test_a_command_that_is_not_there_is_named(make_client: Maker, place: Path) -> None:
    client = make_client(python=["no-such-python"])
    with pytest.raises(CMEDLError, match="'no-such-python'"):
        client.start(a_volume(), ANY).result(60)
    assert_recovers(client, place)


def test_a_folder_that_takes_no_files_is_named(make_client: Maker, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    client = make_client("quick", folder=file)
    with pytest.raises(InputError, match=str(file)):
        client.start(a_volume(), ANY).result(60)
    assert not client.busy


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permission bits do not bind this user")
def test_a_folder_without_permission_is_named(make_client: Maker, place: Path) -> None:
    client = make_client("quick")
    place.chmod(0o500)
    with pytest.raises(InputError, match=f"{place}.*Permission denied"):
        client.start(a_volume(), ANY).result(60)
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
    with pytest.raises(InputError, match=str(place)):
        client.start(a_volume(depth=3000), ANY).result(60)
    assert_recovers(client, place)


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
def test_no_space_for_the_result_gives_a_sentence_and_the_worker_stays(make_client: Maker, place: Path) -> None:
    client = make_client("small_disk")
    with pytest.raises(InputError, match=str(place)):
        client.start(a_volume(depth=100), ANY).result(60)
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
    for text in ("sitecustomize was here", "print of a library", "write of a library", "no UTF-8", "print of a child"):
        assert any(text in line for line in lines), (text, lines)
