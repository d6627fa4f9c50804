"""systemd's journal as a source of records. The one room that imports systemd-python.

``_reader`` is used without ``systemd.journal`` around it: a dict of every entry costs eight times
what an entry costs here, and ``_next``, ``_get``, ``_get_realtime``, ``_get_monotonic`` and
``_get_cursor`` are all that is needed. What they must do is held by tests/test_journal_source.py.
"""

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

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

_DIRECTORIES = (Path("/run/log/journal"), Path("/var/log/journal"))
_MACHINE = Path("/etc/machine-id")
_BOOT = clock.boot_id()
_ADVICE = "permission denied (reading it needs root or the group systemd-journal)"


@dataclass(frozen=True)
class Where:
    """Which journal files: this machine's when all is empty, in journalctl's words otherwise."""

    directory: Path | None = None
    files: tuple[Path, ...] = ()
    namespace: str | None = None

    @property
    def name(self) -> str:
        """Return a file name that stands for exactly these files."""
        named = self.files or ((self.directory,) if self.directory else ())
        if named:
            kind = "files" if self.files else "directory"
            paths = b"\0".join(os.path.abspath(os.fsencode(path)) for path in named)
            return f"{kind}-{hashlib.sha256(paths).hexdigest()[:16]}"
        return f"journal-{self.namespace}" if self.namespace else "journal"


class JournalRecord:
    """The entry on which a reader stands."""

    __slots__ = ("_reader", "message")

    def __init__(self, reader: _reader._Reader) -> None:
        self._reader = reader
        self.message = b""

    def load(self) -> None:
        """Take the entry's MESSAGE, up to libsystemd's 64 KiB threshold."""
        try:
            self.message = self._reader._get("MESSAGE")
        except (KeyError, OSError):
            self.message = b""

    def field(self, name: str) -> bytes | None:
        """Return a field's bytes; None when it is missing or its data object is damaged."""
        try:
            return self._reader._get(name)
        except (KeyError, OSError):
            return None

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
        if boot.hex() != _BOOT:
            return 0
        return self.logged_at_us() - monotonic - clock.offset_us()

    def cursor(self) -> str:
        """Return the entry's cursor."""
        return self._reader._get_cursor()


class JournalSource:
    """Entries of ``where`` that fulfil one of ``matches``, each a list of ``FIELD=value``.

    Within a list values of one field are alternatives and different fields must all hold, as in
    journalctl(1). ``hand_matches`` is the list for entries made by hand, read with the others and
    by :meth:`by_hand`.
    """

    called = "the journal"
    vouched = True
    turn_ms = 10  # journald tells readers a third of a second late, but shows entries at once

    def __init__(
        self, where: Where, matches: Sequence[Sequence[bytes]], hand_matches: Sequence[bytes]
    ) -> None:
        self._where = where
        self._matches = [*matches, hand_matches]
        self._hand_matches = hand_matches
        self.moves = 0
        self.heartbeat: Callable[[], None] = lambda: None
        self._held = False
        self._place: tuple[str, int] | None = None
        self._from_us = 0
        self._trouble: str | None = None
        self._retry_s = self._retry_at_s = 0.0
        self._open()

    @property
    def name(self) -> str:
        """Return the name of its saved place."""
        return self._where.name

    def fileno(self) -> int | None:
        """Return the reader's inotify descriptor; it changes when the reader was reopened."""
        return None if self._trouble else self._reader.fileno()

    def refresh(self) -> None:
        """Let the reader see rotation and vacuuming; after an error, open it anew."""
        if self._trouble and time.monotonic() >= self._retry_at_s:
            self._reopen()
        if self._trouble:
            return
        try:
            self._reader.process()
        except OSError as error:
            self._fail(error)

    def seek_time(self, time_us: int) -> None:
        """Go to the first entry at or after ``time_us``."""
        self.moves += 1
        self._held, self._place, self._from_us = False, None, max(0, time_us)
        self._reader.seek_realtime(self._from_us)

    def seek_cursor(self, cursor: str, *, inclusive: bool) -> bool:
        """Go to a cursor's entry or behind it; see :class:`Source`."""
        self.moves += 1
        self._held, self._place = False, None
        try:
            self._reader.seek_cursor(cursor)
            if not self._reader._next():
                return False
            exact = self._reader.test_cursor(cursor)
            self._from_us = self._reader._get_realtime()
        except OSError as error:
            self._fail(error)
            return False
        self._held = inclusive or not exact
        if not self._held:
            self._place = cursor, self._from_us
        return exact

    def read(self, limit: int) -> Iterator[JournalRecord]:
        """Yield the next entries, at most ``limit``."""
        if self._trouble:
            return
        record, step, moved = self._record, self._reader._next, False
        try:
            for _ in range(limit):
                if not self._held and not step():
                    break
                self._held, moved = False, True
                record.load()
                yield record
        except OSError as error:  # EBADMSG, EADDRNOTAVAIL, EIDRM: a file was damaged or went away
            self._fail(error)
        else:
            if moved:
                self._note_place()

    def earlier(self, span_us: int) -> Iterator[JournalRecord]:
        """Yield the entries before the next one to be read; see :class:`Source`."""
        reader = open_reader(self._where)
        try:
            _add_matches(reader, self._matches)
            record = JournalRecord(reader)
            for _ in range(self._go_back(reader, span_us)):
                if not reader._next():
                    break
                record.load()
                yield record
        except OSError as error:
            raise TryAgainError(_unreadable(error)) from error
        finally:
            reader.close()

    def _go_back(self, reader: _reader._Reader, span_us: int) -> int:
        """Go before the entries of :meth:`earlier`, and return how many they are."""
        count, more = 0, self._go_before_next(reader)
        since_us = (self._place[1] if self._place else self._from_us) - span_us
        while more and reader._get_realtime() >= since_us:
            count, more = count + 1, reader._previous()
        if not more:
            reader.seek_head()
        return count

    def _go_before_next(self, reader: _reader._Reader) -> bool:
        """Go to the last entry before the next one to be read; False when there is none."""
        if self._place:  # has been read
            reader.seek_cursor(self._place[0])
            return reader._previous()
        if self._held:
            cursor = self._reader._get_cursor()
            reader.seek_cursor(cursor)
            more = reader._previous()
            return reader._previous() if more and reader.test_cursor(cursor) else more
        reader.seek_realtime(self._from_us)
        more = reader._previous()
        while more and reader._get_realtime() >= self._from_us:
            more = reader._previous()
        return more

    def place(self) -> tuple[str, int] | None:
        """Return cursor and time of the last entry read."""
        return self._place

    def by_hand(self, since_us: int) -> Iterator[JournalRecord]:
        """Yield what was done by hand since ``since_us``."""
        reader = open_reader(self._where)
        try:
            _add_matches(reader, [self._hand_matches])
            reader.seek_realtime(max(0, since_us))
            record = JournalRecord(reader)
            while reader._next():
                record.load()
                yield record
        except OSError as error:
            raise TryAgainError(_unreadable(error)) from error
        finally:
            reader.close()

    def last_time_us(self) -> int | None:
        """Return the time of the newest entry that fulfils the matches."""
        reader = open_reader(self._where)
        try:
            _add_matches(reader, self._matches)
            reader.seek_tail()
            return reader._get_realtime() if reader._previous() else None
        finally:
            reader.close()

    def trouble(self) -> str | None:
        """Return what keeps the reader from reading; it is opened anew, less and less often."""
        return self._trouble

    def remarks(self) -> list[str]:
        """Return nothing: what journald knows it says itself."""
        return []

    def close(self) -> None:
        """Close the reader and its files."""
        self._reader.close()

    def _open(self) -> None:
        self._reader = open_reader(self._where)
        self._record = JournalRecord(self._reader)
        _add_matches(self._reader, self._matches)

    def _fail(self, error: Exception) -> None:
        """Note why reading failed, and when to try again: after 10 ms, doubling up to 5 s."""
        self._trouble = _unreadable(error)
        self._retry_s = min(5.0, 2 * self._retry_s or 0.01)
        self._retry_at_s = time.monotonic() + self._retry_s

    def _reopen(self) -> None:
        """Open the reader again at the last place; what was read behind it is read twice."""
        former = self._reader
        try:
            self._open()
            former.close()
            self._trouble = None
            if self._place is None:
                self.seek_time(self._from_us)
            else:
                self.seek_cursor(self._place[0], inclusive=False)
        except (OSError, RelayError) as error:
            self._fail(error)

    def _note_place(self) -> None:
        """Note the place once a batch, since a cursor costs as much as an entry."""
        self._retry_s = 0.0
        with suppress(OSError):  # its file has gone meanwhile: the earlier place stands
            self._place = self._record.cursor(), self._record.logged_at_us()


def _unreadable(error: Exception) -> str:
    return f"the journal cannot be read: {error} (see: journalctl --verify)"


def open_reader(where: Where) -> _reader._Reader:
    """Return a reader of ``where``, or raise the error that says why it cannot be read."""
    try:
        if where.files:
            reader = _reader._Reader(flags=0, files=[str(file) for file in where.files])
        elif where.directory:
            reader = _open_directory(where.directory)
        elif where.namespace:
            reader = _reader._Reader(flags=_reader.LOCAL_ONLY, namespace=where.namespace)
        else:
            reader = _reader._Reader(flags=_reader.LOCAL_ONLY)
        reader.fileno()  # from here on rotation is watched
    except (OSError, ValueError) as error:
        raise _unopened(where, error) from error
    if not where.files and not where.directory:
        _check_own(where, reader)
    return reader


def _open_directory(directory: Path) -> _reader._Reader:
    for file in directory.iterdir():  # libsystemd does not say why it cannot
        if file.suffix == ".journal" and not os.access(file, os.R_OK):
            raise PermissionRelayError(f"{file}: {_ADVICE}")
    return _reader._Reader(flags=0, path=str(directory))


def _add_matches(reader: _reader._Reader, groups: Sequence[Sequence[bytes]]) -> None:
    for group in groups:
        for match in group:
            reader.add_match(match)
        reader.add_disjunction()


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


def _check_own(where: Where, reader: _reader._Reader) -> None:
    """Raise when this machine's journal is not there, or there and not for us to read: libsystemd
    leaves out silently what it may not open."""
    try:
        machine = _MACHINE.read_text("ascii").strip()
    except OSError:
        machine = "*"
    suffix = f".{where.namespace}" if where.namespace else ""
    found = [d / f"{machine}{suffix}" / "system.journal" for d in _DIRECTORIES]
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
