"""What the settings of a run can be, so that nonsense is refused before its folder is made. Imports no torch.

What needs the networks or the data to be judged (a network's arguments, a translation's kind, features) is refused
where these are built.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from CMEDLSegmentLib.base.errors import InputError

MOST = 1e9
"""For what has no limit of its own: a number, at least."""
CHOICES = {
    "images.slices": ("lung", "all"),
    "optimization.schedule": ("constant", "cosine"),
    "optimization.sampling": ("uniform", "patient"),
    "optimization.precision": ("fp32", "bf16"),
}
"""Words that a setting takes."""
RANGES = {
    "seed": (0, MOST),
    "images.spacing_mm": (0.05, 20.0),  # as a student's card has it
    "images.field": (16, 4096),
    "images.window_hu": (-MOST, MOST),
    "images.mr_maximum": (0, MOST),
    "images.teacher_mr_maximum": (0, MOST),
    "augmentation.scale": (0.1, 10),
    "augmentation.rotation_degrees": (0, 180),
    "augmentation.shift_mm": (0, 1000),
    "augmentation.elastic_mm": (0, 100),
    "augmentation.elastic_spacing_mm": (1, 1000),
    "augmentation.intensity": (0, 1),
    "augmentation.erase": (0, 1),
    "augmentation.paste": (0, 1),
    "augmentation.window": (0, 4096),
    "loss.dice": (0, MOST),
    "loss.cross_entropy": (0, MOST),
    "loss.recall": (0, 1),
    "distillation.segmentation": (0, MOST),
    "distillation.teacher_pseudo": (0, MOST),
    "distillation.teacher_real": (0, MOST),
    "distillation.student_pseudo": (0, MOST),
    "distillation.hint": (0, MOST),
    "distillation.output": (0, MOST),
    "distillation.temperature": (1e-3, 1e3),
    "optimization.batch": (1, 65536),
    "optimization.learning_rate": (0, 1e38),  # of fp32
    "optimization.translation_learning_rate": (0, 1e38),  # of fp32
    "optimization.epochs": (1, MOST),
    "optimization.patience": (1, MOST),
    "optimization.validate_every": (1, MOST),
    "optimization.ema_half_life_steps": (0, MOST),
    "translation.width": (1, 1024),
    "translation.blocks": (0, 100),
    "translation.adversarial": (0, MOST),
    "translation.cycle": (0, MOST),
    "translation.identity": (0, MOST),
    "translation.contextual": (0, MOST),
    "translation.pool": (0, 1e6),
    "translation.codes": (1, 1024),
    "translation.content": (0, MOST),
    "translation.vae": (0, MOST),
    "translation.kl": (0, MOST),
    "translation.content_code": (0, MOST),
    "translation.latent": (0, MOST),
}
"""Least and most of a setting; of a pair, of both its values."""


def check(configuration: Any) -> None:
    """Refuse the settings of a :class:`.configuration.Configuration` that nothing could be trained with.

    Raises:
        InputError: names the setting and says what it can be.
    """
    for key, words in CHOICES.items():
        word = attrgetter(key)(configuration)
        if word not in words:
            raise InputError(f"The setting '{key}' cannot be '{word}'; there are: {', '.join(words)}.")
    for key, (least, most) in RANGES.items():
        value = attrgetter(key)(configuration)
        for one in value if isinstance(value, tuple) else (value,):
            if not least <= one <= most:  # of what is not a number too
                upto = "on" if most == MOST else f"to {most:g}"
                raise InputError(f"The setting '{key}' cannot be {one:g}; give a value from {least:g} {upto}.")
    low, high = configuration.images.window_hu
    if low >= high:
        raise InputError(f"The setting 'images.window_hu' cannot be {low:g} to {high:g}; give the lower value first.")
    low, high = configuration.augmentation.scale
    if low > high:
        raise InputError(f"The setting 'augmentation.scale' cannot be {low:g} to {high:g}; give the lower value first.")
