"""popip.db, the map that sendmail asks.

Key: an address as :mod:`journalrelay.grant` spells it, or in the file as
:mod:`journalrelay.map.spelling` says. Value: expiry, decimal seconds since the epoch. It is changed
in place while sendmail reads it, as :mod:`journalrelay.map.mapfile` says.

A hash file is made with room, so that no commit splits a bucket: a kill between two page writes
then leaves a valid map. It is changed some hundred keys a lock. When its room is used up, and for
every change of a btree file, the map is written anew beside, without the lock, and renamed into
place if it has not changed meanwhile. What expires is found in :mod:`journalrelay.map.due`.
"""

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

from journalrelay.errors import DataError, NoInputError
from journalrelay.map import libdb, pages
from journalrelay.map.changes import Changes, Committed, apply
from journalrelay.map.due import filed
from journalrelay.map.libdb import db
from journalrelay.map.locks import WAIT_S, let_others
from journalrelay.map.mapfile import MapFile, explained, identity_of, is_loose, state_of
from journalrelay.map.spelling import SPELLINGS
from journalrelay.owner import open_plain

_PAGE_SIZE = 4096
# libdb splits a bucket when more than _FILL pairs stand on its page. At an average of _LOAD the
# chance that one of 16,384 buckets has so many is below 1e-8; 60 of the longest pairs fill a page.
_FILL, _LOAD, _LEAST_BUCKETS = 60, 20, 4096
_SLICE, _LOOK_S = 200, 0.004  # keys that are changed under one lock, and how long looking may take
_LARGEST_SLICE, _HOLD_S = 2_000, 0.005  # more keys, where they take no longer than this
_BATCH = 10_000  # keys that are counted, or added to the index, at once
_TRIES = 4
_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_GROUP = rb"(?:0|[1-9a-f][0-9a-f]{0,3})"
_KEY = rb"(?:%b\.){3}%b|ipv6:(?:%b:){3}(?:(?:%b:){4})?%b" % (_OCTET, _OCTET, _GROUP, _GROUP, _GROUP)
_VALUE = re.compile(rb"[1-9][0-9]{0,11}")

T = TypeVar("T")
Content = dict[bytes, int]
Made = tuple[Content, Committed]


class PopMap(MapFile):
    """The map at ``path``; ``kind`` is ``hash`` or ``btree``, ``spelling`` that of its keys.

    ``careful`` looks at the file's pages before every use; the daemon, which uses it many times a
    second, looks once at its start, with :meth:`fault`.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        careful: bool = True,
        wait_s: float = WAIT_S,
        spelling: str = "sendmail",
    ) -> None:
        super().__init__(path, wait_s)
        self.kind = kind
        self._spelled = SPELLINGS[spelling]
        self._careful = careful
        self._surplus: dict[str, int] = {}  # of the file that was counted
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

    def touch(self) -> None:
        """Move mtime forward: a kill may have come between an earlier sync and its mtime."""
        with self.changing():
            pass

    def fault(
        self, furthest_s: int, see: Callable[[Iterable[tuple[bytes, int]]], None] = lambda _: None
    ) -> str | None:
        """Return why the file cannot be believed, or None; ``see`` is shown what is in it.

        It must be its owner's alone to write, a map of this kind that libdb can walk, hold nothing
        but addresses and expiries, and none of these later than ``furthest_s``. The index is made
        anew.
        """
        self.touch()
        with self.owner():
            mark = self.due.begin()
        with self.locked(fcntl.LOCK_SH) as fd:
            damage = _open_to_others(fd) or pages.fault(fd) or self._wrong_kind(fd)
            if damage:
                return damage
            try:
                with libdb.opened(libdb.new(), fd, self.kind, db.DB_RDONLY) as handle:
                    strange = self._strange(handle, furthest_s, see)
            except db.DBError as error:
                return f"Berkeley DB: {error.args[-1]}"
            if strange is None:
                self.due.end(mark, identity_of(fd))
                self._note_keys(fd, self._at_most)
            return strange

    def _strange(
        self,
        handle: "db.DB",
        furthest_s: int,
        see: Callable[[Iterable[tuple[bytes, int]]], None],
    ) -> str | None:
        """Return what the map holds that we never write, or None; count and index the rest."""
        self._at_most = 0
        now_s, is_key = int(time.time()), re.compile(_KEY).fullmatch
        for pairs in _batches(libdb.pairs(handle)):
            ends = {}
            for spelled, value in pairs:
                key = self._spelled.read(spelled)
                honest = is_key(key) and self._spelled.written(key) == spelled
                if not honest or not _VALUE.fullmatch(value):
                    return "it holds something else than addresses and expiries"
                ends[key] = int(value)
            if max(ends.values()) > furthest_s:  # whose is not said: addresses may be private
                return f"a grant in it would not expire before {max(ends.values())}"
            self._at_most += len(ends)
            self.due.add(filed(ends.items(), now_s))
            see(ends.items())
        return None

    def read(self) -> dict[bytes, int]:
        """Return the whole map; junk values count as 0, long expired."""
        return dict(self.items())

    def items(self) -> Iterator[tuple[bytes, int]]:
        """Yield keys and expiries, under the lock that lets others read."""
        with self._reading() as handle:
            for key, value in libdb.pairs(handle):
                yield self._spelled.read(key), _expiry(value)

    def count(self, now_s: int) -> int:
        """Return how many addresses may relay at ``now_s``.

        A hash's own count tells how many keys have come since all were read, and the index which
        of them may have ended. All is read where one of these is not known.
        """
        with self.locked(fcntl.LOCK_SH) as fd:
            surplus = self._surplus.get(identity_of(fd))
            keys = None if surplus is None or is_loose(fd) else pages.elements(fd) - surplus
            mark = self.due.mark(identity_of(fd))
        if keys is None or not mark:
            return self._count_all(now_s)
        with self.owner():
            lines = [self.due.read(at_s) for at_s in self.due.times(now_s)]
        due = {key for some in lines for key in some.splitlines()}
        return keys - sum(end_s <= now_s for end_s in self._ends(due).values())

    def _count_all(self, now_s: int) -> int:
        keys = live = 0
        with self.locked(fcntl.LOCK_SH) as fd:
            self._check(fd)
            with libdb.opened(libdb.new(), fd, self.kind, db.DB_RDONLY) as handle:
                for _, value in libdb.pairs(handle):
                    keys, live = keys + 1, live + (_expiry(value) > now_s)
            self._note_keys(fd, keys)
        return live

    def _note_keys(self, fd: int, keys: int) -> None:
        """Note by how much a hash's own count is too high, now that its keys have been counted."""
        if self.kind == "hash":
            self._surplus = {identity_of(fd): pages.elements(fd) - keys}

    def look_up(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """Return the expiries of those ``keys`` that are in the map."""
        with self._reading(keys) as handle:
            found = {key: handle.get(self._spelled.written(key)) for key in keys}
        return {key: _expiry(value) for key, value in found.items() if value is not None}

    def commit(self, changes: Changes, now_s: int) -> Committed:
        """Apply ``changes``, all or (when killed) any part of them, synced when this returns.

        MapReplacedError when the map that was adopted is not the one at the path.
        """
        if self.kind == "btree" or changes.everything:
            return self._rewrite(lambda old: apply(old, changes, now_s), now_s)
        removed = changes.removed | self._within(changes)

        def make(old: Content, keys: list[bytes]) -> Made:
            granted = {key: changes.granted[key] for key in keys if key in changes.granted}
            return apply(old, Changes(removed=removed.intersection(keys), granted=granted), now_s)

        return self._in_slices([*removed, *(changes.granted.keys() - removed)], make, now_s)

    def expire(self, now_s: int) -> Content:
        """Remove what expired at or before ``now_s``; return it.

        Looks at those that the index names under a shared lock, which lets sendmail read on, and
        takes them out some a lock, each looked at again: a login may have come in between.
        """
        mark = self._indexed(now_s)
        with self.owner():
            times = self.due.times(now_s) if mark else []
            seen = {at_s: self.due.read(at_s) for at_s in times}
        keys = {key for lines in seen.values() for key in lines.splitlines()}
        ends = self._ends(keys) if mark else self.read()
        dead = [key for key, end_s in ends.items() if end_s <= now_s]
        expired = {key: ends.pop(key) for key in self._take_out(dead, now_s)}
        ends |= self._ends(ends.keys() & dead)
        for at_s, lines in seen.items():
            again = {key: ends[key] for key in lines.splitlines() if ends.get(key, 0) > now_s}
            files = filed(again.items(), now_s)
            with self.locked(fcntl.LOCK_EX) as fd:
                if self.due.mark(identity_of(fd)) == mark:
                    self.due.settle(at_s, len(lines), files)
        return expired

    def replace(self, content: Mapping[bytes, int]) -> None:
        """Put a map with exactly ``content``, which the journal says by the clock as it is now, in
        place of whatever stands at the path."""
        with self._written(content) as beside:
            try:
                with self.changing() as fd:
                    mark = self.due.begin()
                    identity = self.swap(beside, int(os.fstat(fd).st_mtime))
            except NoInputError:
                mark = self.due.begin()
                identity = self.swap(beside, self.high_water_s())
            for pairs in _batches(content.items()):
                self.due.add(filed(pairs, int(time.time())))
            self.due.end(mark, identity)
            self.note_clock(anew=True)
        self.sync_name()

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

    # Reading

    @contextmanager
    def _reading(self, keys: Iterable[bytes] | None = None) -> Iterator["db.DB"]:
        with self.locked(fcntl.LOCK_SH) as fd:
            self._check(fd, keys)
            with libdb.opened(libdb.new(), fd, self.kind, db.DB_RDONLY) as handle:
                yield handle

    def _check(self, fd: int, keys: Iterable[bytes] | None = None) -> None:
        """Raise DataError before libdb sees a file that is damaged, at ``keys`` if they are all
        that it will be asked for."""
        written = None if keys is None else map(self._spelled.written, keys)
        damage = (pages.fault(fd, written) if self._careful else None) or self._wrong_kind(fd)
        if damage:
            raise DataError(damaged(self.path, damage))

    def _content(self, fd: int) -> Content:
        self._check(fd)
        with libdb.opened(libdb.new(), fd, self.kind, db.DB_RDONLY) as handle:
            return {self._spelled.read(key): _expiry(value) for key, value in libdb.pairs(handle)}

    def _within(self, changes: Changes) -> set[bytes]:
        """Return the keys of the map that begin as something that is withdrawn."""
        if not changes.within:
            return set()
        return {key for key, _ in self.items() if changes.withdraws(key)}

    def _ends(self, keys: Collection[bytes]) -> Content:
        """Return the expiries of those ``keys`` that are in the map."""
        ends: Content = {}
        for some in _batches(keys, _SLICE if self.kind == "hash" else len(keys)):
            ends |= self.look_up(some)
        return ends

    # Changing in place

    def _in_slices(
        self, keys: list[bytes], make: Callable[[Content, list[bytes]], Made], now_s: int
    ) -> Committed:
        """Do to the map, some of ``keys`` a lock, what ``make`` makes of these."""
        committed, at, size = Committed([], []), 0, _SLICE
        keys = self._by_page(keys)
        with closing(libdb.Writer(self.kind)) as writer:
            while at < len(keys):
                if at:
                    let_others()
                some, began_s = keys[at : at + size], time.monotonic()
                with self._writing(some, writer) as handle:
                    buckets = handle.stat(db.DB_FAST_STAT)["buckets"]
                    roomy = _roomy(buckets, self._at_most)
                    if roomy:
                        old = self._find(handle, some)
                        new, done = make(old, some)
                        self._put(handle, old, new, now_s)
                        at += len(some)
                        committed.opened.extend(done.opened)
                        committed.closed.extend(done.closed)
                held_s = time.monotonic() - began_s
                size = min(_LARGEST_SLICE, max(_SLICE, int(size * _HOLD_S / max(held_s, 1e-6))))
                if not roomy:  # a bucket would be split, and a kill then harm other keys
                    writer.close()
                    self._grow(buckets, now_s, keys[at:])
        if keys:
            self._sync()
        return committed

    def _by_page(self, keys: list[bytes]) -> list[bytes]:
        """Return ``keys`` in an order in which those of one page are together: it is read, and
        written, once a lock."""
        if len(keys) <= _SLICE:
            return keys
        with self.locked(fcntl.LOCK_SH) as fd:
            find = pages.finder(fd)
        return sorted(keys, key=lambda key: find(self._spelled.written(key))) if find else keys

    @contextmanager
    def _writing(self, keys: list[bytes], writer: libdb.Writer) -> Iterator["db.DB"]:
        """Yield the database to change ``keys`` in, locked. What was changed is read by others
        from the end of the block on, and is synced by :meth:`_sync`.

        What ``writer`` remembers of the lock before holds while nobody else has changed the file.
        """
        with self.changing() as fd:
            self.check_known(fd)
            self._check(fd, keys)
            try:
                yield writer.handle(fd, fresh=not self.is_as_left(fd))
                writer.write_out()
            except BaseException:
                writer.close(writing=True)
                raise

    def _sync(self) -> None:
        """Wait until what was written is on the disk; without the lock, as it may take long."""
        with self.owner(), self.plainly():
            fd = open_plain(self.path, os.O_RDONLY)
            try:
                os.fdatasync(fd)
            finally:
                os.close(fd)

    def _find(self, handle: "db.DB", keys: list[bytes]) -> Content:
        """Return those ``keys`` that are in an open database. If the disk makes that take long,
        keys are taken off the end of the list."""
        until_s, found = time.monotonic() + _LOOK_S, {}
        for number, key in enumerate(keys):
            if number % 8 == 7 and time.monotonic() > until_s:
                del keys[number:]
                break
            value = handle.get(self._spelled.written(key))
            if value is not None:
                found[key] = _expiry(value)
        return found

    def _put(self, handle: "db.DB", old: Content, new: Content, now_s: int) -> None:
        """Make of ``old`` content of an open database ``new`` content."""
        self.due.add(_to_index(old, new, now_s))
        for key in old.keys() - new.keys():
            handle.delete(self._spelled.written(key))
        for key, expiry in new.items():
            if old.get(key) != expiry:
                handle.put(self._spelled.written(key), b"%d" % expiry)
        self._at_most += len(new.keys() - old.keys())

    def _take_out(self, keys: list[bytes], now_s: int) -> list[bytes]:
        """Remove those of ``keys`` that have expired; return them."""

        def make(old: Content, keys: list[bytes]) -> Made:
            gone = {key for key in keys if old.get(key, now_s + 1) <= now_s}
            return apply(old, Changes(removed=gone), now_s)

        if self.kind == "btree" and keys:
            return self._rewrite(lambda old: make(old, keys), now_s).closed
        return self._in_slices(keys, make, now_s).closed

    def _indexed(self, now_s: int) -> str | None:
        """Return the mark of the index, which is made anew unless the whole map is in it; None
        when that cannot be."""
        mark = self._index_mark()
        if mark is None:
            with self.changing():  # moves mtime to a whole second, unless a commit was cut short
                pass
            with self.owner():
                begun, identity = self.due.begin(), self.identity() or ""
                for pairs in _batches(self.items()):
                    self.due.add(filed(pairs, now_s))
                self.due.end(begun, identity)
            mark = self._index_mark()
        return mark

    def _index_mark(self) -> str | None:
        with self.locked(fcntl.LOCK_SH) as fd:
            return None if is_loose(fd) else self.due.mark(identity_of(fd))

    # Writing anew

    def _grow(self, buckets: int, now_s: int, coming: list[bytes]) -> None:
        """Write the map anew with more room, unless another process has made some; enough for the
        keys that are ``coming``."""

        def make(old: Content) -> Made | None:
            self._at_most = len(old)
            roomy = _roomy(buckets, len(old) * 4 // 3)
            return None if roomy else (old, Committed([], []))

        self._rewrite(make, now_s, coming)

    def _rewrite(
        self, make: Callable[[Content], Made | None], now_s: int, coming: Sequence[bytes] = ()
    ) -> Committed:
        """Replace the map by what ``make`` makes of it; not if that is None. There is room for the
        keys that are ``coming``.

        Others read on while it is written, and change it: then it is done again, and in the end
        they have to wait.
        """
        for waiting in [False] * _TRIES + [True]:
            with ExitStack() as lock:
                fd = lock.enter_context(self.changing() if waiting else self.locked(fcntl.LOCK_SH))
                self.check_known(fd)
                seen, old = state_of(fd), self._content(fd)
                made = make(old)
                if made is None:
                    return Committed([], [])
                new, committed = made
                index = _to_index(old, new, now_s)
                if not waiting:
                    lock.close()
                room = len(new) + sum(key not in new for key in coming)
                with self._written(new, room) as beside:
                    if not waiting:
                        fd = lock.enter_context(self.changing())
                    if state_of(fd) == seen:
                        self._swap(fd, beside, index)
                        break
        self.sync_name()
        return committed

    def _swap(self, fd: int, beside: Path, index: Mapping[int, list[bytes]]) -> None:
        """Put ``beside`` in place of the map, locked and open as ``fd``."""
        self.due.add(index)
        identity = self.swap(beside, int(os.fstat(fd).st_mtime), self.is_ours(fd))
        self.due.follow(identity_of(fd), identity)

    @contextmanager
    def _written(self, content: Mapping[bytes, int], room: int = 0) -> Iterator[Path]:
        """Write a file with ``content`` beside the map; remove it in the end, unless it was put
        in place."""
        with self.owner(), self.plainly():
            beside = self._write_beside(content, room)
            try:
                yield beside
            finally:
                self.unlink_new(beside)

    def _write_beside(self, content: Mapping[bytes, int], room: int = 0) -> Path:
        """Write and sync a file with ``content`` in the map's directory, and room for as many keys
        or for ``room``; return its name."""
        self._at_most = len(content)
        beside = self.path.with_name(f".{self.path.name}.new-{os.getpid()}")
        self.unlink_new(beside)
        handle = libdb.new()
        try:
            handle.set_pagesize(_PAGE_SIZE)
            if self.kind == "hash":
                handle.set_h_ffactor(_FILL)
                handle.set_h_nelem(_buckets_for(max(room, len(content))) * _FILL)
            handle.open(str(beside), None, libdb.TYPES[self.kind], db.DB_CREATE | db.DB_EXCL, 0o644)
            for key in sorted(content) if self.kind == "btree" else content:
                handle.put(self._spelled.written(key), b"%d" % content[key])
            handle.sync()
        except BaseException:
            with suppress(db.DBError):  # libdb would write what it has, to a full disk perhaps
                handle.close(db.DB_NOSYNC)
            self.unlink_new(beside)
            raise
        handle.close(db.DB_NOSYNC)
        os.chmod(beside, 0o644)
        return beside


def _open_to_others(fd: int) -> str | None:
    """Return what is wrong when others than its owner can write a file: sendmail reads it all the
    same."""
    others = os.fstat(fd).st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return "others than its owner can write it" if others else None


def cut_short(path: Path) -> str:
    """Return what an operator is told when the last commit did not come to its end."""
    return (
        f"{path}: a commit was cut short, or others wrote to it: it may lack grants, or have false "
        "ones (it is made anew from the journal by: systemctl restart poprelayd)"
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


def _roomy(buckets: int, count: int) -> bool:
    """Tell whether ``count`` keys have room: no bucket was split, since when there is no round
    number of them, nor will be."""
    split = buckets & (buckets - 1) != 0
    return not split and buckets >= _LEAST_BUCKETS and count <= buckets * _LOAD


def _to_index(old: Content, new: Content, now_s: int) -> dict[int, list[bytes]]:
    """Return what the index does not have of ``new`` content: what was not in ``old``, or ends
    sooner."""
    return filed(((k, end_s) for k, end_s in new.items() if old.get(k, end_s + 1) > end_s), now_s)


def _batches(things: Iterable[T], size: int = _BATCH) -> Iterator[list[T]]:
    """Yield ``things`` in lists."""
    left = iter(things)
    while some := list(islice(left, size)):
        yield some
