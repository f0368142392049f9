"""A run's folder tells its true state, whatever happened to the trainer; nothing here needs torch."""

import json
import os
import subprocess
import sys
import time

import pytest

from CMEDLSegmentLib.errors import InputError
from CMEDLTrainLib import holders, runs
from CMEDLTrainLib.configuration import PRESETS, Configuration, from_json, with_settings


@pytest.fixture
def run(tmp_path):
    return runs.create(tmp_path / "run", PRESETS["tiny"])


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_configuration_survives_the_way_through_its_file(preset):
    assert from_json(PRESETS[preset].to_json()) == PRESETS[preset]


def test_the_paper_preset_holds_the_settings_of_section_iii_c():
    paper = PRESETS["paper"]
    assert paper.optimisation.learning_rate == 2e-4
    assert paper.optimisation.batch == 2
    assert paper.optimisation.epochs == 100
    assert (paper.loss.dice, paper.loss.cross_entropy) == (1.0, 0.0)
    assert paper.images.field == 256
    assert paper.images.window_hu == (-1000.0, 500.0)


def test_settings_reach_every_depth_of_the_tree():
    changed = with_settings(
        Configuration(), ["seed=3", "optimisation.epochs=7", "augmentation.scale=[0.5, 2]", "network.arguments.width=8"]
    )
    assert (changed.seed, changed.optimisation.epochs) == (3, 7)
    assert changed.augmentation.scale == (0.5, 2.0)
    assert changed.network.arguments == {"width": 8}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("epochs=7", "no setting 'epochs'"),
        ("optimisation.epoch=7", "epochs"),
        ("optimisation.epochs=many", "optimisation.epochs"),
        ("optimisation.epochs=1.5", "optimisation.epochs"),
        ("optimisation=3", "optimisation"),
        ("augmentation.scale=[1]", "augmentation.scale"),
        ("seed", "key=value"),
        ("seed.deeper=1", "deeper"),
    ],
)
def test_a_bad_setting_is_refused_and_named(setting, words):
    with pytest.raises(InputError, match=words):
        with_settings(Configuration(), [setting])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}', '{"format": 1, "unknown": 2}'])
def test_a_damaged_configuration_is_refused(text):
    with pytest.raises(InputError, match=r"configuration\.json"):
        from_json(text)


def test_a_folder_that_holds_something_is_never_taken_for_a_new_run(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        runs.create(tmp_path, PRESETS["tiny"])
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_without_configuration_is_no_run(tmp_path):
    with pytest.raises(InputError, match="not a run"):
        runs.open_run(tmp_path)


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


def test_a_held_run_is_running_and_takes_no_second_trainer(run):
    with run.held():
        run.report("start", step=0, steps=10)
        run.report("step", step=5, losses={"segmentation": 0.5}, seconds_left=3)
        assert run.status()["state"] == "running"
        assert run.status()["seconds_left"] == 3
        with pytest.raises(InputError, match="already"), run.held():
            pass
    assert not run.running()


def test_a_trainer_that_was_killed_leaves_a_crashed_run_that_can_be_held_again(run):
    code = (
        "import os, signal, sys; from pathlib import Path; from CMEDLTrainLib import runs\n"
        f"run = runs.Run(Path({str(run.folder)!r}))\n"
        "with run.held():\n"
        "    run.report('start', step=0, steps=10)\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    ) as trainer:
        assert trainer.stdout.readline() == b"held\n"
        assert run.status()["state"] == "running"
        trainer.kill()
        trainer.wait()
    assert run.status()["state"] == "crashed"
    with run.held():
        assert run.running()


def test_a_process_of_the_same_number_that_started_later_is_not_the_trainer(run):
    run.report("start", step=0, steps=10)
    holder = {"pid": os.getpid(), "host": __import__("socket").gethostname(), "started": "1"}
    run.trainer.write_text(json.dumps(holder))
    assert run.status()["state"] == "crashed"


def test_a_trainer_elsewhere_is_alive_while_its_heartbeat_is_fresh(run):
    run.trainer.write_text(json.dumps({"pid": 1, "host": "elsewhere", "started": "1"}))
    assert run.running()
    old = time.time() - holders.SILENT_S - 1
    os.utime(run.trainer, (old, old))
    assert not run.running()


def test_a_line_cut_by_a_crash_does_not_hide_the_lines_before_it(run):
    run.report("start", step=0, steps=10)
    run.report("stopped", step=4)
    with run.events.open("a") as stream:
        stream.write('{"time": 1, "event": "st')
    assert run.status()["state"] == "stopped"
    assert run.status()["step"] == 4


def test_a_wish_to_stop_is_seen_and_forgotten_at_the_next_start(run):
    run.ask_to_stop()
    assert run.stop_asked()
    with run.held():
        assert not run.stop_asked()


def test_reading_a_run_imports_no_torch(run):
    code = (
        "import sys; from CMEDLTrainLib import cli\n"
        f"assert cli.main(['status', {str(run.folder)!r}, '--json']) == 0\n"
        "assert not {'torch', 'SimpleITK'} & set(sys.modules)"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["state"] == "stopped"
