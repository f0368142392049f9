"""The Python packages that training and judging need, asked for at the click that needs them."""

from __future__ import annotations

from slicer.i18n import tr as _

from CMEDLSegmentLib.errors import InputError
from CMEDLSegmentPanel import dependencies


def ensure() -> None:
    """Install what is missing, after asking, as CMEDLSegment does; its packages are those of training too.

    Raises:
        InputError: the user said no, or the installation failed.
    """
    try:
        dependencies.ensure()
    except dependencies.Declined as error:
        raise InputError(_("Nothing was installed; without these packages no network can be trained.")) from error
