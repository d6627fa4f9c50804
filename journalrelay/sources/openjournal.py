"""systemd's journal, opened for reading. The one room that imports systemd-python.

``_reader`` is used without ``systemd.journal`` around it: a dict of every entry costs eight times
what an entry costs here. Whether its private calls are there is asked when a journal is opened;
what they must do is held by tests/test_journal_source.py.
"""

import errno
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from systemd import _reader

from journalrelay import clock
from journalrelay.errors import (
    DataError,
    NoInputError,
    PermissionRelayError,
    RelayError,
    TryAgainError,
    UnavailableError,
)

Reader = _reader._Reader
Fields = Mapping[str, bytes | list[bytes]]
UNCHANGED: int = _reader.NOP
"""What ``Reader.process()`` returns when nothing was written to the journal."""
OTHER_FILES: int = _reader.INVALIDATE
"""What it returns when files have come or gone."""

_CALLS = (
    *("_next", "_previous", "_get", "_get_all"),
    *("_get_cursor", "_get_realtime", "_get_monotonic"),
)
_DIRECTORIES = (Path("/run/log/journal"), Path("/var/log/journal"))
_MACHINE = Path("/etc/machine-id")
_BOOT = bytes.fromhex(clock.boot_id())
_NOTHING: Fields = {}
_ASKING = 60  # entries' worth of habit
_ADVICE = "permission denied (reading it needs root or the group systemd-journal)"


class Where(NamedTuple):
    """Which journal files: this machine's when all is empty, in journalctl's words otherwise.

    Files that are not ``watched`` take no descriptor of inotify, of which a user has 128: who
    reads them says when they were written to.
    """

    directory: Path | None = None
    files: tuple[Path, ...] = ()
    namespace: str | None = None
    watched: bool = True

    @property
    def name(self) -> str:
        """Return a file name that stands for exactly these files."""
        named = self.files or ((self.directory,) if self.directory else ())
        if named:
            import hashlib  # seldom needed, and brings half a megabyte of OpenSSL with it

            kind = "files" if self.files else "directory"
            paths = b"\0".join(os.path.abspath(os.fsencode(path)) for path in named)
            return f"{kind}-{hashlib.sha256(paths).hexdigest()[:16]}"
        return f"journal-{self.namespace}" if self.namespace else "journal"

    @property
    def machine(self) -> bytes | None:
        """Return whose entries count: this machine's, anybody's in files that are named.

        LOCAL_ONLY lets others in: what lies in /var/log/journal itself, in any directory of
        /run/log/journal, and what was received into our own one (systemd, src/libsystemd/
        sd-journal/sd-journal.c, add_directory).
        """
        return None if self.files or self.directory else _this_machine().encode()


class JournalRecord:
    """The entry on which a reader stands. Of one that is not of ``machine`` nothing is told of the
    unit, and so it proves nothing.

    libsystemd walks through an entry for each field that it is asked for, so all fields together
    cost no more than two. They are taken at once as long as of the entries before two of five were
    asked for more than one.
    """

    __slots__ = ("_asked", "_asking", "_fields", "_machine", "_reader", "message")

    def __init__(self, reader: Reader, machine: bytes | None = None) -> None:
        self._reader = reader
        self._machine = machine
        self._fields = _NOTHING
        self._asked = 0  # how often, of this entry
        self._asking = 0  # above 0 where entries are asked for more than one field
        self.message = b""

    def load(self) -> None:
        """Take the entry's MESSAGE, up to libsystemd's 64 KiB threshold."""
        if self._asked > 1:
            self._asking = min(_ASKING, self._asking + 3)
        else:
            self._asking = max(-_ASKING, self._asking - 2)
        self._asked = 0
        self._fields = self._all() if self._asking > 0 else _NOTHING
        message = self._fields.get("MESSAGE")
        self.message = message if type(message) is bytes else self._get("MESSAGE") or b""

    def field(self, name: str) -> bytes | None:
        """Return a field's bytes; None when it is missing or its data object is damaged."""
        self._asked += 1
        if name == "_SYSTEMD_UNIT" and self._machine and not self._is_ours():
            return None
        value = self._fields.get(name)
        return value if type(value) is bytes else self._get(name)

    def _is_ours(self) -> bool:
        return self.field("_MACHINE_ID") == self._machine

    def _get(self, name: str) -> bytes | None:
        """Ask for one field, the first one where an entry has several of that name."""
        try:
            return self._reader._get(name)
        except (KeyError, OSError):
            return None

    def _all(self) -> Fields:
        try:
            return self._reader._get_all()
        except (OSError, ValueError):  # of a damaged entry some fields may be whole
            return _NOTHING

    def logged_at_us(self) -> int:
        """Return ``__REALTIME_TIMESTAMP``, 0 (long expired) when it cannot be read."""
        try:
            return self._reader._get_realtime()
        except OSError:
            return 0

    def clock_ahead_us(self) -> int:
        """Return by how much this boot's clock was ahead of now's when it stamped the entry."""
        try:
            monotonic, boot = self._reader._get_monotonic()
        except OSError:
            return 0
        if boot != _BOOT:
            return 0
        return self.logged_at_us() - monotonic - clock.offset_us()

    def cursor(self) -> str:
        """Return the entry's cursor."""
        return self._reader._get_cursor()


def open_reader(where: Where) -> Reader:
    """Return a reader of ``where``, or raise the error that says why it cannot be read."""
    if missing := [call for call in _CALLS if not hasattr(Reader, call)]:
        raise UnavailableError(
            f"systemd-python {_reader.__version__} has no {missing[0]} "
            "(install python3-systemd 235)"
        )
    try:
        if where.files:
            reader = Reader(flags=0, files=[str(file) for file in where.files])
        elif where.directory:
            reader = _open_directory(where.directory)
        elif where.namespace:
            reader = Reader(flags=_reader.LOCAL_ONLY, namespace=where.namespace)
        else:
            reader = Reader(flags=_reader.LOCAL_ONLY)
        if where.watched:
            reader.fileno()  # from here on rotation is watched
    except (OSError, ValueError) as error:
        raise _unopened(where, error) from error
    if not where.files and not where.directory:
        _check_own(where, reader)
    return reader


def _open_directory(directory: Path) -> Reader:
    for file in directory.iterdir():  # libsystemd does not say why it cannot
        if file.suffix == ".journal" and not os.access(file, os.R_OK):
            raise PermissionRelayError(f"{file}: {_ADVICE}")
    return Reader(flags=0, path=str(directory))


def add_matches(reader: Reader, groups: Sequence[Sequence[bytes]]) -> None:
    """Have ``reader`` give the entries that fulfil one of ``groups``, each a list of matches."""
    for group in groups:
        for match in group:
            reader.add_match(match)
        reader.add_disjunction()


def narrow(reader: Reader, groups: Sequence[Sequence[bytes]]) -> None:
    """Have ``reader`` ask only for what some entry has, of the alternatives in ``groups``; where
    it goes on is for the caller to say again.

    What no entry has is looked for in each file at each step all the same, and with a hundred files
    that takes more than all else (docs/performance-reading.md, "Many files").
    """
    found = present(reader, groups)
    reader.flush_matches()
    add_matches(reader, found or groups)


def present(reader: Reader, groups: Sequence[Sequence[bytes]]) -> list[list[bytes]]:
    """Return what some entry has, of the alternatives in ``groups``; what ``reader`` asks for, and
    where it stands, is another thing then."""
    return [left for group in groups if (left := _found(reader, group))]


def _found(reader: Reader, group: Sequence[bytes]) -> list[bytes]:
    if len({match.partition(b"=")[0] for match in group}) > 1:  # all of it must hold
        return list(group) if _has(reader, group) else []
    return [match for match in group if _has(reader, [match])]


def _has(reader: Reader, group: Sequence[bytes]) -> bool:
    reader.flush_matches()
    add_matches(reader, [group])
    reader.seek_tail()
    return bool(reader._previous())


def unreadable(error: Exception) -> str:
    """Return what is told when reading stopped with an error."""
    return f"the journal cannot be read: {error} (see: journalctl --verify)"


def _unopened(where: Where, error: Exception) -> RelayError:
    names = ", ".join(map(str, where.files or (where.directory or "the journal",)))
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NoInputError(f"{names}: there is no such journal (see: journalctl --header)")
    if isinstance(error, PermissionError):
        return PermissionRelayError(f"{names}: {_ADVICE}")
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        return TryAgainError(f"{names}: {error.strerror} (look at the limits of this process)")
    if where.files:
        return DataError(f"{names}: no readable journal file (try: journalctl --verify --file)")
    return UnavailableError(f"{names}: {error} (see: systemctl status systemd-journald)")


@cache
def _this_machine() -> str:
    try:
        return _MACHINE.read_text("ascii").strip()
    except OSError:
        return "unknown"


def standing(where: Where) -> list[tuple[int, int] | None]:
    """Return which directories of ``where`` there are, by device and inode. libsystemd watches
    those that it found at first, and never sees another one that comes."""
    found: list[tuple[int, int] | None] = []
    for directory in _directories(where):
        try:
            status = os.stat(directory)
            found.append((status.st_dev, status.st_ino))
        except OSError:
            found.append(None)
    return found


def growing(where: Where) -> list[Path]:
    """Return the files of ``where`` that may still be written to; archived ones have an @ in their
    names."""
    if where.files:
        return list(where.files)
    found: list[Path] = []
    for directory in _directories(where):
        found += directory.glob("*.journal")
        if where.directory:  # has directories of machines in it perhaps
            found += directory.glob("*/*.journal")
    return [file for file in found if "@" not in file.name]


def _directories(where: Where) -> tuple[Path, ...]:
    if where.files or where.directory:
        return (where.directory,) if where.directory else ()
    return _of_this_machine(where.namespace)


@cache
def _of_this_machine(namespace: str | None) -> tuple[Path, ...]:
    suffix = f".{namespace}" if namespace else ""
    return tuple(directory / f"{_this_machine()}{suffix}" for directory in _DIRECTORIES)


def _check_own(where: Where, reader: Reader) -> None:
    """Raise when this machine's journal is not there, or there and not for us to read: libsystemd
    leaves out silently what it may not open."""
    found = [directory / "system.journal" for directory in _directories(where)]
    try:
        there = [file for file in found if file.exists()]
    except PermissionError as error:
        raise PermissionRelayError(f"{error.filename}: {_ADVICE}") from error
    for file in there:
        if not os.access(file, os.R_OK):
            raise PermissionRelayError(f"{file}: {_ADVICE}")
    if not there and not reader.has_runtime_files() and not reader.has_persistent_files():
        which = f"journal namespace {where.namespace}" if where.namespace else "journal"
        raise UnavailableError(
            f"this machine has no {which} in {' or '.join(map(str, _DIRECTORIES))} "
            "(is systemd-journald running?)"
        )
