"""A world for stories: the real pipeline on a real map, with a journal in memory and a clock of its
own, and beside it what the map must hold, in plain words."""

import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from journalrelay import clock
from journalrelay.cursor import CursorFile
from journalrelay.map.locks import take_daemon_lock
from journalrelay.map.popmap import PopMap
from journalrelay.patterns.dovecot import DOVECOT
from journalrelay.recognition.names import Names
from journalrelay.recognition.resolve import Resolver
from journalrelay.relay import Parts, Relay
from lab import room
from lab.memory import MemoryJournal, MemorySource
from tests.support import config_of
from tests.test_relay import MINUTE, SECOND, key

HOUR = 60 * MINUTE


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


class World:
    """What there is: a journal, a map, a clock, and a daemon or none."""

    relay: Relay | None
    lock: int | None

    def open(self, kind: str) -> None:
        self.place, self.kind = room.scratch("story-"), kind
        self.journal, self.model = MemoryJournal(), Model()
        self.now_us = time.time_ns() // 1000
        self.config = config_of(self.place)
        self.relay = None
        self.boot = 0
        self.lock = take_daemon_lock(self.popmap().path)
        self.outside: list[Any] = [
            mock.patch.object(clock, "offset_us", lambda: self.journal.offset_us),
            mock.patch.object(clock, "boot_id", lambda: f"{self.boot:032x}"),
        ]
        for patch in self.outside:
            patch.start()

    def close(self) -> None:
        for patch in self.outside:
            patch.stop()
        assert self.lock is not None
        os.close(self.lock)
        shutil.rmtree(self.place)

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """Have the clock be an hour ahead."""
        self.journal.offset_us += HOUR
        self.now_us += HOUR
        try:
            yield
        finally:
            self.journal.offset_us -= HOUR
            self.now_us -= HOUR

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
