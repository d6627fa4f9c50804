"""The directory in which systemd-journal-remote keeps what other hosts send, host by host.

With ``--split-mode=host`` it writes ``remote-NAME.journal``, where NAME is the common name of the
sender's certificate (systemd, src/journal-remote/journal-remote.c, open_output). Rotation renames
that to ``remote-NAME@SEQNUMID-SEQNUM-TIME.journal``; a file that was not closed is put aside as
``remote-NAME@TIME-RANDOM.journal~`` (src/libsystemd/sd-journal/journal-file.c). Who may send
chooses nothing of these names but what is in the certificate.

One watch on the directory tells which file was written, so that a host that is silent costs
nothing. Where there is no inotify, all are looked at four times a second.
"""

import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from journalrelay.sources.watch import DirectoryWatch

_LOOK_AROUND_S, _LOOK_S = 1.0, 0.25
_FILE = re.compile(
    r"remote-(?P<host>.+?)(?:\.journal|@[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{16}\.journal"
    r"|@[0-9a-f]{16}-[0-9a-f]{16}\.journal~)"
)

Written = tuple[int, int, int]  # inode, size, when it was last written (ns)


def host_of(name: str) -> str | None:
    """Return of which host a file of this name is, None for others."""
    found = _FILE.fullmatch(name)
    return found["host"] if found else None


class Received:
    """The files of each host in ``directory``, by their names, and which hosts have written."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files: dict[str, set[str]] = {}
        self.trouble: str | None = None
        self._watch: DirectoryWatch | None = None
        self._turns: dict[str, int] = {}
        self._known: dict[str, Written] = {}
        self._standing: tuple[int, int] | None = None
        self._unseen = True  # what is in it is not known yet
        self._look_around_s = self._look_s = 0.0

    def fileno(self) -> int | None:
        """Return a descriptor for poll(2) that becomes readable when a host has written, None
        where there is none."""
        return self._watch.fd if self._watch else None

    def look(self) -> set[str]:
        """Return the hosts whose files were written, made, renamed or removed since the last
        look."""
        now_s = time.monotonic()
        if now_s >= self._look_around_s:
            self._look_around_s = now_s + _LOOK_AROUND_S
            self._look_around()
        if self._standing is None:
            return set()
        if self._watch and not self._unseen:
            changed = self._watch.changed()
            if changed is not None:
                return self._note({os.fsdecode(name): named for name, named in changed.items()})
        elif not self._unseen and now_s < self._look_s:
            return set()
        self._look_s = now_s + _LOOK_S
        return self._note(self._compare())

    def turn(self, host: str) -> int:
        """Return a number that becomes another one when a file of the host's is new or gone."""
        return self._turns.get(host, 0)

    def written_since(self, host: str, time_us: int) -> list[Path]:
        """Return those of a host's files that were written at or after a time, by our clock."""
        found = []
        for name in sorted(self.files.get(host, ())):
            with suppress(OSError):  # rotated or vacuumed meanwhile; the watch tells
                path = self.directory / name
                if path.stat().st_mtime_ns // 1000 >= time_us:
                    found.append(path)
        return found

    def close(self) -> None:
        """Stop watching."""
        if self._watch:
            self._watch.close()
            self._watch = None

    def _look_around(self) -> None:
        """See whether the directory is there, and still the one that is watched."""
        try:
            status = self.directory.stat()
            standing = status.st_dev, status.st_ino
            self.trouble = None
        except OSError as error:
            standing = None
            self.trouble = f"{self.directory}: {error.strerror}"
        if standing == self._standing:
            return
        self.close()
        self._standing = standing
        if standing:
            with suppress(OSError):
                self._watch = DirectoryWatch(self.directory)
        self._unseen = True

    def _compare(self) -> dict[str, bool]:
        """Compare the whole directory with what was known of it; see ``DirectoryWatch``."""
        known: dict[str, Written] = {}
        try:
            with os.scandir(self.directory) as found:
                for item in found:
                    with suppress(OSError):  # gone meanwhile
                        status = item.stat()
                        known[item.name] = status.st_ino, status.st_size, status.st_mtime_ns
        except OSError as error:
            self.trouble = f"{self.directory}: {error.strerror}"
            return {}
        self._unseen = False
        former, self._known = self._known, known
        return {
            name: name not in known or name not in former or known[name][0] != former[name][0]
            for name in known.keys() | former.keys()
            if known.get(name) != former.get(name)
        }

    def _note(self, changed: Mapping[str, bool]) -> set[str]:
        """Return the hosts of files that have changed, when it is noted which files there are."""
        hosts = set()
        for name, named in changed.items():
            host = host_of(name)
            if host is None:
                continue
            hosts.add(host)
            if named:
                self._turns[host] = self._turns.get(host, 0) + 1
                files = self.files.setdefault(host, set())
                if os.path.lexists(self.directory / name):
                    files.add(name)
                else:
                    files.discard(name)
        return hosts
