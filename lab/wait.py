"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable
from pathlib import Path
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


def share_of_processor(pid: int, waits: int = 30) -> float:
    """Return how much of a processor a process takes while it waits so many times for something;
    TimeoutError when it does not wait at all."""
    first, began_s, used_s = _waited(pid), time.monotonic(), _used_s(pid)
    wait_for(lambda: _waited(pid) >= first + waits, "a process that waits for something")
    return (_used_s(pid) - used_s) / (time.monotonic() - began_s)


def _waited(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def _used_s(pid: int) -> float:
    """Return for how long it has run: its first thread, to the nanosecond (proc(5), schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
