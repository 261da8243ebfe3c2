"""A real Docker Engine for these tests, with images that stand for the catalogue's."""

from __future__ import annotations

import pytest

from tests import images as made
from tests.engine import open_engine


@pytest.fixture(scope="session")
def engine():
    """The engine: one that answers already, or a daemon of our own that ends with the session."""
    with open_engine() as found:
        yield found


@pytest.fixture(scope="session")
def images(engine):
    """References of the images of all services, by service."""
    return made.images(engine)
