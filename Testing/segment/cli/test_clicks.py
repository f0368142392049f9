"""Clicks on the command line: of one scan, and in the table of a cohort."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from CMEDLSegmentLib.inference import batch
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.models import registry
from CMEDLSegmentLib.models.model_card import CandidateRule
from CMEDLSegmentLib.models.model_file import save_model
from segment.cli.conftest import GEOMETRY, SHAPE
from segment.panel import bright

FOUND, MISSED = (slice(1, 3), slice(3, 9), slice(3, 9)), (slice(2, 5), slice(12, 20), slice(10, 18))
CLICK = (12.0, 37.0, 55.0)
"""LPS, mm, in the middle of what is missed; the origin of x is negative."""
HEADER = "patient,case,role,modality,image,mask,split,click\n"


@pytest.fixture(autouse=True)
def nobody_reads_clicks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled model that reads clicks is not there: the model's own probability answers."""
    whole = registry.list_models

    def others() -> list[registry.Entry]:
        return [entry for entry in whole() if not (entry.card and entry.card.prompt)]

    monkeypatch.setattr(registry, "list_models", others)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A CT of air with a bright block that the model finds, and one that is too faint for it."""
    array = np.full(SHAPE, -1000, np.int16)
    array[FOUND] = 300
    array[MISSED] = -350
    write_image(tmp_path / "scan.nii.gz", array, GEOMETRY)
    return tmp_path / "scan.nii.gz"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that marks what is bright; nothing that it finds is likely by its rule."""
    card = replace(bright.CARD, spacing_mm=2.0, field=32, candidates=CandidateRule(0.99, 900.0, "Nobody."))
    path = tmp_path_factory.mktemp("bright") / "bright.safetensors"
    save_model(path, card, {"segmentor": bright.network()})
    return path


@pytest.fixture
def segmented(command, scan, model, tmp_path):
    """Calls ``run`` on the scan with ``--json``."""

    def call(*options: object, name: str = "o.nii.gz"):
        return command("run", scan, "-o", tmp_path / name, "--model", model, "--overwrite", "--json", *options)

    return call


def label_of(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def spelled(point: tuple[float, float, float] = CLICK) -> str:
    return ",".join(map(str, point))


@pytest.mark.parametrize("one_argument", [True, False])
@pytest.mark.parametrize(("flip", "point"), [(1, CLICK), (-1, (-12.0, 37.0, 55.0))], ids=["plus", "minus"])
def test_a_click_adds_what_was_missed(command, model, tmp_path, flip, point, one_argument):
    """Also where the first coordinate is negative, which looks like an option."""
    array = np.full(SHAPE, -1000, np.int16)
    array[FOUND], array[MISSED] = 300, -350
    geometry = GEOMETRY.__class__(
        GEOMETRY.size,
        GEOMETRY.spacing,
        (flip * GEOMETRY.origin[0], *GEOMETRY.origin[1:]),
        (flip, 0, 0, 0, 1, 0, 0, 0, 1),
    )
    write_image(tmp_path / "scan.nrrd", array, geometry)
    arguments = [f"--click={spelled(point)}"] if one_argument else ["--click", spelled(point)]
    ended = command("run", tmp_path / "scan.nrrd", "-o", tmp_path / "o.nii.gz", "--model", model, "--json", *arguments)
    assert ended.code == 0, ended.out
    label = label_of(tmp_path / "o.nii.gz")
    assert label[MISSED].all()
    assert label[FOUND].all()
    clicked, found = ended.json["components"]
    assert clicked["click"] == list(point)
    assert (clicked["likely"], found["likely"]) == (True, False)
    assert "click" not in found
    assert len(ended.json["warnings"]) == 1


def test_without_a_click_nothing_is_told_of_clicks(segmented, tmp_path):
    ended = segmented("--click-model", "threshold", name="o.seg.nrrd")
    assert ended.json["warnings"] == []
    assert not label_of(tmp_path / "o.seg.nrrd")[MISSED].any()
    assert all("click" not in component for component in ended.json["components"])
    assert "click" not in sitk.ReadImage(str(tmp_path / "o.seg.nrrd")).GetMetaData("Segment0_Tags")


def test_a_result_tells_its_clicks(segmented, tmp_path):
    segmented("--click", spelled(), "--click", "cut:2,37,55", name="o.seg.nrrd")
    tags = sitk.ReadImage(str(tmp_path / "o.seg.nrrd")).GetMetaData("Segment0_Tags").split("|")
    facts = dict(tag.removeprefix("CMEDL.").split(":", 1) for tag in tags if tag)
    assert json.loads(facts["clicks"]) == [
        {"point": list(CLICK), "action": "tumor"},
        {"point": [2.0, 37.0, 55.0], "action": "cut"},
    ]
    assert facts["click_model"] == "threshold"


def test_a_person_reads_which_tumor_was_clicked(command, scan, model, tmp_path):
    ended = command("run", scan, "-o", tmp_path / "o.nii.gz", "--model", model, "--click", spelled())
    lines = [line for line in ended.out.splitlines() if line.startswith("Tumor")]
    assert ["clicked" in line for line in lines] == [True, False]
    assert "Warning: " in ended.err


def test_corrections_reach_the_work(segmented, tmp_path):
    plain = segmented("--click", spelled()).json["components"][0]
    assert plain["slices"] == [2, 4]
    ended = segmented("--click", spelled(), "--click", f"end:{spelled((12.0, 37.0, 60.0))}").json["components"][0]
    assert ended["slices"] == [2, 4]
    higher = segmented("--click", spelled((12.0, 37.0, 50.0)), "--click", f"end:{spelled()}").json["components"][0]
    assert higher["slices"] == [2, 3]
    cut = segmented("--click", spelled(), "--click", f"cut:{spelled((18.0, 37.0, 55.0))}").json["components"][0]
    assert cut["volume_cc"] < plain["volume_cc"]
    two = segmented("--click", spelled(), "--click", "-2,15,45").json["components"]
    assert [component["click"] for component in two] == [list(CLICK), [-2.0, 15.0, 45.0]]
    joined = segmented("--click", spelled(), "--click", "add:-2,15,45").json["components"]
    assert [component["click"] for component in joined] == [list(CLICK)]
    assert joined[0]["volume_cc"] == pytest.approx(sum(component["volume_cc"] for component in two), abs=2e-3)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--click", "1,2"], "1,2"),
        (["--click", "a,b,c"], "a,b,c"),
        (["--click", "1,2,nan"], "1,2,nan"),
        (["--click", "-5,2,1e9"], "-5,2,1e9"),
        (["--click", "grow:1,2,3"], "grow:1,2,3"),
        (["--click", "-500.5,2,3"], "-500.5,2,3"),
        (["--click", "-9,6,42"], "-9,6,42"),
        (["--click", "cut:12,37,55"], "cut:12,37,55"),
        (["--click", "12,37,55", "--click", "end:10,37,55"], "end:10,37,55"),
        (["--click", "12,37,55", "--click-model", "nobody"], "nobody"),
        (["--click", "12,37,55", "--click-model", "MODEL"], "bright"),
        (["--click"], "--click"),
    ],
)
def test_a_bad_click_ends_with_2_a_sentence_and_no_file(segmented, model, tmp_path, arguments, named):
    ended = segmented(*[str(model) if argument == "MODEL" else argument for argument in arguments])
    assert ended.code == 2
    assert named in ended.json["error"]
    assert not (tmp_path / "o.nii.gz").exists()


@pytest.fixture
def batched(command, model, scan, tmp_path):
    """Writes a table of the given clicks, a case each on the same scan, and segments it into ``out``."""

    def call(*asked: str, header: str = HEADER):
        table = tmp_path / "cohort.csv"
        rows = [f'p,case{number},,CT,scan.nii.gz,,,"{click}"' for number, click in enumerate(asked)]
        if header != HEADER:
            rows = [f"p,case{number},,CT,scan.nii.gz,," for number, _ in enumerate(asked)]
        table.write_text(header + "\n".join(rows) + "\n", "utf-8")
        ended = command("batch", table, "-o", tmp_path / "out", "--model", model, "--json")
        return ended, [case["outcome"] for case in ended.json["cases"]]

    return call


def test_each_case_of_a_table_has_its_own_clicks(batched, tmp_path):
    ended, outcomes = batched(f"{spelled()}; cut:18,37,55", "", "-2,15,45;" + spelled())
    assert (ended.code, outcomes) == (0, ["done"] * 3)
    labels = [label_of(tmp_path / "out" / f"case{number}.seg.nrrd") for number in range(3)]
    assert [label[MISSED].all() for label in labels] == [False, False, True]
    assert labels[0][3, 16, 11]
    records = [json.loads((tmp_path / "out" / f"case{number}.json").read_text("utf-8")) for number in range(3)]
    marked = [[part.get("click") for part in record["result"]["components"]] for record in records]
    assert marked == [[list(CLICK), None], [None], [[-2.0, 15.0, 45.0], list(CLICK)]]
    assert not [name for name in records[1]["fingerprint"] if "click" in name]


def test_a_click_that_changed_is_done_anew_and_a_bad_one_stays_alone(batched, model, tmp_path, monkeypatch):
    assert batched(spelled(), "", "")[1] == ["done"] * 3
    assert batched(spelled(), "", "")[1] == ["kept"] * 3
    # As if a model had been installed that answers clicks from now on.
    with monkeypatch.context() as patched:
        patched.setattr(batch, "click_model", lambda options, card: SimpleNamespace(path=model))
        assert batched(spelled(), "", "")[1] == ["done", "kept", "kept"]
    assert batched(spelled(), "", "")[1] == ["done", "kept", "kept"]
    ended, outcomes = batched(spelled(), spelled(), "here; there")
    assert (ended.code, outcomes) == (2, ["kept", "done", "failed"])
    with (tmp_path / "out" / "results.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert '"here"' in rows[2]["error"]
    assert "line 4" in rows[2]["error"].lower()
    # Without the column a case that never had a click is as it was.
    assert batched("", "", "", header=HEADER.replace(",click", ""))[1] == ["done", "done", "kept"]


def test_a_click_outside_of_the_image_fails_its_case_alone(batched, tmp_path):
    ended, outcomes = batched("500.5,0,0", spelled())
    assert (ended.code, outcomes) == (2, ["failed", "done"])
    assert "500.5,0,0" in ended.json["cases"][0]["error"]
    assert not (tmp_path / "out" / "case0.json").exists()
