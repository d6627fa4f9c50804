"""When which key of the map must be looked at: an index beside it, so that what has expired is
found without reading all. It may be thrown away at any time, and is not believed over the map.

``<map>.due`` is a directory. A file of it is named by a second, and has, one a line, keys to look
at from then on. The file ``of`` says for which map, and in which boot of the machine, it is whole:
each key of that map then stands in a file that is due before the key expires. Nothing is synced,
so another boot makes it worth nothing. Keys may stand in it that have left the map or expire
later; who looks at them finds out.
"""

import errno
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from journalrelay.clock import boot_id
from journalrelay.errors import DataError
from journalrelay.owner import open_plain

_FINEST = 4  # 2**4 seconds
_DIGITS = 6  # of a time ahead, in binary, that are told apart: so there are some 40 files an octave
_ALWAYS_S = 1 << 62
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
_THERE = os.O_WRONLY | os.O_TRUNC
_MORE = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_ERRORS = (OSError, DataError)  # whatever they are, it only costs a look at the whole map


def due_at(expiry_s: int, now_s: int) -> int:
    """Return when a key must be looked at, at its end or somewhat before: the farther it is, the
    rougher, so that there are few such times whatever a grant's length."""
    rough = max(_FINEST, max(0, expiry_s - now_s).bit_length() - _DIGITS)
    return expiry_s >> rough << rough


class Due:
    """The index of the map at ``path``. The caller acts as the directory's owner, and holds the
    map's lock for writing where that is said."""

    def __init__(self, path: Path) -> None:
        self.place = path.with_name(path.name + ".due")
        self._of = self.place / "of"

    def mark(self, identity: str) -> str | None:
        """Return what it was begun with, when every key of the map ``identity`` stands in it."""
        try:
            with open(open_plain(self._of, os.O_RDONLY), "rb") as file:
                said, _, mark = file.read(400).decode().rstrip("\n").rpartition(" ")
        except (*_ERRORS, ValueError):
            return None
        return mark if said == _of(identity) else None

    def doubt(self) -> None:
        """Let it count as not whole, since the map was changed by who does not keep it."""
        with suppress(*_ERRORS):
            for mark in (*self.place.glob("of.*"), self._of):
                mark.unlink(missing_ok=True)

    def begin(self) -> str:
        """Empty it, to be filled anew; return the mark to end that with.

        The caller takes the map's lock before he reads the map to fill it. What comes into the
        map from then on is added here too, by who puts it there.
        """
        mark = f"{os.getpid()}-{time.monotonic_ns()}"
        with suppress(*_ERRORS):
            self.place.mkdir(0o700, exist_ok=True)
            self.doubt()
            for at_s in self.times(_ALWAYS_S):
                self._file(at_s).unlink()
            _write(self._filling(mark), _NEW, b"")
        return mark

    def end(self, mark: str, identity: str) -> None:
        """Say that it is whole again, unless it was doubted or begun anew since ``begin``."""
        with suppress(*_ERRORS):
            _write(self._filling(mark), _THERE, f"{_of(identity)} {mark}\n".encode())
            self._filling(mark).rename(self._of)

    def follow(self, before: str, identity: str) -> None:
        """Go on with the map ``identity`` in place of the one ``before``, all of whose keys are
        here. The caller holds the lock of that one."""
        mark = self.mark(before)
        if mark:
            with suppress(*_ERRORS):
                _write(self._of, _THERE, f"{_of(identity)} {mark}\n".encode())

    def add(self, files: Mapping[int, Sequence[bytes]]) -> None:
        """Add keys, by when they are due. The caller holds the lock, and puts them into the map
        after that."""
        try:
            for at_s, keys in files.items():
                _write(self._file(at_s), _MORE, _lines(keys))
        except _ERRORS:
            self.doubt()

    def times(self, now_s: int) -> list[int]:
        """Return the times, up to ``now_s``, at which there are keys to look at."""
        try:
            names = os.listdir(self.place)
        except _ERRORS:
            return []
        return sorted(int(name) for name in names if name.isdecimal() and int(name) <= now_s)

    def read(self, at_s: int, after: int = 0) -> bytes:
        """Return the keys to look at from ``at_s`` on, each at least once and on a line of its
        own; only what comes ``after`` so many bytes."""
        with suppress(*_ERRORS), open(open_plain(self._file(at_s), os.O_RDONLY), "rb") as file:
            file.seek(after)
            return file.read()
        return b""

    def settle(self, at_s: int, seen: int, files: Mapping[int, Sequence[bytes]]) -> None:
        """Forget the first ``seen`` bytes of keys at ``at_s``, but for those that are due again,
        as ``files`` says. The caller holds the lock."""
        self.add({again_s: keys for again_s, keys in files.items() if again_s != at_s})
        left = _lines(files.get(at_s, ())) + self.read(at_s, seen)
        try:
            if left:
                beside = self.place / f"of.{os.getpid()}"
                _write(beside, _NEW, left)
                beside.rename(self._file(at_s))
            else:
                self._file(at_s).unlink()
        except _ERRORS:
            self.doubt()

    def _filling(self, mark: str) -> Path:
        return self.place / f"of.{mark}"

    def _file(self, at_s: int) -> Path:
        return self.place / str(at_s)


def filed(expiries: Iterable[tuple[bytes, int]], now_s: int) -> dict[int, list[bytes]]:
    """Return keys by when they are due."""
    ends: dict[int, list[bytes]] = {}  # there are fewer of these than keys
    for key, expiry_s in expiries:
        ends.setdefault(expiry_s, []).append(key)
    files: dict[int, list[bytes]] = {}
    for expiry_s, keys in ends.items():
        files.setdefault(due_at(expiry_s, now_s), []).extend(keys)
    return files


def _of(identity: str) -> str:
    return f"{identity} {boot_id()}"


def _lines(keys: Iterable[bytes]) -> bytes:
    return b"".join(key + b"\n" for key in keys)


def _write(path: Path, flags: int, content: bytes) -> None:
    fd = open_plain(path, flags, 0o600)
    try:
        if os.write(fd, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(fd)
