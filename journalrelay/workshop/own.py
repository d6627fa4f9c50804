"""The operator's own daemons: ``[pattern.NAME]`` of the configuration, checked like ours.

The shape is that of the registry (patterns/pattern.py), with friendlier names. A regex must be
linear in the length of a line (patterns/linear.py), and the whole is tried before it is believed
(trial.py). All faults are told, each with its key and a way to mend it.
"""

import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from journalrelay.errors import nearest
from journalrelay.grant import parse_address
from journalrelay.patterns import REGISTRY, Daemon, Pattern
from journalrelay.patterns.identity import LOGIN_UID, SYSTEM_UID, Values, socket_unit
from journalrelay.patterns.linear import doubt
from journalrelay.patterns.pattern import SERVICES, Tells
from journalrelay.settings import Fault, Settings
from journalrelay.workshop.trial import faults

GROUPS = ("user", "address", "server", "service", "session")
TRANSPORTS = ("syslog", "journal", "stdout")
TELLS: tuple[Tells, ...] = ("login", "connect", "logout")
RESERVED = ("auto", "all", "enable")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_NAMED = re.compile(r"\(\?P<\w+>")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,200}\.service")


def _texts(value: Any) -> tuple[str, ...]:
    """Return a text or a list of texts as a tuple."""
    texts = tuple(value) if isinstance(value, list) else (value,)
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise ValueError(f"{value!r} is not a text or a list of texts")
    return texts


def _unit(value: Any) -> Values:
    units = _texts(value)
    for unit in units:
        if not _UNIT.fullmatch(unit) or unit.startswith("user@"):
            raise ValueError(f"{unit!r} is not a service of the system (try 'NAME.service')")
    sockets = [unit for unit in units if unit.endswith("@.service")]
    if not sockets:
        return units
    if len(units) > 1:
        raise ValueError(f"{sockets[0]!r}: a socket's units stand alone (write two lines)")
    return socket_unit(units[0].removesuffix("@.service"))


def _files(value: Any) -> tuple[str, ...]:
    files = _texts(value)
    for file in files:
        if not file.startswith("/") or not file.isprintable():
            raise ValueError(f"{file!r} is not an absolute path (try '/usr/sbin/NAME')")
    return files


def _uid(value: Any) -> Values:
    if value in ("login", "system"):
        return LOGIN_UID if value == "login" else SYSTEM_UID
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(type(one) is int and 0 <= one < 2**32 - 1 for one in numbers):
        raise ValueError(
            f"{value!r} is not a number or a list of numbers (id -u NAME tells it; or 'system', an "
            "account of 1 to 999; or 'login', any but root, for a line that is logged as the user)"
        )
    return tuple(map(str, numbers))


def _transport(value: Any) -> tuple[str, ...]:
    transports = _texts(value)
    for transport in transports:
        if transport not in TRANSPORTS:
            raise ValueError(f"{transport!r} is not one of {', '.join(map(repr, TRANSPORTS))}")
    return transports


def _identifier(value: Any) -> tuple[str, ...]:
    names = _texts(value)
    for name in names:
        if not name.isprintable() or not name.isascii():
            raise ValueError(f"{name!r} is no name that is logged")
    return names


# The trusted fields by the names that an operator gives them.
IDENTITY: Mapping[str, tuple[str, Callable[[Any], Values]]] = {
    "unit": ("_SYSTEMD_UNIT", _unit),
    "exe": ("_EXE", _files),
    "uid": ("_UID", _uid),
    "transport": ("_TRANSPORT", _transport),
    "identifier": ("SYSLOG_IDENTIFIER", _identifier),
}


KEYS = (*IDENTITY, "programs", "traps", "forgeable", "line")
LINE_KEYS = ("tells", "regex", "service", "samples", *IDENTITY)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    return value


def _forgeable(value: Any) -> str:
    text = _text(value).rstrip(".")
    if not text.isprintable():
        raise ValueError(f"{value!r} is not one line")
    return text


def _tells(value: Any) -> Tells:
    for tells in TELLS:
        if value == tells:
            return tells
    raise ValueError(f"{value!r} is not one of {', '.join(map(repr, TELLS))}")


def _service(value: Any) -> str | Mapping[str, str]:
    words = value.values() if isinstance(value, dict) else [value]
    for word in words:
        if word not in SERVICES:
            raise ValueError(f"{word!r} is not one of {', '.join(map(repr, SERVICES))}")
    if not words:
        raise ValueError("it is empty (try {pop3 = 'pop3', imap = 'imap'})")
    return dict(value) if isinstance(value, dict) else str(value)


def _samples(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict) or not value:
        raise ValueError(
            "there is none (give real lines, each with its address: 'LINE' = '192.0.2.10')"
        )
    for line, address in value.items():
        if not isinstance(address, str) or (address and parse_address(address.encode()) is None):
            raise ValueError(
                f'{line!r}: {address!r} is no address (write "" if another line has it)'
            )
    return dict(value)


def _traps(value: Any) -> tuple[str, ...]:
    if value == []:
        raise ValueError("there is none (give lines that are no login, a failed one first)")
    return _texts(value)


def _regex(value: Any) -> re.Pattern[bytes]:
    """Return the regex of a pattern, compiled; ValueError when it is not for whole lines, or not
    linear in their length."""
    text = _text(value)
    if not text.isascii():
        raise ValueError("it has letters that are not ASCII (write their bytes, as \\xc3\\xa4)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            regex = re.compile(text.encode())
    except (re.error, Warning, OverflowError, RecursionError) as error:
        raise ValueError(f"it is no regular expression of Python: {error}") from None
    for name in set(regex.groupindex).difference(GROUPS):
        raise ValueError(
            f"the group {name!r} is none of {', '.join(GROUPS)}{nearest(name, GROUPS)}"
        )
    if len(_NAMED.findall(text)) != len(regex.groupindex):  # names are taken out by their text
        raise ValueError("it has '(?P<' as plain characters (write '\\x28?P<')")
    found = doubt(regex)
    if found is None:
        return regex
    if found.text is None:
        raise ValueError(found.reason)
    raise ValueError(
        f"it is not linear: {repr(found.text)[1:]} can lead to one point of it in two ways, since "
        f"{found.reason} (put a text between them that neither can take, or make one's set of "
        "characters narrower)"
    )


def read_daemon(name: str, value: Any, fault: Fault) -> Daemon | None:
    """Return the daemon that ``[pattern.NAME]`` describes, None when something is wrong with it."""
    where = f"pattern.{name}"
    if name in RESERVED or not _NAME.fullmatch(name):
        fault(where, f"{name!r} is no name (a letter, then letters, digits, '-', '_', all small)")
        return None
    if name in {daemon.name for daemon in REGISTRY}:
        fault(where, f"{name} is known already (take another name, as 'my-{name}')")
        return None
    if not isinstance(value, dict):
        fault(where, f"{value!r} is not a table (write [{where}])")
        return None
    table = Settings(where, value, fault)
    identity = {
        field: table.take(key, read, mend=f"journalctl -o verbose shows it as {field}")
        for key, (field, read) in IDENTITY.items()
    }
    traps = table.take("traps", _traps, mend="lines that are no login, a failed one first")
    programs = table.take("programs", _files, usual=identity["_EXE"])
    forgeable = table.take("forgeable", _forgeable, usual="")
    tables = table.take("line", _tables, mend=f"write [[{where}.line]]")
    table.close(KEYS)
    lines = [
        _Line(f"{where}.line[{number}]", line, fault) for number, line in enumerate(tables or [], 1)
    ]
    if table.wrong or any(line.wrong for line in lines):
        return None
    patterns = tuple(line.pattern for line in lines)
    daemon = Daemon(name, identity, patterns, traps, programs or (), forgeable)
    for key, text in faults(daemon):
        table.fault(key, text)
    return None if table.wrong else daemon


def _tables(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        raise ValueError(f"{value!r} is not a list of tables (write [[….line]])")
    return value


class _Line(Settings):
    """A ``[[pattern.NAME.line]]``, as the pattern that it is when nothing is wrong."""

    def __init__(self, where: str, table: Mapping[str, Any], fault: Fault) -> None:
        super().__init__(where, table, fault)
        tells = self.take("tells", _tells, usual="login")
        regex = self.take("regex", _regex, mend="what the whole line is like")
        service = self.take("service", _service, usual="")
        samples = self.take("samples", _samples, mend="real lines, each with its address")
        identity = {
            field: self.take(key, read, usual=None) for key, (field, read) in IDENTITY.items()
        }
        if tells == "login" and regex is not None:
            self._check_service(regex, service)
        self.close(LINE_KEYS)
        if self.wrong:
            return
        self.pattern = Pattern(
            regex.pattern,
            samples,
            tells,
            service,
            {name: v for name, v in identity.items() if v is not None},
        )

    def _check_service(self, regex: re.Pattern[bytes], service: Any) -> None:
        """A line's own word for its service counts only as what it is said to mean."""
        if service == "":
            self.fault("service", 'it is missing (write service = "pop3" or "imap")')
        elif isinstance(service, str) and "service" in regex.groupindex:
            self.fault(
                "service", 'the regex has a group for it: what do its words mean? ({WORD = "pop3"})'
            )
