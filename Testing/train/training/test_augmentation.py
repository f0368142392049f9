"""Augmentation: nothing moves when nothing may, images and masks move together, erased is erased."""

from dataclasses import replace

import pytest
import torch

from CMEDLTrainLib.settings.configuration import Augmentation
from CMEDLTrainLib.training.augmentation import augment

STILL = Augmentation(
    flip=False, scale=(1.0, 1.0), rotation_degrees=0.0, shift_mm=0.0, elastic_mm=0.0, intensity=0.0, erase=0.0
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def disc(size: int = 64, center: tuple[float, float] = (31.5, 20.0), radius: float = 9.0) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return ((rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius**2).to(torch.uint8)


def test_with_everything_off_a_batch_comes_back_as_it_was():
    images, masks = torch.rand(3, 1, 32, 48) * 2 - 1, torch.randint(0, 3, (3, 32, 48), dtype=torch.uint8)
    augmented, labels = augment(images, masks, STILL, 1.5, generator())
    torch.testing.assert_close(augmented, images, atol=1e-5, rtol=0)
    assert torch.equal(labels, masks)


def test_a_flip_mirrors_the_columns_and_nothing_else():
    images, masks = torch.rand(40, 1, 16, 16), torch.randint(0, 2, (40, 16, 16), dtype=torch.uint8)
    augmented, labels = augment(images, masks, replace(STILL, flip=True), 1.5, generator())
    mirrored = [torch.allclose(augmented[i], images[i].flip(-1), atol=1e-4) for i in range(40)]
    kept = [torch.allclose(augmented[i], images[i], atol=1e-4) for i in range(40)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 5 < sum(mirrored) < 35
    for i in range(40):
        assert torch.equal(labels[i], masks[i].flip(-1) if mirrored[i] else masks[i])


@pytest.mark.parametrize("scale", [0.7, 1.4])
def test_a_scale_of_s_multiplies_the_area_of_a_disc_by_s_squared(scale):
    mask = disc(center=(31.5, 31.5))[None]
    _, labels = augment(mask[:, None].float(), mask, replace(STILL, scale=(scale, scale)), 1.5, generator())
    assert float(labels.sum() / mask.sum()) == pytest.approx(scale**2, rel=0.06)


def test_a_rotation_keeps_the_area_and_the_distance_from_the_center():
    mask = disc()[None].repeat(8, 1, 1)
    _, labels = augment(mask[:, None].float(), mask, replace(STILL, rotation_degrees=90.0), 1.5, generator())
    rows, columns = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
    for label in labels:
        assert float(label.sum()) == pytest.approx(float(mask[0].sum()), rel=0.05)
        distance = torch.hypot((rows * label).sum() / label.sum(), (columns * label).sum() / label.sum())
        assert float(distance) == pytest.approx(11.5, abs=0.3)


def test_image_and_mask_of_a_structure_stay_together_under_all_deformations():
    mask = disc()[None].repeat(6, 1, 1)
    images = mask[:, None].float() * 2 - 1
    settings = Augmentation(elastic_mm=6.0)
    augmented, labels = augment(images, mask, settings, 1.5, generator(3))
    bright = augmented[:, 0] > 0
    overlap = 2 * (bright & (labels > 0)).sum() / (bright.sum() + (labels > 0).sum())
    assert float(overlap) > 0.97
    assert not torch.equal(labels, mask)


def test_the_same_seed_gives_the_same_batch_and_another_seed_another():
    images, masks = torch.rand(2, 1, 32, 32), torch.randint(0, 2, (2, 32, 32), dtype=torch.uint8)
    first, again, other = (augment(images, masks, Augmentation(), 1.5, generator(s))[0] for s in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_what_comes_in_from_outside_is_air():
    images, masks = torch.ones(4, 1, 32, 32), torch.ones(4, 32, 32, dtype=torch.uint8)
    augmented, labels = augment(images, masks, replace(STILL, scale=(0.5, 0.5)), 1.5, generator())
    assert float(augmented[:, :, 0, 0].max()) == -1
    assert int(labels[:, 0, 0].max()) == 0


def test_erasing_replaces_the_structure_by_the_other_side_and_leaves_the_rest():
    mask = disc(center=(31.5, 14.0))[None]
    image = torch.full((1, 1, 64, 64), -0.8)
    image[:, 0][mask > 0] = 0.5
    augmented, labels = augment(image, mask, replace(STILL, erase=1.0), 1.5, generator())
    assert int(labels.sum()) == 0
    torch.testing.assert_close(augmented, torch.full_like(augmented, -0.8), atol=1e-5, rtol=0)


def test_a_structure_that_its_own_mirror_image_meets_is_not_erased():
    mask = disc(center=(31.5, 31.5))[None]
    image = mask[:, None].float()
    augmented, labels = augment(image, mask, replace(STILL, erase=1.0), 1.5, generator())
    assert torch.equal(labels, mask)
    torch.testing.assert_close(augmented, image, atol=1e-5, rtol=0)


def test_intensities_change_within_the_set_half_widths_and_stay_in_the_range():
    images, masks = torch.full((200, 1, 4, 4), 0.5), torch.zeros(200, 4, 4, dtype=torch.uint8)
    augmented, _ = augment(images, masks, replace(STILL, intensity=0.1), 1.5, generator())
    assert float(augmented.min()) >= 0.5 * 0.9 - 0.1
    assert float(augmented.max()) <= 0.5 * 1.1 + 0.1
    assert float(augmented.std()) > 0.03
    bright, _ = augment(images * 2, masks, replace(STILL, intensity=0.1), 1.5, generator())
    assert float(bright.max()) <= 1


def test_a_window_has_its_size_and_mostly_holds_the_structure():
    mask = disc(center=(10.0, 50.0), radius=3.0)[None].repeat(200, 1, 1)
    images = mask[:, None].float()
    augmented, labels = augment(images, mask, replace(STILL, window=24), 1.5, generator())
    assert augmented.shape == (200, 1, 24, 24)
    assert labels.shape == (200, 24, 24)
    whole = (labels.sum(dim=(1, 2)) == mask[0].sum()).float().mean()
    assert 0.6 < float(whole) < 0.95
    bright = augmented[:, 0] > 0.5
    assert float(2 * (bright & (labels > 0)).sum() / (bright.sum() + labels.sum())) > 0.9


def test_windows_of_a_patch_without_structure_are_anywhere_inside_it():
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    images = torch.stack([rows, columns])[None].repeat(100, 1, 1, 1) / 64
    masks = torch.zeros(100, 64, 64, dtype=torch.uint8)
    augmented, _ = augment(images, masks, replace(STILL, window=16), 1.5, generator())
    corners = augmented[:, :, 0, 0] * 64
    assert float(corners.min()) >= -1e-3
    assert float(corners.max()) <= 48 + 1e-3
    assert float(corners.std(dim=0).min()) > 10


def test_a_window_as_large_as_the_patch_is_the_patch():
    images, masks = torch.rand(3, 1, 32, 32) * 2 - 1, torch.randint(0, 2, (3, 32, 32), dtype=torch.uint8)
    augmented, labels = augment(images, masks, replace(STILL, window=32), 1.5, generator())
    torch.testing.assert_close(augmented, images, atol=1e-5, rtol=0)
    assert torch.equal(labels, masks)


def test_pasting_brings_the_neighbors_structure_with_its_rim_and_keeps_the_own():
    masks = torch.stack([disc(center=(16.0, 16.0), radius=5.0), disc(center=(48.0, 48.0), radius=5.0)])
    images = torch.tensor([0.25, 0.75])[:, None, None, None].expand(2, 1, 64, 64).contiguous()
    augmented, labels = augment(images, masks, replace(STILL, paste=1.0), 1.5, generator())
    both = ((masks[0] + masks[1]) > 0).to(torch.uint8)
    assert torch.equal(labels[0], both)
    assert torch.equal(labels[1], both)
    assert torch.allclose(augmented[0, 0][masks[1] > 0], torch.tensor(0.75), atol=1e-5)
    assert torch.allclose(augmented[0, 0][masks[0] > 0], torch.tensor(0.25), atol=1e-5)


def test_a_patch_that_is_laid_over_loses_its_own_structure_there():
    masks = torch.stack([disc(center=(32.0, 32.0), radius=12.0), disc(center=(32.0, 32.0), radius=4.0)])
    images = masks[:, None].float()
    augmented, labels = augment(images, masks, replace(STILL, paste=1.0), 1.5, generator())
    rim = (torch.hypot(*torch.meshgrid(torch.arange(64) - 32.0, torch.arange(64) - 32.0, indexing="ij"))).round() == 8
    assert int(labels[0][rim].max()) == 0
    assert float(augmented[0, 0][rim].max()) < 0.2
    assert int(labels[1].sum()) == int(masks[0].sum())
