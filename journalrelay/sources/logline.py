"""Lines of a log file: what stands around a message, and who claims to have logged it. Pure.

The forms, each seen in a real log:

    2026-11-22T21:22:25.628874+00:00 mail dovecot: MESSAGE       rsyslog 8.2302 and later
    Nov 22 21:34:54 mail dovecot[1754]: MESSAGE                  RFC 3164, 4.1.2
    Nov 22 21:34:54 mail pop3d[17]: [ID 8 mail.info] MESSAGE     Solaris
    @400000006741f0e52a1b3c4d dovecot[17]: MESSAGE               multilog, socklog
    Nov 22 21:34:54 pop3-login: Info: MESSAGE                    Dovecot's own file, 2.0 and later
    dovecot: Nov 22 21:34:54 Info: pop3-login: MESSAGE           and before

Nothing in a line can be trusted: whoever can log at all can write all of it.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from journalrelay.sources import logtime
from journalrelay.sources.logtime import Moment

LONGEST_LINE = 1 << 16
HEAD = 64  # bytes; no form's time ends behind them

_DATE = b"(?:%s|%s)" % (logtime.YEARLESS, logtime.ISO)
OWN = "dovecot"
# rsyslog's $EscapeControlCharactersOnReceive (#ooo), for control characters only
_ESCAPE = re.compile(rb"#(0[0-3][0-7]|177)")
_REPEATED = re.compile(rb"message repeated [0-9]{1,9} times: \[ ?(.*)\]", re.DOTALL)
_SYSLOG = re.compile(
    rb"(?:(?P<at>%s) (?P<host>[^ ]{0,254}[^ :]) |"
    rb"(?P<tai>%s) (?:[a-z0-9]{1,16}\.[a-z]{1,16}: )?(?:%s )?)"
    rb"(?P<identifier>[^ \[\]:]{1,128})(?:\[(?P<pid>[0-9]{1,10})\])?: "
    rb"(?:\[ID [0-9]{1,10} [a-z0-9]{1,16}\.[a-z]{1,16}\] )?(?P<message>.*)"
    % (_DATE, logtime.TAI64N, logtime.YEARLESS),
    re.DOTALL,
)
_DOVECOT = re.compile(
    rb"(?P<at>%s) (?P<process>[a-z0-9-]{1,32}): Info: (?P<message>.*)" % _DATE, re.DOTALL
)
_DOVECOT_1 = re.compile(rb"dovecot: (?P<at>%s) Info: (?P<message>.*)" % _DATE, re.DOTALL)


class LogRecord:
    """A line that one of the servers read may have written; see :class:`journalrelay.event.Record`.

    It has no trusted field. ``SYSLOG_IDENTIFIER``, ``SYSLOG_PID`` and ``HOSTNAME`` are what the
    line claims, the last two only where it does.
    """

    __slots__ = ("_cursor", "_fields", "_time", "message")

    def __init__(
        self,
        message: bytes,
        fields: dict[str, bytes],
        time: Callable[[], int],
        cursor: Callable[[], str],
    ) -> None:
        self.message = message
        self._fields = fields
        self._time = time
        self._cursor = cursor

    def field(self, name: str) -> bytes | None:
        """Return what the line claims, None for all that only a journal knows."""
        return self._fields.get(name)

    def logged_at_us(self) -> int:
        """Return the time that the line tells."""
        return self._time()

    def clock_ahead_us(self) -> int:
        """Return 0: a file does not tell by which clock it was written."""
        return 0

    def cursor(self) -> str:
        """Return the place of the line."""
        return self._cursor()


class Line:
    """What a line tells, taken apart."""

    __slots__ = ("_at", "fields", "message")

    def __init__(self, at: bytes, message: bytes, fields: dict[str, bytes]) -> None:
        self._at = at
        self.message = message
        self.fields = fields

    @property
    def moment(self) -> Moment | None:
        """Return the time it tells, None when there is no such day."""
        return logtime.parse(self._at)


def take_apart(text: bytes) -> Line | None:
    """Return what a line without its newline tells, None when it has none of the forms."""
    found = _SYSLOG.fullmatch(text)
    if found:
        at = found["at"] or found["tai"]
        fields = {"SYSLOG_IDENTIFIER": found["identifier"]}
        if found["pid"]:
            fields["SYSLOG_PID"] = found["pid"]
        if found["host"]:
            fields["HOSTNAME"] = found["host"]
        message = found["message"]
    else:
        found = _DOVECOT.fullmatch(text) or _DOVECOT_1.fullmatch(text)
        if found is None:
            return None
        at = found["at"]
        fields = {"SYSLOG_IDENTIFIER": OWN.encode()}
        message = found["message"]
        if "process" in found.re.groupindex:
            message = found["process"] + b": " + message
    return Line(at, _plain(message), fields)


def _plain(message: bytes) -> bytes:
    """Return the message as it was logged: what syslogd escaped, and what it wrapped when the
    same was logged several times, which counts once."""
    if message.startswith(b"message repeated "):
        found = _REPEATED.fullmatch(message)
        message = found[1] if found else message
    if b"#" in message:
        message = _ESCAPE.sub(lambda escape: bytes([int(escape[1], 8)]), message)
    return message


def moment_of(text: bytes) -> Moment | None:
    """Return the time at the beginning of any line, None when there is none."""
    found = _BEGINNING.match(text)
    return logtime.parse(found[1]) if found else None


_BEGINNING = re.compile(
    rb"(?:dovecot: )?(%s|%s|%s)(?= )" % (logtime.ISO, logtime.YEARLESS, logtime.TAI64N)
)


class Hosts:
    """The hosts whose lines count."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {name.lower().encode() for name in names}
        self.have = lru_cache(maxsize=256)(self._have)

    def _have(self, host: bytes | None) -> bool:
        """Tell whether a line of ``host`` counts. A line that names none is this file's own; a
        short name is that of the host with the same first label."""
        if host is None:
            return True
        host = host.lower()
        return any(
            host == name
            or (b"." not in host or b"." not in name)
            and host.partition(b".")[0] == name.partition(b".")[0]
            for name in self._names
        )
