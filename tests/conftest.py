"""Fixtures that several tests share."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from lab import room
from lab.journald import Journald

_MANY = 40

# how soon an example is made is the machine's affair
settings.register_profile("patient", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def few_descriptors() -> Iterator[None]:
    """Let go of the journal readers that tests have left behind: a user has 128 instances of
    inotify (fs.inotify.max_user_instances), and each reader holds one until it is collected."""
    yield
    if len(os.listdir("/proc/self/fd")) > _MANY:
        gc.collect()


@pytest.fixture
def place() -> Path:
    """Return a fresh directory, 0755, below none that is world-writable."""
    return room.scratch("test-")


@pytest.fixture
def journald() -> Iterator[Journald]:
    """Run a live journald for one test."""
    with Journald() as running:
        yield running
