"""``match``: which pattern takes each line or entry, what it read, and why another one does not."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from journalrelay import clock
from journalrelay.commands import NO
from journalrelay.errors import TryAgainError, UsageError, printable, translate
from journalrelay.event import Record
from journalrelay.options import Options, Parser, add_json, add_since, add_source
from journalrelay.relay import BATCH
from journalrelay.site import Site
from journalrelay.sources.journal import JournalSource
from journalrelay.sources.text import TextLine, read_text
from journalrelay.workshop.finding import Finder, Finding
from journalrelay.workshop.likeness import Kind, Kinds
from journalrelay.workshop.own import IDENTITY

HELP = "say which pattern takes each line, and why not"
EXAMPLE = "match /var/log/mail.log"
LAST_US = 3_600_000_000  # what is read of a journal that grows
_SHOWN = 30  # kinds of lines that are not taken
_LONG = 300  # bytes of a line that are shown
_UNJUDGED = (
    "text alone: who logged it is not judged (journalctl -o json or -o export has all the fields)"
)


def options(parser: Parser) -> None:
    """Add its options."""
    parser.add_argument(
        "input", metavar="FILE", nargs="?", help="lines or entries; '-' is the input"
    )
    add_since(parser)
    add_json(parser, "each line as one JSON object")
    add_source(parser)


@dataclass(frozen=True, slots=True)
class Seen:
    """One line or entry, and what was found in it; ``by`` says who logged what nobody knows."""

    text: bytes
    cursor: str | None
    number: int | None
    name: bytes
    found: Finding
    by: str = ""


def act(site: Site, options: Options) -> int:
    """Print what the patterns find: 0 when one takes something, 1 when none does."""
    files = _files(options)
    finder = Finder(
        site.config.known, site.config.daemons, by_name=site.config.resolve_us is not None
    )
    seen: Iterator[Seen]
    if files:
        seen = chain.from_iterable(_in_file(file, finder) for file in files)
    else:
        seen = _in_journal(site, options.since, finder)
    account = _Account()
    for one in seen:
        account.note(one)
        if options.json:
            print(_as_json(one))
        elif one.found.taken:
            print(_taken(one))
    if not options.json:
        for line in account.summary():
            print(line)
    return os.EX_OK if account.taken else NO


def _files(options: Options) -> list[str]:
    """Return the files asked about (``-`` is standard input); none: the journal."""
    others = (
        options.since,
        options.directory,
        options.file,
        options.logfile,
        options.namespace,
    )
    if options.input is None:
        return [str(file) for file in options.logfile or ()]
    if any(other is not None for other in others):
        raise UsageError("match: a FILE, or the journal with --since and the like, not both")
    return [options.input]


# Where lines come from


def _in_file(file: str, finder: Finder) -> Iterator[Seen]:
    if Path(file).is_dir():
        raise UsageError(f"{printable(file)}: is a directory (journal files? try --directory)")
    try:
        if file == "-":
            yield from _in_stream(sys.stdin.buffer, "standard input", finder)
            return
        with Path(file).open("rb") as stream:
            yield from _in_stream(stream, file, finder)
    except OSError as error:
        raise translate(error, printable(file), "name a file that can be read") from error


def _in_stream(stream: BinaryIO, name: str, finder: Finder) -> Iterator[Seen]:
    for record in read_text(stream, printable(name)):
        if isinstance(record, TextLine):
            found = finder.find_text(record.text, record.name, record.pid)
            yield Seen(record.text, None, record.number, record.name or b"", found)
        else:
            yield _seen(record, finder)


def _in_journal(site: Site, since_us: int | None, finder: Finder) -> Iterator[Seen]:
    """Yield all entries, since who logs what is what is asked; the pipeline asks for less."""
    source = JournalSource(site.where(), [], [])
    try:
        if since_us is None:
            since_us = 0 if site.files or site.config.directory else clock.now_us() - LAST_US
        source.seek_time(since_us)
        for record in source.earlier(finder.look_back_us):
            finder.remember(record)
        more = True
        while more:
            source.refresh()
            count = 0
            for count, record in enumerate(source.read(BATCH), 1):  # noqa: B007
                yield _seen(record, finder)
            more = count == BATCH
        if source.trouble():
            raise TryAgainError(source.trouble())
    finally:
        source.close()


def _seen(record: Record, finder: Finder) -> Seen:
    name = record.field("SYSLOG_IDENTIFIER") or record.field("_COMM") or b""
    found = finder.find(record)
    by = "" if found.line else _logged_by(record)
    return Seen(record.message, record.cursor() or None, None, name, found, by)


def _logged_by(record: Record) -> str:
    """Return who logged a record, as a pattern of the operator's would say it."""
    told = []
    for key, (field, _) in IDENTITY.items():
        value = record.field(field)
        if value is not None:
            text = _text(value)
            told.append(f"{key} = {text if key == 'uid' else json.dumps(text)}")
    return ", ".join(told)


# What is printed of them


def _taken(seen: Seen) -> str:
    found = seen.found
    return f"{_what(found):24} {printable(_read(found)) or '-'}"


def _what(found: Finding) -> str:
    if found.line is None:
        return ""
    return f"{found.line.daemon.name} {found.line.pattern.tells}"


def _read(found: Finding) -> str:
    """Return what a pattern read: address or host name, service, user."""
    user = repr(_text(found.user)) if found.user else ""
    return " ".join(filter(None, (str(found.address or found.host), found.service, user)))


class _Account:
    """Counts what was taken, by pattern, and sorts what was not into kinds."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self._others = 0
        self._kinds: Kinds[Seen] = Kinds()
        self._text = False

    def note(self, seen: Seen) -> None:
        """Count a line."""
        found = seen.found
        self._text = self._text or seen.number is not None
        if found.taken:
            self.taken[_what(found)] += 1
            return
        self._others += 1
        key = seen.name, seen.by, _what(found), found.why if found.line is None else ""
        if self._kinds.find(key, seen.text) is None:
            self._kinds.add(key, seen.text, seen)

    def summary(self) -> Iterator[str]:
        """Yield the lines at the end: what was not taken and why, and the counts."""
        near = [kind for kind in self._kinds.all() if kind.first.found.line]
        others = [kind for kind in self._kinds.all() if not kind.first.found.line]
        others.sort(key=lambda kind: kind.first.by)
        kinds = [*near, *others]
        heading = ""
        for kind in kinds[:_SHOWN]:
            if kind.first.found.line:
                yield from _nearly(kind)
                continue
            if heading != (heading := _heading(kind.first)):
                yield heading
            yield f"  {kind.count} like  {_shown(kind.shape)}"
        rest = sum(kind.count for kind in kinds[_SHOWN:]) + self._kinds.others
        if rest:
            yield f"not taken, {rest} more of other kinds"
        if self._text:
            yield _UNJUDGED
        taken = ", ".join(f"{what}: {count}" for what, count in sorted(self.taken.items()))
        yield (f"{self.taken.total()} taken{f' ({taken})' if taken else ''}, {self._others} not")


def _nearly(kind: Kind[Seen]) -> Iterator[str]:
    """Yield what is said of lines near a pattern: their shape, and of the first one why not."""
    seen = kind.first
    found, name = seen.found, printable(_text(seen.name))
    of = f" of {name}" if name else ""
    yield f"not taken, {kind.count}{of}: {_shown(kind.shape)}"
    read = f" ({printable(_read(found))})" if found.address or found.user else ""
    yield f"  nearest is {_what(found)}{read}: {printable(found.why)}"
    if found.length < len(seen.text):
        fits, rest = seen.text[: found.length], seen.text[found.length :]
        yield f"  it fits as far as  {_shown(fits)}"
        yield f"  and the rest is    {_shown(rest)}"


def _heading(seen: Seen) -> str:
    by = f", logged by {printable(seen.by)}" if seen.by else ""
    return f"{printable(seen.found.why)}{by}:"


def _shown(text: bytes) -> str:
    """Return a text of unknown origin for a terminal, cut where it is very long."""
    return printable(_text(text[:_LONG])) + ("…" if len(text) > _LONG else "")


def _text(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")


def _as_json(seen: Seen) -> str:
    found = seen.found
    told: dict[str, Any] = {
        "cursor": seen.cursor,
        "line": seen.number,
        "message": _text(seen.text),
        "taken": found.taken,
        "daemon": found.line.daemon.name if found.line else None,
        "tells": found.line.pattern.tells if found.line else None,
        "address": str(found.address) if found.address else None,
        "user": _text(found.user),
        "service": found.service,
        "reason": found.why,
        "fits": _text(seen.text[: found.length]),
        "rest": _text(seen.text[found.length :]),
    }
    return json.dumps(told)
