"""Being woken when a log file grows or is rotated. The one room that imports inotify.

A source must be asked again and again anyway, since a file system may not notify (NFS does not of
what others write). That is done fifty times a second, so that a login is seen within 50 ms. inotify
earns its place by what it saves of them: half of the logins were in the map 5 ms after their line
with it, and 23 ms without. python3-inotify is in Debian 12 and 13 (0.2.10 in both), and its
``calls`` are the system's, without threads or a loop of their own; where it is missing all works, a
little later.
"""

import os
import struct
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import ModuleType

from journalrelay.sources.openlog import Key

_READ = 1 << 16


def library() -> ModuleType | None:
    """Return inotify's calls, None where they are not to be had. They are imported only when a file
    is to be watched: to find libc, the library runs ldconfig, for a tenth of a second."""
    try:
        from inotify import calls
    except (ImportError, OSError, MemoryError):  # the last two in a sandbox tighter than ours
        return None
    return calls


# linux/inotify.h
_WRITTEN = 0x2
_NAMES = 0x40 | 0x80 | 0x100 | 0x200  # moved from, moved to, made, removed


class Watch:
    """What is watched, and the descriptor that becomes readable when something has changed."""

    def __init__(self) -> None:
        self.fd: int | None = None
        self._watched: dict[tuple[Key, bool], int] = {}
        self._calls = library()
        if self._calls is None:
            return
        with suppress(OSError, self._calls.InotifyError):  # too many already: asking is enough
            self.fd = self._calls.inotify_init()
            os.set_blocking(self.fd, False)
            os.set_inheritable(self.fd, False)

    def watch(self, files: Iterable[int], directories: Iterable[str]) -> None:
        """Watch these open files for what is written, and the directories for new names; what
        was watched before is let go."""
        if self.fd is None or self._calls is None:
            return
        calls = self._calls
        wanted: dict[tuple[Key, bool], tuple[bytes, int]] = {}
        for fd in files:
            status = os.fstat(fd)
            wanted[(status.st_dev, status.st_ino), False] = (
                b"/proc/self/fd/%d" % fd,
                _WRITTEN,
            )
        for name in directories:
            with suppress(OSError):
                status = os.stat(name)
                wanted[(status.st_dev, status.st_ino), True] = (
                    os.fsencode(name),
                    _NAMES,
                )
        for key in self._watched.keys() - wanted.keys():
            with suppress(calls.InotifyError):  # its file is gone, and the watch with it
                calls.inotify_rm_watch(self.fd, self._watched.pop(key))
        for key, (path, mask) in wanted.items():
            with suppress(calls.InotifyError):  # anew each time: an inode may be another file now
                self._watched[key] = calls.inotify_add_watch(self.fd, path, mask)

    def drain(self) -> None:
        """Forget what has happened so far; call it before looking."""
        if self.fd is not None:
            with suppress(BlockingIOError):
                while len(os.read(self.fd, _READ)) > _READ // 2:
                    pass

    def close(self) -> None:
        """Stop watching."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


# linux/inotify.h: more happened than could be noted, the directory was removed
_OVERFLOW, _GONE = 0x4000, 0x8000
_EVENT = struct.Struct("iIII")


class DirectoryWatch:
    """What happens to the files of one directory: which were written, and which names are new or
    gone. OSError when it cannot be watched."""

    def __init__(self, directory: Path) -> None:
        calls = library()
        if calls is None:
            raise OSError("python3-inotify is not there")
        with ExitStack() as undo:
            try:
                self.fd: int = calls.inotify_init()
                undo.callback(os.close, self.fd)
                calls.inotify_add_watch(self.fd, os.fsencode(directory), _WRITTEN | _NAMES)
            except calls.InotifyError as error:
                raise OSError(str(error)) from error
            os.set_blocking(self.fd, False)
            os.set_inheritable(self.fd, False)
            undo.pop_all()

    def changed(self) -> dict[bytes, bool] | None:
        """Return the names of what has changed since this was asked last, each with whether it is
        new or gone; None when any may have."""
        names: dict[bytes, bool] = {}
        with suppress(BlockingIOError):
            while got := os.read(self.fd, _READ):
                at = 0
                while at < len(got):
                    _, mask, _, length = _EVENT.unpack_from(got, at)
                    at += _EVENT.size + length
                    if mask & (_OVERFLOW | _GONE):
                        return None
                    name = got[at - length : at].rstrip(b"\0")
                    names[name] = names.get(name, False) or bool(mask & _NAMES)
        return names

    def close(self) -> None:
        """Stop watching."""
        os.close(self.fd)
