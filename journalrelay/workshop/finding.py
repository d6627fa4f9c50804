"""What the patterns find in a record, and why one that is nearly taken is not.

The daemon asks for logins only (journalrelay/recognition/logins.py). Here every pattern is asked,
of all daemons that are known, and the nearest one says why not.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from journalrelay.entry import Entry
from journalrelay.event import NOWHERE, Login, Process, Record
from journalrelay.grant import Address, parse_address
from journalrelay.patterns import Daemon, Told
from journalrelay.patterns.fit import Fit, fit
from journalrelay.patterns.identity import Fields, Like, example
from journalrelay.patterns.pattern import LONGEST, Line, read, sound
from journalrelay.recognition.correlate import Connections
from journalrelay.recognition.logins import Logins

NEAR = 5  # bytes that a pattern spells out and a line has, for it to be called near

_NO_CONNECT = "no connect line of its process before it (ten minutes at most)"
_BY_NAME = "its client is told by a host name alone (see daemons.resolve)"
_BY_UNIT = "its address is in the name of the socket's unit, which text does not tell"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found in one record. ``line`` is the pattern that takes it, or the nearest one.

    It is ``taken`` when it counts; else ``why`` says why not. ``length`` bytes of it fit.
    """

    taken: bool
    line: Line | None = None
    address: Address | None = None
    user: bytes = b""
    service: str = ""
    why: str = ""
    length: int = 0
    host: str = ""


class Finder:
    """Asks the patterns of all ``known`` daemons; only those of ``enabled`` count, and with
    ``by_name`` also those that tell a host name in the address's place."""

    def __init__(
        self, known: Iterable[Daemon], enabled: Iterable[Daemon], *, by_name: bool = False
    ) -> None:
        known = tuple(known)
        self._enabled = {daemon.name for daemon in enabled}
        self._lines = [line for daemon in known for line in daemon.lines]
        self._by_name = by_name
        self._logins = Logins(known, by_name=by_name)
        self._connections = Connections()
        self.look_back_us = self._logins.look_back_us

    def remember(self, record: Record) -> None:
        """Take notice of a record before the first one that is asked about."""
        self._logins.read(record)

    def find(self, record: Record) -> Finding:
        """Return what is found in a journal entry."""
        event = self._logins.read(record)
        login = event if isinstance(event, Login) else None
        for line in self._lines:
            told = read(record, line)
            if told is not None:
                return self._weighed(line, told, login, len(record.message))
        return nearest(record, [line for line in self._lines if _related(record, line)])

    def find_text(self, text: bytes, name: bytes | None, pid: bytes | None) -> Finding:
        """Return what is found in a line of text, were it logged by whom its pattern wants.

        ``name`` and ``pid`` are those of a syslog header, None without one.
        """
        lines = self._lines
        if name is not None:
            lines = [line for line in lines if _accepts(line, "SYSLOG_IDENTIFIER", name)]
        for line in lines:
            told = read(_as_wanted(text, name, line), line)
            if told is not None:
                speaker = Process(b"", name or b"", pid) if pid else None
                return self._joined(line, told, speaker, len(text))
        record = Entry(text, {} if name is None else {"SYSLOG_IDENTIFIER": name})
        return nearest(record, self._lines, judged=tuple(record.fields))

    def _weighed(self, line: Line, told: Told, login: Login | None, length: int) -> Finding:
        """Return what a line comes to that a pattern takes."""
        address, why = told.address, ""
        if told.tells == "login":
            address = login.address if login and login.address != NOWHERE else None
            why = f"may be forged: {login.doubt}" if login and login.doubt else ""
            why = why or ("" if login or told.host else _NO_CONNECT)
        return self._found(line, told, address, why, length)

    def _joined(self, line: Line, told: Told, speaker: Process | None, length: int) -> Finding:
        """Return what a text comes to: its connect line is the one of the same name and number."""
        address, why = told.address, ""
        if told.tells == "connect" and speaker:
            self._connections.note(speaker, told, 0)
        elif told.tells == "login" and address is None and not told.host:
            by = self._connections.take(speaker, 0) if speaker else None
            address, why = (by.address, "") if by else (None, _NO_CONNECT)
        elif address and "address" not in line.pattern.regex.groupindex:
            address, why = None, _BY_UNIT
        return self._found(line, told, address, why, length)

    def _found(
        self, line: Line, told: Told, address: Address | None, why: str, length: int
    ) -> Finding:
        name = line.daemon.name
        if not why and told.host and not self._by_name:
            why = _BY_NAME
        if not why and name not in self._enabled:
            why = f"the daemon {name} is not enabled (see daemons.enable)"
        return Finding(not why, line, address, told.user, told.service, why, length, told.host)


class _Near(NamedTuple):
    """How near a line is, in what it is compared by; the nearest is the greatest."""

    whole: bool
    sure: int
    length: int
    why: str


def nearest(record: Record, lines: Sequence[Line], judged: Sequence[str] | None = None) -> Finding:
    """Return the pattern that takes a record nearly, and why not; none when none is near.

    ``judged`` are the fields that there are to be judged, all when None.
    """
    best, found = None, _Near(False, NEAR - 1, 0, "")
    for line in lines:
        near = _near(record, line, judged)
        if near[:3] > found[:3] and (near.whole or near.sure >= NEAR):
            best, found = line, near
    if best is None:
        names = ", ".join(dict.fromkeys(line.daemon.name for line in lines))
        why = f"no pattern of {names} begins like it" if names else "no daemon that is known"
        return Finding(False, why=why if judged is None else "no pattern begins like it")
    return Finding(False, best, why=found.why, length=found.length)


def _near(record: Record, line: Line, judged: Sequence[str] | None) -> _Near:
    text, regex = record.message, line.pattern.regex
    near = fit(regex, text[: LONGEST + 1])
    if not sound(text):
        return _Near(False, near.sure, near.length, unsound(text))
    whole = regex.fullmatch(text)
    if whole is None:
        return _Near(False, near.sure, near.length, unfit(near))
    fields = [pair for pair in line.fields if judged is None or pair[0] in judged]
    why = misfit(record, tuple(fields)) or unread(line, whole.groupdict())
    return _Near(True, near.sure, len(text), why)


def unsound(text: bytes) -> str:
    """Return why a text cannot be believed to be one whole line."""
    if len(text) > LONGEST:
        return f"over {LONGEST} bytes ({len(text)}): it may have been cut"
    return "holds a NUL" if b"\0" in text else "holds a line break"


def unfit(near: Fit) -> str:
    """Return what a pattern wanted where a line ceased to fit."""
    return (
        f"then wants {near.wants}" if near.wants else "a look-ahead of the pattern, (?…), says no"
    )


def misfit(record: Record, fields: Fields) -> str:
    """Return which trusted field is not the daemon's, empty when all are."""
    for name, values in fields:
        value = record.field(name)
        if isinstance(values, Like):
            fits = value is not None and values.regex.fullmatch(value) is not None
            must = f"like {values.example!r}"
        else:
            fits = value in values
            must = " or ".join(sorted(repr(one.decode()) for one in values))
        if not fits:
            have = "missing" if value is None else repr(value.decode("utf-8", "backslashreplace"))
            return f"identity: {name} is {have}, must be {must}"
    return ""


def unread(line: Line, said: Mapping[str, bytes | None]) -> str:
    """Return why a line that a pattern fits says nothing: no address, or no service that counts."""
    address = said.get("address")
    if address is not None and parse_address(address) is None:
        return f"{repr(address)[1:]} is no address"
    service = said.get("service")
    what = "SYSLOG_IDENTIFIER" if service is None else repr(service)[1:]
    return f"{what} is none of the pattern's services"


def _related(record: Record, line: Line) -> bool:
    """Tell whether a record is of a daemon's unit, program or name, or reads like its line."""
    names = ("_SYSTEMD_UNIT", "_EXE", "SYSLOG_IDENTIFIER")
    if any(_accepts(line, name, record.field(name)) for name in names):
        return True
    return line.pattern.regex.fullmatch(record.message, 0, LONGEST + 1) is not None


def _accepts(line: Line, name: str, value: bytes | None) -> bool:
    values = dict(line.fields)[name]
    if isinstance(values, Like):
        return value is not None and values.regex.fullmatch(value) is not None
    return value in values


def _as_wanted(text: bytes, name: bytes | None, line: Line) -> Entry:
    """Return a text as if it were logged by whom its pattern wants."""
    wanted = example(line.daemon.identity_of(line.pattern))
    fields = {field: value.encode() for field, value in wanted.items()}
    return Entry(text, fields if name is None else {**fields, "SYSLOG_IDENTIFIER": name})
