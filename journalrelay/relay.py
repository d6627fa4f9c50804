"""The pipeline: records become events, events verdicts, verdicts changes of the map; then the
place is kept. Read this first.

    source → record → login → policy → changes → map, synced → cursor

One step is one batch. Nothing flows back, and everything may be done twice: expiries only grow,
and a login older than its address's last revocation is worth nothing. That is why a kill at any
instant costs no more than reading some records again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from journalrelay import clock, ledger
from journalrelay.cursor import CursorFile, Place
from journalrelay.errors import DataError, NoInputError
from journalrelay.event import Event, HandGrant, Login, Record, Revocation
from journalrelay.patterns import Daemon
from journalrelay.policy import Revocations, Rules, Verdict, decide, decide_by_hand, revoked_keys
from journalrelay.popmap import Changes, Committed, PopMap
from journalrelay.sources.source import Source

BATCH = 10_000

Witness = Callable[[Record, Login, Verdict], None]


class Step(NamedTuple):
    """What one batch came to; ``more`` tells that the source may hold more already."""

    records: int
    more: bool
    committed: Committed


@dataclass(frozen=True)
class Parts:
    """What a pipeline is made of."""

    source: Source
    daemons: tuple[Daemon, ...]
    rules: Rules
    popmap: PopMap
    kept: CursorFile


def unwitnessed(record: Record, login: Login, verdict: Verdict) -> None:
    """See nothing."""


class Relay:
    """The road from a source to the map, with all that must be remembered on the way."""

    def __init__(
        self,
        parts: Parts,
        witness: Witness = unwitnessed,
        heartbeat: Callable[[], None] = lambda: None,
    ) -> None:
        self._source = parts.source
        self._daemons = parts.daemons
        self._rules = parts.rules
        self._popmap = parts.popmap
        self._kept = parts.kept
        self._witness = witness
        self._heartbeat = heartbeat
        self._revocations = Revocations()
        self._pending = Changes()
        self._clock_us = clock.offset_us()
        self._map_identity: str | None = None
        self._saved: tuple[str, str] | None = None

    # Starting

    def start(self, now_us: int) -> list[str]:
        """Make the map believable and go to where reading goes on; return what was amiss.

        A map that is missing, damaged or of another clock is made anew from the journal. Else
        reading goes on behind the kept place, or from the last window when there is none, or it
        is garbage, vacuumed or older than any login that still matters.
        """
        notes: list[str] = []
        place = self.kept_place(notes)
        if not self.settle_map(now_us, notes, place):
            self.go_on(now_us, notes, place)
        return notes

    def settle_map(self, now_us: int, notes: list[str], place: Place | None = None) -> bool:
        """Make the map anew if it cannot be believed; tell whether that was done."""
        missing = self._popmap.identity() is None
        amiss: str | None
        if missing:
            amiss = f"{self._popmap.path}: there was no map; it is made from the journal"
        else:
            amiss = self._inspect_map(now_us) or self._inspect_clock(place, now_us)
        if amiss:
            if place or not missing:  # a first start is nothing amiss
                notes.append(amiss)
            self.rebuild(now_us)
            return True
        self._popmap.touch()
        self._map_identity = self._popmap.identity()
        return False

    def go_on(self, now_us: int, notes: list[str], place: Place | None) -> None:
        """Go behind ``place``, or to the last window when that cannot be."""
        by_hand = self.recall(now_us)
        if not self._go_behind(place, now_us, notes):
            self._pending = by_hand
            self._source.seek_time(now_us - self._rules.look_back_us)

    def recall(self, now_us: int) -> Changes:
        """Load what was revoked by hand, however old, before any login is weighed; return what
        all that was done by hand makes of the map."""
        events = [
            event
            for record in self._source.by_hand(now_us - self._rules.furthest_us)
            if (event := ledger.read(record, self._popmap.path))
        ]
        for event in events:
            if isinstance(event, Revocation):
                self._revocations.record(event, self._rules, now_us)
        changes = Changes()
        for event in events:
            self._do_by_hand(event, changes, now_us)
        return changes

    def rebuild(self, now_us: int) -> None:
        """Write the map anew from what the journal says, and go on from its end."""
        changes = self.recall(now_us)
        self._source.seek_time(now_us - self._rules.look_back_us)
        while self._gather(changes, now_us, BATCH, unwitnessed) == BATCH:
            self._source.refresh()
        self._popmap.replace(changes.granted)
        self._map_identity = self._popmap.identity()
        self._clock_us = clock.offset_us()
        self._pending = Changes()

    def kept_place(self, notes: list[str]) -> Place | None:
        """Return the place that was saved; None, and a note, when it is garbage."""
        try:
            return self._kept.load()
        except DataError as error:
            notes.append(str(error))
            return None

    def _inspect_map(self, now_us: int) -> str | None:
        """Return why the map must be made anew, None when it can be believed."""
        fault = self._popmap.fault((now_us + self._rules.furthest_us) // 1_000_000)
        if not fault:
            return None
        aside = self._popmap.put_aside()
        path = self._popmap.path
        return f"{path}: {fault}; it is put aside as {aside} and made anew from the journal"

    def _inspect_clock(self, place: Place | None, now_us: int) -> str | None:
        """Return why grants may lie too far ahead: the clock was stepped back since ``place``."""
        if place is None:
            return None
        same_boot = place.boot == clock.boot_id()
        stepped = same_boot and place.clock_us - clock.offset_us() > self._rules.skew_us
        if stepped or place.time_us > now_us + self._rules.skew_us:
            return "the clock was set back; the map is made anew from the journal"
        return None

    def _go_behind(self, place: Place | None, now_us: int, notes: list[str]) -> bool:
        """Go behind the kept place; False when that cannot be."""
        if place is None or place.time_us < now_us - self._rules.look_back_us:
            return False
        if place.map != self._map_identity:  # this one may lack what was read before
            return False
        try:
            if self._source.seek_cursor(place.cursor, inclusive=False):
                return True
        except ValueError:
            notes.append(f"{self._kept.path}: {place.cursor!r} is no cursor")
            return False
        notes.append(f"{self._kept.path}: its entry is gone from the journal")
        return False

    # Going on

    def step(self, now_us: int, limit: int = BATCH) -> Step:
        """Read a batch, decide, and commit what follows. The map is synced when this returns."""
        self._clock_us = max(self._clock_us, clock.offset_us())
        changes, self._pending = self._pending, Changes()
        count = self._gather(changes, now_us, limit, self._witness)
        committed = Committed([], [])
        if changes:
            committed = self._commit(changes, now_us)
        return Step(count, count == limit, committed)

    def weigh(self, now_us: int, limit: int = BATCH) -> Step:
        """Read a batch and decide, for the witness only: nothing is written."""
        count = self._gather(Changes(), now_us, limit, self._witness)
        return Step(count, count == limit, Committed([], []))

    def mend(self, now_us: int) -> str | None:
        """Notice what makes the map wrong while nothing is logged, make it anew, and return why:
        a clock that was set back, a map that somebody removed or replaced."""
        if self._clock_us - clock.offset_us() > self._rules.skew_us:
            self.rebuild(now_us)
            return "the clock was set back"
        if self._popmap.identity() == self._map_identity:
            return None
        before = self._believed(now_us)
        self.rebuild(now_us)
        if before == self._believed(now_us):  # expire or revoke wrote it anew
            return None
        return f"{self._popmap.path} was removed or replaced"

    def save(self) -> None:
        """Keep the place that the map has reached."""
        read_to = self._source.place()
        if read_to is None:
            return
        place = Place(*read_to, clock.boot_id(), self._clock_us, self._map_identity or "")
        if self._saved != (place.cursor, place.map):
            self._kept.save(place)
            self._saved = place.cursor, place.map

    def _believed(self, now_us: int) -> dict[bytes, int] | None:
        """Return what the map grants, None when it is not there or cannot be believed."""
        try:
            if self._popmap.fault((now_us + self._rules.furthest_us) // 1_000_000):
                return None
            content = self._popmap.read()
        except NoInputError:
            return None
        return {key: expiry for key, expiry in content.items() if expiry * 1_000_000 > now_us}

    def _commit(self, changes: Changes, now_us: int) -> Committed:
        try:
            committed = self._popmap.commit(changes, now_us // 1_000_000)
        except NoInputError:  # somebody removed the map
            self.rebuild(now_us)
            return Committed([], [])
        self._map_identity = self._popmap.identity()
        return committed

    def _gather(self, changes: Changes, now_us: int, limit: int, witness: Witness) -> int:
        """Read up to ``limit`` records into ``changes``; return how many there were."""
        self._heartbeat()
        count = 0
        for record in self._source.read(limit):
            count += 1
            event = self._interpret(record)
            if isinstance(event, Login):
                verdict = decide(event, self._revocations, now_us, self._rules)
                _note(verdict, changes)
                witness(record, event, verdict)
            elif event is not None:
                self._do_by_hand(event, changes, now_us)
        return count

    def _interpret(self, record: Record) -> Event | None:
        for daemon in self._daemons:
            login = daemon.read(record)
            if login is not None:
                return login
        return ledger.read(record, self._popmap.path)

    def _do_by_hand(self, event: HandGrant | Revocation, changes: Changes, now_us: int) -> None:
        if isinstance(event, HandGrant):
            _note(decide_by_hand(event, self._revocations, now_us, self._rules), changes)
            return
        self._revocations.record(event, self._rules, now_us)
        if event.network is None:
            changes.remove_all()
        else:
            changes.remove(revoked_keys(event.network, self._rules))


def _note(verdict: Verdict, changes: Changes) -> None:
    if verdict.word == "granted" and verdict.expiry_s is not None:
        changes.grant(verdict.key, verdict.expiry_s)


def matches(daemons: Iterable[Daemon]) -> list[list[str]]:
    """Return what the journal's index is asked for: the daemons' identities."""
    return [
        [f"{name}={value}" for name, values in daemon.identity.items() for value in values]
        for daemon in daemons
    ]
