"""What can happen to a daemon, its map, its journal and its clock, in any order: the rules of which
tests/test_stories.py makes stories."""

import ipaddress
import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from unittest import mock

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from journalrelay.errors import RelayError, TryAgainError
from journalrelay.grant import Network
from journalrelay.map.changes import Changes, Committed
from journalrelay.map.mapfile import MapFile
from journalrelay.map.popmap import PopMap
from journalrelay.relay import Relay
from journalrelay.rules.policy import withdraw
from tests.support import address, db
from tests.test_relay import MINUTE, SECOND, WINDOW_S, grant, key, login, revoke
from tests.world import HOUR, World

YEAR = 365 * 24 * HOUR
CLIENTS = range(4)
NUMBERS = st.sampled_from(CLIENTS)
SOME = st.just(CLIENTS) | NUMBERS.map(lambda number: range(number, number + 1))  # all, or one
HARMS = ("removed", "damaged", "another", "another, stamped", "made anew", "written to")

LATE = st.sampled_from((0, 0, 0, 1, 60, 600))
MOSTLY, SELDOM = st.sampled_from((True, True, True, False)), st.sampled_from((False,) * 5 + (True,))


class Killed(Exception):
    """The process ended here."""


class Stories(World, RuleBasedStateMachine):
    """Any of them, one after another.

    ``lagging`` is True from when something made the map wrong until the daemon has followed; so
    is ``lacking``, where it lacks what no walk behind the place would find.
    """

    @initialize(kind=st.sampled_from(("hash", "hash", "btree")))
    def begin(self, kind: str) -> None:
        self.open(kind)
        self.lagging = self.lacking = False
        self.log_in([0])
        self.follow()

    def teardown(self) -> None:
        if hasattr(self, "place"):
            self.close()

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
        self.lagging = self.lacking = False
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
        wanted = {} if self.lacking else self.model.live(self.now_us)
        assert all(found.get(k, 0) >= end for k, end in wanted.items())

    @rule(
        number=NUMBERS,
        running=st.booleans(),
        how=st.sampled_from(HARMS),
        then=st.sampled_from(("", "", "expire", "grant", "revoke", "replay")),
    )
    def meddle(self, number: int, running: bool, how: str, then: str) -> None:
        """Somebody removes the map, damages it, has makemap write a lie into it or another, which
        may have the mtime that a commit leaves, or puts one into it; and who comes first is not
        always the daemon."""
        if not running:
            self.relay = None
        self.lagging, path = True, self.popmap().path
        if how == "damaged" and path.exists():
            with open(path, "r+b") as file:
                file.write(b"\xff" * 100)
        elif how == "written to":
            with suppress(db.DBError):  # it was damaged, or removed
                lie_in(path, key(number), self.now_us // SECOND + 3000)
        elif how != "made anew":
            path.unlink(missing_ok=True)
        if how.startswith("another") or how == "made anew":
            lie = b"%b\t%d\n" % (key(number), self.now_us // SECOND + 3000)
            command = ["makemap", self.kind, str(path.with_suffix(""))]
            subprocess.run(command, input=lie, stderr=subprocess.DEVNULL)  # not all can be mended
            if how == "another, stamped":
                os.utime(path, (now_s := int(time.time()), now_s))
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
        with self.ahead():
            self.journal.log(login(number, self.now_us))
            if revoked:
                self.journal.log(revoke(address(number), self.now_us, self.place))
                self.model.revoke([number], self.now_us - HOUR)
            self.running().step(self.now_us)
            self.running().save()
        self.lagging = True
        if not running:
            self.relay = None
        if more:
            self.log_in([number])
            self.follow()

    @rule(number=NUMBERS, running=st.booleans())
    def read_by_a_clock_ahead(self, number: int, running: bool) -> None:
        """What was logged before it was set is over by it, and is not when it is set back."""
        self.running()
        self.log_in([number])
        with self.ahead():
            self.running().step(self.now_us)
            self.running().save()
        self.lagging = self.lacking = True
        if not running:
            self.relay = None

    @rule()
    def be_stopped_while_the_clock_is_ahead(self) -> None:
        """The timer expires by it; and by the right one, once that is back."""
        self.relay, self.lacking = None, True
        with self.ahead():
            self.expire()
        self.expire()

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


def lie_in(path: Path, key_: bytes, end_s: int) -> None:
    """Put a key into a map as who does not know how to."""
    handle = db.DB()
    handle.open(str(path), None, db.DB_UNKNOWN, 0)
    try:
        handle.put(key_, b"%d" % end_s)
    finally:
        handle.close()


def _named(numbers: range) -> str:
    return "all" if numbers == CLIENTS else address(numbers[0])


def _network(number: int) -> Network:
    return ipaddress.ip_network(address(number))
