"""Berkeley DB: the one room that knows it.

Debian's sendmail and python3-bsddb3 use the same version, 5.3. It trusts what it reads: whoever
lets it at a file has looked at that with :mod:`journalrelay.map.pages`, and is not root if it is
another user's.
"""

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


def memory() -> "db.DBEnv":
    """Return what lets libdb write without syncing; it is in this process alone, not beside the
    map."""
    made = db.DBEnv()
    made.set_cachesize(0, _CACHE)
    made.open(None, db.DB_CREATE | db.DB_INIT_MPOOL | db.DB_PRIVATE)
    return made


def write_out(memory: "db.DBEnv", handle: "db.DB") -> None:
    """Write what was changed to the file, where others read it."""
    memory.memp_trickle(100)
    if memory.memp_stat()[0]["page_dirty"]:
        handle.sync()


@contextmanager
def opened(handle: "db.DB", fd: int, kind: str, flags: int = 0) -> Iterator["db.DB"]:
    """Yield the database in the open file ``fd``, by its descriptor, so that no path is followed
    again. What was not written when the block ends is dropped, if it is not kept in memory."""
    try:
        handle.open(f"/proc/self/fd/{fd}", None, TYPES[kind], flags)
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
