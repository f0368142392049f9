"""The fixtures by which tests use the harness; ``Testing/conftest.py`` makes them known to every room."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def _slicer_session() -> Iterator[object]:
    """One stand-in for Slicer for the whole run: Qt allows one application in a process."""
    try:
        import PySide6.QtWidgets  # noqa: F401
        import slicer  # noqa: F401
    except ImportError as error:
        reason = (
            f"the stand-in for Slicer cannot start ({error}); install the packages of the extra 'test', and on "
            "Debian and Ubuntu libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri libx11-6 libxcursor1 libxrender1"
        )
        # A summary counts skips and says no more; a warning is read.
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    import harness

    with harness.application() as app:
        yield app


@pytest.fixture
def slicer_app(_slicer_session) -> Iterator[object]:
    """The stand-in for Slicer with an empty scene, a :class:`harness.application.Application`.

    The test fails if a slot or an observer raised; one that expects it takes it with ``slicer_app.take_errors()``.
    """
    _slicer_session.clear()
    _slicer_session.take_errors()
    yield _slicer_session
    errors = _slicer_session.take_errors()
    _slicer_session.clear()
    errors += _slicer_session.take_errors()
    assert not errors, "raised in slots or observers:\n" + "\n".join(errors)
