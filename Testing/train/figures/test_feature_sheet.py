"""Feature maps: taken where they are said to be, and drawn with the gray scale that is said."""

import numpy as np
import pytest
import torch
from PIL import Image

from CMEDLSegmentLib.models.model_card import IMAGE, NetworkSpec
from CMEDLSegmentLib.models.model_file import ModelNetwork
from CMEDLSegmentLib.networks import create_network, create_segmentor
from CMEDLTrainLib.evaluation.case_view import last_features
from CMEDLTrainLib.figures.feature_sheet import BORDER, HEAD, TILE, Maps, sheet


@pytest.mark.parametrize(
    ("kind", "widths"), [("unet", {"width": 2}), ("densefcn", {"width": 4, "growth": 2}), ("mrrn", {"width": 2})]
)
def test_the_last_two_layers_are_the_hints_of_a_network_that_gives_those(kind, widths):
    torch.manual_seed(1)
    images = torch.randn(2, 1, 32, 32)
    deep = create_segmentor(kind, hints="high", **widths).eval()
    other = create_segmentor(kind, hints="mid", **widths).eval()
    other.load_state_dict(deep.state_dict())
    coarse, fine = last_features(other, lambda: other(images))
    assert torch.equal(coarse, deep(images)[1][0])
    assert torch.equal(fine, deep(images)[1][1])
    assert other.hint_depth == "mid"
    assert not other._forward_hooks


def test_of_a_student_that_translates_first_the_segmentor_s_features_are_taken():
    torch.manual_seed(1)
    images = torch.randn(1, 1, 32, 32)
    generator = create_network("generator", width=2, blocks=1).eval()
    segmentor = create_segmentor("unet", in_channels=2, width=2).eval()
    specs = (
        NetworkSpec("to_teacher", "generator", {}),
        NetworkSpec("segmentor", "unet", {}, (IMAGE, "to_teacher")),
    )
    network = ModelNetwork(specs, [generator, segmentor])
    features = last_features(segmentor, lambda: network(images))
    expected = segmentor(torch.cat((images, generator(images)), dim=1))[1]
    assert all(torch.equal(a, b) for a, b in zip(features, expected, strict=True))


def tile(picture: Image.Image, channel: int, left: int = 12) -> np.ndarray:
    down, across = divmod(channel, 6)
    x, y = left + across * (TILE + BORDER), HEAD + down * (TILE + BORDER)
    return np.asarray(picture.crop((x, y, x + TILE, y + TILE)))


def test_each_channel_stands_at_its_place_from_its_dark_to_its_bright_end():
    values = np.zeros((30, 8, 8))
    values[9, :, 4:] = 3.0
    values[23, 4:] = -1.0
    picture = sheet([Maps("student", values)])
    assert (tile(picture, 9)[:, :40] == 0).all()
    assert (tile(picture, 9)[:, -40:] == 255).all()
    assert (tile(picture, 23)[:40] == 255).all()
    assert (tile(picture, 23)[-40:] == 0).all()
    assert (tile(picture, 5) == 0).all()


def test_student_and_teacher_share_a_gray_scale_and_a_compared_network_does_not():
    bright, half = np.zeros((1, 8, 8)), np.zeros((1, 8, 8))
    bright[0, :, 4:], half[0, :, 4:] = 2.0, 1.0
    picture = sheet([Maps("teacher", bright), Maps("student", half), Maps("alone", half, group=1)])
    width = 6 * (TILE + BORDER) - BORDER + 24
    levels = [tile(picture, 0, 12 + number * width)[TILE // 2, -5, 0] for number in range(3)]
    assert levels == pytest.approx([255, 128, 255], abs=1)


def test_the_slice_stands_left_of_the_maps():
    picture = sheet([Maps("student", np.zeros((4, 8, 8)))], beside=Image.new("RGB", (50, 900), (9, 99, 199)))
    assert picture.height >= 900
    assert picture.getpixel((12 + 25, 450)) == (9, 99, 199)
