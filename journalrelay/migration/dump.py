"""Maps as text: what db_dump(1), ``makemap -u`` and ``poprelayd -p`` print.

Formats: db_dump185 of Berkeley DB 1.85, and db_dump of 2 to 5.3, with and without ``-p``;
makemap(8) of sendmail prints a key, a tab and a value, the ancestor's ``-p`` an address, blanks
and seconds.
"""

import re
from collections.abc import Iterator

_LINE = re.compile(r"(\S+)(?:[ \t]+(\S.*?))?[ \t]*")
_ADDRESS = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}|(?:(?i:POP|IPv6):)?[0-9A-Fa-f.:]*[:.][\w.:]*")
_ESCAPE = re.compile(r"\\(?:(\\)|([0-9a-fA-F]{2}))")


def is_one(text: str) -> bool:
    """Tell whether ``text`` is a dump, by its first line that says something."""
    first = next(_lines(text), (0, ""))[1]
    return first.startswith(("VERSION=", "format=")) or _is_pair(first)


def pairs(text: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values; ValueError, with the line, when it is damaged."""
    first = next(_lines(text), (0, ""))[1]
    return _dumped(text) if first.startswith(("VERSION=", "format=")) else _listed(text)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.rstrip("\r")


def _is_pair(line: str) -> bool:
    found = _LINE.fullmatch(line.strip())
    return bool(found and _ADDRESS.fullmatch(found[1]))


def _listed(text: str) -> Iterator[tuple[bytes, bytes]]:
    for number, line in _lines(text):
        found = _LINE.fullmatch(line.strip())
        if not found or not _ADDRESS.fullmatch(found[1]):
            raise ValueError(f"line {number}: {line[:60]!r} is no address with a time")
        yield found[1].encode(), (found[2] or "").encode("utf-8", "replace")


def _dumped(text: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield what stands below ``HEADER=END``, a line each: up to ``DATA=END`` and behind a blank,
    but not in what db_dump185 wrote, which names no version."""
    head, _, body = text.partition("HEADER=END\n")
    lines = body.splitlines()
    marked, printed = head.startswith("VERSION="), "format=print" in head.splitlines()
    first = head.count("\n") + 2
    if marked and (not lines or lines.pop() != "DATA=END"):
        raise ValueError("it is cut short: it does not end with DATA=END")
    if len(lines) % 2:
        raise ValueError("it is cut short: the last key has no value")
    items = [_item(line, marked, printed, first + n) for n, line in enumerate(lines)]
    yield from zip(items[::2], items[1::2], strict=True)


def _item(line: str, marked: bool, printed: bool, number: int) -> bytes:
    text = line[marked:]
    try:
        if marked and not line.startswith(" "):
            raise ValueError
        if not printed:
            return bytes.fromhex(text)
        return _ESCAPE.sub(lambda m: m[1] or chr(int(m[2], 16)), text).encode("latin-1")
    except ValueError:
        raise ValueError(f"line {number}: {line[:60]!r} is no line of db_dump(1)") from None
