"""``report``: one page of HTML on what the journal says of a stretch of time."""

import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from journalrelay import __version__, clock
from journalrelay.commands.progress import Progress
from journalrelay.errors import (
    NoInputError,
    PermissionRelayError,
    UnavailableError,
    UsageError,
    translate,
)
from journalrelay.event import Login, Record
from journalrelay.history import History
from journalrelay.options import Options, Parser, a_file, a_time, add_map, add_source
from journalrelay.owner import as_owner, open_plain
from journalrelay.recognition.strangers import Strangers
from journalrelay.relay import Parts, Relay
from journalrelay.reporting.gaps import Speaker
from journalrelay.reporting.page import About, page
from journalrelay.reporting.span import Span
from journalrelay.reporting.tally import TOLD, Tally
from journalrelay.rules.policy import Verdict
from journalrelay.site import Site
from journalrelay.sources.journal import JournalSource
from journalrelay.sources.openjournal import JournalRecord, add_matches, open_reader

HELP = "make a page with plots of what the journal says"
EXAMPLE = "report --since -7d > report.html"
_WEEK_US = 7 * 86_400_000_000
_DAEMON = "poprelayd.service"
_EXITED = "98e322203f7a4ed290d09fe03c09fe15"  # sd-messages.h, SD_MESSAGE_UNIT_PROCESS_EXIT
_FIELDS = ("MESSAGE", "RELAY_EVENT", "RELAY_COUNT")


def options(parser: Parser) -> None:
    """Add its options."""
    parser.add_argument("--since", metavar="T", type=a_time, help="begin at a time (default '-7d')")
    parser.add_argument("--until", metavar="T", type=a_time, help="end at a time (default 'now')")
    parser.add_argument(
        "--output", metavar="FILE", type=a_file, help="write FILE, not standard output"
    )
    for add in (add_source, add_map):
        add(parser)


def act(site: Site, options: Options) -> int:
    """Write the page."""
    if options.output is None and sys.stdout.isatty():
        raise UsageError("report: standard output is a terminal (try --output report.html)")
    if options.output is not None:
        _check(options.output)
    parts = site.parts()
    with closing(parts.source):
        tally, begins_us = _begun(site, parts, options)
        remarks = _walk(parts, tally)
    remarks += _read_told(site, tally)
    about = About(
        host=socket.gethostname(),
        version=__version__,
        source=parts.why,
        zone=time.strftime("%Z"),
        made_us=clock.now_us(),
        vouched=parts.source.vouched,
        shown=site.config.shown,
        begins_us=begins_us,
        remarks=tuple(remarks),
    )
    text = page(tally, about)
    if options.output is None:
        sys.stdout.write(text)
    else:
        _write(options.output, text)
    return os.EX_OK


def _begun(site: Site, parts: Parts, options: Options) -> tuple[Tally, int | None]:
    """Return an empty tally of the time asked about, and when the journal begins if that is
    later than what was asked for."""
    whole = bool(site.files or options.directory)
    first_us, until_us = parts.source.first_time_us(), options.until
    if until_us is None:
        until_us = _end_us(site) if whole else clock.now_us()
    since_us = options.since
    if since_us is None:
        since_us = first_us if whole and first_us is not None else until_us - _WEEK_US
    if since_us >= until_us:
        raise UsageError("report: --since is not before --until, or behind the last entry")
    asked = Span(since_us, until_us)
    if first_us is None or not asked.holds(first_us - asked.width_us):
        return Tally(asked), None
    return Tally(Span(first_us, until_us)), first_us


def _end_us(site: Site) -> int:
    """Return the time behind the last entry of the journal files that are read."""
    with closing(open_reader(site.where())) as reader:
        reader.seek_tail()
        return reader._get_realtime() + 1 if reader._previous() else clock.now_us()


def _walk(parts: Parts, tally: Tally) -> list[str]:
    """Count every login of the time, by the daemon's own road, and what strangers have logged
    that reads as one; return what should be known of the source."""
    strangers = Strangers(parts.daemons)
    source = parts.source
    if isinstance(source, JournalSource):
        source.widen(strangers.matches)

    def others(record: Record) -> None:
        stranger = strangers.read(record)
        if stranger:
            tally.stranger(stranger.daemon, stranger.who, record.logged_at_us())

    def witness(_record: Record, login: Login, verdict: Verdict) -> None:
        tally.login(login, verdict)

    relay = Relay(parts, witness, lost=tally.lost, others=others, apart=True)
    relay.recall(clock.now_us())
    source.seek_time(tally.span.from_us)
    progress = Progress(sys.stderr, source) if sys.stderr.isatty() else None
    records, last = 0, -1
    while last or relay.linger():
        if not isinstance(source, JournalSource):  # whose second look would be counted twice
            source.refresh()
        last = relay.weigh(clock.now_us()).records
        records += last
        if progress:
            progress.show(records)
        place = source.place()
        if place and place[1] >= tally.span.until_us:
            break
    if progress:
        progress.clear()
    trouble = source.trouble()
    return [*source.remarks(), *([trouble] if trouble else [])]


def _read_told(site: Site, tally: Tally) -> list[str]:
    """Count what the daemon has told of itself; return why that cannot be read, if so."""
    try:
        history = History(site.where(), site.map_path)
    except (NoInputError, PermissionRelayError, UnavailableError) as error:
        return [f"what the daemon told of itself is not in here: {error}"]
    exits = _exits(site, tally.span)
    next_exit_us = next(exits, None)
    with closing(history):
        for told in history.since(tally.span.from_us, TOLD):
            time_us = told.record.logged_at_us()
            if time_us >= tally.span.until_us:
                break
            while next_exit_us is not None and next_exit_us <= time_us:
                tally.gaps.stopped(next_exit_us)
                next_exit_us = next(exits, None)
            said = {name: told.text(name) or "" for name in _FIELDS}
            boot, pid = told.text("_BOOT_ID") or "", told.text("_PID") or ""
            tally.told(told.kind, time_us, Speaker(boot, pid), said)
    while next_exit_us is not None:
        tally.gaps.stopped(next_exit_us)
        next_exit_us = next(exits, None)
    return []


def _exits(site: Site, span: Span) -> Iterator[int]:
    """Yield when systemd saw the daemon end that did not end well (µs since the epoch)."""
    fields = {"MESSAGE_ID": _EXITED, "_PID": "1", "UNIT": _DAEMON}
    reader = open_reader(site.where())
    try:
        add_matches(reader, [[f"{name}={value}".encode() for name, value in fields.items()]])
        reader.seek_realtime(span.from_us)
        record = JournalRecord(reader, site.where().machine)
        while reader._next() and span.holds(record.logged_at_us()):
            yield record.logged_at_us()
    finally:
        reader.close()


def _check(path: Path) -> None:
    """Raise UsageError for what must not be replaced by a file: a device, a directory, a link."""
    with suppress(OSError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise UsageError(f"--output: {path} is no regular file (name another one)")


def _write(path: Path, text: str) -> None:
    """Put the page at ``path``, whole or not at all: until then the former one is there."""
    beside = path.with_name(f".{path.name}.new")
    try:
        with as_owner(path.parent):
            fd = open_plain(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            with open(fd, "w", encoding="utf-8") as file:
                file.write(text)
            beside.replace(path)
    except OSError as error:
        raise translate(error, str(path), "name a file that can be written") from error
