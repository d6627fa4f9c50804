"""Any story of logins, hands, crashes, clocks and rotations leaves the map that the model has."""

import ipaddress
import shutil
import time
from typing import Any
from unittest import mock

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from journalrelay import clock
from journalrelay.changes import Changes
from journalrelay.cursor import CursorFile
from journalrelay.grant import Network
from journalrelay.names import Names
from journalrelay.patterns.dovecot import DOVECOT
from journalrelay.policy import withdraw
from journalrelay.popmap import PopMap
from journalrelay.relay import Parts, Relay
from journalrelay.resolve import Resolver
from lab import room
from lab.memory import MemoryJournal, MemorySource
from tests.support import address, config_of
from tests.test_relay import MINUTE, SECOND, WINDOW_S, grant, key, login, revoke

NUMBERS = st.integers(0, 5)


class Model:
    """What the map must hold, in plain words."""

    def __init__(self) -> None:
        self.ends: dict[bytes, int] = {}

    def grow(self, number: int, expiry_s: int) -> None:
        self.ends[key(number)] = max(expiry_s, self.ends.get(key(number), 0))

    def revoke(self, number: int | None) -> None:
        if number is None:
            self.ends.clear()
        else:
            self.ends.pop(key(number), None)

    def live(self, now_us: int) -> dict[bytes, int]:
        return {k: end for k, end in self.ends.items() if end * SECOND > now_us}


class Stories(RuleBasedStateMachine):
    """The real pipeline on a real map, with a journal in memory and a clock of its own."""

    @initialize()
    def begin(self) -> None:
        self.place = room.scratch("story-")
        self.journal, self.model = MemoryJournal(), Model()
        self.now_us = time.time_ns() // 1000
        self.config = config_of(self.place)
        self.relay: Relay | None = None
        self.boot = 0
        self.outside: list[Any] = [
            mock.patch.object(clock, "offset_us", lambda: self.journal.offset_us),
            mock.patch.object(clock, "boot_id", lambda: f"{self.boot:032x}"),
        ]
        for patch in self.outside:
            patch.start()

    def teardown(self) -> None:
        if hasattr(self, "place"):
            for patch in self.outside:
                patch.stop()
            shutil.rmtree(self.place)

    # What is logged

    @rule(number=NUMBERS)
    def log_in(self, number: int) -> None:
        self.pass_time(1)
        self.journal.log(login(number, self.now_us))
        self.model.grow(number, self.now_us // SECOND + WINDOW_S)

    @rule(number=NUMBERS, minutes=st.integers(1, 30), killed=st.booleans())
    def grant(self, number: int, minutes: int, killed: bool) -> None:
        self.pass_time(1)
        expiry_s = (self.now_us + minutes * MINUTE) // SECOND
        self.journal.log(grant(number, self.now_us, expiry_s, self.place))
        self.model.grow(number, expiry_s)
        changes = Changes()
        changes.grant(key(number), expiry_s)
        self.commit(changes, killed)

    @rule(number=st.none() | NUMBERS, killed=st.booleans())
    def revoke(self, number: int | None, killed: bool) -> None:
        self.pass_time(1)
        what = "all" if number is None else address(number)
        self.journal.log(revoke(what, self.now_us, self.place))
        self.model.revoke(number)
        changes = Changes()
        withdraw(None if number is None else _network(number), changes)
        self.commit(changes, killed)
        if killed:  # who is running, or is started, does it
            self.follow()

    def commit(self, changes: Changes, killed: bool) -> None:
        """Do to the map what a command does after its entry, unless it is killed before."""
        popmap = self.popmap()
        if not killed and popmap.identity():
            popmap.commit(changes, self.now_us // SECOND)

    # What happens to the map and its daemon

    @rule(saved=st.booleans())
    def follow(self, saved: bool = True) -> None:
        if self.relay is None:
            self.start()
        assert self.relay
        self.relay.mend(self.now_us)
        while self.relay.step(self.now_us).more:
            pass
        if saved:
            self.relay.save()
        assert self.live() == self.model.live(self.now_us)

    @rule()
    def start(self) -> None:
        self.relay = self.made()
        self.relay.start(self.now_us)

    @rule()
    def reboot(self) -> None:
        self.boot += 1
        self.relay = None

    @rule()
    def crash(self) -> None:
        self.relay = None

    @rule(part=st.integers(0, 3))
    def crash_in_a_commit(self, part: int) -> None:
        if self.relay is None:
            self.start()
        assert self.relay
        self.relay.step(self.now_us, hold=True)
        self.relay.save()
        granted = dict(list(self.relay._pending.granted.items())[:part])
        if self.popmap().identity() and not self.relay._popmap.is_foreign():
            self.popmap().commit(Changes(granted=granted), self.now_us // SECOND)
        self.relay = None

    @rule()
    def expire(self) -> None:
        if self.popmap().identity():
            self.popmap().expire(self.now_us // SECOND)

    @rule()
    def replay(self) -> None:
        self.relay = None
        walk, notes = self.made(), list[str]()
        walk.settle_map(self.now_us, notes)
        walk.resume(self.now_us, notes)
        while walk.step(self.now_us).more:
            pass
        walk.save()

    @rule(number=NUMBERS, replaced=st.booleans(), running=st.booleans())
    def remove_or_replace(self, number: int, replaced: bool, running: bool) -> None:
        self.follow()
        if not running:
            self.relay = None
        self.popmap().path.unlink()
        if replaced:
            self.popmap().replace({key(number): self.now_us // SECOND + 3000})
        self.follow()

    @rule()
    def damage(self) -> None:
        if self.popmap().identity():
            with open(self.popmap().path, "r+b") as file:
                file.write(b"\xff" * 100)
            self.start()

    # Time

    @rule(seconds=st.integers(1, 1500))
    def pass_time(self, seconds: int) -> None:
        self.now_us += seconds * SECOND

    @rule(number=NUMBERS, running=st.booleans())
    def step_the_clock(self, number: int, running: bool) -> None:
        """What is logged and granted while the clock is an hour ahead is nothing afterwards."""
        hour = 60 * MINUTE
        self.follow()
        self.journal.offset_us += hour
        self.journal.log(login(number, self.now_us + hour))
        assert self.relay
        self.relay.step(self.now_us + hour)
        self.relay.save()
        self.journal.offset_us -= hour
        if not running:
            self.relay = None
        self.follow()

    @rule()
    def vacuum(self) -> None:
        self.journal.vacuum(self.now_us - 40 * MINUTE)

    @invariant()
    def nothing_wrong_is_granted(self) -> None:
        if hasattr(self, "model") and self.popmap().identity():
            wanted = self.model.live(self.now_us)
            assert all(end <= wanted.get(key, 0) for key, end in self.live().items())

    def popmap(self) -> PopMap:
        return PopMap(self.place / "popip.db", "hash", careful=False)

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


def _network(number: int) -> Network:
    return ipaddress.ip_network(address(number))


TestStories = Stories.TestCase
TestStories.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
