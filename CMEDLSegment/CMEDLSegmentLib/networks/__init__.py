"""Networks: a segmentor's ``forward(x)`` returns (logits, hints); one factory makes each by its name."""

from .blocks import HINT_DEPTHS, Hints, Segmentor
from .densefcn import DenseFCN
from .drit import ContentEncoder, StyleGenerator, StyleTranslator
from .factory import create_network, create_segmentor
from .folding import fold_batch_norm
from .fusion import WeightedFusion
from .generator import Generator, InstanceNorm, initialize
from .mrrn import WIRINGS, Mrrn
from .unet import Unet

__all__ = [
    "HINT_DEPTHS",
    "WIRINGS",
    "ContentEncoder",
    "DenseFCN",
    "Generator",
    "Hints",
    "InstanceNorm",
    "Mrrn",
    "Segmentor",
    "StyleGenerator",
    "StyleTranslator",
    "Unet",
    "WeightedFusion",
    "create_network",
    "create_segmentor",
    "fold_batch_norm",
    "initialize",
]
