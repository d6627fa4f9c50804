"""``replay``: walk the source from some place and apply it; the journal is the ledger."""

import json
import os
import sys
from dataclasses import dataclass

from journalrelay import clock
from journalrelay.commands.progress import Progress
from journalrelay.errors import UsageError, printable
from journalrelay.event import NOWHERE, Login, Record
from journalrelay.grant import parse_key, spell
from journalrelay.map.locks import no_daemon
from journalrelay.options import (
    Options,
    Parser,
    add_dry_run,
    add_json,
    add_map,
    add_since,
    add_source,
    add_state,
)
from journalrelay.relay import Parts, Relay
from journalrelay.rules.policy import Verdict
from journalrelay.site import Site
from journalrelay.sources.source import Source

HELP = "read past logins again, and grant what still counts"
EXAMPLE = "replay --since -1h --dry-run"


def options(parser: Parser) -> None:
    """Add its options."""
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--cursor", metavar="C", help="begin with the entry of this cursor")
    add_since(start)
    start.add_argument("--all", action="store_true", help="begin with the oldest entry")
    add_dry_run(parser)
    add_json(parser, "each login as one JSON object")
    for add in (add_source, add_map, add_state):
        add(parser)


@dataclass(frozen=True)
class Request:
    """What to walk and what to do with it; neither cursor nor time means the saved place."""

    cursor: str | None = None
    since_us: int | None = None
    dry_run: bool = False
    as_json: bool = False

    @property
    def from_saved(self) -> bool:
        """Tell whether the walk goes on from the saved place."""
        return self.cursor is None and self.since_us is None


class Seen:
    """The logins that were told since the last place of their source up to which nothing was
    missed. What lies behind it may be read again, by a second look; no more need be remembered."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._behind: dict[str, tuple[tuple[str, int] | None, set[str | Login]]] = {}

    def before(self, told: str | Login, remote: str) -> bool:
        """Tell whether a login, here or at a ``remote`` host, was told before, and note it."""
        hosts = self._parts.hosts
        place = hosts.place(remote) if hosts and remote else self._parts.source.place()
        behind = self._behind.get(remote)
        if behind is None or (place and place != behind[0]):
            behind = self._behind[remote] = place, set()
        if told in behind[1]:
            return True
        behind[1].add(told)
        return False


def act(site: Site, options: Options) -> int:
    """Walk the source to its end; print each login as JSON, or one line of what came of it."""
    since_us = 0 if options.all else options.since
    request = Request(options.cursor, since_us, options.dry_run, options.json)
    parts = site.parts()
    verdicts: dict[str, int] = {}
    seen = Seen(parts)

    def witness(record: Record, login: Login, verdict: Verdict) -> None:
        cursor = record.cursor() if request.as_json else ""  # which takes its time
        if seen.before(cursor or login, login.remote):
            return
        verdicts[verdict.word] = verdicts.get(verdict.word, 0) + 1
        if request.as_json:
            print(_as_json(cursor, login, verdict))

    relay, notes = Relay(parts, witness), list[str]()
    _begin(relay, parts, request, notes)
    _say(notes)
    records = _walk(relay, parts.source, request)
    _say(parts.source.remarks())
    if parts.hosts:
        _say([remark.text for remark in parts.hosts.remarks()])
    if request.from_saved and not request.dry_run:
        with no_daemon(site.map_path) as alone:
            if alone:
                relay.save()
    if not request.as_json:
        came = ", ".join(f"{count} {word}" for word, count in sorted(verdicts.items()))
        print(
            f"{records} entries read, {sum(verdicts.values())} logins{': ' + came if came else ''}"
        )
    return os.EX_OK


def _say(notes: list[str]) -> None:
    for note in notes:
        print(f"journalrelay: {printable(note)}", file=sys.stderr)


def _begin(relay: Relay, parts: Parts, request: Request, notes: list[str]) -> None:
    """Make the map believable and go to where the walk begins; what was amiss is in ``notes``."""
    now_us = clock.now_us()
    if request.cursor is not None and not _seek(parts, request.cursor):
        notes.append("the cursor's entry is gone, or is none that is read; the next one is first")
    rebuilt = not request.dry_run and relay.settle_map(now_us, notes)
    if request.from_saved:
        relay.resume(now_us, notes, rebuilt)
        return
    relay.recall(now_us)
    if request.cursor is not None:
        _seek(parts, request.cursor)
    else:
        relay.begin(request.since_us or 0)


def _seek(parts: Parts, cursor: str) -> bool:
    try:
        found = parts.source.seek_cursor(cursor, inclusive=True)
        return (parts.hosts is not None and parts.hosts.seek_cursor(cursor)) or found
    except ValueError:
        raise UsageError(
            f"--cursor: {cursor!r} is no cursor (journalctl --show-cursor prints one)"
        ) from None


def _walk(relay: Relay, source: Source, request: Request) -> int:
    """Go on until nothing is left after the last commit, a revocation may have come meanwhile,
    and no login waits for its host name."""
    progress = Progress(sys.stderr, source) if sys.stderr.isatty() else None
    records, last = 0, -1
    while last or relay.linger():
        source.refresh()
        if request.dry_run:
            last = relay.weigh(clock.now_us()).records
        else:
            last = relay.step(clock.now_us(), removing=request.from_saved).records
        records += last
        if progress:
            progress.show(records)
    if progress:
        progress.clear()
    return records


def _as_json(cursor: str, login: Login, verdict: Verdict) -> str:
    return json.dumps(
        {
            "cursor": cursor,
            "time": login.logged_at_us / 1_000_000,
            "address": None if login.address == NOWHERE else spell(parse_key(verdict.key)),
            "user": login.user.decode("utf-8", "backslashreplace"),
            "service": login.service,
            "daemon": login.daemon,
            "verdict": verdict.word,
            "reason": verdict.reason,
            "expiry": verdict.expiry_s,
        }
        | ({"remote": login.remote} if login.remote else {})
    )
