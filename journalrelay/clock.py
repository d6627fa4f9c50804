"""The clock at the edge: wall time, and how it runs against the monotonic clock of this boot."""

import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def now_us() -> int:
    """Return the wall clock, µs since the epoch."""
    return time.time_ns() // 1000


def monotonic_us() -> int:
    """Return the monotonic clock, µs since some moment of this boot."""
    return time.monotonic_ns() // 1000


def offset_us() -> int:
    """Return the wall clock minus the monotonic clock, in µs: constant until somebody sets the
    clock (down when it is stepped back) or the machine sleeps (up)."""
    return (time.time_ns() - time.monotonic_ns()) // 1000


def boot_id() -> str:
    """Return this boot's id as journald writes it in ``_BOOT_ID``; empty when unknown."""
    try:
        return _BOOT_ID.read_text("ascii").strip().replace("-", "")
    except OSError:
        return ""
