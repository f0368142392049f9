"""Networks: a segmentor's ``forward(x)`` returns (logits, hints); one factory makes each by its name."""

from .blocks import HINT_DEPTHS, Segmentor
from .factory import create_network, create_segmentor
from .unet import Unet

__all__ = ["HINT_DEPTHS", "Segmentor", "Unet", "create_network", "create_segmentor"]
