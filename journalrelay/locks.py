"""The two locks of a map: flock(2) on the file itself for a commit, and ``<map>.lock`` for its
one daemon. sendmail takes flock(LOCK_SH) on the same file for each lookup."""

import fcntl
import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from journalrelay.errors import TryAgainError, translate

WAIT_S = 5.0
_STEP_S = 0.002


def acquire(fd: int, operation: int, path: Path, wait_s: float = WAIT_S) -> None:
    """Take ``operation`` (LOCK_SH or LOCK_EX) on ``fd``; TryAgainError when it takes too long.

    flock(2) cannot be told when to give up, so it is asked again every two milliseconds.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TryAgainError(
                    f"{path}: locked by another process for {wait_s:g} s "
                    f"(find it with: fuser -v {path})"
                ) from None
        select.select((), (), (), _STEP_S)


def daemon_lock(path: Path) -> Path:
    """Return the name of the lock that the daemon of the map at ``path`` holds."""
    return path.with_name(path.name + ".lock")


def take_daemon_lock(path: Path) -> int | None:
    """Return a descriptor that holds the map's daemon lock, or None when a daemon has it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(daemon_lock(path), flags, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    os.ftruncate(fd, 0)
    os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    return fd


def daemon_pid(path: Path) -> int | None:
    """Return the process that is the map's daemon, None when none runs. Creates nothing.

    PermissionRelayError when it may not be looked at.
    """
    try:
        with open(daemon_lock(path), "rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read(16) or b"0")
    except (FileNotFoundError, ValueError):
        pass
    except OSError as error:
        raise translate(error, f"{daemon_lock(path)}", "try it as root") from error
    return None


@contextmanager
def no_daemon(path: Path) -> Iterator[bool]:
    """Hold the daemon lock for a moment; False when a daemon has it."""
    fd = take_daemon_lock(path)
    try:
        yield fd is not None
    finally:
        if fd is not None:
            os.close(fd)
