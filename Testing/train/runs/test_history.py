"""A run's events read as they grow: the same status as all of them at once, curves that stay small."""

from __future__ import annotations

import json
from pathlib import Path

from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.runs.history import MOST_POINTS, READ_BYTES, Curves, Reader
from CMEDLTrainLib.settings.configuration import PRESETS


def step(number: int, loss: float = 1.0) -> dict:
    return {"event": "step", "step": number, "steps": 10**6, "epoch": number // 100, "losses": {"student": loss}}


def write(path: Path, *events: dict, end: str = "\n") -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write("\n".join(json.dumps(event) for event in events) + end)


def test_what_was_added_is_read_and_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    reader = Reader(path)
    assert reader.read() is False
    write(path, {"event": "start", "step": 0, "steps": 9}, step(50, 2.0), end="")
    reader.read()
    assert reader.history.state == "running"
    assert reader.history.losses.steps == []
    path.write_text(path.read_text("utf-8") + "\n", "utf-8")
    reader.read()
    assert reader.history.losses.values == {"student": [2.0]}
    assert reader.history.figures["step"] == 50
    write(
        path, {"event": "epoch", "step": 60, "epoch": 1, "validation": {"dsc": 0.5}}, {"event": "stopped", "step": 60}
    )
    reader.read()
    assert reader.history.validation.values == {"dsc": [0.5]}
    assert reader.history.state == "stopped"
    assert reader.history.figures["validation"] == {"dsc": 0.5}


def test_losses_are_told_at_validations_too(tmp_path: Path) -> None:
    """A small cohort's epochs are shorter than the time between reports; one at the same step counts once."""
    path = tmp_path / "events.jsonl"
    ends = ({"event": "epoch", "step": at, "validation": {"dsc": 0.5}, "losses": {"student": 3.0}} for at in (10, 50))
    write(path, next(ends), step(50, 2.0), next(ends))
    reader = Reader(path)
    reader.read()
    assert reader.history.losses.steps == [10, 50]
    assert reader.history.losses.values == {"student": [3.0, 2.0]}


def test_lines_that_are_no_events_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event": "sta\n[1]\n\xff\xfe\n{"event": "unheard of", "step": 3}\n{"step": 7}\n')
    write(path, step(50))
    reader = Reader(path)
    reader.read()
    assert reader.history.losses.steps == [50]


def test_a_file_that_became_shorter_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write(path, step(50), step(100), step(150))
    reader = Reader(path)
    reader.read()
    path.write_text(json.dumps(step(50, 7.0)) + "\n", "utf-8")
    reader.read()
    assert reader.history.losses.values == {"student": [7.0]}


def test_steps_that_are_done_again_after_a_crash_stand_once_in_the_curves(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write(path, {"event": "start", "step": 0}, step(50, 5.0), step(100, 4.0), step(150, 3.0))
    write(path, {"event": "start", "step": 100}, step(150, 2.0))
    reader = Reader(path)
    reader.read()
    assert reader.history.losses.steps == [50, 100, 150]
    assert reader.history.losses.values["student"] == [5.0, 4.0, 2.0]


def test_a_curve_keeps_evenly_spaced_points_of_all_its_length() -> None:
    curves = Curves()
    for number in range(1, 20 * MOST_POINTS):
        curves.add(number, {"a": float(number)} if number > 5 else {})
    assert MOST_POINTS / 2 <= len(curves.steps) <= MOST_POINTS
    gaps = {after - before for before, after in zip(curves.steps, curves.steps[1:], strict=False)}
    assert len(gaps) == 1
    assert curves.steps[-1] > 19.9 * MOST_POINTS
    assert curves.values["a"] == [float(number) if number > 5 else None for number in curves.steps]


def test_a_hundred_thousand_events_are_read_in_small_portions(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    terms = {f"term {number}": 0.123456 for number in range(10)}
    with path.open("w", encoding="utf-8") as stream:
        for number in range(100_000):
            stream.write(json.dumps({**step(number), "losses": terms}) + "\n")
    reader = Reader(path)
    looks = 1
    while reader.read():
        looks += 1
    # How long a look takes is measured by Testing/bench/run_panel.py.
    assert looks > path.stat().st_size // READ_BYTES
    assert reader.history.figures["step"] == 99_999
    assert all(len(column) <= MOST_POINTS for column in reader.history.losses.values.values())


def test_a_run_whose_trainer_is_gone_crashed_unless_it_said_that_it_finished(tmp_path: Path) -> None:
    run = run_folder.create(tmp_path / "run", PRESETS["tiny"])
    for event, state in (("start", "crashed"), ("failed", "crashed"), ("finished", "finished")):
        run.report(event, step=3, steps=20)
        assert (run.status()["state"], run.status()["step"], run.status()["steps"]) == (state, 3, 20)
