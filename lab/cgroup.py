"""Cgroups that look as on a booted host, so that journald records the units it would there.

journald reads a sender's unit off its cgroup path, relative to that of process 1 (systemd,
src/basic/cgroup-util.c, cg_pid_get_path_shifted and cg_path_get_unit). A room has a slice of its
own; its first process lives in `init.scope` there, a daemon in `system.slice/dovecot.service`.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PREFIX = "journalrelay-lab-"


def hierarchies() -> list[Path]:
    """List the mounted hierarchies that journald may ask: v2, or v1's named one and the hybrid."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return [place for name in ("systemd", "unified") if (place := ROOT / name).is_dir()]


def slice_name(pid: int) -> str:
    """Name the slice of the room whose outermost process is PID."""
    return f"{PREFIX}{pid}.slice"


def join(slice_: str, unit: str) -> Callable[[], None]:
    """Return a function that moves the calling process into UNIT: for Popen's preexec_fn."""
    places = [top / slice_ / unit for top in hierarchies()]

    def move() -> None:
        for place in places:
            _enter(place)

    return move


def leave() -> None:
    """Move the calling process out of every slice, where the root takes processes."""
    for top in hierarchies():
        with contextlib.suppress(OSError):
            _enter(top)


def remove(slice_: str) -> None:
    """Remove a slice and the units in it; what still holds a process stays."""
    for top in hierarchies():
        for directory, _, _ in os.walk(top / slice_, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)


def sweep() -> None:
    """Remove what killed rooms have left; in a living one init.scope is never empty."""
    for top in hierarchies():
        for place in top.glob(f"{PREFIX}*.slice"):
            with contextlib.suppress(OSError):
                os.rmdir(place / "init.scope")
                remove(place.name)


def _enter(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    (place / "cgroup.procs").write_bytes(b"0")
