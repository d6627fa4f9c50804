"""popip.db, the map that sendmail asks: the one room that knows Berkeley DB.

Key: an address as :mod:`journalrelay.grant` spells it. Value: expiry, decimal seconds since the
epoch. The file is changed in place while sendmail reads it, so every writer

1. opens it without following a link, takes flock(LOCK_EX) on it, and checks that it still is the
   file at the path;
2. changes and syncs it;
3. sets its mtime to ``max(now, old + 1)`` whole seconds, since sendmail opens a map again only
   when its mtime, in whole seconds, is newer than when it was opened.

A hash file is made with room, so that no commit splits a bucket: a kill between two page writes
then leaves a valid map. When its room is used up, and for every change of a btree file, the map
is written anew beside, renamed into place, and the old file's mtime is moved forward, which makes
running sendmail processes open the new one.
"""

import errno
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from journalrelay import pages
from journalrelay.errors import DataError, NoInputError, RelayError, TryAgainError, translate
from journalrelay.locks import WAIT_S, acquire, daemon_lock, note_map, noted_map
from journalrelay.owner import as_owner, open_plain

try:
    from berkeleydb import db
except ImportError:  # Debian's python3-bsddb3 has the same API under its older name
    from bsddb3 import db  # type: ignore[no-redef]

_TYPES = {"hash": db.DB_HASH, "btree": db.DB_BTREE}
_PAGE_SIZE = 4096
_CACHE = 1 << 20
# libdb splits a bucket when more than _FILL pairs stand on its page. At an average of _LOAD the
# chance that one of 16,384 buckets has so many is below 1e-8; 60 of the longest pairs fill a page.
_FILL, _LOAD, _LEAST_BUCKETS = 60, 20, 4096
_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_GROUP = rb"(?:0|[1-9a-f][0-9a-f]{0,3})"
_KEY = re.compile(
    rb"(?:%b\.){3}%b" % (_OCTET, _OCTET)
    + rb"|ipv6:(?:%b:){3}(?:(?:%b:){4})?%b" % (_GROUP, _GROUP, _GROUP)
)
_VALUE = re.compile(rb"[1-9][0-9]{0,11}")


@dataclass
class Changes:
    """What a batch makes of the map: first what goes, then what comes; expiries only grow."""

    everything: bool = False
    removed: set[bytes] = field(default_factory=set)
    granted: dict[bytes, int] = field(default_factory=dict)

    def remove(self, keys: tuple[bytes, ...]) -> None:
        """Withdraw keys, also what this batch granted them so far."""
        for key in keys:
            self.removed.add(key)
            self.granted.pop(key, None)

    def remove_all(self) -> None:
        """Withdraw all that the map and this batch hold."""
        self.everything = True
        self.removed.clear()
        self.granted.clear()

    def grant(self, key: bytes, expiry_s: int) -> None:
        """Let ``key`` relay until ``expiry_s``, or longer if it already may."""
        if expiry_s > self.granted.get(key, 0):
            self.granted[key] = expiry_s

    def __bool__(self) -> bool:
        return bool(self.everything or self.removed or self.granted)


class MapReplacedError(TryAgainError):
    """The file at the map's path is not the one that was read and written so far."""


class Committed(NamedTuple):
    """What a commit changed: keys that can relay and could not before, and keys that cannot any
    more."""

    opened: list[bytes]
    closed: list[bytes]


class PopMap:
    """The map at ``path``; ``kind`` is ``hash`` or ``btree``. Holds no file open between calls.

    ``careful`` looks at the file's pages before every use; the daemon, which uses it many times a
    second, looks once at its start, with :meth:`fault`.
    """

    def __init__(self, path: Path, kind: str, careful: bool = True, wait_s: float = WAIT_S) -> None:
        self.path = path
        self.kind = kind
        self._careful = careful
        self._wait_s = wait_s
        self._known: str | None = None
        self._marked_s = 0
        self._at_most = 0  # how many keys there can be; another process may have removed some

    def identity(self) -> str | None:
        """Return device and inode of the file at the path, None when there is none."""
        try:
            return _identity(os.stat(self.path, follow_symlinks=False))
        except OSError:
            return None

    def adopt(self) -> None:
        """Know the file that stands at the path; from now on a commit to another one fails."""
        self._known = self.identity()

    def known(self) -> str:
        """Return the identity of the file that was adopted, or put there since; empty if none."""
        return self._known or ""

    def is_foreign(self) -> bool:
        """Tell whether somebody removed or replaced the file that was adopted. One that expire,
        grant or revoke wrote anew is no stranger's, and is adopted."""
        identity = self.identity()
        if identity and identity != self._known and identity == noted_map(self.path):
            self._known = identity
        return identity != self._known

    def stamp(self) -> int | None:
        """Return the file's mtime, which every commit moves, in ns; None when there is no file."""
        try:
            return os.stat(self.path).st_mtime_ns
        except OSError:
            return None

    def create(self) -> None:
        """Make an empty map with room if there is none."""
        with self._owner(), plainly(self.path):
            if self.identity():
                return
            beside = self._write_beside({})
            try:
                with suppress(FileExistsError):
                    os.link(beside, self.path)
            finally:
                os.unlink(beside)

    def touch(self) -> None:
        """Move mtime forward: a kill may have come between an earlier sync and its mtime."""
        with self._changing():
            pass

    def fault(self, furthest_s: int) -> str | None:
        """Return why the file cannot be believed, or None.

        It must be a map of this kind that libdb can walk, hold nothing but addresses and
        expiries, and none of these later than ``furthest_s``.
        """
        with self._locked(fcntl.LOCK_SH) as fd:
            damage = pages.fault(fd) or self._wrong_kind(fd)
            if damage:
                return damage
            with _database(fd, self.kind, db.DB_RDONLY) as handle:
                self._at_most = 0
                for key, value in _items(handle):
                    self._at_most += 1
                    if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
                        return f"it holds {key!r} → {value!r}, no address and expiry"
                    if int(value) > furthest_s:
                        return f"{key!r} would not expire before {int(value)}"
        return None

    def read(self) -> dict[bytes, int]:
        """Return the whole map; junk values count as 0, long expired."""
        with self._reading() as handle:
            return {key: _expiry(value) for key, value in _items(handle)}

    def count(self, now_s: int) -> int:
        """Return how many addresses may relay at ``now_s``."""
        with self._reading() as handle:
            return sum(_expiry(value) > now_s for _, value in _items(handle))

    def look_up(self, keys: tuple[bytes, ...]) -> dict[bytes, int]:
        """Return the expiries of those ``keys`` that are in the map."""
        with self._reading() as handle:
            found = {key: handle.get(key) for key in keys}
        return {key: _expiry(value) for key, value in found.items() if value is not None}

    def commit(self, changes: Changes, now_s: int) -> Committed:
        """Apply ``changes``, all or (when killed) any part of them, synced when this returns.

        MapReplacedError when the map that was adopted is not the one at the path.
        """
        with self._changing() as fd:
            if self._known and _identity(os.fstat(fd)) != self._known and self.is_foreign():
                raise MapReplacedError(f"{self.path} was removed or replaced")
            if self.kind == "btree" or changes.everything:
                return self._rewrite(fd, lambda old: _apply(old, changes, now_s))
            with self._database(fd) as handle:
                roomy = not self._cramped(handle.stat(db.DB_FAST_STAT)["buckets"])
                if roomy:
                    committed = _change(handle, changes, now_s)
                    handle.sync()
            if not roomy:  # in place a bucket would be split, and a kill then harm other keys
                return self._rewrite(fd, lambda old: _apply(old, changes, now_s))
        self._at_most += len(committed.opened)
        return committed

    def expire(self, now_s: int, batch: int = 500) -> int:
        """Remove what expired at or before ``now_s``; return how many.

        Looks for them under a shared lock, which lets sendmail read on, and takes them out a
        batch a lock, each looked at again: a login may have come in between.
        """
        dead = [key for key, expiry in self.read().items() if expiry <= now_s]
        step = batch if self.kind == "hash" else len(dead) or 1
        return sum(
            self._expire(dead[start : start + step], now_s) for start in range(0, len(dead), step)
        )

    def replace(self, content: Mapping[bytes, int]) -> None:
        """Put a map with exactly ``content`` in place of whatever stands at the path."""
        try:
            with self._changing() as fd:
                self._swap(self._write_beside(content), int(os.fstat(fd).st_mtime))
        except NoInputError:
            with self._owner(), plainly(self.path):
                self._swap(self._write_beside(content), self._high_water_s())

    def put_aside(self) -> Path:
        """Keep a damaged file under another name, over an earlier one; return that name. It also
        stays at the path, for sendmail to refuse, until another one replaces it."""
        aside = self.path.with_name(self.path.name + ".damaged")
        with self._owner(), plainly(self.path):
            aside.unlink(missing_ok=True)
            os.link(self.path, aside, follow_symlinks=False)
        return aside

    def sweep(self) -> None:
        """Remove what a killed rebuild left beside. The caller holds the daemon lock."""
        with self._owner(), plainly(self.path):
            for prefix in ("", "__db."):  # the second is libdb's own, while it makes a file
                for left in self.path.parent.glob(f"{prefix}.{self.path.name}.new-*"):
                    left.unlink(missing_ok=True)

    def _wrong_kind(self, fd: int) -> str | None:
        kind = pages.kind(fd)
        return None if kind == self.kind else f"it is a {kind} file where a {self.kind} is wanted"

    def _cramped(self, buckets: int) -> bool:
        """Tell whether a bucket was split, since when there is no round number of them, or may be
        when more keys come."""
        split = buckets & (buckets - 1) != 0
        return split or buckets < _LEAST_BUCKETS or self._at_most > buckets * _LOAD

    def _owner(self) -> AbstractContextManager[None]:
        return as_owner(self.path.parent)

    @contextmanager
    def _locked(self, operation: int) -> Iterator[int]:
        """Yield a locked descriptor of the file that stands at the path."""
        with self._owner(), plainly(self.path):
            while True:
                writing = operation == fcntl.LOCK_EX
                fd = open_plain(self.path, os.O_RDWR if writing else os.O_RDONLY)
                try:
                    acquire(fd, operation, self.path, self._wait_s)
                    if _identity(os.fstat(fd)) == self.identity():
                        yield fd
                        return
                finally:
                    os.close(fd)

    @contextmanager
    def _changing(self) -> Iterator[int]:
        """Yield the locked file to write to; then move its mtime, also when writing failed.

        Writing itself sets mtime to now, which may be earlier than what sendmail has seen, when
        commits came faster than seconds. So the stamp goes on from what it was before.
        """
        with self._locked(fcntl.LOCK_EX) as fd:
            before_s = max(int(os.fstat(fd).st_mtime), self._high_water_s())
            try:
                yield fd
            finally:
                self._stamp(fd, before_s)

    def _stamp(self, fd: int, before_s: int) -> None:
        now_s = int(time.time())
        stamp_s = max(now_s, before_s + 1)
        os.utime(fd, (stamp_s, stamp_s))
        if stamp_s > now_s:
            self._mark(stamp_s)

    def _mark(self, stamp_s: int) -> None:
        """Remember on the daemon's lock file, a minute ahead, that stamps run ahead of the clock:
        a kill between a write and its stamp sets the map's own mtime back."""
        if stamp_s > self._marked_s:
            self._marked_s = stamp_s + 60
            with suppress(OSError):
                os.utime(daemon_lock(self.path), (self._marked_s, self._marked_s))

    def _high_water_s(self) -> int:
        """Return the mark, as long as this process has not put one itself."""
        if self._marked_s:
            return 0
        try:
            return int(os.stat(daemon_lock(self.path)).st_mtime)
        except FileNotFoundError:
            return 0

    @contextmanager
    def _reading(self) -> Iterator["db.DB"]:
        with self._locked(fcntl.LOCK_SH) as fd, self._database(fd, db.DB_RDONLY) as handle:
            yield handle

    @contextmanager
    def _database(self, fd: int, flags: int = 0) -> Iterator["db.DB"]:
        """Yield the database in the open file, or raise DataError before libdb sees it damaged."""
        damage = (pages.fault(fd) if self._careful else None) or self._wrong_kind(fd)
        if damage:
            raise DataError(damaged(self.path, damage))
        with _database(fd, self.kind, flags) as handle:
            yield handle

    def _expire(self, keys: list[bytes], now_s: int) -> int:
        changes = Changes()

        def take(old: Mapping[bytes, int]) -> tuple[dict[bytes, int], Committed]:
            changes.remove(tuple(key for key in keys if old.get(key, now_s + 1) <= now_s))
            return _apply(old, changes, now_s)

        with self._changing() as fd:
            if self.kind == "btree":
                return len(self._rewrite(fd, take).closed)
            with self._database(fd) as handle:
                for key in keys:
                    value = handle.get(key)
                    if value is not None and _expiry(value) <= now_s:
                        changes.removed.add(key)
                _change(handle, changes, now_s)
                handle.sync()
        return len(changes.removed)

    def _rewrite(
        self, fd: int, make: Callable[[dict[bytes, int]], tuple[dict[bytes, int], Committed]]
    ) -> Committed:
        """Replace the map, locked and open as ``fd``, by what ``make`` makes of it."""
        with self._database(fd, db.DB_RDONLY) as handle:
            content = {key: _expiry(value) for key, value in _items(handle)}
        content, committed = make(content)
        self._swap(self._write_beside(content), int(os.fstat(fd).st_mtime))
        return committed

    def _write_beside(self, content: Mapping[bytes, int]) -> Path:
        """Write and sync a file with ``content`` in the map's directory; return its name."""
        self._at_most = len(content)
        beside = self.path.with_name(f".{self.path.name}.new-{os.getpid()}")
        self._unlink_new(beside)
        handle = db.DB()
        try:
            handle.set_cachesize(0, _CACHE)
            handle.set_pagesize(_PAGE_SIZE)
            if self.kind == "hash":
                handle.set_h_ffactor(_FILL)
                handle.set_h_nelem(_buckets_for(len(content)) * _FILL)
            handle.open(str(beside), None, _TYPES[self.kind], db.DB_CREATE | db.DB_EXCL, 0o644)
            for key in sorted(content) if self.kind == "btree" else content:
                handle.put(key, b"%d" % content[key])
            handle.sync()
        except BaseException:
            with suppress(db.DBError):  # libdb would write what it has, to a full disk perhaps
                handle.close(db.DB_NOSYNC)
            self._unlink_new(beside)
            raise
        handle.close(db.DB_NOSYNC)
        os.chmod(beside, 0o644)
        return beside

    def _unlink_new(self, beside: Path) -> None:
        """Remove an unfinished file; ``__db.`` is before its name while libdb makes it."""
        beside.unlink(missing_ok=True)
        beside.with_name(f"__db.{beside.name}").unlink(missing_ok=True)

    def _swap(self, beside: Path, before_s: int) -> None:
        """Rename ``beside`` to the path, newer than the old file's ``before_s``. The caller holds
        the old file's lock, and moves its mtime, so that those who have it open notice."""
        stamp_s = max(int(time.time()), before_s + 1)
        os.utime(beside, (stamp_s, stamp_s))
        identity = _identity(os.stat(beside))
        note_map(self.path, identity)
        os.rename(beside, self.path)
        if self._known is not None:
            self._known = identity
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def damaged(path: Path, damage: str) -> str:
    """Return what an operator is told about a damaged map."""
    return (
        f"{path}: {damage} (it is rebuilt from the journal by: systemctl restart poprelayd, "
        "or journalrelay replay)"
    )


def _buckets_for(count: int) -> int:
    buckets = _LEAST_BUCKETS
    while buckets * _LOAD * 2 < count * 3:
        buckets *= 2
    return buckets


def _expiry(value: bytes) -> int:
    return int(value) if _VALUE.fullmatch(value) else 0


def _identity(status: os.stat_result) -> str:
    return f"{status.st_dev}:{status.st_ino}"


def _apply(
    old: Mapping[bytes, int], changes: Changes, now_s: int
) -> tuple[dict[bytes, int], Committed]:
    """Return what ``changes`` make of the map's content, and what that means."""
    kept = {} if changes.everything else {k: v for k, v in old.items() if k not in changes.removed}
    closed = [key for key in old if key not in kept]
    opened = [key for key in changes.granted if kept.get(key, 0) <= now_s]
    for key, expiry in changes.granted.items():
        kept[key] = max(expiry, kept.get(key, 0))
    return kept, Committed(opened, closed)


def _change(handle: "db.DB", changes: Changes, now_s: int) -> Committed:
    """Do to an open database what :func:`_apply` does to a mapping."""
    closed = [key for key in changes.removed if _delete(handle, key)]
    opened = []
    for key, expiry in changes.granted.items():
        value = handle.get(key)
        old = 0 if value is None else _expiry(value)
        if expiry > old:
            handle.put(key, b"%d" % expiry)
            if old <= now_s:
                opened.append(key)
    return Committed(opened, closed)


def _delete(handle: "db.DB", key: bytes) -> bool:
    try:
        handle.delete(key)
    except db.DBNotFoundError:
        return False
    return True


@contextmanager
def _database(fd: int, kind: str, flags: int = 0) -> Iterator["db.DB"]:
    """Yield the database in the open file ``fd``, by its descriptor, so that no path is followed
    again. What is not synced when the block ends is dropped."""
    handle = db.DB()
    try:
        handle.set_cachesize(0, _CACHE)
        handle.open(f"/proc/self/fd/{fd}", None, _TYPES[kind], flags)
        yield handle
    except BaseException:
        with suppress(db.DBError):  # the first error tells more
            handle.close(db.DB_NOSYNC)
        raise
    handle.close(db.DB_NOSYNC)


def _items(handle: "db.DB") -> Iterator[tuple[bytes, bytes]]:
    cursor = handle.cursor()
    try:
        pair = cursor.first()
        while pair:
            yield pair
            pair = cursor.next()
    finally:
        cursor.close()


@contextmanager
def plainly(path: Path) -> Iterator[None]:
    """Turn what the system or libdb says into what an operator can use."""
    try:
        yield
    except OSError as error:
        raise _explained(error, path) from error
    except db.DBError as error:
        code, text = (*error.args, "", "")[:2]
        if isinstance(code, int) and 0 < code < 1000 and code != errno.EINVAL:
            raise _explained(OSError(code, os.strerror(code)), path) from error
        raise DataError(damaged(path, str(text or error))) from error


def _explained(error: OSError, path: Path) -> RelayError:
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
