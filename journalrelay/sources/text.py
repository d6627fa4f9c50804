"""What somebody puts into a file or a pipe: lines of text, or entries exported from a journal.

Formats: ``journalctl -o export`` (systemd.io/JOURNAL_EXPORT_FORMATS), ``journalctl -o json``, and
anything else as lines, whose syslog header is taken off, RFC 3164's or one with an ISO 8601 time.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

from journalrelay.entry import Entry
from journalrelay.errors import DataError, printable

_LONGEST = 1 << 26  # bytes of a field; journald takes no longer ones
_HEADER = re.compile(
    rb"(?:<[0-9]{1,3}>)?"
    rb"(?:[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.,]{8,18}"
    rb"(?:Z|[+-][0-9:]{4,6})?) "
    rb"[^ ]{1,255} (?P<name>[^ :\[\]]{1,64})(?:\[(?P<pid>[0-9]{1,10})\])?: "
)
_FIELD = re.compile(rb"[A-Z_][A-Z0-9_]{0,63}")


class TextLine(NamedTuple):
    """A line of text: its number, and without its header what it says, with whose name and pid."""

    number: int
    text: bytes
    name: bytes | None = None
    pid: bytes | None = None


def read_text(stream: BinaryIO, name: str) -> Iterator[Entry | TextLine]:
    """Yield what is in a stream, in the format of its first line. ``name`` is the stream's.

    Raises DataError when it does not go on as it began.
    """
    first = stream.readline()
    if first.startswith(b"{"):
        yield from _json_lines(first, stream, name)
    elif re.match(rb"__[A-Z_]+=", first):
        yield from _export(first, stream, name)
    else:
        yield from _lines(first, stream)


def _lines(first: bytes, stream: BinaryIO) -> Iterator[TextLine]:
    line, number = first, 1
    while line:
        text = line.removesuffix(b"\n")
        header = _HEADER.match(text)
        if header:
            yield TextLine(number, text[header.end() :], header["name"], header["pid"])
        elif text:
            yield TextLine(number, text)
        line, number = stream.readline(), number + 1


def _json_lines(first: bytes, stream: BinaryIO, name: str) -> Iterator[Entry]:
    line, number = first, 1
    while line:
        if line.strip():
            try:
                fields = json.loads(line)
                if not isinstance(fields, dict):
                    raise ValueError("no object")
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"{name}: line {number} is no entry of journalctl -o json: "
                    f"{printable(str(error))} (try it without cutting lines)"
                ) from None
            yield _entry({key: _value(value) for key, value in fields.items()})
        line, number = stream.readline(), number + 1


def _value(value: Any) -> bytes | None:
    """Return the bytes of a value: text, a list of byte values, or of several values the first."""
    if isinstance(value, list):
        if value and not all(type(one) is int and 0 <= one < 256 for one in value):
            return _value(value[0])
        return bytes(value)
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else None


def _export(first: bytes, stream: BinaryIO, name: str) -> Iterator[Entry]:
    line, fields = first, dict[str, bytes | None]()
    while line:
        line = line.removesuffix(b"\n")
        field, sign, value = line.partition(b"=")
        if line and not _FIELD.fullmatch(field):
            raise DataError(
                f"{name}: {printable(ascii(line[:40]))} is no field of journalctl -o export (was "
                "it cut or changed?)"
            )
        if line:
            fields.setdefault(field.decode(), value if sign else _long(stream, name))
        elif fields:
            yield _entry(fields)
            fields = {}
        line = stream.readline()
    if fields:
        yield _entry(fields)


def _long(stream: BinaryIO, name: str) -> bytes:
    """Return a value that is given with its length, 64 bits, little-endian."""
    length = int.from_bytes(stream.read(8), "little")
    value = stream.read(length + 1) if length < _LONGEST else b""
    if len(value) != length + 1 or not value.endswith(b"\n"):
        raise DataError(f"{name}: a field ends too early (was it cut or changed?)")
    return value[:-1]


def _entry(fields: Mapping[str, bytes | None]) -> Entry:
    known = {name: value for name, value in fields.items() if value is not None}
    time, place = known.get("__REALTIME_TIMESTAMP", b""), known.get("__CURSOR", b"")
    return Entry(
        known.get("MESSAGE", b""),
        known,
        int(time) if re.fullmatch(rb"[0-9]{1,18}", time) else 0,
        place.decode("utf-8", "backslashreplace"),
    )
