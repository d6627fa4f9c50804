"""Root never follows a path that another user could have laid.

Whoever owns a directory can put symbolic links into it. So root, before it opens, makes or renames
anything, becomes the first owner other than root along the path, and can then do no more harm than
he could himself. For a while, or for good: what is read there may be made to break the reader, and
who broke it would find root again where it was laid down for a while only.
"""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from journalrelay.errors import DataError, PermissionRelayError

_LARGEST = 1 << 20  # bytes of a file that is read whole; ours are a few thousand


@contextmanager
def as_owner(directory: Path) -> Iterator[None]:
    """Act as the owner of ``directory`` for a while; changes nothing for anybody but root."""
    owner = _first_owner(directory) if os.geteuid() == 0 else None
    if owner is None:
        yield
        return
    uid, own_gid = owner
    groups, gid = os.getgroups(), os.getegid()
    with _permitted(directory, uid):
        os.setgroups([])
        os.setegid(own_gid)
        os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def become_owner(directory: Path) -> None:
    """Become the owner of ``directory`` for good; changes nothing for anybody but root."""
    owner = _first_owner(directory) if os.geteuid() == 0 else None
    if owner is None:
        return
    uid, gid = owner
    with _permitted(directory, uid):
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


def apart(work: Callable[[], Sequence[Any]]) -> list[Any] | None:
    """Return what ``work`` does, as JSON has it, when it is done in a process of its own, which may
    become whom it likes; None when it came to no end."""
    import json  # seldom needed

    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.write(writing, json.dumps(work()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with open(reading, "rb") as answer:
        told = answer.read()
    os.waitpid(pid, 0)
    return list(json.loads(told)) if told else None


@contextmanager
def _permitted(directory: Path, uid: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # EINVAL: a user that this namespace does not have
        raise PermissionRelayError(
            f"{directory}: it is user {uid}'s, and this root may not become him (run it as "
            "him, or with CAP_SETUID and CAP_SETGID)"
        ) from error


def open_plain(path: Path, flags: int, mode: int = 0o644) -> int:
    """Open a regular file, and neither follow a link nor wait for a FIFO; DataError when it is
    something else. The caller acts as the directory's owner."""
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        if path.is_symlink() or path.is_dir() or path.is_fifo() or path.is_socket():
            raise _no_file(path) from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _no_file(path)
    return fd


def read_plain(path: Path) -> bytes:
    """Return the content of a small file in a directory of another user's."""
    with as_owner(path.parent), open(open_plain(path, os.O_RDONLY), "rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise DataError(f"{path}: it is larger than any file of ours (remove it)")
    return content


def _no_file(path: Path) -> DataError:
    return DataError(f"{path}: it is no regular file (remove it, or name the file itself)")


def _first_owner(directory: Path) -> tuple[int, int] | None:
    """Return uid and gid of the first part of the path that is not root's, or leads to what is
    not root's; None if all is."""
    whole = directory.absolute()
    for part in (*reversed(whole.parents), whole):
        try:
            found = part.lstat(), part.stat()
        except OSError:  # who opens it then will say what is wrong
            return None
        for status in found:
            if status.st_uid != 0:
                return status.st_uid, status.st_gid
    return None
