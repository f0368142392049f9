"""A model that reads clicks: what is clicked comes out, whole, in any orientation, and corrections stay near."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage

from CMEDLSegmentLib.base.errors import Cancelled, InputError
from CMEDLSegmentLib.base.progress import Progress
from CMEDLSegmentLib.inference.options import ACTIONS, Click, SegmentationOptions
from CMEDLSegmentLib.inference.propagation import ADD_MM, CUT_MM, Propagator, clicks_channel, fitting_pixel
from CMEDLSegmentLib.inference.segmenter import Segmenter
from CMEDLSegmentLib.io.volume import Geometry, Volume, axial_view
from CMEDLSegmentLib.models.model_card import ClickPrompt, NetworkSpec
from CMEDLSegmentLib.models.normalization import IntensityMap
from segment.inference.small_models import a_card, a_model, blobs
from segment.inference.test_segmenter import dsc, stored_otherwise

BALLS = ((6, 20, 15), (15, 40, 33), (20, 12, 40))
"""Centers (z, y, x) of the balls of ``blobs``."""


def card(**changes: object):
    """Of a narrow Unet that reads clicks."""
    network = NetworkSpec("segmentor", "unet", {"width": 4, "in_channels": 4}, ("image", "prompt"))
    return a_card(**{"networks": (network,), "prompt": ClickPrompt(smallest_mm2=1.5), "spacing_mm": 1.2, **changes})


def bright(model, plan):
    """Starts a runtime that marks what lies above -325 HU, whatever the prompt is, but not where a click is outside."""
    return lambda images: (images[:, :1] + 0.1) * 20 - 40 * images[:, 2:3]


def segmented(volume: Volume, *clicks: Click, **options: object):
    return Segmenter(a_model(card()), "cpu", start=bright).segment(
        volume, SegmentationOptions(clicks=clicks, **options)
    )


def at(volume: Volume, voxel: tuple[int, int, int], action: str = "tumor") -> Click:
    """A click on a voxel (z, y, x) of the stored array."""
    return Click(tuple(volume.geometry.to_physical(np.array([voxel[::-1]], float))[0].tolist()), action)


def balls(volume: Volume) -> np.ndarray:
    """The 6-connected pieces of what is bright, numbered."""
    return ndimage.label(volume.array > -325)[0]


@pytest.mark.parametrize("center", BALLS)
def test_what_is_clicked_comes_out_whole_and_alone(center) -> None:
    """The ball at the click against scipy's own component."""
    volume = blobs()
    pieces = balls(volume)
    result = segmented(volume, at(volume, center))
    assert dsc(result.label == 1, pieces == pieces[center]) > 0.9
    assert not (result.label[(pieces != 0) & (pieces != pieces[center])]).any()
    assert len(result.components) == 1
    assert result.lung_slices == 0


def test_two_clicks_are_two_tumors_and_their_order_does_not_matter() -> None:
    """The union of what each gives alone."""
    volume = blobs()
    first, second = (at(volume, center) for center in BALLS[:2])
    alone = segmented(volume, first).label | segmented(volume, second).label
    for clicks in ((first, second), (second, first)):
        result = segmented(volume, *clicks)
        assert np.array_equal(result.label, alone)
        assert len(result.components) == 2


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True), (False, True, True)])
def test_the_axes_of_the_file_do_not_matter(order, flips) -> None:
    """The same physical click in the same anatomy, stored otherwise."""
    volume = blobs()
    click = at(volume, BALLS[0])
    expected = segmented(volume, click).label
    stored = stored_otherwise(volume, order, flips)
    result = segmented(stored, click)
    view = axial_view(result.label, stored.geometry).array
    assert np.array_equal(view, axial_view(expected, volume.geometry).array)


def test_the_probability_thresholded_is_the_label_again() -> None:
    """Also what rules have marked or left out."""
    volume = blobs()
    result = segmented(volume, at(volume, BALLS[0]), at(volume, (6, 20, 21), "cut"))
    label, components = result.probability.segment(0.5)
    assert np.array_equal(label, result.label)
    assert components == result.components


@pytest.mark.parametrize(("beyond", "kept"), [(2, range(0, 9)), (-2, range(4, 24))])
def test_ends_here_is_exact(beyond, kept) -> None:
    """Nothing is marked beyond the slice, and nothing else changes."""
    volume = blobs()
    start, end = at(volume, BALLS[0]), at(volume, (BALLS[0][0] + beyond, 3, 3), "end")
    whole, ended = segmented(volume, start).label, segmented(volume, start, end).label
    expected = np.zeros_like(whole)
    expected[list(kept)] = whole[list(kept)]
    assert np.array_equal(ended, expected)
    assert not np.array_equal(whole, ended)


def test_a_cut_takes_what_is_near_and_an_addition_adds_what_is_near() -> None:
    """Of distances in mm, against those of all voxels."""
    volume = blobs()
    points = np.stack(np.meshgrid(*(np.arange(n) for n in volume.array.shape), indexing="ij"), -1).reshape(-1, 3)
    physical = volume.geometry.to_physical(points[:, ::-1].astype(float)).reshape(*volume.array.shape, 3)
    start = at(volume, BALLS[0])
    before = segmented(volume, start).label == 1
    cut = at(volume, (6, 20, 22), "cut")
    after = segmented(volume, start, cut).label == 1
    far = np.linalg.norm(physical - np.array(cut.point), axis=-1)
    assert not (after & ~before).any()
    assert not after[6, 20, 22]
    assert (far[before & ~after] <= CUT_MM + 1e-6).all()
    assert after[BALLS[0]]
    add = at(volume, BALLS[1], "add")
    joined = segmented(volume, start, add).label == 1
    far = np.linalg.norm(physical - np.array(add.point), axis=-1)
    assert (joined & before).sum() == before.sum()
    assert joined[BALLS[1]]
    assert (far[joined & ~before] <= ADD_MM + 1e-6).all()


def test_thick_slices_are_not_told_of_each_other() -> None:
    """Beyond the largest gap of the card the click's slice alone is marked."""
    volume = blobs()
    geometry = Geometry(volume.geometry.size, (1.1, 0.9, 9.0), volume.geometry.origin)
    result = segmented(Volume(volume.array, geometry, "CT"), at(Volume(volume.array, geometry), BALLS[0]))
    assert np.flatnonzero(result.label.any(axis=(1, 2))).tolist() == [BALLS[0][0]]


def test_a_click_on_nothing_marks_its_voxel() -> None:
    """So that a person sees where it was."""
    volume = blobs()
    result = segmented(volume, at(volume, (2, 50, 5)))
    assert np.argwhere(result.label).tolist() == [[2, 50, 5]]


@pytest.mark.parametrize("point", [(1e4, 0.0, 0.0), (-40.0, 12.0, 690.0)])
def test_a_click_outside_of_the_image_is_named(point) -> None:
    """By its coordinates."""
    with pytest.raises(InputError, match=f"{point[0]:g}"):
        segmented(blobs(), Click(point))


@pytest.mark.parametrize("action", [None, *ACTIONS[1:]])
def test_the_first_click_starts_a_tumor(action) -> None:
    """No click at all, or one that has nothing to mend."""
    volume = blobs()
    with pytest.raises(InputError):
        segmented(volume, *([] if action is None else [at(volume, BALLS[0], action)]))


@pytest.mark.parametrize("values", [{"point": (1.0, 2.0)}, {"point": (1, 2, float("nan"))}, {"action": "grow"}])
def test_a_click_is_checked(values) -> None:
    """Its coordinates are three numbers, its action one that there is."""
    with pytest.raises(InputError, match=next(iter(values))):
        Click(**{"point": (0.0, 0.0, 0.0), **values})


def test_cancel_between_slices() -> None:
    """At the second question already."""
    asked = itertools.count()
    with pytest.raises(Cancelled):
        Segmenter(a_model(card()), "cpu", start=bright).segment(
            blobs(),
            SegmentationOptions(clicks=(at(blobs(), BALLS[0]),)),
            Progress(cancelled=lambda: next(asked) > 1),
        )


def test_the_channels_of_a_view() -> None:
    """Image, clicks inside, clicks outside, neighbor: each where the closed form says."""
    seen: list[torch.Tensor] = []

    def infer(images: torch.Tensor) -> np.ndarray:
        seen.append(images)
        return np.zeros((len(images), *images.shape[2:]), np.float32)

    prompt = ClickPrompt(pixel_mm=(1.0, 1.0))
    array = np.zeros((3, 80, 80), np.float32)
    array[:, 30:50, 30:50] = 1.0
    propagator = Propagator(array, (2.0, 1.0, 1.0), IntensityMap((0, 1), (-1, 1)), prompt, 32, infer)
    propagator.structure((1, 40, 40))
    image, inside, outside, neighbor = seen[0][0].numpy()
    steps = np.arange(32) - 15.5
    expected = np.exp(-(steps[:, None] ** 2 + steps**2) / (2 * 3.0**2))
    assert np.allclose(inside, expected, atol=1e-6)
    assert not outside.any()
    assert not neighbor.any()
    # A pixel of 1 mm whose middle lies between two voxels: linear at the rim, which is between 29 and 30.
    assert np.allclose(image[16, [4, 5, 6, 16]], [-1.0, 0.0, 1.0, 1.0])


def test_the_pixel_fits_the_size() -> None:
    """A disk is as many pixels wide as the card says, within the model's range."""
    prompt = ClickPrompt(pixel_mm=(0.5, 2.0), diameter_pixels=32.0)
    assert fitting_pixel(np.pi * 20.0**2, prompt) == pytest.approx(40.0 / 32.0)
    assert fitting_pixel(1.0, prompt) == 0.5
    assert fitting_pixel(1e5, prompt) == 2.0


def test_clicks_are_gaussians_and_the_highest_holds() -> None:
    """Against the formula, two of them."""
    channel = clicks_channel([(4.0, 5.0), (10.0, 11.5)], 16, 2.0)
    y, x = np.meshgrid(np.arange(16), np.arange(16), indexing="ij")
    each = [np.exp(-((y - a) ** 2 + (x - b) ** 2) / 8.0) for a, b in ((4.0, 5.0), (10.0, 11.5))]
    assert np.allclose(channel, np.maximum(*each), atol=1e-6)
    assert not clicks_channel([], 16, 2.0).any()


def test_any_sequence_of_clicks_leaves_a_valid_result() -> None:
    """Two hundred random ones: a label, components that are its pieces, and what was clicked last but one again."""
    volume = blobs()
    segmenter = Segmenter(a_model(card()), "cpu", start=bright)
    random = np.random.default_rng(19)
    marked = np.argwhere(volume.array > -325)
    for _ in range(200):
        clicks = [at(volume, tuple(marked[random.integers(len(marked))].tolist()))]
        for _ in range(random.integers(1, 4)):
            place = (
                random.integers(volume.array.shape) if random.random() < 0.5 else marked[random.integers(len(marked))]
            )
            clicks.append(at(volume, tuple(place.tolist()), str(random.choice(ACTIONS))))
        before = segmenter.segment(volume, SegmentationOptions(clicks=clicks[:1])).label
        try:
            result = segmenter.segment(volume, SegmentationOptions(clicks=clicks))
        except InputError:  # an end on the slice of the first click
            assert any(click.action == "end" for click in clicks)
            continue
        assert set(np.unique(result.label)) <= {0, 1}
        assert np.isfinite(result.probability.values).all()
        assert len(result.components) == ndimage.label(result.label, np.ones((3, 3, 3)))[1]
        assert np.array_equal(segmenter.segment(volume, SegmentationOptions(clicks=clicks[:1])).label, before)
