"""sendmail's own tables, made by makemap, looked up with no harm to who asks.

Berkeley DB trusts what it reads. So a table's pages are looked at first, and root asks in a process
of its own, as the table's owner when that is another user.
"""

import fcntl
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from journalrelay.errors import RelayError
from journalrelay.mailer.sendmailcf import Keyed
from journalrelay.map import libdb, pages
from journalrelay.map.locks import acquire
from journalrelay.owner import apart, become_owner, open_plain


class Found(NamedTuple):
    """The first key that a table has, and its value, both empty when it has none; or why it could
    not be asked."""

    key: str = ""
    value: str = ""
    fault: str = ""


def find(table: Keyed, keys: Iterable[bytes]) -> Found:
    """Return the first of ``keys`` that is in a table."""
    if table.kind not in libdb.TYPES:
        return Found(fault=f"a map of class {table.kind} is not asked here")
    wanted = list(keys)
    if os.geteuid() != 0:
        return _find(table, wanted)
    found = apart(lambda: _find(table, wanted))
    return Found(*found) if found else Found(fault=f"{table.database}: it breaks who reads it")


def _find(table: Keyed, keys: Sequence[bytes]) -> Found:
    path = Path(os.path.realpath(table.database))  # sendmail follows links
    try:
        become_owner(path.parent)
        fd = open_plain(path, os.O_RDONLY)
        try:
            _become(os.fstat(fd).st_uid)
            return _look_up(fd, path, table.kind, keys)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return Found(fault=f"{path} is not there")
    except (OSError, libdb.db.DBError) as error:
        return Found(fault=f"{path}: {error.args[-1]}")
    except RelayError as error:
        return Found(fault=str(error))


def _become(uid: int) -> None:
    """Become the user to whom a file belongs, if that is not root, in root's stead."""
    if os.geteuid() == 0 and uid != 0:
        os.setgroups([])
        os.setresuid(uid, uid, uid)


def _look_up(fd: int, path: Path, kind: str, keys: Sequence[bytes]) -> Found:
    acquire(fd, fcntl.LOCK_SH, path)
    ended = [key + b"\0" for key in keys]  # as makemap -N writes them
    damage = pages.fault(fd, [*keys, *ended])
    if damage or pages.kind(fd) != kind:
        return Found(fault=f"{path}: {damage or f'it is no {kind} file'}")
    with libdb.opened(libdb.new(), fd, kind, libdb.db.DB_RDONLY) as handle:
        for either in zip(keys, ended, strict=True):
            for value in map(handle.get, either):
                if value is not None:
                    return Found(_text(either[0]), _text(value.rstrip(b"\0")))
    return Found()


def _text(content: bytes) -> str:
    return content.decode("utf-8", "backslashreplace")
