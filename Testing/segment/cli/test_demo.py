"""``cmedl-segment demo``: every file is there, says what it is, and nobody else's file is replaced."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from CMEDLSegmentLib.cli import demo
from segment.cli.conftest import make_model

FILES = {"README.txt", "ct.nii.gz", "expert.seg.nrrd", "student.seg.nrrd", "student.nii.gz", "probability.nii.gz"}
FILES |= {"demo.png", "agreement.json"}


@pytest.fixture(autouse=True)
def small_phantom(monkeypatch):
    """A coarse phantom is made in a moment."""
    monkeypatch.setattr(demo, "SIZE", (24, 64, 64))
    monkeypatch.setattr(demo, "SPACING", (12.0, 6.0, 6.0))


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A model that marks its whole field of 384 x 384 mm."""
    path = tmp_path_factory.mktemp("wide") / "wide.safetensors"
    return make_model(path, 1.0, spacing_mm=6.0, field=64)


def test_all_files_are_there_and_the_figures_are_those_of_the_masks(command, wide, tmp_path):
    folder = tmp_path / "demo"
    ended = command("demo", "-o", folder, "--model", wide, "--json")
    assert (ended.code, ended.err) == (0, "")
    assert {path.name for path in folder.iterdir()} == FILES
    expert, model = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(folder / name))) for name in ("expert.seg.nrrd", "student.nii.gz")
    )
    figures = json.loads((folder / "agreement.json").read_text("utf-8"))
    assert expert.any()
    dsc = 2 * np.sum((expert > 0) & (model > 0)) / (np.sum(expert > 0) + np.sum(model > 0))
    assert figures["dsc"] == pytest.approx(dsc)
    assert figures["volume_b_cc"] == pytest.approx(np.sum(expert > 0) * 0.432)
    assert ended.json["agreement"]["Tumor"]["dsc"] == pytest.approx(dsc)
    assert "phantom" in figures["data"]
    assert "no patient" in (folder / "README.txt").read_text("utf-8")
    assert set(Image.open(folder / "demo.png").size) == {1308, 1018}


def test_a_model_that_finds_nothing_is_shown_too(command, tmp_path):
    blind = make_model(tmp_path / "blind.safetensors", -5.0, spacing_mm=6.0, field=64)
    ended = command("demo", "-o", tmp_path / "demo", "--model", blind, "--json")
    assert ended.code == 0
    assert ended.json["tumor_volume_cc"] == 0
    assert ended.json["agreement"]["Tumor"]["hd95_mm"] is None
    assert (tmp_path / "demo" / "demo.png").exists()


def test_other_peoples_files_are_never_replaced(command, wide, tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "ct.nii.gz").write_bytes(b"mine")
    ended = command("demo", "-o", folder, "--model", wide)
    assert ended.code == 2
    assert str(folder) in ended.err
    assert (folder / "ct.nii.gz").read_bytes() == b"mine"


def test_an_earlier_demo_is_replaced_and_the_agreement_printed_as_a_phantoms(command, wide, tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "README.txt").write_text(demo.README_TEXT, "utf-8")
    (folder / "ct.nii.gz").write_bytes(b"of the earlier demo")
    ended = command("demo", "-o", folder, "--model", wide)
    assert ended.code == 0
    assert {path.name for path in folder.iterdir()} == FILES
    for text in ("DSC", "surface DSC at 2 mm", "HD95", "volume, expert", "synthetic phantom", "demo.png"):
        assert text in ended.out
    assert "Making the phantom" in ended.err


def test_a_missing_model_is_found_out_before_anything_is_made(command, tmp_path):
    assert command("demo", "-o", tmp_path / "demo", "--model", "nobody").code == 2
    assert not (tmp_path / "demo").exists()
