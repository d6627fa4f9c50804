"""What other programs of the host say, and which of them run."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_PATIENCE_S = 20
_PROC = Path("/proc")


def ask(*command: str, told: str = "") -> str | None:
    """Return what a program prints, both outputs together, when it is told ``told``; None when
    it is not there or comes to no end."""
    try:
        done = subprocess.run(
            command,
            input=told.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"},
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "backslashreplace")


class Process(NamedTuple):
    """A running process; ``unit`` is empty when it belongs to none."""

    pid: int
    words: tuple[str, ...]
    unit: str

    def began_s(self) -> float:
        """Return when it was started, seconds since the epoch; 0 when it has ended."""
        with suppress(OSError):
            return (_PROC / str(self.pid)).stat().st_mtime
        return 0.0

    def writes(self, path: Path) -> bool:
        """Tell whether it holds a file open for writing, as far as the caller may see."""
        with suppress(OSError):
            wanted = path.stat()
            for fd in (_PROC / str(self.pid) / "fd").iterdir():
                with suppress(OSError):
                    found = fd.stat()
                    if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                        return bool(fd.lstat().st_mode & 0o200)
        return False


def processes() -> Iterator[Process]:
    """Yield the processes that run, this one left out."""
    numbers = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    for number in numbers:
        found = process(number) if number != os.getpid() else None
        if found:
            yield found


def process(pid: int) -> Process | None:
    """Return a process, None when there is none of that number."""
    with suppress(OSError):
        words = (_PROC / str(pid) / "cmdline").read_bytes().decode("utf-8", "backslashreplace")
        cgroup = (_PROC / str(pid) / "cgroup").read_text("utf-8", "backslashreplace")
        return Process(pid, tuple(words.split("\0")), _unit(cgroup))
    return None


def _unit(cgroup: str) -> str:
    """Return the service in which a process is, by its /proc/PID/cgroup."""
    parts = [part for part in cgroup.rstrip("\n").split("/") if part.endswith(".service")]
    return parts[-1] if parts else ""
