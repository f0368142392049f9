"""Cancel, release, close, idling, and front ends that go without a word: nothing is left of any of them."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from CMEDLSegmentLib.base.errors import Cancelled, CMEDLError, InputError
from CMEDLSegmentLib.inference.options import SegmentationOptions
from CMEDLSegmentLib.process.client import WorkerClient
from segment.inference.small_models import blobs
from segment.process.processes import ANY, FAKE, PATIENCE, a_volume, at_work, exists, is_right, soon, until_stage

Maker = Callable[..., WorkerClient]
POSIX = pytest.mark.skipif(os.name != "posix", reason="watches processes by POSIX means")

FRONT_END = """
import json, sys, time
sys.path[:0] = [{package!r}, {testing!r}]
from pathlib import Path
from CMEDLSegmentLib.process.client import WorkerClient
from segment.process.processes import ANY, a_volume, until_stage
client = WorkerClient([sys.executable, {fake!r}, "quick", "600"], folder=Path({place!r}))
run = client.start(a_volume(), ANY)
until_stage(run, "Segmenting")
print(json.dumps({{"worker": client.pid}}), flush=True)
{ending}
"""


def front_end(place: Path, ending: str) -> tuple[subprocess.Popen[str], int]:
    """A front end in a process of its own in the middle of a run, and its worker's number."""
    import CMEDLSegmentLib

    text = FRONT_END.format(
        package=str(Path(CMEDLSegmentLib.__file__).parents[1]),
        testing=str(FAKE.parents[2]),
        fake=str(FAKE),
        place=str(place),
        ending=ending,
    )
    process = subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
    )
    return process, json.loads(process.stdout.readline())["worker"]


@POSIX
def test_cancel_ends_the_worker_with_its_children_and_leaves_no_file(
    make_client: Maker, place: Path, tmp_path: Path
) -> None:
    number = tmp_path / "child"
    client = make_client("quick", "600", str(number))
    run = at_work(client)
    worker, child = client.pid, int(number.read_text("utf-8"))
    assert exists(worker)
    assert exists(child)
    [folder] = place.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    client.cancel()  # which waits for nothing
    assert not client.busy
    assert not client.warm
    assert isinstance(run.exception(0), Cancelled)
    assert soon(lambda: not exists(worker) and not exists(child) and not list(place.iterdir()))


@POSIX
@pytest.mark.parametrize("how", ["cancelled", "the launcher was killed"])
def test_a_worker_behind_a_launcher_is_ended_with_it(how: str, make_client: Maker) -> None:
    client = make_client("launcher", "quick", "600")
    run = at_work(client)
    worker, launcher = client.pid, client._process.pid
    assert worker != launcher
    if how == "cancelled":
        client.cancel()
    else:
        os.kill(launcher, signal.SIGKILL)
        with pytest.raises(CMEDLError, match="signal"):
            run.result(PATIENCE)
    assert soon(lambda: not exists(worker) and not exists(launcher))


def check_cancel_at(client: WorkerClient, place: Path, model: str, seconds: float) -> None:
    """Cancel a run of the real model so many seconds after the click."""
    run = client.start(blobs(), SegmentationOptions(model), probability=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        run.done()
        time.sleep(0.01)
    worker, busy = client.pid, client.busy
    begin = time.monotonic()
    client.cancel()
    assert soon(lambda: not client._belongings.processes or not busy)
    assert soon(lambda: not list(place.iterdir()))
    print(f"gone {time.monotonic() - begin:.2f} s after cancel")  # 2 s are meant, on a machine that does nothing else
    if busy:
        assert isinstance(run.exception(0), Cancelled)
        assert worker is None or not exists(worker)


@pytest.mark.parametrize("moments", [(0.0, 0.3, 2.0), pytest.param(20, marks=pytest.mark.slow)])
def test_cancel_at_any_moment_and_the_next_run_is_fine(
    moments: tuple[float, ...] | int, make_client: Maker, place: Path, model: str, expected_blobs: bytes
) -> None:
    """While the process starts, while it imports, while it works; or at so many random moments of a whole run."""
    client = make_client()
    if isinstance(moments, int):
        begin = time.monotonic()
        client.start(blobs(), SegmentationOptions(model)).result(PATIENCE)
        whole = time.monotonic() - begin
        client.release()
        chance = random.Random(3)
        moments = tuple(chance.uniform(0.0, whole) for _ in range(moments))
    for seconds in moments:
        check_cancel_at(client, place, model, seconds)
    run = client.start(blobs(), SegmentationOptions(model))
    assert run.result(PATIENCE).label.tobytes() == expected_blobs


def test_cancel_wins_over_a_result_that_nobody_has_seen(make_client: Maker) -> None:
    client = make_client("quick")
    run = client.start(a_volume(), ANY)
    assert soon(lambda: run.over)
    assert run.cancel()
    assert isinstance(run.exception(0), Cancelled)
    assert not run.cancel()


def test_a_run_can_start_right_after_a_cancel(make_client: Maker) -> None:
    client = make_client("quick", "0.2")
    volume = a_volume()
    run = client.start(volume, ANY)
    until_stage(run, "Segmenting")
    client.cancel()
    again = client.start(volume, ANY)
    assert not again.warm
    assert is_right(again.result(PATIENCE).label, volume)
    assert isinstance(run.exception(0), Cancelled)


def test_a_run_that_is_cancelled_while_someone_waits_raises(make_client: Maker) -> None:
    client = make_client("quick", "600")
    run = client.start(a_volume(), ANY)
    threading.Timer(0.5, client.cancel).start()
    with pytest.raises(Cancelled):
        run.result(PATIENCE)


def test_waiting_ends_after_the_time_given_and_the_run_goes_on(make_client: Maker) -> None:
    client = make_client("quick", "1")
    run = client.start(a_volume(), ANY)
    with pytest.raises(CMEDLError, match=r"0\.01 s"):
        run.result(0.01)
    for refused in (lambda: client.start(a_volume(), ANY), client.release):
        with pytest.raises(InputError):
            refused()
    assert is_right(run.result(PATIENCE).label, a_volume())


@POSIX
def test_an_idle_worker_ends_and_the_next_click_starts_another(make_client: Maker) -> None:
    client = make_client("quick", idle_seconds=0.2)
    client.start(a_volume(), ANY).result(PATIENCE)
    worker = client.pid
    assert soon(lambda: not client.warm)
    assert worker is None or soon(lambda: not exists(worker))
    run = client.start(a_volume(), ANY)
    assert not run.warm
    run.result(PATIENCE)


@POSIX
@pytest.mark.parametrize("ending", ["time.sleep(600)", "sys.exit()", "del client; time.sleep(600)", "client.close()"])
def test_a_worker_and_its_files_go_with_the_front_end(ending: str, place: Path) -> None:
    """It is killed, ends in the middle of a run, forgets its client, or closes it as it should."""
    process, worker = front_end(place, ending)
    if ending == "time.sleep(600)":
        assert exists(worker)
        assert list(place.iterdir())
        process.kill()
        process.wait()
    try:
        assert soon(lambda: not exists(worker) and not list(place.iterdir()))
    finally:
        process.kill()
        process.communicate()


@POSIX
def test_a_worker_goes_with_the_front_end_also_where_another_process_holds_the_pipe(place: Path) -> None:
    """A fork of the front end, as Python's multiprocessing makes, has a copy of the pipe to the worker."""
    process, worker = front_end(place, "import os\nos.fork()\nprint(flush=True)\ntime.sleep(600)")
    assert [process.stdout.readline() for _ in range(2)] == ["\n", "\n"]
    process.kill()
    process.wait()
    try:
        assert soon(lambda: not exists(worker))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()


def test_a_closed_client_says_so(make_client: Maker) -> None:
    client = make_client("quick")
    run = client.start(a_volume(), ANY)
    client.close()
    client.close()
    assert not client.warm
    assert not client.busy
    assert isinstance(run.exception(0), Cancelled)
    with pytest.raises(InputError):
        client.start(a_volume(), ANY)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_opening_and_closing_twenty_times_leaks_nothing(place: Path) -> None:
    """Closed in the middle of a start, or as a whole run later; a client that nobody has any more is closed too."""

    def counts() -> tuple[int, int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd")), len(list(place.iterdir()))  # noqa: PTH208

    gc.collect()
    before = counts()
    for i in range(20):
        client = WorkerClient([sys.executable, str(FAKE), "quick"], folder=place)
        run = client.start(a_volume(), ANY)
        if i % 10 == 0:
            run.result(PATIENCE)
        if i % 2:
            client.close()
        del client
        gc.collect()
    # Fewer, where something of an earlier test went meanwhile.
    assert soon(lambda: all(now <= then for now, then in zip(counts(), before, strict=True))), (before, counts())
