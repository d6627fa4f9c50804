"""The two locks of a map: flock(2) on the file itself for a commit, and ``<map>.lock`` for its
one daemon. sendmail takes flock(LOCK_SH) on the same file for each lookup."""

import fcntl
import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from journalrelay import clock
from journalrelay.errors import RelayError, TryAgainError, translate
from journalrelay.owner import as_owner, open_plain, read_plain

WAIT_S = 5.0
_STEP_S = 0.002
_PAUSE_S = 0.0005
_MAP, _CLOCK = slice(16, 112), slice(112, 176)  # what stands in the daemon's lock file


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


def let_others() -> None:
    """Pause between two times of holding a lock: flock(2) is not fair, and who takes it again at
    once may keep away who has waited for it."""
    select.select((), (), (), _PAUSE_S)


def daemon_lock(path: Path) -> Path:
    """Return the name of the lock that the daemon of the map at ``path`` holds."""
    return path.with_name(path.name + ".lock")


def take_daemon_lock(path: Path) -> int | None:
    """Return a descriptor that holds the map's daemon lock, or None when a daemon has it.

    Nobody else may open the file: a reader's shared lock would keep the daemon from starting. Its
    mtime stays as it was; the map keeps a mark there.
    """
    fd = open_plain(daemon_lock(path), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        acquire(fd, fcntl.LOCK_EX, path, wait_s=_STEP_S * 100)
    except TryAgainError:
        os.close(fd)
        return None
    before = os.fstat(fd)
    os.fchmod(fd, 0o600)
    os.pwrite(fd, b"%-15d\n" % os.getpid(), 0)
    os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
    return fd


def daemon_pid(path: Path) -> int | None:
    """Return the process that is the map's daemon, None when none runs. Creates nothing.

    PermissionRelayError when it may not be looked at.
    """
    lock = daemon_lock(path)
    try:
        with as_owner(path.parent), open(open_plain(lock, os.O_RDONLY), "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read(16) or b"0")
    except (FileNotFoundError, ValueError):
        pass
    except OSError as error:
        raise translate(error, f"{lock}", "try it as root") from error
    return None


def note_map(path: Path, identity: str) -> None:
    """Note for the daemon that the file it will find at ``path`` is one of our own. The caller
    acts as the directory's owner; without a lock file there is nobody to be told."""
    _note(path, _MAP, identity)


def noted_map(path: Path) -> str | None:
    """Return the identity of the last map that one of our own processes put at ``path``."""
    return _noted(path, _MAP) or None


def note_clock(path: Path, offset_us: int) -> None:
    """Note for the daemon by which clock the map is about to be changed; see :func:`note_map`."""
    with suppress(RelayError):  # no lock file of ours: who wants the lock says so
        _note(path, _CLOCK, f"{offset_us} {clock.boot_id()}")


def noted_clock(path: Path) -> int:
    """Return the clock's offset that was noted in this boot, 0 when none was."""
    with suppress(RelayError):
        offset_us, _, boot = _noted(path, _CLOCK).partition(" ")
        if offset_us.isdecimal() and boot == clock.boot_id():
            return int(offset_us)
    return 0


def _note(path: Path, where: slice, text: str) -> None:
    with suppress(OSError):
        fd = open_plain(daemon_lock(path), os.O_WRONLY)
        try:
            before = os.fstat(fd)
            line = text.ljust(where.stop - where.start - 1) + "\n"
            os.pwrite(fd, line.encode(), where.start)
            os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
        finally:
            os.close(fd)


def _noted(path: Path, where: slice) -> str:
    try:
        return read_plain(daemon_lock(path))[where].decode("ascii").strip(" \n\0")
    except (OSError, ValueError):
        return ""


@contextmanager
def no_daemon(path: Path) -> Iterator[bool]:
    """Hold the daemon lock for a moment; False when a daemon has it."""
    with as_owner(path.parent):
        fd = take_daemon_lock(path)
    try:
        yield fd is not None
    finally:
        if fd is not None:
            os.close(fd)
