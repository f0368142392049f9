"""What a student that reads clicks is asked in training: a click, the mask of a neighboring slice, or both.

A student that is used asks itself: its mask of one slice is the prompt of the next. So masks are disturbed here as a
network's are wrong; and some prompts have nothing to find, because the structure ended a slice before, or because a
mask lies on lung, a vessel or the chest wall: there the answer is empty. Without these it never stops.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from CMEDLSegmentLib.inference.propagation import clicks_channel, deepest, fitting_pixel
from CMEDLSegmentLib.models.model_card import PROMPT_CHANNELS, ClickPrompt

from ..cohort.store import Store
from ..methods.method import Batch
from ..settings.configuration import Configuration
from .augmentation import change_intensity, sample_images, sample_masks, sampling_grid

SHARES = {"click": 0.42, "mask": 0.30, "both": 0.10, "stop": 0.18}
"""How often a patch is asked about how. With a stop in twelve, a student never stopped; with one in six it does, at the
price of a little accuracy after masks."""
NEIGHBORS = 2
"""Slices up and down whose mask may be the prompt."""
TRUE_ENDS = 0.5
"""Of the stops of a structure whose end is on other slices of its case, the share that is there and not made up."""
DARK = -1 / 3
"""Normalized intensity below which inside the body there is lung: -500 HU of a window from -1000 to 500."""
FIRST_LOOKS = 0.4
"""Of the clicks, the share that is looked at as a Segmenter first does, before it knows how large the structure is."""
FIRST_PIXEL_MM = math.sqrt(math.prod(ClickPrompt.pixel_mm))
"""The pixel of a first look, in the middle of the range."""
THRESHOLD = 0.4
"""Probability from which a voxel is marked: on validation patients tumors gained by it, nodules lost little (see
``Testing/experiments/lung-click``)."""
STRUCTURE_SHARE = 1 / 3
"""How wide a structure is in the square that is fitted to it."""


@dataclass
class _Question:
    """Of one patch: which slice, where to look, and what is given; places are (y, x) in pixels of the patch.

    Attributes:
        index: of the slice that is segmented.
        given: of the slice whose mask is the prompt, -1 for none.
        empty: whether nothing is to be found.
        moved: the mask is moved by so many pixels, (0, 0) where it stays.
        pixel_mm: of the square, before augmentation: what a Segmenter would choose.
    """

    index: int
    kind: str
    given: int = -1
    empty: bool = False
    center: np.ndarray = field(default_factory=lambda: np.zeros(2))
    moved: tuple[int, int] = (0, 0)
    pixel_mm: float = FIRST_PIXEL_MM
    add: tuple[np.ndarray, ...] = ()
    cut: tuple[np.ndarray, ...] = ()


def batch_with_prompts(
    store: Store, indices: np.ndarray, configuration: Configuration, generator: torch.Generator
) -> Batch:
    """Patches of ``augmentation.window`` pixels around what is asked for, on the CPU.

    Args:
        store: the slices.
        indices: slices with the structure.
        configuration: of the run.
        generator: source of all randomness.
    """
    settings, side = configuration.augmentation, configuration.augmentation.window
    random = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    spacing_mm, prompt = configuration.images.spacing_mm, prompt_of(configuration)
    questions = [_question(store, int(index), random) for index in indices]
    images, masks = store.read([question.index for question in questions])
    given = np.zeros_like(masks)
    asked = [number for number, question in enumerate(questions) if question.given >= 0]
    if asked:
        given[asked] = store.read_masks([questions[number].given for number in asked])
    for number, question in enumerate(questions):
        _place(question, images[number], masks[number], given[number], random, spacing_mm, prompt)
        given[number] = np.roll(given[number], question.moved, axis=(0, 1))
        if question.empty:
            masks[number] = 0
    middle = (np.array(masks.shape[1:]) - 1) / 2
    centers = torch.tensor(np.array([question.center - middle for question in questions])[:, ::-1].copy()).float()
    device = torch.device("cpu")
    zoom = torch.tensor([spacing_mm / question.pixel_mm for question in questions])
    grid = sampling_grid((side, side), centers, masks.shape[1:], settings, spacing_mm, generator, device, zoom)
    patches = change_intensity(sample_images(torch.from_numpy(images)[:, None], grid), settings, generator)
    both = sample_masks(torch.from_numpy(np.stack([masks, given], axis=1)), grid)
    prompts = np.zeros((len(questions), len(PROMPT_CHANNELS), side, side), np.float32)
    for number, question in enumerate(questions):
        for channel, places in enumerate((question.add, question.cut)):
            pixels = [_on_grid(place, grid[number], masks.shape[1:]) for place in places]
            prompts[number, channel] = clicks_channel(pixels, side, ClickPrompt.click_pixels)
        if question.given >= 0:
            tissue = patches[number, 0].numpy() > DARK if question.moved != (0, 0) and random.random() < 0.4 else None
            prompts[number, 2] = disturbed(both[number, 1].numpy() > 0.5, random, tissue)
    return Batch(patches, both[:, 0].to(torch.uint8), torch.from_numpy(prompts))


def prompt_of(configuration: Configuration) -> ClickPrompt:
    """How the student of a run is asked."""
    return ClickPrompt(diameter_pixels=STRUCTURE_SHARE * configuration.augmentation.window)


def central_prompts(masks: np.ndarray) -> Tensor:
    """A click in the deepest place of each mask (n, h, w), for pictures: (n, channels, h, w)."""
    prompts = np.zeros((len(masks), len(PROMPT_CHANNELS), *masks.shape[1:]), np.float32)
    for prompt, mask in zip(prompts, masks, strict=True):
        if mask.any():
            y, x = deepest(mask > 0)
            prompt[0] = clicks_channel([(y, x)], masks.shape[-1], ClickPrompt.click_pixels)
    return torch.from_numpy(prompts)


def disturbed(mask: np.ndarray, random: np.random.Generator, tissue: np.ndarray | None = None) -> np.ndarray:
    """A mask (h, w) as a network might give it: another border, a piece too many or missing, moved; float32 0 or 1.

    Args:
        mask: the expert's.
        random: source of randomness.
        tissue: bool (h, w), the mask is cut to it where enough is left.
    """
    from scipy import ndimage

    count = int(mask.sum())
    if not count:
        return mask.astype(np.float32)
    if tissue is not None and (mask & tissue).sum() > 4:
        mask = mask & tissue
    radius = np.sqrt(count / np.pi)
    soft = ndimage.gaussian_filter(mask.astype(np.float32), random.uniform(0.5, 1.0 + 0.12 * radius))
    coarse = torch.from_numpy(random.normal(size=(1, 1, 12, 12)).astype(np.float32))
    noise = F.interpolate(coarse, size=mask.shape, mode="bilinear")[0, 0].numpy() * random.uniform(0, 0.3)
    changed = soft + noise * (soft > 0.02) > random.uniform(0.2, 0.75)
    if random.random() < 0.15 and changed.any():
        places = np.argwhere(changed)
        at = places[random.integers(len(places))] + random.normal(size=2) * radius
        reach = random.uniform(0.3, 0.8) * radius + 1
        rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
        disk = (rows - at[0]) ** 2 + (columns - at[1]) ** 2 < reach**2
        changed = changed | disk if random.random() < 0.6 else changed & ~disk
    if changed.sum() < max(4, 0.2 * count):
        changed = mask
    shift = np.round(random.normal(0, min(2.5, 0.12 * np.sqrt(count)), 2)).astype(int)
    return np.roll(changed, tuple(int(step) for step in shift), axis=(0, 1)).astype(np.float32)


def _question(store: Store, index: int, random: np.random.Generator) -> _Question:
    """How a slice with the structure is asked about: of which slices, but not yet where."""
    kind = str(random.choice(list(SHARES), p=list(SHARES.values())))
    pixels = store.patches.records["pixels"]
    if kind in ("mask", "both"):
        near = [other for other in _near(store, index) if pixels[other] > 0]
        return _Question(index, kind, int(random.choice(near))) if near else _Question(index, "click")
    if kind == "stop":
        ends = _ends(store, index)
        if ends and random.random() < TRUE_ENDS:
            beyond, last = ends[random.integers(len(ends))]
            return _Question(beyond, kind, last, empty=True)
        return _Question(index, kind, _small(store, index, random), empty=True)
    return _Question(index, kind)


def _near(store: Store, index: int) -> list[int]:
    """The other slices of a case that are at most :data:`NEIGHBORS` away."""
    records = store.patches.records
    around = range(max(0, index - NEIGHBORS), min(len(records), index + NEIGHBORS + 1))
    own = records[index]
    return [
        other
        for other in around
        if other != index
        and records["case"][other] == own["case"]
        and abs(records["slice"][other] - own["slice"]) <= NEIGHBORS
    ]


def _ends(store: Store, index: int) -> list[tuple[int, int]]:
    """Pairs (slice without the structure, neighbor with it) of the case of ``index``."""
    records = store.patches.records
    own = np.flatnonzero(records["case"] == records["case"][index])
    with_structure = own[records["pixels"][own] > 0]
    return [
        (other, int(at)) for at in with_structure for other in _near(store, int(at)) if not records["pixels"][other]
    ]


def _small(store: Store, index: int, random: np.random.Generator) -> int:
    """A slice of the same split and role on which a structure is less than half as large as at its largest.

    Its mask is what a propagation has in hand where it should end.
    """
    own = store.patches[index]
    small = _small_slices(store, own.split, own.role)
    return int(random.choice(small)) if len(small) else index


@lru_cache(maxsize=4)
def _small_slices(store: Store, split: str, role: str) -> np.ndarray:
    """Their indices, (n,): looked for once, and not for each stop of each step."""
    records = store.patches.records
    pool = store.select(split, role)
    largest = np.zeros(int(records["case"].max()) + 1, np.int64)
    np.maximum.at(largest, records["case"][pool], records["pixels"][pool])
    pixels = records["pixels"][pool]
    return pool[(pixels > 0) & (2 * pixels < largest[records["case"][pool]])]


def _place(
    question: _Question,
    image: np.ndarray,
    mask: np.ndarray,
    given: np.ndarray,
    random: np.random.Generator,
    spacing_mm: float,
    prompt: ClickPrompt,
) -> None:
    """Where to look, at what pixel, where clicks are, and where a made-up mask lies."""
    shown = given if question.given >= 0 else mask
    if question.kind != "click" or random.random() >= FIRST_LOOKS:
        question.pixel_mm = fitting_pixel(np.count_nonzero(shown) * spacing_mm**2, prompt)
    if question.kind == "stop":
        center = np.argwhere(given > 0).mean(axis=0)
        if mask.any():  # a slice with the structure: the mask is laid where the structure is not
            place = _elsewhere(image, mask > 0, random)
            if place is None:
                question.kind, question.empty = "mask", False
                question.center = np.argwhere(mask > 0).mean(axis=0)
                given[:] = mask
                return
            moved = np.round(place - center).astype(int)
            question.moved = (int(moved[0]), int(moved[1]))
            center = place
        question.center = center
        return
    if question.kind in ("mask", "both"):
        question.center = np.argwhere(given > 0).mean(axis=0)
    if question.kind in ("click", "both"):
        question.add = (_inside(mask > 0, random, central=random.random() < 0.7),)
        if question.kind == "click":
            question.center = question.add[0]
            if random.random() < 0.2:
                question.add = (*question.add, _inside(mask > 0, random, central=False))
        if random.random() < (0.25 if question.kind == "click" else 0.5):
            question.cut = (_outside(mask > 0, random, spacing_mm),)
            if question.kind == "both" and random.random() < 0.5:
                question.add = ()


def _inside(mask: np.ndarray, random: np.random.Generator, central: bool) -> np.ndarray:
    """A random place (y, x) in a mask; ``central``: likelier the further it is from the border."""
    from scipy import ndimage

    rows, columns = (slice(at.min(), at.max() + 1) for at in np.nonzero(mask))
    places = np.argwhere(mask[rows, columns])
    weights = None
    if central:
        depth = ndimage.distance_transform_edt(np.pad(mask[rows, columns], 1))[1:-1, 1:-1]
        weights = depth[tuple(places.T)] ** 2
        weights /= weights.sum()
    return places[random.choice(len(places), p=weights)] + np.array([rows.start, columns.start], float)


def _outside(mask: np.ndarray, random: np.random.Generator, spacing_mm: float) -> np.ndarray:
    """A random place (y, x) from 3 to 18 mm outside of a mask."""
    angle = random.uniform(0, 2 * np.pi)
    direction = np.array([np.sin(angle), np.cos(angle)])
    at, inside = _inside(mask, random, central=True), True
    while inside:
        at = at + direction
        row, column = np.round(at).astype(int)
        inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1] and bool(mask[row, column])
    return at + direction * random.uniform(3, 18) / spacing_mm


def _elsewhere(image: np.ndarray, mask: np.ndarray, random: np.random.Generator) -> np.ndarray | None:
    """A random place (y, x) in or near the lungs but away from a mask (h, w); None where there is none.

    Mostly one on tissue: a vessel, the chest wall, the mediastinum. Images without dark parts inside: anywhere in them.
    """
    from scipy import ndimage

    dark, _ = ndimage.label(image < DARK)
    border = np.unique(np.concatenate([dark[0], dark[-1], dark[:, 0], dark[:, -1]]))
    lung = (dark > 0) & ~np.isin(dark, border)
    wanted = ndimage.binary_dilation(lung, iterations=4) if lung.sum() > 50 else image > -1
    wanted &= ~ndimage.binary_dilation(mask, iterations=8)
    tissue = wanted & (image > DARK)
    if random.random() < 0.6 and tissue.any():
        wanted = tissue
    places = np.flatnonzero(wanted)
    if not len(places):
        return None
    return np.array(divmod(int(random.choice(places)), mask.shape[1]), float)


def _on_grid(place: np.ndarray, grid: Tensor, shape: tuple[int, ...]) -> tuple[float, float]:
    """The pixel (y, x) of a sampled patch that shows ``place`` of the patch before; the nearest one."""
    x, y = ((2 * place[axis] + 1) / shape[axis] - 1 for axis in (1, 0))
    nearest = int(((grid[..., 0] - x) ** 2 + (grid[..., 1] - y) ** 2).argmin())
    return float(nearest // grid.shape[1]), float(nearest % grid.shape[1])
