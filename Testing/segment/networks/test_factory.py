"""One factory: every kind a card may name, and a clear sentence for what it must not."""

import pytest

from CMEDLSegmentLib.base.errors import ModelError
from CMEDLSegmentLib.networks import (
    DenseFCN,
    Generator,
    Mrrn,
    Unet,
    WeightedFusion,
    create_network,
    create_segmentor,
)


@pytest.mark.parametrize(
    ("kind", "arguments", "expected"),
    [
        ("unet", {"width": 2, "in_channels": 2, "classes": 3, "hints": "low"}, Unet),
        ("densefcn", {"width": 2, "growth": 2, "dropout": 0}, DenseFCN),
        ("mrrn", {"width": 1, "wiring": "published"}, Mrrn),
        ("generator", {"width": 2, "blocks": 1, "in_channels": 1, "out_channels": 1}, Generator),
        ("weighted-fusion", {"width": 2, "image_channels": 1}, WeightedFusion),
    ],
)
def test_each_kind_is_made_by_its_name(kind, arguments, expected):
    assert type(create_network(kind, **arguments)) is expected


@pytest.mark.parametrize("kind", ["vnet", "", "Unet", None, ["unet"], 3])
def test_an_unknown_kind_is_refused_naming_the_known_ones(kind):
    with pytest.raises(ModelError, match="unet, densefcn, mrrn, generator"):
        create_network(kind)
    with pytest.raises(ModelError, match=r"unet, densefcn, mrrn\.$"):
        create_segmentor(kind)


def test_a_network_that_is_no_segmentor_is_not_made_as_one():
    with pytest.raises(ModelError, match="'generator'"):
        create_segmentor("generator")


@pytest.mark.parametrize(
    ("kind", "arguments", "word"),
    [
        ("unet", {"width": 0}, "width"),
        ("unet", {"width": 16.0}, "width"),
        ("unet", {"width": True}, "width"),
        ("unet", {"width": "16"}, "width"),
        ("unet", {"width": 10**9}, "width"),
        ("unet", {"classes": 0}, "classes"),
        ("unet", {"in_channels": -1}, "in_channels"),
        ("unet", {"hints": "top"}, "hints"),
        ("unet", {"hints": ["high"]}, "hints"),
        ("unet", {"depth": 3}, "depth"),
        ("unet", {"kind": "mrrn"}, "kind"),
        ("densefcn", {"growth": None}, "growth"),
        ("densefcn", {"dropout": 1}, "dropout"),
        ("densefcn", {"dropout": float("nan")}, "dropout"),
        ("mrrn", {"wiring": "loose"}, "wiring"),
        ("generator", {"blocks": 0}, "blocks"),
        ("generator", {"hints": "high"}, "hints"),
        ("weighted-fusion", {"width": 1}, "width"),
        ("weighted-fusion", {"image_channels": 0}, "image_channels"),
    ],
)
def test_a_bad_argument_is_refused_by_its_name(kind, arguments, word):
    with pytest.raises(ModelError, match=f"'{word}'"):
        create_network(kind, **arguments)
