"""popip.db, the map that sendmail asks: the one room that knows Berkeley DB.

Key: an address as :mod:`journalrelay.grant` spells it. Value: expiry, decimal seconds since the
epoch. The file is changed in place while sendmail reads it, as :mod:`journalrelay.mapfile` says.

A hash file is made with room, so that no commit splits a bucket: a kill between two page writes
then leaves a valid map. When its room is used up, and for every change of a btree file, the map
is written anew beside and renamed into place.
"""

import errno
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from journalrelay import pages
from journalrelay.changes import Changes, Committed, apply
from journalrelay.errors import DataError, NoInputError
from journalrelay.locks import WAIT_S
from journalrelay.mapfile import MapFile, explained

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


class PopMap(MapFile):
    """The map at ``path``; ``kind`` is ``hash`` or ``btree``.

    ``careful`` looks at the file's pages before every use; the daemon, which uses it many times a
    second, looks once at its start, with :meth:`fault`.
    """

    def __init__(self, path: Path, kind: str, careful: bool = True, wait_s: float = WAIT_S) -> None:
        super().__init__(path, wait_s)
        self.kind = kind
        self._careful = careful
        self._at_most = 0  # how many keys there can be; another process may have removed some

    def create(self) -> None:
        """Make an empty map with room if there is none."""
        with self.owner(), self.plainly():
            if self.identity():
                return
            beside = self._write_beside({})
            try:
                stamp_s = int(time.time())
                os.utime(beside, (stamp_s, stamp_s))
                with suppress(FileExistsError):
                    os.link(beside, self.path)
            finally:
                os.unlink(beside)

    def touch(self) -> bool:
        """Move mtime forward: a kill may have come between an earlier sync and its mtime. Tell
        whether one has, before the sync or after it."""
        cut = self.cut_short()
        with self.changing(mends=True):
            pass
        return cut

    def fault(self, furthest_s: int) -> str | None:
        """Return why the file cannot be believed, or None.

        It must be a map of this kind that libdb can walk, hold nothing but addresses and
        expiries, and none of these later than ``furthest_s``.
        """
        with self.locked(fcntl.LOCK_SH) as fd:
            damage = pages.fault(fd) or self._wrong_kind(fd)
            if damage:
                return damage
            try:
                with _database(fd, self.kind, db.DB_RDONLY) as handle:
                    return self._strange(handle, furthest_s)
            except db.DBError as error:
                return f"Berkeley DB: {error.args[-1]}"

    def _strange(self, handle: "db.DB", furthest_s: int) -> str | None:
        """Return what the map holds that we never write, or None."""
        self._at_most = 0
        for key, value in _items(handle):
            self._at_most += 1
            if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
                return "it holds something else than addresses and expiries"
            if int(value) > furthest_s:  # which one is not said: addresses may be private
                return f"a grant in it would not expire before {int(value)}"
        return None

    def read(self) -> dict[bytes, int]:
        """Return the whole map; junk values count as 0, long expired."""
        return dict(self.items())

    def items(self) -> Iterator[tuple[bytes, int]]:
        """Yield keys and expiries, under the lock that lets others read."""
        with self._reading() as handle:
            for key, value in _items(handle):
                yield key, _expiry(value)

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
        with self.changing() as fd:
            self.check_known(fd)
            if self.kind == "btree" or changes.everything:
                return self._rewrite(fd, lambda old: apply(old, changes, now_s))
            with self._database(fd) as handle:
                roomy = not self._cramped(handle.stat(db.DB_FAST_STAT)["buckets"])
                if roomy:
                    committed = _change(handle, changes, now_s)
                    handle.sync()
            if not roomy:  # in place a bucket would be split, and a kill then harm other keys
                return self._rewrite(fd, lambda old: apply(old, changes, now_s))
        self._at_most += len(committed.opened)
        return committed

    def expire(self, now_s: int, batch: int = 500) -> dict[bytes, int]:
        """Remove what expired at or before ``now_s``; return it.

        Looks for them under a shared lock, which lets sendmail read on, and takes them out a
        batch a lock, each looked at again: a login may have come in between.
        """
        dead = [key for key, expiry in self.read().items() if expiry <= now_s]
        step = batch if self.kind == "hash" else len(dead) or 1
        expired: dict[bytes, int] = {}
        for start in range(0, len(dead), step):
            expired |= self._expire(dead[start : start + step], now_s)
        return expired

    def replace(self, content: Mapping[bytes, int]) -> None:
        """Put a map with exactly ``content`` in place of whatever stands at the path."""
        try:
            with self.changing() as fd:
                self.swap(self._write_beside(content), int(os.fstat(fd).st_mtime))
        except NoInputError:
            with self.owner(), self.plainly():
                self.swap(self._write_beside(content), self.high_water_s())

    @contextmanager
    def plainly(self) -> Iterator[None]:
        """Turn what the system or libdb says into what an operator can use."""
        try:
            with super().plainly():
                yield
        except db.DBError as error:
            code, text = (*error.args, "", "")[:2]
            if isinstance(code, int) and 0 < code < 1000 and code != errno.EINVAL:
                raise explained(OSError(code, os.strerror(code)), self.path) from error
            raise DataError(damaged(self.path, str(text or error))) from error

    def _wrong_kind(self, fd: int) -> str | None:
        kind = pages.kind(fd)
        return None if kind == self.kind else f"it is a {kind} file where a {self.kind} is wanted"

    def _cramped(self, buckets: int) -> bool:
        """Tell whether a bucket was split, since when there is no round number of them, or may be
        when more keys come."""
        split = buckets & (buckets - 1) != 0
        return split or buckets < _LEAST_BUCKETS or self._at_most > buckets * _LOAD

    @contextmanager
    def _reading(self) -> Iterator["db.DB"]:
        with self.locked(fcntl.LOCK_SH) as fd, self._database(fd, db.DB_RDONLY) as handle:
            yield handle

    @contextmanager
    def _database(self, fd: int, flags: int = 0) -> Iterator["db.DB"]:
        """Yield the database in the open file, or raise DataError before libdb sees it damaged."""
        damage = (pages.fault(fd) if self._careful else None) or self._wrong_kind(fd)
        if damage:
            raise DataError(damaged(self.path, damage))
        with _database(fd, self.kind, flags) as handle:
            yield handle

    def _expire(self, keys: list[bytes], now_s: int) -> dict[bytes, int]:
        expired: dict[bytes, int] = {}

        def take(old: Mapping[bytes, int]) -> tuple[dict[bytes, int], Committed]:
            expired.update((key, old[key]) for key in keys if old.get(key, now_s + 1) <= now_s)
            return apply(old, Changes(removed=set(expired)), now_s)

        with self.changing() as fd:
            if self.kind == "btree":
                self._rewrite(fd, take)
                return expired
            with self._database(fd) as handle:
                for key in keys:
                    value = handle.get(key)
                    if value is not None and _expiry(value) <= now_s:
                        expired[key] = _expiry(value)
                _change(handle, Changes(removed=set(expired)), now_s)
                handle.sync()
        return expired

    def _rewrite(
        self, fd: int, make: Callable[[dict[bytes, int]], tuple[dict[bytes, int], Committed]]
    ) -> Committed:
        """Replace the map, locked and open as ``fd``, by what ``make`` makes of it."""
        with self._database(fd, db.DB_RDONLY) as handle:
            content = {key: _expiry(value) for key, value in _items(handle)}
        content, committed = make(content)
        self.swap(self._write_beside(content), int(os.fstat(fd).st_mtime))
        return committed

    def _write_beside(self, content: Mapping[bytes, int]) -> Path:
        """Write and sync a file with ``content`` in the map's directory; return its name."""
        self._at_most = len(content)
        beside = self.path.with_name(f".{self.path.name}.new-{os.getpid()}")
        self.unlink_new(beside)
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
            self.unlink_new(beside)
            raise
        handle.close(db.DB_NOSYNC)
        os.chmod(beside, 0o644)
        return beside


def cut_short(path: Path) -> str:
    """Return what an operator is told when the last commit did not come to its end."""
    return (
        f"{path}: a commit was cut short, or others wrote to it: something may be missing (it is "
        "mended from the journal by: systemctl restart poprelayd)"
    )


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


def _change(handle: "db.DB", changes: Changes, now_s: int) -> Committed:
    """Do to an open database what :func:`journalrelay.changes.apply` does to a mapping."""
    gone = set(changes.removed)
    if changes.within:
        gone |= {key for key, _ in _items(handle) if changes.withdraws(key)}
    closed = [key for key in gone if _delete(handle, key)]
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
