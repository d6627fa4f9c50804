"""Any story of logins, hands, crashes, clocks and rotations leaves the map that the model has.

That the stories reach what can go wrong is shown by ``python3 -m lab.mutants``.
"""

import ipaddress
import os
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from unittest import mock

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from journalrelay import clock
from journalrelay.cursor import CursorFile
from journalrelay.errors import RelayError, TryAgainError
from journalrelay.grant import Network
from journalrelay.map.changes import Changes, Committed
from journalrelay.map.locks import take_daemon_lock
from journalrelay.map.mapfile import MapFile
from journalrelay.map.popmap import PopMap
from journalrelay.patterns.dovecot import DOVECOT
from journalrelay.recognition.names import Names
from journalrelay.recognition.resolve import Resolver
from journalrelay.relay import Parts, Relay
from journalrelay.rules.policy import withdraw
from lab import room
from lab.memory import MemoryJournal, MemorySource
from lab.mutants import mutants
from tests.support import address, config_of
from tests.test_relay import MINUTE, SECOND, WINDOW_S, grant, key, login, revoke

HOUR, YEAR = 60 * MINUTE, 365 * 24 * 60 * MINUTE
CLIENTS = range(4)
NUMBERS = st.sampled_from(CLIENTS)
SOME = st.just(CLIENTS) | NUMBERS.map(lambda number: range(number, number + 1))  # all, or one

LATE = st.sampled_from((0, 0, 0, 1, 60, 600))
MOSTLY, SELDOM = st.sampled_from((True, True, True, False)), st.sampled_from((False,) * 5 + (True,))


class Killed(Exception):
    """The process ended here."""


class Model:
    """What the map must hold, in plain words."""

    def __init__(self) -> None:
        self.ends: dict[bytes, int] = {}
        self.revoked_us: dict[bytes, int] = defaultdict(int)

    def grow(self, number: int, at_us: int, expiry_s: int) -> None:
        if at_us > self.revoked_us[key(number)]:
            self.ends[key(number)] = max(expiry_s, self.ends.get(key(number), 0))

    def revoke(self, numbers: Iterable[int], at_us: int) -> None:
        for number in numbers:
            self.ends.pop(key(number), None)
            self.revoked_us[key(number)] = at_us

    def live(self, now_us: int) -> dict[bytes, int]:
        return {k: end for k, end in self.ends.items() if end * SECOND > now_us}


class Stories(RuleBasedStateMachine):
    """The real pipeline on a real map, with a journal in memory and a clock of its own.

    ``lagging`` is True from when something made the map wrong until the daemon has followed.
    """

    @initialize(kind=st.sampled_from(("hash", "hash", "btree")))
    def begin(self, kind: str) -> None:
        self.place, self.kind = room.scratch("story-"), kind
        self.journal, self.model = MemoryJournal(), Model()
        self.now_us = time.time_ns() // 1000
        self.config = config_of(self.place)
        self.relay: Relay | None = None
        self.boot, self.lagging = 0, False
        self.lock = take_daemon_lock(self.popmap().path)
        self.outside: list[Any] = [
            mock.patch.object(clock, "offset_us", lambda: self.journal.offset_us),
            mock.patch.object(clock, "boot_id", lambda: f"{self.boot:032x}"),
        ]
        for patch in self.outside:
            patch.start()
        self.log_in([0])
        self.follow()

    def teardown(self) -> None:
        if hasattr(self, "place"):
            for patch in self.outside:
                patch.stop()
            assert self.lock is not None
            os.close(self.lock)
            shutil.rmtree(self.place)

    # What is logged

    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=3), late_s=LATE, future=SELDOM)
    def log_in(self, numbers: list[int], late_s: int = 0, future: bool = False) -> None:
        """Also at the instant of what was before, in an entry that comes late, and behind one
        from the future, which grants nothing."""
        at_us = self.now_us - late_s * SECOND
        if future:
            self.journal.log(login(numbers[-1], self.now_us + YEAR))
        for number in numbers:
            self.journal.log(login(number, at_us))
            self.model.grow(number, at_us, at_us // SECOND + WINDOW_S)

    @rule(number=NUMBERS, minutes=st.sampled_from((1, 10, 120)), killed=st.booleans())
    def grant(self, number: int, minutes: int, killed: bool) -> None:
        self.pass_time(1)
        expiry_s = (self.now_us + minutes * MINUTE) // SECOND
        self.journal.log(grant(number, self.now_us, expiry_s, self.place))
        self.model.grow(number, self.now_us, expiry_s)
        if not killed:
            changes = Changes()
            changes.grant(key(number), expiry_s)
            with suppress(RelayError):
                self.popmap().create()
            self.commit(changes)

    @rule(numbers=SOME, killed=st.booleans(), login=st.booleans())
    def revoke(self, numbers: range, killed: bool, login: bool = False) -> None:
        """Also what has just been granted, or is about to be."""
        if login:
            self.log_in([numbers[0]])
        self.pass_time(1)
        self.journal.log(revoke(_named(numbers), self.now_us, self.place))
        self.model.revoke(numbers, self.now_us)
        self.lagging |= killed  # who is running, or is started, does it
        if not killed:
            changes = Changes()
            withdraw(None if numbers == CLIENTS else _network(numbers[0]), changes)
            self.commit(changes)

    def commit(self, changes: Changes) -> None:
        """Do to the map what a command does after its entry."""
        with suppress(RelayError):
            PopMap(self.popmap().path, self.kind).commit(changes, self.now_us // SECOND)

    # What the daemon does, and what ends it

    @rule(saved=MOSTLY)
    def follow(self, saved: bool = True) -> None:
        relay = self.running()
        relay.mend(self.now_us)
        while relay.step(self.now_us).more:
            pass
        if saved:
            relay.save()
        self.lagging = False
        assert self.live() == self.model.live(self.now_us)

    @rule(limit=st.integers(1, 3), saved=st.booleans())
    def follow_a_part(self, limit: int, saved: bool) -> None:
        self.lagging = True  # what was revoked may be read later than what was granted before
        self.running().step(self.now_us, limit)
        if saved:
            self.running().save()

    def running(self) -> Relay:
        if self.relay is None:
            self.start()
        assert self.relay
        return self.relay

    @rule()
    def start(self) -> None:
        self.relay = self.made()
        self.relay.start(self.now_us)

    @rule(rebooted=SELDOM)
    def crash(self, rebooted: bool) -> None:
        self.boot += rebooted
        self.relay = None

    @rule(part=st.integers(0, 3), fails=st.booleans())
    def cut_a_commit_short(self, part: int, fails: bool) -> None:
        """It is killed when a part of it is written, or fails."""

        def cut(changes: Changes, now_s: int) -> Committed:
            if fails:
                raise TryAgainError("no room")
            keys = [*changes.removed, *changes.granted][:part]
            granted = {k: changes.granted[k] for k in keys if k in changes.granted}
            removed = changes.removed.intersection(keys)
            if not self.lagging and not changes.everything:
                with mock.patch.object(MapFile, "_stamp"):
                    self.popmap().commit(Changes(removed=removed, granted=granted), now_s)
            raise Killed

        relay = self.running()
        with mock.patch.object(relay._popmap, "commit", cut), suppress(Killed, TryAgainError):
            relay.step(self.now_us)
        relay.save()
        if not fails:
            self.relay = None

    @rule(done=st.booleans(), fails=st.booleans())
    def cut_a_rebuild_short(self, done: bool, fails: bool) -> None:
        """It is killed before or after the new map is in place, or fails."""

        def cut(content: dict[bytes, int]) -> None:
            if fails:
                raise TryAgainError("no room")
            if done:
                self.popmap().replace(content)
            raise Killed

        relay = self.running()
        with mock.patch.object(relay._popmap, "replace", cut), suppress(Killed, TryAgainError):
            relay.rebuild(self.now_us)
        relay.save()
        if not fails:
            self.relay = None

    # What else comes to the map

    def expire(self) -> None:
        now_s = self.now_us // SECOND
        with suppress(RelayError):
            PopMap(self.popmap().path, self.kind).expire(now_s)
            assert all(end > now_s for end in self.popmap().read().values())

    @rule(running=st.booleans())
    def replay(self, running: bool) -> None:
        """A daemon that is running keeps the place to itself."""
        if not running:
            self.relay = None
        walk, notes = self.made(), list[str]()
        walk.resume(self.now_us, notes, walk.settle_map(self.now_us, notes))
        while walk.step(self.now_us).more:
            pass
        if self.relay is None:
            walk.save()
        found = self.live()  # with what is wrong in it, which is the daemon's to find
        assert all(found.get(k, 0) >= end for k, end in self.model.live(self.now_us).items())

    @rule(
        number=NUMBERS,
        running=st.booleans(),
        how=st.sampled_from(("removed", "damaged", "another", "made anew")),
        then=st.sampled_from(("", "", "expire", "grant", "revoke", "replay")),
    )
    def meddle(self, number: int, running: bool, how: str, then: str) -> None:
        """Somebody removes the map, damages it, or has makemap write a lie into it or another; and
        who comes first is not always the daemon."""
        if not running:
            self.relay = None
        self.lagging, path = True, self.popmap().path
        if how == "damaged" and path.exists():
            with open(path, "r+b") as file:
                file.write(b"\xff" * 100)
        elif how != "made anew":
            path.unlink(missing_ok=True)
        if how in ("another", "made anew"):
            lie = b"%b\t%d\n" % (key(number), self.now_us // SECOND + 3000)
            command = ["makemap", self.kind, str(path.with_suffix(""))]
            subprocess.run(command, input=lie, stderr=subprocess.DEVNULL)  # not all can be mended
        if then == "expire":
            self.expire()
        elif then == "grant":
            self.grant(number, 1, killed=False)
        elif then == "revoke":
            self.revoke(range(number, number + 1), killed=False)
        elif then == "replay":
            self.replay(running=False)

    # Time

    @rule(seconds=st.sampled_from((1, 60, 500, 880, 1000, 4000)), timer=st.booleans())
    def pass_time(self, seconds: int, timer: bool = False) -> None:
        self.now_us += seconds * SECOND
        if timer:
            self.expire()

    @rule(numbers=SOME, revoked=st.booleans())
    def be_stopped_for_long(self, numbers: range, revoked: bool) -> None:
        """What is done by hand meanwhile is older than the last window."""
        self.relay = None
        if revoked:
            self.revoke(numbers, killed=True)
        else:
            self.grant(numbers[0], 120, killed=True)
        self.pass_time(1000)

    @rule(number=NUMBERS, revoked=st.booleans(), running=st.booleans(), more=MOSTLY)
    def step_the_clock(self, number: int, revoked: bool, running: bool, more: bool) -> None:
        """What is logged and granted while the clock is an hour ahead is nothing afterwards; what
        is revoked stays so."""
        self.follow()
        self.journal.offset_us += HOUR
        self.journal.log(login(number, self.now_us + HOUR))
        if revoked:
            self.journal.log(revoke(address(number), self.now_us + HOUR, self.place))
            self.model.revoke([number], self.now_us)
        self.running().step(self.now_us + HOUR)
        self.running().save()
        self.journal.offset_us -= HOUR
        self.lagging = True
        if not running:
            self.relay = None
        if more:
            self.log_in([number])
            self.follow()

    @rule()
    def rotate_and_vacuum(self) -> None:
        """What cannot matter any more is gone, and the reader is opened anew, where it was."""
        self.journal.vacuum(self.now_us - 125 * MINUTE)
        self.running()._source.moves += 1  # type: ignore[misc]

    @invariant()
    def nothing_wrong_is_granted(self) -> None:
        if hasattr(self, "model") and not self.lagging:
            wanted = self.model.live(self.now_us)
            assert all(end <= wanted.get(key, 0) for key, end in self.live().items())

    def popmap(self) -> PopMap:
        return PopMap(self.place / "popip.db", self.kind, careful=False)

    def live(self) -> dict[bytes, int]:
        if not self.popmap().identity():
            return {}
        return {k: end for k, end in self.popmap().read().items() if end * SECOND > self.now_us}

    def made(self) -> Relay:
        return Relay(
            Parts(
                source=MemorySource(self.journal),
                known=(DOVECOT,),
                daemons=(DOVECOT,),
                rules=self.config.rules,
                popmap=self.popmap(),
                kept=CursorFile(self.place, "memory"),
                names=Names(Resolver(), 0),
            )
        )


def _named(numbers: range) -> str:
    return "all" if numbers == CLIENTS else address(numbers[0])


def _network(number: int) -> Network:
    return ipaddress.ip_network(address(number))


TestStories = Stories.TestCase
TestStories.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_a_revocation_that_a_clock_ahead_stamped_takes_no_later_grant_out() -> None:
    story = Stories()
    story.begin("hash")
    story.step_the_clock(1, revoked=True, running=False, more=False)
    story.be_stopped_for_long(CLIENTS, revoked=False)
    story.be_stopped_for_long(range(1, 2), revoked=False)
    story.be_stopped_for_long(range(1), revoked=False)
    story.follow()
    story.be_stopped_for_long(CLIENTS, revoked=False)
    story.be_stopped_for_long(range(2, 3), revoked=False)
    story.follow()
    assert key(1) in story.live()
    story.teardown()


@pytest.mark.parametrize("kind", ["hash", "btree"])
@pytest.mark.parametrize("how", ["another", "made anew"])
@pytest.mark.parametrize("then", ["", "expire", "grant", "revoke", "replay"])
@pytest.mark.parametrize("running", [True, False])
def test_who_comes_first_to_a_strangers_map_does_not_vouch_for_it(
    kind: str, how: str, then: str, running: bool
) -> None:
    story = Stories()
    story.begin(kind)
    try:
        story.pass_time(60)
        story.log_in([1])
        story.meddle(3, running, how, then)
        story.follow()
    finally:
        story.teardown()


def test_every_mutant_changes_the_road() -> None:
    for mutant in mutants():
        text = (room.CHECKOUT / "journalrelay" / mutant.file).read_text()
        assert mutant.put_into(text) != text
