"""A Unet whose first seven convolutions start from VGG16's (ImageNet): what the bundled student was trained from.

The encoder of the Unet has the shape of VGG16 at half its width, so each layer takes every second filter of VGG16's
and, of each filter, the channels that the layer before took. Batch norm follows every convolution, so that neither
the scale nor the missing half of the sum matters. The decoder and the last encoder stages start at random.

    python initial.py vgg16_conv1_1_to_conv4_1.npz initial.safetensors
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from CMEDLSegmentLib import __version__
from CMEDLSegmentLib.io.labels import TUMOR
from CMEDLSegmentLib.models.model_card import Card, NetworkSpec
from CMEDLSegmentLib.models.model_file import save_model
from CMEDLSegmentLib.models.normalization import Normalization
from CMEDLSegmentLib.networks import create_segmentor

WIDTH = 32
LAYERS = (0, 2, 5, 7, 10, 12, 17)
"""Numbers of the convolutions conv1_1 to conv3_2 and conv4_1 in torchvision's VGG16: two for each stage of the Unet."""


def initial(weights: Path) -> torch.nn.Module:
    """The Unet with filters of ``weights``, an archive of arrays named ``features.N.weight``."""
    torch.manual_seed(0)
    network = create_segmentor("unet", width=WIDTH)
    layers = [layer for stage in network.encoder for layer in (stage.first, stage.second)]
    taken = None
    with np.load(weights) as vgg, torch.no_grad():
        for layer, number in zip(layers, LAYERS, strict=False):
            filters = torch.from_numpy(vgg[f"features.{number}.weight"].astype(np.float32))
            # The first layer sees one channel where VGG16 saw three equal ones of a gray picture.
            filters = filters.sum(dim=1, keepdim=True) if taken is None else filters[:, taken]
            taken = torch.linspace(0, len(filters) - 1, layer.conv.out_channels).round().long()
            layer.conv.weight.copy_(filters[taken])
    return network


if __name__ == "__main__":
    card = Card(
        name="vgg16-start",
        title="Unet with filters of VGG16, not trained",
        summary="A start for training; it segments nothing.",
        networks=(NetworkSpec("segmentor", "unet", {"in_channels": 1, "classes": 1, "width": WIDTH}),),
        labels=(TUMOR,),
        modality="CT",
        normalization=Normalization("window", -1000.0, 500.0),
        spacing_mm=1.5,
        field=256,
        slices="lung",
        threshold=0.5,
        training={"method": "none"},
        intended_use="To start training from.",
        unintended_use="Segmentation.",
        date="2026-11-22",
        program_version=__version__,
    )
    save_model(Path(sys.argv[2]), card, {"segmentor": initial(Path(sys.argv[1])).eval()})
