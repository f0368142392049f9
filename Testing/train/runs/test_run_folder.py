"""A run's folder tells its true state, whatever happened to the trainer."""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.process import lock
from CMEDLTrainLib.cli import main
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.settings.configuration import PRESETS, Configuration, from_json, with_settings
from CMEDLTrainLib.settings.settings_table import settings_of
from segment.process.processes import soon
from train.training.tiny_runs import environment


@pytest.fixture
def run(tmp_path):
    return run_folder.create(tmp_path / "run", PRESETS["tiny"])


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_configuration_survives_the_way_through_its_file(preset):
    assert from_json(PRESETS[preset].to_json()) == PRESETS[preset]


def test_the_paper_preset_holds_the_settings_of_section_iii_c():
    paper = PRESETS["paper"]
    assert paper.optimization.learning_rate == 2e-4
    assert paper.optimization.batch == 2
    assert paper.optimization.epochs == 100
    assert (paper.loss.dice, paper.loss.cross_entropy) == (1.0, 0.0)
    assert paper.images.field == 256
    assert paper.images.window_hu == (-1000.0, 500.0)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("epochs=7", "'epochs'"),
        ("optimization.epoch=7", "epochs"),
        ("optimization.epochs=many", "optimization.epochs"),
        ("optimization.epochs=1.5", "optimization.epochs"),
        ("optimization=3", "optimization"),
        ("augmentation.scale=[1]", "augmentation.scale"),
        ("seed", "'seed'"),
        ("seed.deeper=1", r"seed\.deeper"),
        ("seed=-1", "from 0"),
        ("optimization.epochs=0", "from 1"),
        ("optimization.batch=0", "from 1"),
        ("optimization.learning_rate=NaN", "from 0"),
        ("optimization.schedule=linear", "constant, cosine"),
        ("images.spacing_mm=-1", "0.05 to 20"),
        ("images.window_hu=[500, -1000]", r"images\.window_hu"),
        ("augmentation.scale=[2, 0.5]", r"augmentation\.scale"),
    ],
)
def test_a_bad_setting_is_refused_and_named(setting, named):
    with pytest.raises(InputError, match=named):
        with_settings(Configuration(), [setting])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}', '{"format": 1, "unknown": 2}'])
def test_a_damaged_configuration_is_refused(text):
    with pytest.raises(InputError, match=r"configuration\.json"):
        from_json(text)


def test_a_folder_that_holds_something_is_never_taken_for_a_new_run(tmp_path):
    (tmp_path / "notes.txt").write_text("mine", "utf-8")
    with pytest.raises(InputError, match=tmp_path.name):
        run_folder.create(tmp_path, PRESETS["tiny"])
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_what_did_no_step_is_begun_anew_and_what_did_one_never(run):
    run.report("estimate", batch=4)  # then it was refused, say for a device that is not there
    changed = replace(run.configuration, device="cpu", seed=7)
    assert run_folder.create(run.folder, changed).configuration.seed == 7
    assert run.read_events() == []
    with run.held(), pytest.raises(InputError, match=run.folder.name):
        run_folder.create(run.folder, changed)
    run.report("start", step=0, steps=10)
    with pytest.raises(InputError, match=run.folder.name):
        run_folder.create(run.folder, changed)


def test_every_preset_is_within_the_limits_and_every_number_has_some():
    for preset in PRESETS.values():
        assert with_settings(preset, []) == preset
    for setting in settings_of(Configuration()):
        if isinstance(setting.value, (int, float, tuple)) and not isinstance(setting.value, bool):
            assert " from " in setting.wanted, setting.key


def test_a_new_run_is_stopped_at_step_zero(run):
    assert run.status() == {
        "state": "stopped",
        "step": 0,
        "steps": None,
        "epoch": 0,
        "seconds_left": None,
        "losses": {},
        "validation": {},
    }


@pytest.mark.parametrize(("epoch", "text"), [(0, "0 epochs done"), (1, "1 epoch done"), (2, "2 epochs done")])
def test_the_status_in_words_knows_one_epoch_from_several(run, capsys, epoch, text):
    run.report("step", step=50, steps=100, epoch=epoch, losses={"student": 0.5})
    assert main(["status", str(run.folder)]) == 0
    assert f"step 50 of 100, {text}\n" in capsys.readouterr().out


def test_a_held_run_is_running_and_takes_no_second_trainer(run):
    with run.held():
        run.report("start", step=0, steps=10)
        run.report("step", step=5, losses={"segmentation": 0.5}, seconds_left=3)
        assert run.status()["state"] == "running"
        assert run.status()["seconds_left"] == 3
        with pytest.raises(run_folder.BeingTrained, match=run.folder.name), run.held():
            pass
    assert not run.running()


def test_a_trainer_that_was_killed_leaves_a_crashed_run_that_can_be_held_again(run):
    code = (
        "import os, signal, sys; from pathlib import Path; from CMEDLTrainLib.runs import run_folder\n"
        f"run = run_folder.Run(Path({str(run.folder)!r}))\n"
        "with run.held():\n"
        "    run.report('start', step=0, steps=10)\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as trainer:
        assert trainer.stdout.readline() == b"held\n"
        assert run.status()["state"] == "running"
        trainer.kill()
        if Path("/proc/self").exists():  # also while its parent has not asked about it
            assert soon(lambda: not run.running())
            assert run.status()["state"] == "crashed"
        trainer.wait()
    with run.held():
        assert run.running()


@pytest.mark.parametrize(
    "mark",
    [
        "another-boot 1",  # the machine was started anew, and the number and its ticks came again
        f"{Path('/proc/sys/kernel/random/boot_id').read_text('utf-8').strip()} 1",  # the number was given again
    ]
    if Path("/proc/self").exists()
    else [],
)
def test_a_process_of_the_same_number_that_is_not_the_trainer_is_not_taken_for_it(run, mark):
    run.report("start", step=0, steps=10)
    run.trainer.write_text(json.dumps({**lock.this_process(), "mark": mark}), "utf-8")
    assert run.status()["state"] == "crashed"


@pytest.mark.parametrize("elsewhere", [{"host": "elsewhere"}, {"space": "pid:[1]"}, {"mark": None}])
def test_a_trainer_that_cannot_be_looked_at_is_alive_while_its_heartbeat_is_fresh(run, elsewhere):
    run.trainer.write_text(json.dumps({**lock.this_process(), **elsewhere}), "utf-8")
    assert run.running()
    old = time.time() - lock.SILENT_S - 1
    os.utime(run.trainer, (old, old))
    assert not run.running()


def test_the_trainers_file_says_where_on_what_and_since_when_it_trains(run):
    with run.held():
        lock.update(run.trainer, device="cpu")
        trainer = json.loads(run.trainer.read_text("utf-8"))
    assert (trainer["pid"], trainer["host"], trainer["device"]) == (os.getpid(), socket.gethostname(), "cpu")
    assert time.time() - 60 < trainer["started"] <= time.time()


def test_a_trainer_that_was_killed_before_it_began_leaves_a_crashed_run(run):
    run.trainer.write_text(json.dumps({**lock.this_process(), "pid": 2**22 + 1}), "utf-8")
    assert run.status()["state"] == "crashed"


def test_a_run_that_was_moved_after_a_crash_still_says_so(run, tmp_path):
    run.report("start", step=0, steps=10)
    run.trainer.write_text(json.dumps({**lock.this_process(), "mark": "another-boot 1"}), "utf-8")
    moved = run_folder.open_run(run.folder.rename(tmp_path / "elsewhere"))
    assert moved.status()["state"] == "crashed"
    with moved.held():
        assert moved.status()["state"] == "running"


def test_what_is_reported_after_a_crash_does_not_join_the_line_that_it_cut(run):
    run.report("start", step=0, steps=10)
    with run.events.open("a", encoding="utf-8") as stream:
        stream.write('{"time": 1, "event": "st')
    run.report("stopped", step=4, note="\u2028")
    assert [event["event"] for event in run.read_events()] == ["start", "stopped"]
    assert run.read_events()[-1]["note"] == "\u2028"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_events_that_a_full_disk_does_not_take_are_told_in_a_sentence(run):
    run.events.symlink_to("/dev/full")
    with pytest.raises(InputError, match=run.events.name):
        run.report("step", step=5)


def test_a_wish_to_stop_is_seen_and_forgotten_at_the_next_start(run):
    run.ask_to_stop()
    assert run.stop_asked()
    with run.held():
        assert not run.stop_asked()


def test_reading_a_run_imports_no_heavy_package(run):
    code = (
        "import sys; from CMEDLTrainLib import cli\n"
        f"assert cli.main(['status', {str(run.folder)!r}, '--json']) == 0\n"
        "assert not {'torch', 'SimpleITK', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", env=environment())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "stopped"


def test_settings_of_runs_and_experiments_in_the_old_spelling_are_read():
    new = with_settings(PRESETS["tiny"], ["optimization.epochs=7"])
    assert with_settings(PRESETS["tiny"], ["optimisation.epochs=7"]) == new
    old = json.loads(new.to_json())
    old["optimisation"] = old.pop("optimization")
    assert from_json(json.dumps(old)) == new


def test_a_run_that_was_killed_while_its_settings_were_written_is_begun_anew(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".cmedl-0123456789ab.json").write_text("{", "utf-8")
    run = run_folder.create(folder, PRESETS["tiny"])
    assert run.configuration == PRESETS["tiny"]
