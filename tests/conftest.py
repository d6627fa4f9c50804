"""Fixtures that several tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import room
from lab.journald import Journald


@pytest.fixture
def place() -> Path:
    """Return a fresh directory, 0755, below none that is world-writable."""
    return room.scratch("test-")


@pytest.fixture
def journald() -> Iterator[Journald]:
    """Run a live journald for one test."""
    with Journald() as running:
        yield running
