"""Image-to-image translation between the modalities of student and teacher (section III-A2)."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from CMEDLSegmentLib.base.errors import InputError

from ..settings.translation_settings import TranslationSettings
from .base import Contextual, Translation

TRANSLATIONS: dict[str, str] = {"cyclegan": "CycleGan", "drit": "Drit"}
"""The class of each translation, by its name in the settings, which is also its file's here.

Another one is a file and a line: a class made from ``(settings, contextual)`` that is a :class:`Translation`. The files
are imported when used, because settings are read before torch is.
"""


def create(settings: TranslationSettings, contextual: Contextual | None = None) -> Translation:
    """Build the networks and losses of the configured translation, with fresh weights.

    Args:
        settings: its ``kind`` names the translation.
        contextual: the contextual loss of two batches of images, for those that have one.

    Raises:
        InputError: no such translation, a setting is out of range, or the contextual loss is missing.
    """
    if settings.kind not in TRANSLATIONS:
        raise InputError(f"There is no translation '{settings.kind}'; there are: {', '.join(TRANSLATIONS)}.")
    factory: Callable[[TranslationSettings, Contextual | None], Translation]
    factory = getattr(import_module(f".{settings.kind}", __name__), TRANSLATIONS[settings.kind])
    return factory(settings, contextual)


__all__ = ["TRANSLATIONS", "Contextual", "Translation", "TranslationSettings", "create"]
