"""Being woken when a log file grows or is rotated. The one room that imports inotify.

A source must be asked again and again anyway, since a file system may not notify (NFS does not of
what others write). inotify earns its place by what that asking may cost then: it is done forty
times a second, a quarter as often as a login could be waited for without it, and a login is still
seen at once. python3-inotify is in Debian 12 and 13 (0.2.10 in both), and its ``calls`` are the
system's, without threads or a loop of their own; where it is missing all works, a little later.
"""

import os
from collections.abc import Iterable
from contextlib import suppress

from journalrelay.sources.openlog import Key

try:
    from inotify import calls
    from inotify.constants import IN_CREATE, IN_DELETE, IN_MODIFY, IN_MOVED_FROM, IN_MOVED_TO
except ImportError:
    calls = None  # type: ignore[assignment]

_READ = 1 << 16


class Watch:
    """What is watched, and the descriptor that becomes readable when something has changed."""

    def __init__(self) -> None:
        self.fd: int | None = None
        self._watched: dict[tuple[Key, bool], int] = {}
        if calls is None:
            return
        with suppress(OSError, calls.InotifyError):  # too many already: asking again is enough
            self.fd = calls.inotify_init()
            os.set_blocking(self.fd, False)
            os.set_inheritable(self.fd, False)

    def watch(self, files: Iterable[int], directories: Iterable[str]) -> None:
        """Watch these open files for what is written, and the directories for new names; what
        was watched before is let go."""
        if self.fd is None:
            return
        wanted: dict[tuple[Key, bool], tuple[bytes, int]] = {}
        for fd in files:
            status = os.fstat(fd)
            wanted[(status.st_dev, status.st_ino), False] = (
                b"/proc/self/fd/%d" % fd,
                IN_MODIFY,
            )
        for name in directories:
            with suppress(OSError):
                status = os.stat(name)
                wanted[(status.st_dev, status.st_ino), True] = (
                    os.fsencode(name),
                    IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO,
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
