"""The map as a file: who may change it and when, and how sendmail comes to see that it changed.

Every writer

1. opens it without following a link, takes flock(LOCK_EX) on it, and checks that it still is the
   file at the path;
2. changes it, for some milliseconds at most, since sendmail waits meanwhile;
3. sets its mtime to ``max(now, old + 1)`` whole seconds, since sendmail opens a map again only
   when its mtime, in whole seconds, is newer than when it was opened;
4. lets the lock go, and then syncs: who asks the map need not wait for the disk.

A write itself leaves an mtime of some nanoseconds, the stamp after it one of whole seconds. So a
commit that was cut short, or a stranger's write, shows without having cost anything: by an mtime
that is no whole second. Whoever writes to such a map leaves that so, until it was made anew from
the journal.

A map that is written anew is renamed into place, and the old file's mtime is moved forward, which
makes running sendmail processes open the new one.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from journalrelay import clock
from journalrelay.errors import DataError, NoInputError, RelayError, TryAgainError, translate
from journalrelay.map.due import Due
from journalrelay.map.locks import (
    WAIT_S,
    acquire,
    daemon_lock,
    note_clock,
    note_map,
    noted_clock,
    noted_map,
)
from journalrelay.owner import as_owner, open_plain

_DRIFT_US = 1_000_000  # of the clock, by which it is not noted anew


class MapReplacedError(TryAgainError):
    """The map is not as those left it who know how to write to it: another file is at its path, or
    something else in it."""


class MapFile:
    """The file at ``path``, which may be another one at any time. Nothing is held open."""

    def __init__(self, path: Path, wait_s: float = WAIT_S) -> None:
        self.path = path
        self.due = Due(path)
        self._wait_s = wait_s
        self._known: str | None = None
        self._met: tuple[int, ...] | None = None  # the one that was known when it was looked at
        self._failed_ns = 0
        self._clock_us = 0
        self._marked_s = 0
        self._left: tuple[str, int] | None = None  # what this process changed last, and its stamp

    def identity(self) -> str | None:
        """Return what tells the file at the path from any other, None when there is none."""
        try:
            with self.owner():
                fd = open_plain(self.path, os.O_RDONLY)
        except (OSError, RelayError):
            return None
        try:
            return identity_of(fd)
        finally:
            os.close(fd)

    def adopt(self) -> None:
        """Know the file that stands at the path; from now on a commit to another one fails."""
        self._known, self._met = self.identity(), None

    def vouch(self) -> None:
        """Let the adopted file count as ours, and so what a command of ours makes anew of it."""
        with self.owner():
            note_map(self.path, self.known())

    def is_ours(self, fd: int) -> bool:
        """Tell whether ``fd`` is the file that the daemon, or who made it anew for it, vouches for,
        and nobody else wrote to it; that it was adopted here says nothing, a replay adopts what it
        finds."""
        return identity_of(fd) == noted_map(self.path) and not self._is_in_doubt(fd)

    def known(self) -> str:
        """Return the identity of the file that was adopted, or put there since; empty if none."""
        return self._known or ""

    def is_foreign(self) -> bool:
        """Tell whether somebody removed or replaced the file that was adopted. One that expire,
        grant or revoke wrote anew is no stranger's, and is adopted. It is looked at only when
        something has touched it."""
        met = self._standing()
        if met and met == self._met:
            return False
        identity = self.identity()
        if identity and identity != self._known and identity == noted_map(self.path):
            self._known = identity
        self._met = met if identity == self._known else None
        return identity != self._known

    def _standing(self) -> tuple[int, ...] | None:
        """Return what no file at the path has in common with another one, or with itself before it
        was touched; None when there is none."""
        try:
            status = os.lstat(self.path)
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns

    def recognises(self, known: str) -> bool:
        """Tell whether the file at the path is the one that was ``known``, or one that a command
        of ours wrote anew since."""
        identity = self.identity()
        return identity is not None and identity in (known, noted_map(self.path))

    def clock_us(self) -> int:
        """Return the clock (:func:`clock.offset_us`), farthest ahead in this boot, by which the map
        was changed since it was made anew from the journal."""
        return noted_clock(self.path)

    def note_clock(self, anew: bool = False) -> None:
        """Note by which clock the map is changed, or is made ``anew``: what that takes out may be
        wanted when it is set back, and what it grants be too long, and who will know then may not
        be running now. The caller acts as the directory's owner."""
        now_us = clock.offset_us()
        if now_us > self._clock_us + _DRIFT_US:
            self._clock_us = self.clock_us()  # another process may have noted more
        if anew or now_us > self._clock_us + _DRIFT_US:
            note_clock(self.path, now_us)
            self._clock_us = now_us

    def cut_short(self) -> bool:
        """Tell whether the last commit did not come to its end; nobody is at one just now."""
        with self.locked(fcntl.LOCK_SH) as fd:
            return is_loose(fd)

    def check_known(self, fd: int) -> None:
        """Raise MapReplacedError unless ``fd`` is the file that was adopted, if one was, and as
        those left it who know how to write to it."""
        if self._known and identity_of(fd) != self._known and self.is_foreign():
            raise MapReplacedError(f"{self.path} was removed or replaced")
        if self._known and self._is_in_doubt(fd):
            raise MapReplacedError(f"{self.path} was written to by others, or half")

    def _is_in_doubt(self, fd: int) -> bool:
        """Tell whether something is in ``fd`` that is not known here: not what an own commit has
        left that failed and is done again."""
        return is_loose(fd) and os.fstat(fd).st_mtime_ns != self._failed_ns

    def is_stamped(self) -> bool:
        """Tell whether whoever wrote to the file last has come to his end, and knew how to."""
        stamp_ns = self.stamp()
        return stamp_ns is None or stamp_ns % 1_000_000_000 == 0 or not self.cut_short()

    def stamp(self) -> int | None:
        """Return the file's mtime, which every commit moves, in ns; None when there is no file."""
        try:
            return os.stat(self.path).st_mtime_ns
        except OSError:
            return None

    def put_aside(self) -> Path:
        """Keep a damaged file under another name, over an earlier one; return that name. It also
        stays at the path, for sendmail to refuse, until another one replaces it."""
        aside = self.path.with_name(self.path.name + ".damaged")
        with self.owner(), self.plainly():
            aside.unlink(missing_ok=True)
            os.link(self.path, aside, follow_symlinks=False)
        return aside

    def sweep(self) -> None:
        """Remove what a killed rebuild left beside. The caller holds the daemon lock."""
        with self.owner(), self.plainly():
            for prefix in ("", "__db."):  # the second is libdb's own, while it makes a file
                for left in self.path.parent.glob(f"{prefix}.{self.path.name}.new-*"):
                    left.unlink(missing_ok=True)

    def owner(self) -> AbstractContextManager[None]:
        """Act as the owner of the map's directory."""
        return as_owner(self.path.parent)

    def plainly(self) -> AbstractContextManager[None]:
        """Turn errors into what an operator can use."""
        return plainly(self.path)

    @contextmanager
    def locked(self, operation: int) -> Iterator[int]:
        """Yield a locked descriptor of the file that stands at the path. The lock is let go at
        the end, even if a copy of the descriptor is kept."""
        with self.owner(), self.plainly():
            while True:
                writing = operation == fcntl.LOCK_EX
                fd = open_plain(self.path, os.O_RDWR if writing else os.O_RDONLY)
                try:
                    acquire(fd, operation, self.path, self._wait_s)
                    if os.path.samestat(os.fstat(fd), os.lstat(self.path)):
                        try:
                            yield fd
                        finally:
                            fcntl.flock(fd, fcntl.LOCK_UN)
                        return
                finally:
                    os.close(fd)

    @contextmanager
    def changing(self) -> Iterator[int]:
        """Yield the locked file to write to; then move its mtime, also when writing failed.

        Writing itself sets mtime to now, which may be earlier than what sendmail has seen, when
        commits came faster than seconds. So the stamp goes on from what it was before. That the
        file was in doubt still shows behind it, and so does that writing failed.
        """
        with self.locked(fcntl.LOCK_EX) as fd:
            if is_loose(fd):
                self.due.doubt()
            self.note_clock()
            before_s = max(int(os.fstat(fd).st_mtime), self.high_water_s())
            doubt, failed = self._is_in_doubt(fd), True
            try:
                yield fd
                failed = False
            finally:
                stamp_ns = self._stamp(fd, before_s, doubt or failed)
                if failed and not doubt:
                    self._failed_ns = stamp_ns

    def _stamp(self, fd: int, before_s: int, cut: bool) -> int:
        """Move the file's mtime, a nanosecond behind a whole second if it is ``cut`` short."""
        now_s = int(time.time())
        stamp_s = max(now_s, before_s + 1)
        stamp_ns = stamp_s * 1_000_000_000 + cut
        os.utime(fd, ns=(stamp_ns, stamp_ns))
        self._left = state_of(fd)
        if stamp_s > now_s:
            self._mark(stamp_s)
        return stamp_ns

    def is_as_left(self, fd: int) -> bool:
        """Tell whether nobody has changed the file since this process did. The caller holds its
        lock, and has not written yet."""
        return state_of(fd) == self._left

    def _mark(self, stamp_s: int) -> None:
        """Remember on the daemon's lock file, a minute ahead, that stamps run ahead of the clock:
        a kill between a write and its stamp sets the map's own mtime back."""
        if stamp_s > self._marked_s:
            self._marked_s = stamp_s + 60
            with suppress(OSError):
                os.utime(daemon_lock(self.path), (self._marked_s, self._marked_s))

    def high_water_s(self) -> int:
        """Return the mark, as long as this process has not put one itself."""
        if self._marked_s:
            return 0
        try:
            return int(os.stat(daemon_lock(self.path)).st_mtime)
        except FileNotFoundError:
            return 0

    def unlink_new(self, beside: Path) -> None:
        """Remove an unfinished file; ``__db.`` is before its name while libdb makes it."""
        beside.unlink(missing_ok=True)
        beside.with_name(f"__db.{beside.name}").unlink(missing_ok=True)

    def swap(self, beside: Path, before_s: int, ours: bool = True) -> str:
        """Rename ``beside`` to the path, newer than the old file's ``before_s``; return its
        identity. The caller holds the old file's lock, moves its mtime, so that those who have
        it open notice, and then calls :meth:`sync_name`. What was made of a file that is not
        ``ours`` is not either: the daemon is to make it anew from the journal."""
        stamp_s = max(int(time.time()), before_s + 1)
        os.utime(beside, (stamp_s, stamp_s))
        fd = os.open(beside, os.O_RDONLY | os.O_CLOEXEC)
        try:
            identity = identity_of(fd)
        finally:
            os.close(fd)
        if ours:
            note_map(self.path, identity)
        os.rename(beside, self.path)
        if self._known is not None:
            self._known = identity
        return identity

    def sync_name(self) -> None:
        """Sync what was renamed; without the lock, as it may take long."""
        with self.owner(), self.plainly():
            directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)


def identity_of(fd: int) -> str:
    """Return device, inode, and the file id that Berkeley DB gives each file it makes (DBMETA.uid,
    src/dbinc/db_page.h): file systems use an inode number again at once."""
    status = os.fstat(fd)
    return f"{status.st_dev}:{status.st_ino}:{os.pread(fd, 20, 52).hex()}"


def state_of(fd: int) -> tuple[str, int]:
    """Return what every change of the map changes."""
    return identity_of(fd), os.fstat(fd).st_mtime_ns


def is_loose(fd: int) -> bool:
    """Tell whether who wrote to the file last did not set its mtime as a writer must: somebody
    else, or one of ours that was killed."""
    return os.fstat(fd).st_mtime_ns % 1_000_000_000 != 0


@contextmanager
def plainly(path: Path) -> Iterator[None]:
    """Turn what the system says of the map at ``path`` into what an operator can use."""
    try:
        yield
    except OSError as error:
        raise explained(error, path) from error
    except OverflowError as error:
        raise DataError(
            f"{path}: its time, or that of its .lock, is later than any can be (touch them)"
        ) from error


def explained(error: OSError, path: Path) -> RelayError:
    """Return the error to raise for an OSError met on the map at ``path``."""
    if not isinstance(error, FileNotFoundError):
        return translate(error, f"{path}", "look at the file, its directory and the disk")
    if path.parent.is_dir():
        return NoInputError(
            f"{path}: there is no such map (the daemon makes it: systemctl start poprelayd)"
        )
    return NoInputError(
        f"{path.parent}: there is no such directory (make it, mode 0755, owned by the daemon's "
        "user: systemd-tmpfiles --create poprelayd.conf)"
    )
