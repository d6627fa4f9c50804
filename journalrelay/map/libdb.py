"""Berkeley DB: the one room that knows it.

Debian's sendmail and python3-bsddb3 use the same version, 5.3. It trusts what it reads: whoever
lets it at a file has looked at that with :mod:`journalrelay.map.pages`, and is not root if it is
another user's.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

try:
    from berkeleydb import db as db
except ImportError:  # Debian's python3-bsddb3 has the same API under its older name
    from bsddb3 import db as db  # type: ignore[no-redef]

VERSION = ".".join(map(str, db.version()[:2]))
TYPES = {"hash": db.DB_HASH, "btree": db.DB_BTREE}
_CACHE = 1 << 20


def new() -> "db.DB":
    """Return a database that is not open yet, with a small cache."""
    made = db.DB()
    made.set_cachesize(0, _CACHE)
    return made


class Writer:
    """A database that is written to some keys a lock, and stays open from one lock to the next.
    What lets libdb write without syncing is in this process alone, not beside the map."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._memory: db.DBEnv | None = None
        self._handle: db.DB
        self._fd = -1

    def handle(self, fd: int, *, fresh: bool) -> "db.DB":
        """Return the database in the open file ``fd``. Unless ``fresh`` it is the one of the lock
        before, with the pages that are remembered."""
        if fresh or not self._memory:
            self.close()
            memory = db.DBEnv()
            memory.set_cachesize(0, _CACHE)
            memory.open(None, db.DB_CREATE | db.DB_INIT_MPOOL | db.DB_PRIVATE)
            self._handle, self._fd, self._memory = db.DB(memory), os.dup(fd), memory
            self._handle.open(_path(self._fd), None, TYPES[self._kind])
        return self._handle

    def write_out(self) -> None:
        """Write what was changed to the file, where others read it."""
        if self._memory:
            self._memory.memp_trickle(100)
            if self._memory.memp_stat()[0]["page_dirty"]:
                self._handle.sync()

    def close(self, *, writing: bool = False) -> None:
        """Close it. With ``writing`` what was not written yet is: the caller holds the lock."""
        memory, self._memory = self._memory, None
        if memory is None:
            return
        with suppress(db.DBError):
            self._handle.close(db.DB_NOSYNC)
        if not writing:  # it would open its file to sync it: that path is to lead nowhere
            os.close(self._fd)
        with suppress(db.DBError):
            memory.close()
        if writing:
            os.close(self._fd)


@contextmanager
def opened(handle: "db.DB", fd: int, kind: str, flags: int = 0) -> Iterator["db.DB"]:
    """Yield the database in the open file ``fd``, by its descriptor, so that no path is followed
    again. What was not written when the block ends is dropped, if it is not kept in memory."""
    try:
        handle.open(_path(fd), None, TYPES[kind], flags)
        yield handle
    except BaseException:
        with suppress(db.DBError):  # the first error tells more
            handle.close(db.DB_NOSYNC)
        raise
    handle.close(db.DB_NOSYNC)


def pairs(handle: "db.DB") -> Iterator[tuple[bytes, bytes]]:
    """Yield all that is in an open database."""
    cursor = handle.cursor()
    try:
        pair = cursor.first()
        while pair:
            yield pair
            pair = cursor.next()
    finally:
        cursor.close()


def _path(fd: int) -> str:
    return f"/proc/self/fd/{fd}"
