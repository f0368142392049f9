"""``cmedl-segment run``: results, refusals before the work, exit codes, nothing partial."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from CMEDLSegmentLib.base.errors import Cancelled, InputError
from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.inference import pipeline as run_module
from CMEDLSegmentLib.inference.options import SegmentationOptions

REPOSITORY = Path(__file__).resolve().parents[3]
VOXELS_CC = 6 * 24 * 20 * (2.0 * 2.0 * 5.0) / 1000


def leftovers(folder: Path, *expected: str) -> set[str]:
    """Names in ``folder`` beside the expected ones."""
    return {path.name for path in folder.iterdir()} - set(expected)


def test_json_is_one_object_with_the_promised_keys(command, scan, everything, tmp_path):
    ended = command("run", scan, "-o", tmp_path / "o.seg.nrrd", "--model", everything, "--json")
    assert (ended.code, ended.err) == (0, "")
    result = ended.json
    promised = {"output", "student", "device", "seconds", "lung_slices", "tumor_volume_cc", "warnings", "components"}
    assert promised <= set(result)
    assert result["output"] == str(tmp_path / "o.seg.nrrd")
    assert result["student"] == "everything"
    assert result["tumor_volume_cc"] == pytest.approx(VOXELS_CC, rel=1e-3)
    (component,) = result["components"]
    assert component["label"] == "Tumor"
    assert component["mean"] == pytest.approx(1 / (1 + np.exp(-1.0)), abs=2e-3)
    assert component["slices"] == [0, 5]


@pytest.mark.parametrize("ending", [".seg.nrrd", ".nii.gz", ".nrrd", ".mha"])
def test_every_ending_gives_a_file_on_the_inputs_grid(command, scan, everything, tmp_path, ending):
    output = tmp_path / f"o{ending}"
    assert command("run", scan, "-o", output, "--model", everything).code == 0
    written, read = sitk.ReadImage(str(output)), sitk.ReadImage(str(scan))
    assert written.GetSize() == read.GetSize()
    np.testing.assert_allclose(written.GetOrigin(), read.GetOrigin())
    np.testing.assert_allclose(written.GetSpacing(), read.GetSpacing())
    assert (sitk.GetArrayFromImage(written) == 1).all()


def test_a_segmentation_names_the_model_and_its_weights(command, scan, everything, tmp_path):
    output = tmp_path / "o.seg.nrrd"
    command("run", scan, "-o", output, "--model", everything, "--threshold", "0.6")
    image = sitk.ReadImage(str(output))
    tags = image.GetMetaData("Segment0_Tags")
    assert "everything" in tags
    assert "weights_sha256" in tags
    assert "0.6" in tags
    assert image.GetMetaData("Segment0_Name") == "Tumor"


def test_threshold_and_smallest_volume_reach_the_work(command, scan, everything, tmp_path):
    common = ("run", scan, "--model", everything, "--json", "-o")
    assert command(*common, tmp_path / "a.nii.gz", "--threshold", "0.9").json["tumor_volume_cc"] == 0
    assert command(*common, tmp_path / "b.nii.gz", "--min-volume-cc", "999").json["components"] == []


def test_the_probability_is_an_image_from_0_to_1(command, scan, everything, tmp_path):
    options = ("--model", everything, "--probability", tmp_path / "p.nii.gz", "--json")
    ended = command("run", scan, "-o", tmp_path / "o.nii.gz", *options)
    assert ended.json["probability"] == str(tmp_path / "p.nii.gz")
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "p.nii.gz")))
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, 1 / (1 + np.exp(-1.0)), atol=2e-3)


def test_a_person_reads_volume_and_components_and_progress_goes_to_stderr(command, scan, everything, tmp_path):
    ended = command("run", scan, "-o", tmp_path / "o.nii.gz", "--model", everything)
    assert f"{VOXELS_CC:.1f} cc in 1 component" in ended.out
    assert "Reading the scan" in ended.err
    assert "%" not in ended.out


def test_warnings_are_told(command, scan, everything, tmp_path, monkeypatch):
    load = run_module.load_segmenter

    def with_warning(options):
        segmenter = load(options)
        segment = segmenter.segment

        def warned(volume, *arguments):
            volume.warnings.append("A slice is missing.")
            return segment(volume, *arguments)

        segmenter.segment = warned
        return segmenter

    monkeypatch.setattr(run_module, "load_segmenter", with_warning)
    arguments = ("run", scan, "-o", tmp_path / "o.nii.gz", "--model", everything, "--overwrite")
    assert command(*arguments, "--json").json["warnings"] == ["A slice is missing."]
    assert "Warning: A slice is missing." in command(*arguments).err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("none.nii.gz -o o.nii.gz", "none.nii.gz"),
        ("scan.nii.gz -o o.stl", "o.stl"),
        ("scan.nii.gz -o o.dcm", "o.dcm"),
        ("scan.nii.gz -o o.nii.gz --rtstruct r.dcm", "r.dcm"),
        ("scan.nii.gz -o o.nii.gz --rtstruct r.txt", "r.txt"),
        ("scan.nii.gz -o o.nii.gz --probability p.seg.nrrd", "p.seg.nrrd"),
        ("scan.nii.gz -o o.nii.gz --series 1.2", "scan.nii.gz"),
        ("scan.nii.gz -o scan.nii.gz --overwrite", "scan.nii.gz"),
        ("scan.nii.gz -o o.nii.gz --probability o.nii.gz", "o.nii.gz"),
        ("scan.nii.gz -o there.nii.gz", "there.nii.gz"),
        ("scan.nii.gz -o scan.nii.gz/o.nii.gz", "scan.nii.gz"),
        ("scan.nii.gz", "--output"),
        ("scan.nii.gz -o o.nii.gz --threshold 1.5", '"1.5"'),
        ("scan.nii.gz -o o.nii.gz --threshold nan", '"nan"'),
        ("scan.nii.gz -o o.nii.gz --threshold half", '"half"'),
        ("scan.nii.gz -o o.nii.gz --min-volume-cc -1", '"-1"'),
        ("scan.nii.gz -o o.nii.gz --device gpu", '"gpu"'),
        ("scan.nii.gz -o o.nii.gz --thresh 0.5", "--thresh"),
        ("scan.nii.gz -o o.nii.gz --model nobody", "nobody"),
        ("empty -o o.nii.gz", "empty"),
    ],
)
def test_a_bad_argument_ends_with_2_one_sentence_and_no_file(
    command, scan, everything, tmp_path, monkeypatch, arguments, named
):
    (tmp_path / "there.nii.gz").write_bytes(b"mine")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    model = [] if "--model" in arguments else ["--model", everything]
    ended = command("run", *arguments.split(), *model, "--json")
    assert ended.code == 2
    assert named in ended.json["error"]
    assert ended.err == ended.json["error"] + "\n"
    assert leftovers(tmp_path, *before) == set()
    assert (tmp_path / "there.nii.gz").read_bytes() == b"mine"


def test_an_absent_gpu_is_refused(command, scan, everything, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    ended = command("run", scan, "-o", tmp_path / "o.nii.gz", "--model", everything, "--device", "cuda:0")
    assert (ended.code, ended.out) == (2, "")
    assert "cuda" in ended.err.lower()


def test_results_that_exist_are_replaced_only_when_asked(command, scan, everything, tmp_path):
    output = tmp_path / "o.nii.gz"
    output.write_bytes(b"mine")
    assert command("run", scan, "-o", output, "--model", everything).code == 2
    assert output.read_bytes() == b"mine"
    assert command("run", scan, "-o", output, "--model", everything, "--overwrite").code == 0
    assert sitk.ReadImage(str(output)).GetSize() == (20, 24, 6)


def test_what_can_be_known_beforehand_is_checked_before_anything_is_read(scan, tmp_path, monkeypatch):
    monkeypatch.setattr("CMEDLSegmentLib.io.images.read_volume", lambda *a, **k: pytest.fail("was read"))
    with pytest.raises(InputError):
        run_module.run(run_module.SegmentationJob(scan, tmp_path / "o.dcm"))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that takes no files")
def test_a_folder_that_takes_no_file_is_found_out_before_the_work(command, scan, everything):
    ended = command("run", scan, "-o", "/proc/o.nii.gz", "--model", everything, "--json")
    assert ended.code == 2
    assert "/proc" in ended.json["error"]


def test_new_folders_are_made_and_long_and_foreign_names_serve(command, scan, everything, tmp_path):
    output = tmp_path / "Ergebnisse ü 肺" / ("x" * 240 + ".nii.gz")
    ended = command("run", scan, "-o", output, "--model", everything, "--json")
    assert ended.code == 0
    assert json.loads(ended.out)["output"] == str(output)
    assert output.exists()


def test_when_the_last_file_fails_none_is_left(scan, everything, tmp_path, monkeypatch):
    def full_disk(path, array, geometry):
        raise InputError(f"{path} could not be written (No space left on device).")

    monkeypatch.setattr("CMEDLSegmentLib.io.images.write_image", full_disk)
    options = SegmentationOptions(str(everything), "cpu")
    old = tmp_path / "o.seg.nrrd"
    old.write_bytes(b"mine")
    job = run_module.SegmentationJob(scan, old, options, probability=tmp_path / "p.nii.gz", overwrite=True)
    with pytest.raises(InputError) as caught:
        run_module.run(job)
    assert str(caught.value).startswith(str(tmp_path / "p.nii.gz"))
    assert old.read_bytes() == b"mine"
    assert leftovers(tmp_path, "scan.nii.gz", "o.seg.nrrd") == set()


def test_a_cancel_during_the_writing_leaves_nothing(scan, everything, tmp_path):
    stages: list[str] = []
    options = SegmentationOptions(str(everything), "cpu")
    job = run_module.SegmentationJob(scan, tmp_path / "o.seg.nrrd", options, probability=tmp_path / "p.nii.gz")
    progress = Progress(lambda stage, _: stages.append(stage), lambda: stages[-1:] == ["Writing result 2 of 2"])
    with pytest.raises(Cancelled):
        run_module.run(job, progress)
    assert leftovers(tmp_path, "scan.nii.gz") == set()


NAME = "Doe, Jane"


def test_a_fault_of_ours_ends_with_1_and_a_log_without_the_message(command, scan, everything, tmp_path, monkeypatch):
    def broken(options):
        raise RuntimeError(NAME) from KeyError(NAME)

    monkeypatch.setattr(run_module, "load_segmenter", broken)
    ended = command("run", scan, "-o", tmp_path / "o.nii.gz", "--model", everything, "--json")
    assert ended.code == 1
    assert "Traceback" not in ended.err
    (log,) = (tmp_path / "state").rglob("*.log")
    assert str(log) in ended.json["error"]
    text = log.read_text("utf-8")
    assert "RuntimeError" in text
    assert "load_segmenter" in text
    assert NAME not in text + ended.err + ended.out


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_work_with_3_and_without_files(scan, everything, tmp_path, number):
    code = (
        "import sys, time; from CMEDLSegmentLib import cli; from CMEDLSegmentLib.inference import pipeline\n"
        "def slow(options):\n"
        "    print('ready', flush=True); time.sleep(2); return None\n"
        "pipeline.load_segmenter = slow\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    arguments = ["run", str(scan), "-o", str(tmp_path / "o.nii.gz"), "--model", str(everything), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "CMEDLSegment")},
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 3
    assert json.loads(out)["error"] + "\n" == err
    assert leftovers(tmp_path, "scan.nii.gz") == set()
