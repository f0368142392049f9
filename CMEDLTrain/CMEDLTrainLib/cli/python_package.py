"""What comes with the Python package alone: the paper's figures and experiments are no part of the Slicer extension."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from CMEDLSegmentLib.base.errors import InputError


@contextlib.contextmanager
def python_package_only(what: str) -> Iterator[None]:
    """Import modules that the extension does not have.

    Args:
        what: they are for; begins the message.

    Raises:
        InputError: they are not there.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("CMEDLTrainLib."):
            raise
        raise InputError(
            f'{what} come with the Python package, not with the Slicer extension; "pip install cmedl" in another '
            "Python installs it."
        ) from error
