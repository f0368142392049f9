"""Preview pictures: each panel shows what its network makes, and the files are PNG that others read."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from CMEDLSegmentLib.base.colors import EXPERT_YELLOW, MODEL_RED, RATER_COLORS
from CMEDLTrainLib import methods
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.settings.configuration import PRESETS
from CMEDLTrainLib.training import previews
from CMEDLTrainLib.training.engine import Trainer
from train.cohort.stores import disc_store


class Negative(torch.nn.Module):
    """Stands for a generator."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, x):
        return -x * self.weight


class Bright(torch.nn.Module):
    """Stands for a segmentor that marks what is above, or for the other sign below, a threshold."""

    def __init__(self, sign, threshold):
        super().__init__()
        self.sign, self.threshold = sign, threshold

    def forward(self, x):
        return torch.where(self.sign * x > self.threshold, 9.0, -9.0), ()


def same(pixels, color):
    return (pixels == np.array(color, np.uint8)).all(axis=-1)


def test_panels_show_image_translation_and_way_back_with_the_outlines_of_each():
    method = methods.create(replace(PRESETS["tiny"], method="cmedl"))
    images = np.full((2, 32, 32), -0.5, np.float32)
    images[:, 10:20, 8:18] = 0.6
    masks = np.zeros((2, 32, 32), np.uint8)
    masks[:, 2:6, 22:30] = 1
    networks = {
        "segmentor": Bright(1, 0),
        "teacher": Bright(-1, 0.2),
        "to_teacher": Negative(),
        "to_student": Negative(),
    }
    columns = previews.panels(method, networks, images, masks)
    assert list(columns) == ["student", "pseudo_teacher", "back_student"]
    student, pseudo, back = (column[0] for column in columns.values())
    assert student.shape == (256, 256, 3)
    # The outline runs inside the marked pixels: ten pixels enlarged eight times.
    edge = np.zeros((256, 256), bool)
    edge[80:160, 64:144] = True
    edge[81:159, 65:143] = False
    assert (same(student, MODEL_RED) == edge).all()
    assert (same(pseudo, RATER_COLORS[1]) == edge).all()
    for column in (student, pseudo):
        rows, across = np.nonzero(same(column, EXPERT_YELLOW))
        assert (rows.min(), rows.max(), across.min(), across.max()) == (16, 47, 176, 239)
    # Inside and outside: 0.6 and -0.5 as gray, and with the other sign.
    for column, inside, outside in ((student, 204, 64), (pseudo, 51, 191), (back, 204, 64)):
        assert set(column[120, 100]) == {inside}
        assert set(column[250, 5]) == {outside}


def test_several_labels_each_have_an_outline_where_they_touch():
    labels = np.zeros((1, 6, 6), int)
    labels[0, 1:5, 1:3], labels[0, 1:5, 3:5] = 1, 2
    edges = previews._outline(labels)[0]
    assert edges[1:5, 1:5].all()
    assert edges.sum() == 16


def test_a_png_is_read_back_by_another_reader(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    previews.write_png(tmp_path / "a" / "picture.png", pixels)
    with Image.open(tmp_path / "a" / "picture.png") as image:
        image.verify()
    assert (np.asarray(Image.open(tmp_path / "a" / "picture.png")) == pixels).all()


@pytest.mark.parametrize(
    ("method", "columns"),
    [
        ("ct-only", ["student"]),
        ("cmedl", ["student", "pseudo_teacher", "back_student"]),
        ("vae-cmedl", ["student", "pseudo_teacher", "back_student"]),
        ("pmri-cmedl", ["student", "pseudo_teacher", "back_student"]),
        ("weighted", ["student", "pseudo_teacher", "back_student"]),
    ],
)
def test_every_kind_of_method_shows_what_it_has(method, columns, tmp_path):
    store = disc_store(tmp_path / "store", patients=4, slices=3, field=32, teachers=2)
    run = run_folder.create(tmp_path / "run", replace(PRESETS["tiny"], method=method, device="cpu"))
    trainer = Trainer(run, store)
    networks = {**trainer.networks, **trainer.average.networks}
    previews.write(run, trainer.method, networks, store, 12)
    event = run.read_events()[-1]
    assert event["event"] == "preview"
    assert (event["file"], event["columns"]) == ("previews/step-0000012.png", columns)
    assert [row["case"] for row in event["rows"]] == ["c2", "c3"]
    assert all(row["slice"] > 0 for row in event["rows"])
    assert Image.open(run.folder / event["file"]).size == (256 * len(columns), 512)


def test_a_run_keeps_its_first_picture_and_the_newest(tmp_path, monkeypatch):
    monkeypatch.setattr(previews, "KEPT", 4)
    store = disc_store(tmp_path / "store", patients=3, slices=2)
    run = run_folder.create(tmp_path / "run", replace(PRESETS["tiny"], device="cpu"))
    trainer = Trainer(run, store)
    for step in (0, 5, 10, 15, 20, 100):
        previews.write(run, trainer.method, trainer.networks, store, step)
    names = sorted(path.name for path in (run.folder / "previews").iterdir())
    assert names == [f"step-{step:07d}.png" for step in (0, 15, 20, 100)]
