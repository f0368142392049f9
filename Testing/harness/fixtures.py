"""The fixtures by which tests use the harness; ``Testing/conftest.py`` makes them known to every room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def _slicer_session() -> Iterator[object]:
    """One stand-in for Slicer for the whole run: Qt allows one application in a process."""
    # Skipped, with the reason, where the packages of the extra "test" are not there.
    pytest.importorskip("PySide6", exc_type=ImportError)
    pytest.importorskip("slicer", exc_type=ImportError)
    import harness

    with harness.application() as app:
        yield app


@pytest.fixture
def slicer_app(_slicer_session) -> Iterator[object]:
    """The stand-in for Slicer with an empty scene; the test fails if a slot or an observer raised.

    A test that expects such an exception takes it with ``slicer_app.take_errors()``.
    """
    _slicer_session.clear()
    _slicer_session.take_errors()
    yield _slicer_session
    errors = _slicer_session.take_errors()
    _slicer_session.clear()
    errors += _slicer_session.take_errors()
    assert not errors, "raised in slots or observers:\n" + "\n".join(errors)
