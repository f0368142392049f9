"""The dry step measures what training takes, leaves no trace in it, and refuses what does not fit."""

import json
import re
import shutil
import sys
import time
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import SimpleITK as sitk
import torch

from CMEDLSegmentLib.base.errors import InputError
from CMEDLSegmentLib.io.cohort_table import read_cohort
from CMEDLSegmentLib.networks.factory import SEGMENTORS
from CMEDLSegmentLib.phantom import write_cohort_phantoms
from CMEDLTrainLib import methods
from CMEDLTrainLib.cli import run_options
from CMEDLTrainLib.cli.program import main, parser
from CMEDLTrainLib.computing import memory
from CMEDLTrainLib.runs import run_folder
from CMEDLTrainLib.settings.configuration import PRESETS, with_settings
from CMEDLTrainLib.training import dry_run, estimate
from CMEDLTrainLib.training.engine import Trainer
from train.cohort.stores import disc_store
from train.training.tiny_runs import assert_same_tensors, stopped_after_a_step

MB = 10**6


def settings(*changes):
    return with_settings(replace(PRESETS["tiny"], device="cpu"), changes)


def hungry(step_bytes, fails_above=None, error=None):
    """Makes trainers whose steps take so many bytes for each patch of the batch and a hundredth of a second."""

    class Hungry:
        def __init__(self, run, store):
            self.batch = run.configuration.optimization.batch
            self.steps_per_epoch = 24 // self.batch

        def _step(self, step):
            if fails_above is not None and self.batch > fails_above:
                raise error or torch.OutOfMemoryError("CUDA out of memory")
            taken = torch.ones(self.batch * step_bytes, dtype=torch.uint8)
            time.sleep(0.01)
            return {"loss": taken[0].float()}

    return Hungry


def measured(trainer, *changes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dry_run, "Trainer", trainer)
        return dry_run.dry_step(settings(*changes), None)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of resident memory is read from /proc")
def test_a_step_is_measured_as_it_is():
    before = memory._status("VmRSS")
    takes = measured(hungry(50 * MB), "optimization.batch=6")
    assert takes.memory_gb * 1000 == pytest.approx((before / MB) + 300, abs=60)
    assert 0.01 <= takes.seconds_per_step < 30
    assert (takes.batch, takes.steps_per_epoch, takes.epochs) == (6, 4, 2)
    figures = takes.to_json()
    assert figures["steps"] == 8
    assert figures["seconds"] == pytest.approx(8 * figures["seconds_per_step"])
    assert figures["seconds_per_epoch"] == pytest.approx(4 * figures["seconds_per_step"])
    assert json.loads(json.dumps(figures)) == figures


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of resident memory is read from /proc")
def test_a_batch_that_the_cpus_memory_does_not_hold_is_refused_before_it_is_tried(monkeypatch):
    before = memory._status("VmRSS")
    monkeypatch.setattr(memory, "available", lambda device: before + 1320 * MB)
    with pytest.raises(InputError, match=r"optimization\.batch=[456]\.$") as refused:
        measured(hungry(200 * MB, fails_above=3, error=AssertionError()), "optimization.batch=40")
    gigabytes = float(re.search(r"batch 40 takes about ([\d.]+) GB", str(refused.value))[1])
    # What the process holds besides, some MB to and fro, counts by the step from one batch to the next.
    assert gigabytes * 1000 == pytest.approx((before / MB) + 40 * 200, abs=40 * 60)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory: x")],
)
def test_lack_of_memory_becomes_a_sentence_with_the_batch_that_fits(monkeypatch, error):
    monkeypatch.setattr(memory, "available", lambda device: None)
    with pytest.raises(InputError, match=r"batch 8 .*optimization\.batch=2\."):
        measured(hungry(MB, 3, error), "optimization.batch=8")


def test_the_networks_that_were_tried_are_gone_when_the_run_builds_its_own_and_none_was_compiled(tmp_path):
    tried = []

    class Kept(Trainer):
        def __init__(self, run, store):
            super().__init__(run, store)
            tried.append(weakref.ref(self))
            assert not self.configuration.optimization.compile

    store = disc_store(tmp_path / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dry_run, "Trainer", Kept)
        dry_run.dry_step(settings("optimization.compile=true", "optimization.batch=3"), store)
    assert tried
    assert not any(trainer() for trainer in tried)


def test_where_not_even_one_image_fits_the_sentence_says_what_else_could_help(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: None)
    with pytest.raises(InputError, match=r"width.*field.*bf16"):
        measured(hungry(MB, 0), "optimization.batch=2")


def test_another_fault_of_a_step_is_not_taken_for_lack_of_memory():
    with pytest.raises(RuntimeError, match="shapes"):
        measured(hungry(MB, 0, RuntimeError("shapes do not match")))


def test_a_network_that_no_single_patch_can_train_is_tried_with_the_batch_that_it_gets(tmp_path):
    # The fusion's ResNet18 makes one pixel of 32 x 32.
    store = disc_store(tmp_path / "store", field=32, teachers=3)
    small = ("method=weighted", "images.field=32", "network.arguments.width=2", "translation.width=2")
    assert dry_run.dry_step(settings(*small, "optimization.batch=4"), store).batch == 4
    with pytest.raises(InputError, match=r"optimization\.batch=2"):
        dry_run.dry_step(settings(*small, "optimization.batch=1"), store)


@pytest.mark.parametrize("method", ["ct-only", "cmedl"])
def test_a_dry_step_leaves_no_trace_in_the_training(method, tmp_path):
    store = disc_store(tmp_path / "store", teachers=3)
    configuration = settings(f"method={method}", "optimization.epochs=1")

    def weights(name):
        run = run_folder.create(tmp_path / name, configuration)
        Trainer(run, store).train()
        return run.last

    without = weights("without")
    assert dry_run.dry_step(configuration, store).steps_per_epoch == 4
    assert_same_tensors(weights("after"), without)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    return write_cohort_phantoms(folder, cases=3, seed=5, size=(24, 64, 64), spacing=(12.0, 6.0, 6.0))


def test_the_command_estimates_before_the_slices_are_prepared_and_after(cohort, tmp_path, capsys):
    arguments = [str(cohort), "--preset", "tiny", "--device", "cpu", "--set", "optimization.epochs=1"]

    def estimated():
        assert main(["estimate", *arguments, "-o", str(tmp_path / "run"), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    before = estimated()
    assert not any(tmp_path.iterdir())
    assert main(["run", *arguments, "-o", str(tmp_path / "run")]) == 0
    assert "A step with batch 4 takes" in capsys.readouterr().err
    after = estimated()
    events = run_folder.open_run(tmp_path / "run").read_events()
    start = next(event for event in events if event["event"] == "start")
    assert (before["prepared"], after["prepared"]) == (False, True)
    assert before["steps"] >= after["steps"] == start["steps"]
    assert next(event for event in events if event["event"] == "estimate")["steps"] == start["steps"]


def test_a_cohort_that_was_moved_is_told_and_found_again(cohort, tmp_path, capsys):
    shutil.copytree(cohort.parent, tmp_path / "first")
    arguments = ["--preset", "tiny", "--device", "cpu", "--set", "optimization.epochs=1", "-o", str(tmp_path / "run")]
    with stopped_after_a_step():
        assert main(["run", str(tmp_path / "first" / "cohort.csv"), *arguments]) == 3
    (tmp_path / "first").rename(tmp_path / "second")
    assert main(["resume", str(tmp_path / "run")]) == 2
    assert "--cohort" in capsys.readouterr().err
    assert main(["resume", str(tmp_path / "run"), "--cohort", str(tmp_path / "second" / "cohort.csv")]) == 0
    assert run_folder.open_run(tmp_path / "run").status()["state"] == "finished"


def test_a_scan_that_cannot_be_read_is_named_by_the_estimate(tmp_path, capsys):
    (tmp_path / "ct.nii.gz").write_text("no scan", "utf-8")
    lines = ["patient,case,role,modality,image,mask,split"]
    lines += [f"p{n},c{n},student,CT,ct.nii.gz,ct.nii.gz,{split}" for n, split in enumerate(("train", "validation"))]
    (tmp_path / "cohort.csv").write_text("\n".join(lines), "utf-8")
    arguments = ["--preset", "tiny", "--device", "cpu", "--set", "optimization.batch=1"]
    assert main(["estimate", str(tmp_path / "cohort.csv"), *arguments]) == 2
    assert "ct.nii.gz cannot be read" in capsys.readouterr().err


def chosen(*arguments):
    top = parser().parse_args(["estimate", "cohort.csv", *arguments])
    return run_options.chosen(top)


def test_options_become_the_configuration_and_set_has_the_last_word():
    configuration = chosen(
        "--preset", "paper", "--segmentor", "mrrn", "--translation", "drit", "--labels", "Liver, Spleen"
    )
    assert (configuration.network.kind, configuration.translation.kind, configuration.labels) == (
        "mrrn",
        "drit",
        ("Liver", "Spleen"),
    )
    assert chosen("--translation", "drit", "--set", "translation.kind=cyclegan").translation.kind == "cyclegan"
    assert chosen("--preset", "tiny").translation == PRESETS["tiny"].translation


@pytest.mark.parametrize("method", ["cmedl", "pmri-cmedl", "output-distillation"])
def test_the_translation_that_is_chosen_is_the_one_that_is_trained(method):
    configuration = chosen("--preset", "tiny", "--method", method, "--translation", "drit")
    built = methods.create(configuration)
    assert type(built.translation).__name__ == "Drit"
    assert "features" not in built.networks
    assert type(methods.create(chosen("--preset", "tiny", "--method", method)).translation).__name__ == "CycleGan"


@pytest.mark.parametrize("kind", run_options.SEGMENTORS)
def test_every_segmentor_of_the_preset_tiny_is_narrow(kind):
    tiny, paper = chosen("--preset", "tiny", "--segmentor", kind), chosen("--preset", "paper", "--segmentor", kind)
    assert (tiny.network.kind, paper.network.arguments) == (kind, {})
    network = methods.create(tiny).networks["segmentor"]
    assert sum(weight.numel() for weight in network.parameters()) < 200_000


def test_the_slices_that_are_counted_are_the_axial_ones(cohort, tmp_path):
    images = {case.role: case.image for case in read_cohort(cohort)}
    assert estimate._slices(images["student"]) == 24
    sagittal = sitk.PermuteAxes(sitk.ReadImage(str(images["student"])), [2, 0, 1])
    sitk.WriteImage(sagittal, str(tmp_path / "sagittal.nii.gz"))
    assert sagittal.GetSize() == (24, 64, 64)
    assert estimate._slices(tmp_path / "sagittal.nii.gz") == 24
    sitk.WriteImage(sitk.Image(5, 5, sitk.sitkInt16), str(tmp_path / "picture.nrrd"))
    with pytest.raises(InputError, match=r"picture\.nrrd"):
        estimate._slices(tmp_path / "picture.nrrd")


def test_the_segmentors_that_are_offered_are_those_that_there_are():
    assert list(SEGMENTORS) == list(run_options.SEGMENTORS)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--labels", "A,,B"), "A,,B"),
        (("--labels", "A,A"), "A,A"),
        (("--method", "magic"), "ct-only"),
        (("--translation", "magic"), "cyclegan"),
        (("--segmentor", "magic"), "mrrn"),
    ],
)
def test_a_bad_option_is_refused_in_a_sentence(arguments, named):
    with pytest.raises(InputError, match=named):
        chosen(*arguments)


def test_the_memory_there_is_heeds_a_containers_limit(tmp_path, monkeypatch):
    device = torch.device("cpu")
    unlimited = memory.available(device)
    if unlimited is None:
        pytest.skip("the system does not tell")
    (tmp_path / "limit").write_text(f"{300 * MB}\n", "utf-8")
    (tmp_path / "none").write_text("max\n", "utf-8")
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", (str(tmp_path / "none"), str(tmp_path / "missing")))
    assert memory.available(device) > 300 * MB
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", (str(tmp_path / "none"), str(tmp_path / "limit")))
    assert memory.available(device) == 300 * MB


def test_the_memory_of_a_gpu_is_its_tensors_and_what_is_free(monkeypatch):
    cuda = SimpleNamespace(
        mem_get_info=lambda device: (7, 10), memory_reserved=lambda device: 2, max_memory_allocated=lambda device: 5
    )
    monkeypatch.setattr(memory.torch, "cuda", cuda)
    assert memory.available(torch.device("cuda")) == 9
    assert memory.peak(torch.device("cuda")) == 5
