"""The pool of translated images: what it gives, what it keeps, and that a checkpoint brings it back."""

import pytest
import torch

from CMEDLTrainLib.training import checkpoints
from CMEDLTrainLib.translation.image_pool import ImagePool


def batches(count, n=3):
    """Batches of images that are told apart by their number."""
    numbers = torch.arange(count * n, dtype=torch.float32).reshape(count, n, 1, 1, 1)
    return list(numbers.expand(-1, -1, 1, 2, 2))


def by_a_list(images, size, random):
    """CycleGAN's description, on a Python list: the same draws, one image at a time."""
    stored, given = [], []
    for batch in images:
        slots = torch.randint(size, (len(batch),), generator=random).tolist()
        coins = torch.randint(2, (len(batch),), generator=random).tolist()
        out = []
        for image, slot, coin in zip(batch[:, 0, 0, 0].tolist(), slots, coins, strict=True):
            if len(stored) < size:
                stored.append(image)
                out.append(image)
            elif coin:
                out.append(stored[slot])
                stored[slot] = image
            else:
                out.append(image)
        given.append(out)
    return given


@pytest.mark.parametrize("size", [1, 4, 7])
def test_the_pool_gives_what_cyclegans_list_would(size):
    pool, random = ImagePool(size), torch.Generator().manual_seed(5)
    given = [pool(batch, random)[:, 0, 0, 0].tolist() for batch in batches(20)]
    assert given == by_a_list(batches(20), size, torch.Generator().manual_seed(5))
    assert any(now < before for out in given for before, now in zip(range(1000), out, strict=False)), "never an old one"


def test_a_pool_resumed_from_a_checkpoint_gives_the_same_bits(tmp_path):
    pool, random = ImagePool(4), torch.Generator().manual_seed(2)
    images = [torch.rand(2, 1, 5, 3) for _ in range(10)]
    for batch in images[:5]:
        pool(batch, random)
    checkpoints.save(tmp_path / "last.safetensors", {"pool": pool}, {}, {})
    resumed = ImagePool(4)
    checkpoints.load(tmp_path / "last.safetensors", {"pool": resumed}, {})
    for step, batch in enumerate(images[5:]):
        expected = pool(batch, torch.Generator().manual_seed(step))
        assert torch.equal(resumed(batch, torch.Generator().manual_seed(step)), expected)
    assert torch.equal(resumed.images, pool.images)


def test_a_checkpoint_from_before_the_first_image_is_read_too(tmp_path):
    checkpoints.save(tmp_path / "last.safetensors", {"pool": ImagePool(4)}, {}, {})
    pool = ImagePool(4)
    checkpoints.load(tmp_path / "last.safetensors", {"pool": pool}, {})
    batch = torch.rand(2, 1, 5, 3)
    assert torch.equal(pool(batch, torch.Generator().manual_seed(0)), batch)
    assert pool.count == 2


def test_what_the_pool_gives_has_no_graph_and_is_not_overwritten_later():
    pool, random = ImagePool(1), torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, 2, 2, requires_grad=True)
    first = pool(image * 1, random)
    kept = first.clone()
    assert not first.requires_grad
    for _ in range(10):
        pool(torch.rand(1, 1, 2, 2), random)
    assert torch.equal(first, kept)


def test_half_precision_images_are_kept_in_float32():
    pool = ImagePool(2)
    assert pool(torch.rand(1, 1, 2, 2).bfloat16(), torch.Generator()).dtype == torch.float32
    assert pool.images.dtype == torch.float32
