"""The pipeline: records become events, events verdicts, verdicts changes of the map; then the
place is kept. Read this first.

    source → record → login → policy → changes → map, synced → cursor

One step is one batch. Nothing flows back, and everything may be done twice: expiries only grow,
and a login older than its address's last revocation is worth nothing. That is why a kill at any
instant costs no more than reading some records again. A login that has a host name and no address
waits beside the road, before policy; the place that is kept waits with it.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from journalrelay import clock
from journalrelay.cursor import CursorFile, Place
from journalrelay.errors import DataError, NoInputError, TryAgainError
from journalrelay.event import (
    Event,
    HandGrant,
    Login,
    Logout,
    Lost,
    Passed,
    Record,
    Revocation,
)
from journalrelay.map.changes import Changes, Committed
from journalrelay.map.mapfile import MapReplacedError
from journalrelay.map.popmap import PopMap
from journalrelay.patterns import Daemon, identity
from journalrelay.recognition.logins import Logins
from journalrelay.recognition.names import Answer, Names
from journalrelay.rules.limits import Known
from journalrelay.rules.policy import Revocations, Rules, Verdict, decide_by_hand, past, withdraw
from journalrelay.rules.recent import Recent
from journalrelay.sources.source import Source
from journalrelay.telling import ledger
from journalrelay.timespan import format_time

if TYPE_CHECKING:
    from journalrelay.remote.hosts import Hosts

BATCH = 10_000
TOGETHER = 100_000  # addresses: with so many a commit waits for no more
_PATIENCE_US = 1_000_000
_NO_BOOT = ""

Witness = Callable[[Record, Login, Verdict], None]


class Waiting(NamedTuple):
    """A login that waits for its host name, and who wants to see it."""

    record: Record
    login: Login
    witness: Witness


class Step(NamedTuple):
    """What one batch came to; ``more`` tells that the source may hold more already, ``held`` that
    what follows from it waits for that."""

    records: int
    more: bool
    committed: Committed
    held: bool = False


class Parts(NamedTuple):
    """What a pipeline is made of; ``daemons`` are those of the ``known`` ones that are read, as
    they are read; ``hosts`` are the others whose journals are received here; ``why`` says what is
    read, and why that."""

    source: Source
    known: tuple[Daemon, ...]
    daemons: tuple[Daemon, ...]
    rules: Rules
    popmap: PopMap
    kept: CursorFile
    names: Names[Waiting]
    hosts: "Hosts | None" = None
    why: str = ""


def unwitnessed(record: Record, login: Login, verdict: Verdict) -> None:
    """See nothing."""


def unheard(record: Record) -> None:
    """Hear nothing."""


class Relay:
    """The road from a source to the map, with all that must be remembered on the way.

    ``witness`` sees each login with its verdict, ``lost`` what journald has swallowed, ``others``
    each record that tells nothing. A road ``apart`` from the map does not look at it either.
    """

    def __init__(
        self,
        parts: Parts,
        witness: Witness = unwitnessed,
        heartbeat: Callable[[], None] = lambda: None,
        lost: Callable[[Lost], None] = lambda lost: None,
        others: Callable[[Record], None] = unheard,
        apart: bool = False,
    ) -> None:
        self._source = parts.source
        self._hosts = parts.hosts
        self._names = parts.names
        self._logins = Logins(
            parts.daemons,
            vouched=parts.source.vouched,
            by_name=bool(parts.names.within_us),
            sessions=bool(parts.rules.while_connected_us),
        )
        self._recent = Recent(parts.rules)
        self._rules = parts.rules
        self._popmap = parts.popmap
        self._kept = parts.kept
        servers = identity.units(
            daemon.identity_of(pattern) for daemon in parts.known for pattern in daemon.patterns
        )
        self._read_by_hand = partial(
            ledger.read,
            map_path=parts.popmap.path,
            is_servers=partial(identity.is_of, units=servers),
        )
        self._witness = witness
        self._lost = lost
        self._others = others
        self._apart = apart
        self._heartbeat = parts.source.heartbeat = heartbeat
        if self._hosts:
            self._hosts.heartbeat = heartbeat
        self._anew = f"the map is made anew from {parts.source.called}"
        self._revocations = Revocations()
        self._pending = Changes()
        self._waits_until_us = 0
        self._clock_us = clock.offset_us()
        self._moves: int | None = None
        self._rebooted_us = 0
        self._recalled = False
        self.gap: tuple[int, int] | None = None  # from when to when entries are gone, µs
        self._saved: tuple[str, str] | None = None
        self._boot = clock.boot_id()
        self._sound = True  # the map is known to have what was read, but for what is pending
        self._known: Known | None = None  # the map as it was when it was looked at last
        self._mended: str | None = None

    # Starting

    def start(self, now_us: int) -> list[str]:
        """Make the map believable and go to where reading goes on; return what was amiss.

        A map that is missing, damaged, in doubt, of another clock, or not known to be what was kept
        in this boot is made anew from the journal. So is one whose kept place is garbage, of
        another map or too old to matter: the last window and what was done by hand is all that it
        can hold. Else reading goes on behind the kept place, or with the last window when that was
        vacuumed: what the journal has no more the map still has.
        """
        notes: list[str] = []
        place = self.kept_place(notes)
        missing = self._popmap.identity() is None
        anew = self.settle_map(now_us, notes)
        if place:  # the map had what was logged before it, unless that was made anew
            self._note_gap(0 if anew else place.time_us, now_us, notes)
        if anew:
            return notes if place or not missing else []  # a first start is nothing amiss
        known = place or self._known_to_hosts(now_us)
        if self._doubts(known, now_us, notes) or not self._go_on(place, now_us, notes):
            self.rebuild(now_us, self._witness)
        return notes

    def _go_on(self, place: Place | None, now_us: int, notes: list[str]) -> bool:
        """Go behind what was kept with a map that is believed; tell whether that can be."""
        self._popmap.vouch()
        by_hand = self.recall(now_us, place.time_us if place else 0)
        if place is None:
            if by_hand:  # and nothing says whether the map has it
                return False
        elif place.map != self._popmap.known() or self._is_old(place, now_us):
            return False
        if not (place and self._seek_behind(place, now_us, notes)):
            self._pending = by_hand
            self._source.seek_time(now_us - self._rules.look_back_us)
        self._go_behind_hosts(now_us)
        return True

    def _go_behind_hosts(self, now_us: int) -> None:
        if self._hosts:
            since_us = now_us - self._rules.look_back_us
            self._hosts.go_behind_kept(since_us, self._popmap.known())

    def _known_to_hosts(self, now_us: int) -> Place | None:
        """Return what a host's kept place says of the map and our clock, where nothing was read
        in this machine's own journal."""
        place = self._hosts.kept_place() if self._hosts else None
        return place._replace(time_us=min(place.time_us, now_us)) if place else None

    def resume(self, now_us: int, notes: list[str], rebuilt: bool = False) -> None:
        """Go to the kept place, for a walk that is not the daemon's.

        Whether the map is to be believed is for the daemon to say, unless it was ``rebuilt`` just
        now. So no place is kept in one that is not that of the kept place; and where there was no
        place, what is kept is of no boot, so that the daemon makes the map anew all the same.
        """
        self._popmap.adopt()
        place = self.kept_place(notes)
        known = place or self._known_to_hosts(now_us)
        self._sound = rebuilt or known is None or self._popmap.recognises(known.map)
        self._go_behind(place, now_us, notes)
        if place is None:
            self._boot = self._boot if rebuilt else _NO_BOOT
            return
        self._boot = place.boot
        if place.boot == clock.boot_id():  # it is to see, too, that the clock was set back
            self._clock_us = max(self._clock_us, place.clock_us)

    def settle_map(self, now_us: int, notes: list[str]) -> bool:
        """Make the map anew if it is missing, damaged or in doubt; tell whether that was done."""
        fault = self._fault(now_us)
        if fault is None:
            self._popmap.adopt()
            return False
        notes.append(fault)
        self.rebuild(now_us)
        return True

    def recall(self, now_us: int, since_us: int = 0) -> Changes:
        """Load what was revoked by hand, however old, before any login is weighed; return what
        was done by hand after ``since_us`` makes of the map."""
        self._revocations = Revocations()
        events = [
            event
            for record in self._source.by_hand(now_us - self._rules.furthest_us)
            if (event := self._read_by_hand(record))
        ]
        for event in events:
            if isinstance(event, Revocation):
                self._revocations.record(event, self._rules.ipv6_prefix, now_us)
        changes = Changes()
        for event in events:
            if event.logged_at_us - max(0, event.clock_ahead_us) > since_us:
                self._do_by_hand(event, changes, now_us, removing=True)
        return changes

    def rebuild(self, now_us: int, witness: Witness = unwitnessed) -> None:
        """Write the map anew from what the journal says, and go on from its end."""
        began_us = clock.monotonic_us()
        self._sound, self._known = False, None
        changes = self.recall(now_us)
        self._names.forget()
        self.begin(now_us - self._rules.look_back_us)
        self._recalled = False
        self._warm_up(now_us, known=None)
        while self._gather(changes, now_us, BATCH, witness) >= BATCH:
            self._source.refresh()
            now_us += clock.monotonic_us() - began_us
            began_us = clock.monotonic_us()
        self._prolong(changes, now_us)
        self._popmap.replace(changes.granted)
        self._popmap.adopt()
        self._clock_us = clock.offset_us()
        self._boot = clock.boot_id()
        self._pending = Changes()
        self._sound = True

    def begin(self, time_us: int) -> None:
        """Go to a time, in all that is read."""
        self._source.seek_time(time_us)
        if self._hosts:
            self._hosts.begin(time_us)

    def kept_place(self, notes: list[str]) -> Place | None:
        """Return the place that was saved; None, and a note, when it is garbage."""
        try:
            place = self._kept.load()
        except DataError as error:
            if not self._kept.path.is_file():
                raise
            notes.append(str(error))
            return None
        if place and place.boot != clock.boot_id():
            self._rebooted_us = place.time_us
        return place

    def _fault(self, now_us: int) -> str | None:
        """Return why the map must be made anew, None when it can be believed."""
        path = self._popmap.path
        if self._popmap.identity() is None:
            return f"{path}: there was no map; {self._anew}"
        known = Known()
        fault = self._popmap.fault((now_us + self._rules.furthest_us) // 1_000_000, known.add)
        if not fault:
            if self._popmap.cut_short():
                return f"{path} was written to by others, or half; {self._anew}"
            self._known = known
            return None
        aside = self._popmap.put_aside()
        return f"{path}: {fault}; it is kept as {aside}; {self._anew}"

    def _doubts(self, place: Place | None, now_us: int, notes: list[str]) -> bool:
        """Tell whether the map may be another one than that of ``place``, though it is whole.

        A clock that was ahead leaves grants that are too long, and has taken others out. When power
        fails, a page is written in part, and the digits of two expiries make a third one.
        """
        if place is None:
            return True
        same_boot = place.boot == clock.boot_id()
        ahead_us = max(place.clock_us if same_boot else 0, self._popmap.clock_us())
        stepped = ahead_us - clock.offset_us() > self._rules.skew_us
        if stepped or place.time_us > now_us + self._rules.skew_us:
            notes.append(f"the clock was set back; {self._anew}")
            return True
        if not self._popmap.recognises(place.map):
            notes.append(f"{self._popmap.path} was removed or replaced; {self._anew}")
            return True
        return not same_boot

    def _note_gap(self, since_us: int, now_us: int, notes: list[str]) -> None:
        """Note what was logged since a time, late enough to matter, and is gone."""
        first_us = self._source.first_time_us()
        if first_us and first_us > max(since_us, now_us - self._rules.look_back_us):
            notes.append(
                f"{self._source.called} begins at {format_time(first_us)}"
                f"{self._gap(since_us, first_us, now_us)}"
            )

    def _gap(self, since_us: int, until_us: int, now_us: int) -> str:
        """Note what may be missing, and return it in words."""
        since_us = max(since_us, now_us - self._rules.look_back_us)
        self.gap = since_us, until_us
        return (
            f": logins since {format_time(since_us)} may be missing (give it more room: "
            "journald.conf(5))"
        )

    def _go_behind(self, place: Place | None, now_us: int, notes: list[str]) -> None:
        """Go behind the kept place, or to the last window when that cannot be."""
        self._go_behind_hosts(now_us)
        if place and place.map != self._popmap.known():
            place = None  # what was read up to there is in another map
        by_hand = self.recall(now_us, place.time_us if place else 0)
        if place and self._is_old(place, now_us):
            place = None
        if not (place and self._seek_behind(place, now_us, notes)):
            self._pending = by_hand
            self._source.seek_time(now_us - self._rules.look_back_us)

    def _is_old(self, place: Place, now_us: int) -> bool:
        """Tell whether nothing that was logged at the place can matter any more."""
        return place.time_us < now_us - self._rules.look_back_us

    def _seek_behind(self, place: Place, now_us: int, notes: list[str]) -> bool:
        """Go behind the kept place; tell whether it is there."""
        try:
            if self._source.seek_cursor(place.cursor, inclusive=False):
                return True
            gone = f"{self._kept.path}: its entry is gone from {self._source.called}"
            notes.append(gone if self.gap else gone + self._gap(place.time_us, now_us, now_us))
        except ValueError:
            notes.append(f"{self._kept.path}: {place.cursor!r} is no cursor")
        return False

    # Going on

    def step(
        self,
        now_us: int,
        limit: int = BATCH,
        *,
        removing: bool = True,
        hold: bool = False,
        patient: bool = True,
    ) -> Step:
        """Read a batch, decide, and commit what follows. The map is synced when this returns.

        What could not be committed, or not yet on ``hold``, is committed with the next step. So is,
        if ``patient``, what is read while there is more, for a second and up to 100,000 addresses:
        of a client that has come again and again the last login is written then.

        ``removing`` is False on a walk through the past: what was revoked then was taken out of
        the map then, and later logins have opened it again.
        """
        self._clock_us = max(self._clock_us, clock.offset_us())
        changes = self._pending
        count = self._gather(changes, now_us, limit, self._witness, removing)
        self._prolong(changes, now_us)
        committed, more = Committed([], []), count >= limit
        waits = patient and more and len(changes.granted) < TOGETHER
        if changes and not (hold or self._waits(waits)):
            committed = self._commit(changes, now_us)
            self._pending, self._waits_until_us = Changes(), 0
        return Step(count, more, committed, bool(self._pending))

    def _waits(self, willing: bool) -> bool:
        """Tell whether a commit that is ``willing`` to wait has not waited for long enough."""
        if willing and not self._waits_until_us:
            self._waits_until_us = clock.monotonic_us() + _PATIENCE_US
        return willing and clock.monotonic_us() < self._waits_until_us

    def weigh(self, now_us: int, limit: int = BATCH) -> Step:
        """Read a batch and decide, for the witness only: nothing is written."""
        count = self._gather(Changes(), now_us, limit, self._witness)
        return Step(count, count >= limit, Committed([], []))

    def mend(self, now_us: int) -> str | None:
        """Notice what makes the map wrong while nothing is logged, make it anew, and return why:
        a clock that was set back, a map that somebody removed, replaced or wrote to."""
        why, self._mended = self._mended, None
        if self._clock_us - clock.offset_us() > self._rules.skew_us:
            why = f"the clock was set back; {self._anew}"
            self.rebuild(now_us)
        elif self._popmap.is_foreign():
            why = f"{self._popmap.path} was removed or replaced; {self._anew}"
            self.rebuild(now_us)
        elif not self._popmap.is_stamped():
            why = self._fault(now_us)
            self.rebuild(now_us)
        elif not self._sound:  # making it anew has failed
            self.rebuild(now_us)
        return why

    def linger(self) -> bool:
        """Tell whether a host name is still to be confirmed, after waiting for the next one."""
        return self._names.linger()

    def still(self) -> bool:
        """Tell whether a step would do nothing but for what has a second's time: sessions are
        prolonged when half of a window is left."""
        busy = self._pending or self._hosts or self._names.within_us
        return not busy and self._source.still()

    def save(self, *, now: bool = True, again: bool = True) -> None:
        """Keep the place that the map has reached: what waits for its host name has not. Where
        there are hundreds of other hosts, not ``now`` is for those whose turn it is. A second look
        at what is at rest is taken only ``again``: where there are many files it is dear."""
        if self._pending or not self._sound:
            return
        if self._hosts:
            self._hosts.save(self._boot, self._clock_us, self._popmap.known(), now=now)
        if again or not self._source.at_rest:
            self._source.settle()
        read_to = self._names.place(self._source.place())
        if read_to is None:
            return
        place = Place(*read_to, self._boot, self._clock_us, self._popmap.known())
        if self._saved != (place.cursor, place.map):
            self._kept.save(place)
            self._saved = place.cursor, place.map

    def _commit(self, changes: Changes, now_us: int) -> Committed:
        try:
            return self._popmap.commit(changes, now_us // 1_000_000)
        except (MapReplacedError, NoInputError, DataError) as error:
            self._mended = self._fault(now_us) or f"{error}; {self._anew}"
            self.rebuild(now_us)
            return Committed([], [])

    def _gather(
        self,
        changes: Changes,
        now_us: int,
        limit: int,
        witness: Witness,
        removing: bool = True,
    ) -> int:
        """Read up to ``limit`` records, and as many of other hosts, into ``changes``; return how
        many there were.

        What was logged after ``now_us``, while this was reading, is weighed by the time it is.
        """
        self._heartbeat()
        if self._hosts:
            self._hosts.refresh()
        if self._moves != self._source.moves:
            self._warm_up(now_us, None if self._recalled else self._granted())
        began_us, count = clock.monotonic_us(), 0
        for (record, login, asked_by), answer in self._names.settled(began_us):
            self._judge(record, _named(login, answer), asked_by, changes, now_us)
        before = self._source.place()
        for record in self._source.read(limit):
            count += 1
            event = self._interpret(record)
            if event is None:
                self._others(record)
                continue
            at_us = now_us
            if event.logged_at_us > now_us:
                at_us += clock.monotonic_us() - began_us
            if isinstance(event, Login):
                if event.host:
                    event = self._come(Waiting(record, event, witness), before, at_us)
                if event:
                    self._judge(record, event, witness, changes, at_us)
            elif isinstance(event, Logout):
                self._recent.end(event, self._revocations, at_us)
            elif isinstance(event, Lost):
                self._lost(event)
            else:
                self._do_by_hand(event, changes, at_us, removing)
        for record, event in self._hosts.read(limit) if self._hosts else ():
            count += 1
            if isinstance(event, Login):
                at_us = max(
                    now_us, min(event.logged_at_us, clock.monotonic_us() - began_us + now_us)
                )
                self._judge(record, event, witness, changes, at_us)
            elif event:
                self._lost(event)
        return count

    def _come(self, told: Waiting, before: tuple[str, int] | None, now_us: int) -> Login | None:
        """Return a login that can be judged now, None when it must wait for its host name."""
        login = told.login
        if login.doubt or past(login, now_us, self._rules):
            return login
        waiting = told._replace(record=Passed(told.record))
        answer = self._names.put(login.host, waiting, before, clock.monotonic_us())
        return _named(login, answer) if answer else None

    def _judge(
        self, record: Record, login: Login, witness: Witness, changes: Changes, now_us: int
    ) -> None:
        verdict = past(login, now_us, self._rules) if login.host else None
        verdict = verdict or self._recent.weigh(login, self._revocations, now_us)
        _note(verdict, changes)
        witness(record, login, verdict)

    def _warm_up(self, now_us: int, known: Known | None) -> None:
        """Where reading begins anew, remember what the records before told; they grant nothing.

        What cannot be read again is not known then, and grants nothing either. ``known`` is the
        map that came of those records, None when it is not believed. A reader that was opened
        anew after an error goes on where it was: what recent logins hold is still known then.
        """
        self._moves = self._source.moves
        span_us = self._logins.look_back_us
        self._logins.forget()
        if not self._recalled:
            self._recent.forget()
            span_us = max(span_us, self._rules.memory_us)
        try:
            repeats = self._logins.repeats(self._rules.shortest_us)
            earlier = self._source.earlier(span_us, repeats) if span_us else ()
            for count, record in enumerate(earlier):
                if count % BATCH == 0:
                    self._heartbeat()
                event = self._logins.read(record)
                if not self._recalled:
                    self._recall(event, now_us, known)
        except TryAgainError:
            self._logins.forget()
        if self._hosts and not self._recalled:
            for login in self._hosts.earlier(span_us):
                self._recall(login, now_us, known)
        self._recalled = True
        self._recent.end_before(self._rebooted_us)

    def _recall(
        self, event: Login | Logout | Lost | None, now_us: int, known: Known | None
    ) -> None:
        if isinstance(event, Login):
            self._recent.recall(event, self._revocations, now_us, known)
        elif isinstance(event, Logout):
            self._recent.end(event, self._revocations, now_us)

    def _granted(self) -> Known | None:
        """Return what the map says was granted, None when it cannot be read."""
        known, self._known = self._known, None
        if self._apart or not self._rules.memory_us:
            return None
        try:
            return known or Known(self._popmap.items())
        except (NoInputError, DataError):
            return None

    def _prolong(self, changes: Changes, now_us: int) -> None:
        """Grant the addresses of the sessions that go on for longer."""
        for key, expiry_s in self._recent.due(self._revocations, now_us).items():
            changes.grant(key, expiry_s)

    def _interpret(self, record: Record) -> Event | None:
        return self._logins.read(record) or self._read_by_hand(record)

    def _do_by_hand(
        self, event: HandGrant | Revocation, changes: Changes, now_us: int, removing: bool
    ) -> None:
        if isinstance(event, HandGrant):
            _note(decide_by_hand(event, self._revocations, now_us, self._rules), changes)
            return
        news = self._revocations.record(event, self._rules.ipv6_prefix, now_us)
        if not (removing or news):
            return
        self._recent.withdraw(event)
        withdraw(event.network, changes)


def _named(login: Login, answer: Answer) -> Login:
    """Return a login with what came of its host name."""
    if answer.address:
        return login._replace(address=answer.address)
    why = f" ({answer.failure})" if answer.failure else ""
    return login._replace(doubt=f"{answer.reason}: {login.host}{why}")


def _note(verdict: Verdict, changes: Changes) -> None:
    if verdict.word == "granted" and verdict.expiry_s is not None:
        changes.grant(verdict.key, verdict.expiry_s)
