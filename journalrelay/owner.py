"""Root never follows a path that another user could have laid.

Whoever owns a directory can put symbolic links into it. So root, before it opens, makes or renames
anything, becomes the first owner other than root along the path, and can then do no more harm than
he could himself.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def as_owner(directory: Path) -> Iterator[None]:
    """Act as the owner of ``directory`` for a while; changes nothing for anybody but root."""
    owner = _first_owner(directory) if os.geteuid() == 0 else None
    if owner is None:
        yield
        return
    groups, gid = os.getgroups(), os.getegid()
    try:
        os.setgroups([])
        os.setegid(owner[1])
        os.seteuid(owner[0])
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def _first_owner(directory: Path) -> tuple[int, int] | None:
    """Return uid and gid of the first part of the path that is not root's, None if all is."""
    parts = directory.absolute()
    for part in (*reversed(parts.parents), parts):
        try:
            status = part.lstat()
        except FileNotFoundError:
            return None
        if status.st_uid != 0:
            return status.st_uid, status.st_gid
    return None
