"""Clicked tumors beside what a model finds: contoured, mended, and put in the place of what was there."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage

from CMEDLSegmentLib.base.errors import Cancelled, InputError, ModelError
from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.inference.clicked_tumor import cut_around, end_at
from CMEDLSegmentLib.inference.clicks import click_model, local_threshold, segment
from CMEDLSegmentLib.inference.options import Click, SegmentationOptions
from CMEDLSegmentLib.inference.probability import ProbabilityField
from CMEDLSegmentLib.inference.resampling import ModelField
from CMEDLSegmentLib.inference.segmenter import Segmentation, Segmenter
from CMEDLSegmentLib.io.labels import TUMOR
from CMEDLSegmentLib.io.volume import Geometry, Volume, axial_view
from CMEDLSegmentLib.models import registry
from CMEDLSegmentLib.models.model_card import ClickPrompt
from CMEDLSegmentLib.models.normalization import Normalization
from segment.inference.small_models import a_card, a_model, linear
from segment.models.making import LIVER, a_model_file

TOUCHING = np.ones((3, 3, 3))
SPACING = (2.5, 0.9, 1.1)
"""(z, y, x), mm."""
SEEN, FAINT, AWAY = ((5, 18, 15), 8.0), ((13, 40, 30), 7.0), ((18, 14, 38), 5.0)
"""Center (z, y, x) in voxels and radius (mm) of a ball that the model finds, and of two that it misses."""
PROMPTED = {"name": "prompted", "prompt": ClickPrompt()}


def ball(center: tuple, radius: float, shape: tuple = (22, 60, 50)) -> np.ndarray:
    """bool (z, y, x)."""
    index = np.indices(shape).transpose(1, 2, 3, 0)
    return np.linalg.norm((index - center) * SPACING, axis=-1) <= radius


def a_ct() -> Volume:
    """Three balls in air; two are so faint that :func:`the_model` gives them a probability of 0.12."""
    array = np.full((22, 60, 50), -1000, np.int16)
    array[ball(*SEEN)] = 300
    array[ball(*FAINT)] = array[ball(*AWAY)] = -400
    return Volume(array, Geometry((50, 60, 22), SPACING[::-1], (-40.0, 12.0, 700.0)), "CT")


def turned(volume: Volume) -> Volume:
    """The same anatomy, stored in coronal slices from the back to the front, and from head to feet."""
    geometry = volume.geometry
    array = volume.array.transpose(1, 0, 2)[::-1, ::-1]
    corner = geometry.to_physical(np.array([[0, geometry.size[1] - 1, geometry.size[2] - 1]]))[0]
    size, spacing = (tuple(values[i] for i in (0, 2, 1)) for values in (geometry.size, geometry.spacing))
    direction = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, -1.0, 0.0)
    return Volume(array, Geometry(size, spacing, tuple(corner), direction), "CT")


def the_model(**changes: object) -> Segmenter:
    """It marks what lies above -325 HU, with a probability that rises slowly."""
    return Segmenter(a_model(a_card(**changes)), "cpu", "torch", start=linear(20.0, -0.1))


def a_prompted(level: float = -0.6) -> Segmenter:
    """A model that reads clicks and marks what lies above a level (-700 HU), as far as it hangs together."""

    def start(model, plan) -> Callable:
        return lambda images: (images[:, :1] - level) * 20

    card = a_card(**PROMPTED, field=48, spacing_mm=1.0)
    return Segmenter(SimpleNamespace(card=card, state={}), "cpu", "torch", start=start)


@pytest.fixture
def answered_by_prompted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry knows the model "prompted"."""
    entry = SimpleNamespace(name="prompted", card=None, origin="installed")
    monkeypatch.setattr(registry, "entry", lambda name: entry)


def at(*center: float, action: str = "tumor") -> Click:
    """A click at a place (z, y, x) in voxels of :func:`a_ct`."""
    return Click(tuple(a_ct().geometry.to_physical(np.array([center[::-1]]))[0].tolist()), action)


def clicked(*asked: Click, volume: Volume | None = None, **options: object) -> Segmentation:
    """What comes of a volume by the automatic model and clicks; by default the threshold answers them."""
    known = {"automatic": the_model(), "prompted": a_prompted()}
    stated = SegmentationOptions(**{"model": "automatic", "clicks": asked, "click_model": "threshold", **options})
    return segment(volume or a_ct(), stated, known.__getitem__)


def marked_at(segmentation: Segmentation, center: tuple) -> bool:
    return bool(segmentation.label[center])


def dsc(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def grown(probability: ProbabilityField, voxel: tuple[int, int, int]) -> np.ndarray:
    """The region at a click by the definition: scipy labels the whole axial volume of probabilities."""
    native = axial_view(probability.native(), probability.geometry).array
    spacing = probability.geometry.axial_spacing
    y, x = np.mgrid[: native.shape[1], : native.shape[2]]
    near = np.hypot((y - voxel[1]) * spacing[1], (x - voxel[2]) * spacing[2]) <= 3 * probability.field.pixel_mm
    regions, _ = ndimage.label(native >= 0.3 * native[voxel[0]][near].max(), TOUCHING)
    assert regions[voxel] > 0
    return regions == regions[voxel]


def same(label: np.ndarray, wanted: np.ndarray) -> None:
    assert (label > 0).sum() > 20
    np.testing.assert_array_equal(label > 0, wanted)


# The threshold around a click


@pytest.mark.parametrize("seed", range(6))
def test_the_region_is_that_of_the_whole_volume(seed: int) -> None:
    """Worms and clouds of all sizes, on a native grid that is finer or coarser than the model's."""
    rng = np.random.default_rng(seed)
    depth, pixels = 30, 48
    noise = ndimage.gaussian_filter(rng.uniform(0, 1, (depth, 1, pixels, pixels)), (1.0, 0, 2.0, 2.0))
    values = np.clip((noise - noise.mean()) / noise.std() * 0.25 + 0.2 - 0.05 * (seed % 3), 0, 1).astype(np.float16)
    step = (0.8, 1.3, 2.1)[seed % 3]
    geometry = Geometry((60, 50, depth + 2), (step, step * 1.1, 3.0))
    field = ModelField((50, 60), (step * 1.1, step), (24.0, 31.0), pixels, 1.5)
    probability = ProbabilityField(values, np.arange(1, depth + 1), field, geometry, (1,))
    native = probability.native()
    assert (native > 0.3).sum() > 100
    for voxel in map(tuple, rng.permutation(np.argwhere(native > 0.3))[:4].tolist()):
        wanted = grown(probability, voxel)
        value, box, mask = local_threshold(probability, Click((0.0, 0.0, 0.0)), voxel)
        found = np.zeros(native.shape, bool)
        found[box] = mask
        assert value == 1
        np.testing.assert_array_equal(found, wanted)
        assert all(mask.any(axis=others)[[0, -1]].all() for others in ((1, 2), (0, 2), (0, 1)))


def test_where_the_click_is_below_the_threshold_it_is_joined_to_the_peak() -> None:
    values = np.zeros((3, 1, 32, 32), np.float16)
    values[1, 0, 10:14, 10:14] = 0.9
    field = ModelField((32, 32), (1.5, 1.5), (15.5, 15.5), 32, 1.5)
    probability = ProbabilityField(values, np.arange(3), field, Geometry((32, 32, 3), (1.5, 1.5, 3.0)), (1,))
    _, box, mask = local_threshold(probability, Click((0.0, 0.0, 0.0)), (1, 11, 16))
    found = np.zeros((3, 32, 32), bool)
    found[box] = mask
    wanted = values[:, 0] > 0
    assert found[1, 11, 16]
    assert ndimage.label(found, TOUCHING)[1] == 1
    assert (found & wanted).sum() == wanted.sum()
    assert (found & ~wanted).sum() <= 3


def test_what_is_brighter_nearby_is_left_alone_where_the_click_is_above_the_threshold() -> None:
    values = np.zeros((3, 1, 32, 32), np.float16)
    values[1, 0, 10:14, 10:14], values[1, 0, 10:14, 15:18] = 0.9, 0.4
    field = ModelField((32, 32), (1.5, 1.5), (15.5, 15.5), 32, 1.5)
    probability = ProbabilityField(values, np.arange(3), field, Geometry((32, 32, 3), (1.5, 1.5, 3.0)), (1,))
    _, box, mask = local_threshold(probability, Click((0.0, 0.0, 0.0)), (1, 12, 16))
    assert box == (slice(1, 2), slice(10, 14), slice(15, 18))
    assert mask.all()


def test_of_several_labels_the_one_that_peaks_is_meant() -> None:
    values = np.zeros((3, 2, 32, 32), np.float16)
    values[1, 0, 4:10, 4:10] = 0.4
    values[1, 1, 9:20, 9:20] = 0.3
    field = ModelField((32, 32), (1.5, 1.5), (15.5, 15.5), 32, 1.5)
    probability = ProbabilityField(values, np.arange(3), field, Geometry((32, 32, 3), (1.5, 1.5, 3.0)), (3, 7))
    for voxel, label, side in (((1, 6, 6), 3, 6), ((1, 15, 15), 7, 11)):
        value, _, mask = local_threshold(probability, Click((0.0, 0.0, 0.0)), voxel)
        assert (value, mask.shape) == (label, (1, side, side))


# What clicks are refused


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ((Click((-400.25, 30.0, 710.0)),), {}),
        ((Click((-40.25, 30.0, 698.0)),), {}),
        ((at(13, 40, 30), Click((-20.5, 30.0, 800.0), "cut")), {}),
        ((at(12, 5, 5),), {}),
        ((at(13, 40, 30), at(12, 5, 5, action="add")), {}),
        ((at(13, 40, 30, action="add"),), {}),
        ((at(13, 40, 30), at(13, 42, 30, action="end")), {}),
        ((Click((-400.25, 30.0, 710.0)),), {"click_model": "prompted"}),
        ((at(13, 40, 30, action="cut"),), {"model": "prompted"}),
    ],
    ids=[
        "beside",
        "below",
        "cut beside",
        "air",
        "add in air",
        "no tumor",
        "no end",
        "prompted beside",
        "no tumor to cut",
    ],
)
def test_a_click_that_makes_no_sense_is_refused_by_its_name(
    asked: tuple[Click, ...], options: dict, answered_by_prompted: None
) -> None:
    with pytest.raises(InputError) as caught:
        clicked(*asked, **options)
    assert str(asked[-1]) in str(caught.value)


def test_a_click_where_the_model_has_not_looked_is_refused_by_its_name() -> None:
    values = np.full((3, 1, 32, 32), 0.9, np.float16)
    field = ModelField((64, 64), (1.5, 1.5), (31.5, 31.5), 32, 1.5)
    probability = ProbabilityField(values, np.array([1, 2, 4]), field, Geometry((64, 64, 6), (1.5, 1.5, 3.0)), (1,))
    for voxel in ((0, 31, 31), (3, 31, 31), (5, 31, 31), (2, 2, 2)):
        with pytest.raises(InputError, match=r"1\.25,2,3"):
            local_threshold(probability, Click((1.25, 2.0, 3.0)), voxel)


def test_a_tumor_that_is_cut_away_whole_is_refused_by_its_name() -> None:
    cuts = [at(z, y, x, action="cut") for z, y, x in itertools.product((11, 13, 15), (35, 40, 45), (26, 30, 34))]
    with pytest.raises(InputError, match=str(at(*FAINT[0]))):
        clicked(at(*FAINT[0]), *cuts)


# Masks that are mended


@pytest.mark.parametrize("voxel", [(4, 7, 8), (0, 0, 0), (-3, 7, 20), (9, 30, -2)])
@pytest.mark.parametrize("spacing", [(3.0, 0.7, 0.9), (1.0, 1.5, 1.0), (7.0, 2.0, 2.0)])
def test_a_cut_takes_what_lies_near_on_near_slices(voxel: tuple, spacing: tuple) -> None:
    mask = np.random.default_rng(0).uniform(size=(9, 22, 18)) < 0.7
    z, y, x = (np.indices(mask.shape).transpose(1, 2, 3, 0) - voxel).transpose(3, 0, 1, 2)
    far = (np.hypot(y * spacing[1], x * spacing[2]) > 5.0) | (np.abs(z) * spacing[0] > 5.0)
    wanted = mask & far
    cut_around(mask, voxel, spacing)
    np.testing.assert_array_equal(mask, wanted)


@pytest.mark.parametrize(
    ("last", "first", "kept"), [(5, 2, range(6)), (2, 5, range(2, 9)), (-4, 3, range(9)), (20, 3, range(9))]
)
def test_an_end_is_the_last_slice(last: int, first: int, kept: range) -> None:
    mask = np.ones((9, 4, 4), bool)
    end_at(mask, last, first)
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == list(kept)


# Beside what the model finds


def test_without_clicks_the_model_goes_alone() -> None:
    alone = the_model().segment(a_ct())
    result = clicked(click_model="no model of this name")
    np.testing.assert_array_equal(result.label, alone.label)
    assert (result.components, result.warnings) == (alone.components, alone.warnings)
    assert result.click_card is None


@pytest.mark.parametrize("turn", [lambda volume: volume, turned])
def test_a_missed_tumor_is_added_and_what_was_found_stays(turn: Callable[[Volume], Volume]) -> None:
    volume = turn(a_ct())
    alone = the_model().segment(volume)
    voxel = (12, 38, 31)
    result = clicked(at(*voxel), volume=volume)
    label = axial_view(result.label, volume.geometry).array
    added = grown(alone.probability, voxel)
    same(label, added | (axial_view(alone.label, volume.geometry).array > 0))
    assert dsc(label > 0, ball(*SEEN) | ball(*FAINT)) > 0.9
    mine, other = result.components
    (found,) = alone.components
    assert (other.volume_cc, other.slices, other.n_slices) == (found.volume_cc, found.slices, found.n_slices)
    assert (other.mean, other.peak, *other.center_mm) == pytest.approx((found.mean, found.peak, *found.center_mm))
    assert (mine.click, other.click) == (at(*voxel).point, None)
    native = axial_view(alone.probability.native(), volume.geometry).array
    index = np.argwhere(added)
    assert mine.volume_cc == pytest.approx(len(index) * np.prod(SPACING) / 1000)
    assert (mine.mean, mine.peak) == pytest.approx((native[added].mean(), native[added].max()), abs=1e-5)
    center = a_ct().geometry.to_physical(index.mean(axis=0)[None, ::-1])[0]
    assert mine.center_mm == pytest.approx(tuple(center))
    assert mine.n_slices == len(np.unique(index[:, 0]))
    ends = (
        (index[:, 0].min(), index[:, 0].max())
        if turn is not turned
        else (21 - index[:, 0].max(), 21 - index[:, 0].min())
    )
    assert mine.slices == ends
    assert result.volume_cc == pytest.approx(np.count_nonzero(label) * np.prod(SPACING) / 1000)
    assert len(result.warnings) == 1
    assert result.click_card is None


def test_what_a_clicked_tumor_overlaps_is_replaced_by_it() -> None:
    result = clicked(at(*SEEN[0]), at(*FAINT[0]), at(*AWAY[0]))
    assert [component.click for component in result.components] == [at(*b[0]).point for b in (SEEN, FAINT, AWAY)]
    assert dsc(result.label > 0, ball(*SEEN) | ball(*FAINT) | ball(*AWAY)) > 0.9
    assert result.volume_cc == pytest.approx(np.count_nonzero(result.label) * np.prod(SPACING) / 1000)


def test_two_clicks_in_one_tumor_are_one_tumor_and_the_second_is_told() -> None:
    second = at(14, 41, 29)
    result = clicked(at(*FAINT[0]), second)
    assert [component.click for component in result.components] == [at(*FAINT[0]).point, None]
    assert any(str(second) in text for text in result.warnings)


def test_nothing_is_left_of_what_a_clicked_tumor_replaces() -> None:
    """Also where the clicked one is smaller."""
    center = SEEN[0]
    plain = the_model().segment(a_ct())
    wanted = grown(plain.probability, center)
    cut_around(wanted, (5, 10, 15), SPACING)
    wanted[7:] = False
    assert ((plain.label > 0) & ~wanted).any()
    result = clicked(at(*center), at(5, 10, 15, action="cut"), at(6, 18, 15, action="end"))
    same(result.label, wanted)
    assert [component.click for component in result.components] == [at(*center).point]


def test_other_labels_lose_the_voxels_alone(answered_by_prompted: None) -> None:
    """An organ is what is bright; a tumor within it, brighter still, is clicked."""

    def start(model, plan) -> Callable:
        def run(images: torch.Tensor) -> torch.Tensor:
            organ = (images + 0.1) * 20
            return torch.cat([torch.zeros_like(organ), organ - 3, organ], dim=1)

        return run

    volume, core = a_ct(), ball(SEEN[0], 4.0)
    volume.array[core] = 480
    known = {
        "automatic": Segmenter(a_model(a_card(labels=2)), "cpu", "torch", start=start),
        "prompted": a_prompted(level=0.85),
    }
    before = known["automatic"].segment(volume).label
    assert set(np.unique(before)) == {0, 2}
    options = SegmentationOptions("automatic", clicks=(at(*SEEN[0]),), click_model="prompted")
    result = segment(volume, options, known.__getitem__)
    tumor = result.label == 1
    assert dsc(tumor, core) > 0.8
    np.testing.assert_array_equal(result.label == 2, (before == 2) & ~tumor)
    assert {(component.label, component.click is None) for component in result.components} == {(1, False), (2, True)}
    counted = {c.label: c.volume_cc / (np.prod(SPACING) / 1000) for c in result.components}
    assert counted == pytest.approx({1: tumor.sum(), 2: (result.label == 2).sum()})


def test_corrections_mend_the_tumor_before_them() -> None:
    plain = clicked(at(*FAINT[0])).label
    end = clicked(at(*FAINT[0]), at(14, 40, 30, action="end")).label
    slices = np.arange(22)[:, None, None]
    same(end, (plain > 0) & ((slices <= 14) | ball(*SEEN)))
    both = clicked(at(*FAINT[0]), at(*AWAY[0], action="add")).label
    one = clicked(at(*FAINT[0]), at(*AWAY[0])).label
    same(both, one > 0)
    cut = clicked(at(*FAINT[0]), at(13, 33, 30, action="cut")).label
    wanted = plain > 0
    cut_around(wanted, (13, 33, 30), SPACING)
    same(cut, wanted)
    assert (plain != cut).any()


def test_an_added_piece_belongs_to_one_tumor_with_its_first_click() -> None:
    result = clicked(at(*FAINT[0]), at(*AWAY[0], action="add"))
    mine = result.components[0]
    assert mine.click == at(*FAINT[0]).point
    marked = (result.label > 0) & ~(the_model().segment(a_ct()).label > 0)
    assert mine.volume_cc == pytest.approx(marked.sum() * np.prod(SPACING) / 1000)
    assert mine.n_slices == np.count_nonzero(marked.any(axis=(1, 2)))


def test_stages_rise_and_a_cancel_between_tumors_is_heard() -> None:
    stages: list[tuple[str, float]] = []
    known = {"automatic": the_model(), "prompted": a_prompted()}
    options = SegmentationOptions("automatic", clicks=(at(*FAINT[0]), at(*AWAY[0])), click_model="threshold")
    watched = Progress(lambda stage, fraction: stages.append((stage, fraction)))
    segment(a_ct(), options, known.__getitem__, watched)
    fractions = [fraction for _, fraction in stages]
    assert fractions == sorted(fractions)
    heard = Progress(
        lambda stage, fraction: stages.append((stage, fraction)), lambda: stages[-1:] == [("Segmented", 1.0)]
    )
    stages.clear()
    with pytest.raises(Cancelled):
        segment(a_ct(), options, known.__getitem__, heard)


# By a model that reads clicks


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts models into a folder of installed ones that is the test's own."""
    monkeypatch.setenv("CMEDL_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(registry, "_bundled", list)

    def install(name: str, **changes: object) -> None:
        path = tmp_path / f"{name}.safetensors"
        a_model_file(path, name=name, slices="all", **changes)
        registry.install(path)

    return install


MR = {"modality": "MR", "normalization": Normalization("percentile", 1.0, 99.0)}


def of_prompt() -> dict:
    """A card's entries that make it one of a model that reads clicks."""
    card = a_prompted().model.card
    return {"prompt": card.prompt, "networks": card.networks}


def test_a_model_that_fits_is_taken_by_itself(installed: Callable[..., None]) -> None:
    asked = SegmentationOptions(clicks=(at(*FAINT[0]),))
    card = a_card()
    installed("a-plain")
    installed("b-mr", **of_prompt(), **MR)
    installed("c-liver", **of_prompt(), labels=(LIVER,))
    assert click_model(asked, card) is None
    installed("d-fits", **of_prompt())
    installed("e-fits-too", **of_prompt())
    entry = click_model(asked, card)
    assert entry is not None
    assert entry.name == "d-fits"
    assert click_model(SegmentationOptions(), card) is None
    assert click_model(SegmentationOptions(clicks=asked.clicks, click_model="threshold"), card) is None
    assert click_model(asked, entry.card) is None
    for name, known in (
        ("e-fits-too", True),
        ("c-liver", True),
        ("a-plain", False),
        ("b-mr", False),
        ("nobody", False),
    ):
        stated = SegmentationOptions(clicks=asked.clicks, click_model=name)
        if known:
            assert click_model(stated, card).name == name
        else:
            with pytest.raises(InputError, match=name):
                click_model(stated, card)
    with pytest.raises(ModelError, match="gone"):
        click_model(SegmentationOptions(clicks=asked.clicks, click_model="gone.safetensors"), card)


def test_its_contour_takes_the_place_of_the_threshold(answered_by_prompted: None) -> None:
    result = clicked(at(*FAINT[0]), at(*AWAY[0]), click_model="prompted")
    first, second, other = result.components
    assert [c.click for c in result.components] == [at(*FAINT[0]).point, at(*AWAY[0]).point, None]
    for component, (center, radius) in ((first, FAINT), (second, AWAY), (other, SEEN)):
        assert component.volume_cc == pytest.approx(ball(center, radius).sum() * np.prod(SPACING) / 1000, rel=0.4)
        assert np.linalg.norm(np.array(component.center_mm) - at(*center).point) < 1.0
    assert result.click_card.name == "prompted"
    assert any("prompted" in text for text in result.warnings)
    assert set(result.timings) >= {"clicks", "network"}
    # The threshold and the smallest volume are those of what the model finds by itself.
    again = clicked(at(*FAINT[0]), at(*AWAY[0]), click_model="prompted", threshold=0.97, minimum_cc=90.0)
    assert again.components == [first, second]


@pytest.mark.parametrize(("labels", "value"), [(2, 1), (1, 1)])
def test_the_label_is_the_one_of_its_name(labels: int, value: int, answered_by_prompted: None) -> None:
    """The model that reads clicks knows one label, whose value is another one there."""
    answering = a_prompted()
    object.__setattr__(answering.model.card, "labels", (replace(TUMOR, value=5),))
    names = tuple(replace(TUMOR, value=n, name=f"Other {n}") for n in range(2, labels + 1))
    card = a_card(labels=labels)
    object.__setattr__(card, "labels", (*names, TUMOR))

    def start(model, plan) -> Callable:
        return lambda images: torch.cat([images * 0 - 9.0] * (1 if labels == 1 else 1 + labels), dim=1)

    known = {"automatic": Segmenter(a_model(card), "cpu", "torch", start=start), "prompted": answering}
    options = SegmentationOptions("automatic", threshold=0.9, clicks=(at(*FAINT[0]),), click_model="prompted")
    result = segment(a_ct(), options, known.__getitem__)
    assert [component.label for component in result.components] == [value]
    assert set(np.unique(result.label)) == {0, value}


def test_a_model_that_reads_clicks_segments_them_alone_and_needs_them() -> None:
    result = clicked(at(*FAINT[0]), at(*AWAY[0]), model="prompted")
    assert [component.click for component in result.components] == [at(*FAINT[0]).point, at(*AWAY[0]).point]
    assert not marked_at(result, SEEN[0])
    assert dsc(result.label > 0, ball(*FAINT) | ball(*AWAY)) > 0.8
    assert result.click_card.name == "prompted"
    with pytest.raises(InputError, match="prompted"):
        clicked(model="prompted")
