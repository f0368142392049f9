"""Figures of translated images, against closed forms and against scikit-image where both images fill the slice."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from CMEDLSegmentLib.inference.resampling import ModelField
from CMEDLSegmentLib.io.cohort_table import Case
from CMEDLSegmentLib.io.images import write_image
from CMEDLSegmentLib.io.labels import TUMOR
from CMEDLSegmentLib.io.volume import Geometry, Volume
from CMEDLSegmentLib.models.normalization import CT_WINDOW, Normalization
from CMEDLTrainLib.evaluation import translation_quality
from CMEDLTrainLib.evaluation.case_view import CaseView

CPU = torch.device("cpu")
PIXELS = 40
AS_CT = Normalization("window", -1000.0, 500.0)


def smooth(z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """HU that vary over centimeters, at positions in mm."""
    return -250 + 500 * np.sin(x / 15) * np.cos(y / 19) + 100 * np.sin(z / 11)


def volume(geometry: Geometry) -> Volume:
    points = geometry.to_physical(np.argwhere(np.ones(geometry.shape))[:, ::-1])
    return Volume(smooth(*points.T[::-1]).reshape(geometry.shape).astype(np.float32), geometry)


GRID = Geometry((PIXELS, PIXELS, 6), (2.0, 2.0, 4.0), (-40.0, -40.0, 0.0))


def ct_view() -> CaseView:
    """The volume on :data:`GRID`, whose field is the whole slice."""
    field = ModelField((PIXELS, PIXELS), (2.0, 2.0), ((PIXELS - 1) / 2, (PIXELS - 1) / 2), PIXELS, 2.0)
    result = SimpleNamespace(
        label=np.zeros(GRID.shape, np.uint8), probability=SimpleNamespace(slices=np.arange(6), field=field)
    )
    card = SimpleNamespace(normalization=CT_WINDOW, labels=(TUMOR,))
    return CaseView("ct", volume(GRID), np.zeros(GRID.shape, np.uint8), result, card)


def teacher_case(folder: Path, image: Volume) -> Case:
    write_image(folder / "mr.nrrd", image.array, image.geometry)
    return Case("p", "mr", "MR", folder / "mr.nrrd", role="teacher", split="test")


def test_the_divergence_is_that_of_the_definition():
    real, pseudo = np.zeros((2, translation_quality.BINS))
    real[3], real[5], pseudo[3], pseudo[5] = 3e9, 1e9, 1e9, 3e9
    assert translation_quality.divergence(real, pseudo) == pytest.approx(
        0.75 * np.log(3) + 0.25 * np.log(1 / 3), rel=1e-6
    )
    assert translation_quality.divergence(real, 7 * real) == pytest.approx(0, abs=1e-6)
    # Of the two orders, the one that asks whether the translated images have what the real ones have.
    nothing = np.zeros(translation_quality.BINS)
    nothing[10] = 4e9
    assert translation_quality.divergence(real, nothing) > 10
    assert np.isnan(translation_quality.divergence(real, np.zeros(translation_quality.BINS)))


def test_every_intensity_is_counted_once_the_ends_too():
    values = np.array([-1.0, -1.0, 1.0, 0.999, 0.0, 1.2, -5.0])
    histogram = translation_quality.counts(values)
    assert histogram.sum() == len(values)
    assert (histogram[0], histogram[-1], histogram[translation_quality.BINS // 2]) == (3, 3, 1)


def test_the_same_image_on_another_grid_is_found_again(tmp_path):
    finer = Geometry((90, 90, 12), (1.0, 1.0, 3.0), (-45.0, -45.0, -6.0))
    partner = teacher_case(tmp_path, volume(finer))
    quality = translation_quality.pair_quality(ct_view(), partner, AS_CT, lambda images: images, CPU)
    assert quality.slices == 6
    assert quality.psnr_db > 40
    assert quality.ssim > 0.99
    moved = Geometry(finer.size, finer.spacing, (-35.0, -45.0, -6.0))
    shifted = teacher_case(tmp_path, Volume(volume(finer).array, moved))
    assert translation_quality.pair_quality(ct_view(), shifted, AS_CT, lambda images: images, CPU).psnr_db < 25


def test_figures_are_scikit_image_s_where_both_fill_the_slice(tmp_path):
    case = ct_view()
    partner = teacher_case(tmp_path, volume(GRID))
    noise = 0.2 * torch.randn(6, 1, PIXELS, PIXELS, generator=torch.Generator().manual_seed(3))
    quality = translation_quality.pair_quality(case, partner, AS_CT, lambda images: images + noise[: len(images)], CPU)
    real = AS_CT.fit(case.axial.array)(case.axial.array)
    pseudo = real + noise[:, 0].numpy()
    assert quality.psnr_db == pytest.approx(peak_signal_noise_ratio(real, pseudo, data_range=2), abs=1e-3)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 2.0}
    maps = [structural_similarity(a, b, full=True, **settings)[1] for a, b in zip(real, pseudo, strict=True)]
    assert quality.ssim == pytest.approx(np.mean(maps), abs=1e-4)


def test_what_only_one_of_them_covers_does_not_count(tmp_path):
    half = Geometry((20, PIXELS, 3), (2.0, 2.0, 4.0), (-40.0, -40.0, 8.0))
    partner = teacher_case(tmp_path, volume(half))

    def wrong_beyond(images: torch.Tensor) -> torch.Tensor:
        wrong = images.clone()
        wrong[..., 21:] = 1.0
        return wrong

    quality = translation_quality.pair_quality(ct_view(), partner, AS_CT, wrong_beyond, CPU)
    assert quality.slices == 3
    assert quality.psnr_db > 60
    far = teacher_case(tmp_path, volume(Geometry((20, 20, 3), (2.0, 2.0, 4.0), (400.0, 0.0, 0.0))))
    assert translation_quality.pair_quality(ct_view(), far, AS_CT, wrong_beyond, CPU) is None


def test_a_pair_is_one_patient_in_one_split():
    def case(name: str, patient: str, role: str, split: str = "test") -> Case:
        return Case(patient, name, "CT" if role == "student" else "MR", Path(name), role=role, split=split)

    students = [case("a-ct", "a", "student"), case("b-ct", "b", "student"), case("c-ct", "c", "student")]
    teachers = [case("a-mr1", "a", "teacher"), case("a-mr2", "a", "teacher"), case("b-mr", "b", "teacher", "train")]
    partners = translation_quality.partners(students, [*students, *teachers])
    assert {name: partner.case for name, partner in partners.items()} == {"a-ct": "a-mr1"}


def test_translations_are_counted_in_all_and_inside_the_structure():
    case = ct_view()
    case.expert[2:4, 10:20, 10:20] = TUMOR.value
    histograms = translation_quality.Intensities()
    translation_quality.add_translations(histograms, case, lambda images: torch.full_like(images, 0.5), CPU)
    where = int((0.5 + 1) / 2 * translation_quality.BINS)
    assert histograms.everything[where] == histograms.everything.sum() == 6 * PIXELS**2
    assert histograms.structure[where] == histograms.structure.sum() == 2 * 100


def test_the_summary_has_means_over_the_pairs():
    real = translation_quality.Intensities(np.ones(translation_quality.BINS), np.zeros(translation_quality.BINS))
    pairs = [
        translation_quality.PairQuality("a", "a-mr", 5, 0.5, 20.0, 0.1),
        translation_quality.PairQuality("b", "b-mr", 4, 0.7, 16.0, 0.3),
    ]
    summary = translation_quality.summary(real, real, pairs)
    assert summary["kl"] == pytest.approx(0)
    assert np.isnan(summary["kl_structure"])
    ssim = summary["paired"]["ssim"]
    assert (ssim["mean"], ssim["std"], ssim["n"]) == pytest.approx((0.6, np.std([0.5, 0.7], ddof=1), 2))
    assert summary["paired"]["psnr_db"]["mean"] == pytest.approx(18)
