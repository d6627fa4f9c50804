"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T | None], what: str, timeout_s: float = 15.0, step_s: float = 0.005
) -> T:
    """Return CONDITION's first true answer; raise TimeoutError naming WHAT after TIMEOUT_S."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}")
        time.sleep(step_s)
    return answer
