"""The segmentors: counts, hints, any input size, gradients, types and memory formats."""

import pytest
import torch
import torch.nn.functional as F

from CMEDLSegmentLib.networks import HINT_DEPTHS, create_segmentor
from segment.networks.narrow_networks import ARGUMENTS, images, narrow, parameters
from segment.networks.narrow_networks import SEGMENTORS as KINDS


@pytest.mark.parametrize(
    ("kind", "arguments", "count"),
    [
        ("unet", {}, 13_394_177),
        ("densefcn", {}, 1_374_001),
        ("mrrn", {"classes": 2, "wiring": "published"}, 38_916_418),
        ("mrrn", {"classes": 2, "wiring": "connected"}, 38_953_282),
        ("unet", {"width": 16}, 839_489),
    ],
)
def test_the_parameter_counts_are_the_published_ones(kind, arguments, count):
    with torch.device("meta"):
        assert parameters(create_segmentor(kind, **arguments)) == count


def test_the_connected_wiring_is_the_default_and_costs_one_wider_convolution():
    with torch.device("meta"):
        connected = parameters(create_segmentor("mrrn"))
        published = parameters(create_segmentor("mrrn", wiring="published"))
    assert connected - published == 64 * 64 * 9


@pytest.mark.parametrize(
    ("kind", "depth", "shapes"),
    [
        ("unet", "high", [(64, 128), (64, 256)]),
        ("unet", "mid", [(512, 16)]),
        ("unet", "low", [(64, 256), (64, 256)]),
        ("densefcn", "high", [(228, 128), (192, 256)]),
        ("densefcn", "mid", [(48, 8)]),
        ("densefcn", "low", [(48, 256), (12, 256)]),
        ("mrrn", "high", [(128, 128), (64, 256)]),
        ("mrrn", "mid", [(512, 16)]),
        ("mrrn", "low", [(32, 256), (32, 256)]),
    ],
)
def test_at_256_the_hints_have_the_papers_shapes_from_coarse_to_fine(kind, depth, shapes):
    with torch.device("meta"):
        logits, hints = create_segmentor(kind, hints=depth)(torch.empty(2, 1, 256, 256))
    assert logits.shape == (2, 1, 256, 256)
    assert [tuple(hint.shape) for hint in hints] == [(2, channels, size, size) for channels, size in shapes]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", HINT_DEPTHS)
def test_the_depth_of_the_hints_changes_neither_weights_nor_logits(kind, depth):
    high, other = narrow(kind), narrow(kind, hints=depth)
    other.load_state_dict(high.state_dict())
    x = images(1, 1, 32, 48)
    assert torch.equal(high.eval()(x)[0], other.eval()(x)[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(97, 131), (17, 19), (1, 1), (33, 16), (48, 80), (5, 200)])
def test_any_input_size_gives_logits_of_that_size(kind, size):
    x = images(1, 1, *size)
    for depth in HINT_DEPTHS:
        logits, hints = narrow(kind, classes=3, hints=depth).eval()(x)
        assert logits.shape == (1, 3, *size)
        assert all(torch.isfinite(hint).all() and 0 not in hint.shape for hint in hints)
    coarse, fine = narrow(kind).eval()(x)[1]
    assert fine.shape[-2:] == size
    assert coarse.shape[-2:] == ((size[0] + 1) // 2, (size[1] + 1) // 2)


@pytest.mark.parametrize("kind", KINDS)
def test_an_odd_size_gives_what_the_image_continued_to_the_next_multiple_gives(kind):
    network = narrow(kind).eval()
    x = images(1, 1, 37, 50)
    continued = F.pad(x, (0, 14, 0, 11), mode="replicate")
    assert continued.shape[-2:] == (48, 64)
    logits, hints = network(x)
    whole_logits, whole_hints = network(continued)
    torch.testing.assert_close(logits, whole_logits[..., :37, :50])
    torch.testing.assert_close(hints[0], whole_hints[0][..., :19, :25])
    torch.testing.assert_close(hints[1], whole_hints[1][..., :37, :50])


@pytest.mark.parametrize("kind", KINDS)
def test_training_uses_the_batch_and_evaluation_the_running_statistics(kind):
    network = narrow(kind)
    x = images(2, 1, 32, 32)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.eval()(x)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network.train()(x)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all("norm" in name for name in changed)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_network_and_the_same_result(kind):
    x = images(2, 1, 32, 32)
    first, second = narrow(kind, seed=7), narrow(kind, seed=7)
    torch.manual_seed(3)
    logits = first.train()(x)[0]
    torch.manual_seed(3)
    assert torch.equal(logits, second.train()(x)[0])
    assert torch.equal(first.eval()(x)[0], second.eval()(x)[0])
    assert not torch.equal(first(x)[0], narrow(kind, seed=8).eval()(x)[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", HINT_DEPTHS)
def test_the_logits_depend_on_every_hint_and_every_hint_on_the_image(kind, depth):
    network = narrow(kind, hints=depth)
    x = images(2, 1, 64, 64).requires_grad_()
    logits, hints = network(x)
    weights = images(*logits.shape, seed=2)
    for gradient in torch.autograd.grad((logits * weights).sum(), hints, retain_graph=True):
        assert gradient.abs().max() > 0
    for hint in hints:
        (gradient,) = torch.autograd.grad(hint.square().sum(), x, retain_graph=True)
        assert gradient.abs().max() > 0


def test_in_the_published_wiring_the_coarse_hint_is_a_dead_branch():
    logits, hints = narrow("mrrn", wiring="published")(images(2, 1, 32, 32))
    coarse, fine = torch.autograd.grad(logits.sum(), hints, allow_unused=True)
    assert coarse is None
    assert fine is not None


@pytest.mark.parametrize(
    ("kind", "arguments", "unread"),
    [
        ("unet", {}, set()),
        ("densefcn", {}, set()),
        ("mrrn", {}, {"down.3.1", "up.0.1", "up.1.1"}),
        ("mrrn", {"wiring": "published"}, {"down.3.1", "up.0.1"}),
    ],
)
def test_every_parameter_is_trained_by_the_logits_but_for_the_known_unread_ones(kind, arguments, unread):
    network = narrow(kind, **arguments)
    network(images(2, 1, 64, 64))[0].sum().backward()
    without = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert without == {f"{unit}.adjust.{part}" for unit in unread for part in ("weight", "bias")}


@pytest.mark.parametrize("kind", KINDS)
def test_more_channels_and_classes_change_the_ends_alone(kind):
    plain, more = narrow(kind), narrow(kind, in_channels=2, classes=5)
    assert more.eval()(images(1, 2, 32, 32))[0].shape == (1, 5, 32, 32)
    other = [n for n, p in plain.named_parameters() if p.shape != more.get_parameter(n).shape]
    assert len(other) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_twice_the_width_has_almost_four_times_the_parameters(kind):
    wide = {name: 8 * value for name, value in ARGUMENTS[kind].items()}
    wider = {name: 2 * value for name, value in wide.items()}
    with torch.device("meta"):
        ratio = parameters(create_segmentor(kind, **wider)) / parameters(create_segmentor(kind, **wide))
    assert 3.8 < ratio < 4
