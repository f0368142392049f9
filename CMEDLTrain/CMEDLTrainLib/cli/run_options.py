"""What ``run`` and ``estimate`` share: the options that make a configuration. Only light modules are imported here."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from CMEDLSegmentLib.cli.console import Parser, add_device

from ..settings.configuration import METHODS, PRESETS, TINY_WIDTHS, Configuration, Network, labels_of, with_settings
from ..translation import TRANSLATIONS

SEGMENTORS = ("unet", "densefcn", "mrrn")
"""Of ``CMEDLSegmentLib.networks``, which needs torch to be asked."""


def add_options(sub: Parser) -> None:
    """Add the cohort and everything that a configuration is made from."""
    methods = "; ".join(f"{name}: {entry.description}" for name, entry in METHODS.items())
    sub.add_argument("cohort", type=Path, metavar="COHORT.csv", help="patient,case,role,modality,image,mask,split")
    sub.add_argument("--method", default="ct-only", metavar="ID", help=f"default: ct-only. {methods}")
    sub.add_argument("--preset", choices=sorted(PRESETS), default="fast", help="default: fast")
    sub.add_argument("--segmentor", choices=SEGMENTORS, help="default: unet")
    sub.add_argument(
        "--translation", choices=TRANSLATIONS, help="default: cyclegan; vae-cmedl and pmri-drit have drit in any case"
    )
    sub.add_argument("--labels", metavar="A,B", help="names of the mask's values 1, 2, ... (default: Tumor)")
    sub.add_argument("--init", metavar="STUDENT", default="", help="start from the weights of this student")
    add_device(sub)
    sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. optimization.epochs=20")


def chosen(options: argparse.Namespace) -> Configuration:
    """The configuration that the options of :func:`add_options` ask for; ``--set`` has the last word.

    Raises:
        InputError: an option is bad, or there is no such method or setting.
    """
    settings = PRESETS[options.preset]
    if options.segmentor and options.segmentor != settings.network.kind:
        arguments = TINY_WIDTHS[options.segmentor] if options.preset == "tiny" else {}
        settings = replace(settings, network=Network(options.segmentor, arguments))
    if options.translation:
        settings = replace(settings, translation=replace(settings.translation, kind=options.translation))
    if options.labels:
        settings = replace(settings, labels=labels_of(options.labels))
    settings = replace(
        settings,
        method=options.method,
        cohort=str(options.cohort.resolve()),
        initial=str(Path(options.init).resolve()) if Path(options.init).is_file() else options.init,
        device=options.device,
    )
    settings = with_settings(settings, options.set)
    settings.entry  # noqa: B018 - refuses an unknown method before a run's folder is made
    return settings
