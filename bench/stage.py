"""A mail host that works: a journald, Dovecot's voice and the daemon, its map on a disk."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench import place
from bench.maps import keys
from lab.journald import Journald, Sender, login_line
from lab.poprelayd import Poprelayd
from lab.wait import wait_for


class Stage:
    """The parts, and clients that log in, each from another address."""

    def __init__(self, here: Path, journald: Journald, dovecot: Sender, daemon: Poprelayd) -> None:
        self.here, self.journald, self.dovecot, self.daemon = here, journald, dovecot, daemon
        self.number = 0

    def log_in(self, client: str = "") -> float:
        """Have a client log in, one that never did when none is named; return when, by the
        monotonic clock."""
        client = client or f"2001:db8:6::{self.next():x}"
        line = login_line(client)
        began_s = time.monotonic()
        self.dovecot.send(line)
        return began_s

    def next(self) -> int:
        """Return a number that was not used."""
        self.number += 1
        return self.number

    def committed(self) -> int:
        """Return what every commit to the map changes, 0 while one is going on: for sendmail to
        see it, the time of change is set to a whole second."""
        stamp_s, part = divmod(os.stat(self.daemon.map).st_mtime_ns, 1_000_000_000)
        return 0 if part else stamp_s

    def latency_ms(self) -> float:
        """Return how long a new login takes to be in the map, for sendmail to see, in ms."""
        before = wait_for(self.committed, "the map to be at rest")
        began_s = self.log_in()
        wait_for(lambda: self.committed() not in (0, before), "a commit", 30, step_s=0.0002)
        return (time.monotonic() - began_s) * 1000

    def catch_up(self) -> None:
        """Return when every login that was logged so far is in the map."""
        self.log_in()
        key = b"ipv6:2001:db8:6:0:0:0:0:%x" % self.number
        wait_for(lambda: self.daemon.popmap().look_up((key,)), "the last login in the map", 120)

    def has(self, start: int, count: int) -> int:
        """Return how many of the clients ``bench.journals`` counts so are in the map."""
        return len(self.daemon.popmap().look_up(tuple(keys(start, count))))


@contextmanager
def stage(
    config: str = "", journal_files: int = 1, environment: Mapping[str, str] | None = None
) -> Iterator[Stage]:
    """Start the parts on a journal of so many files."""
    with place.scratch() as here, Journald() as journald, Sender() as dovecot:
        for _ in range(journal_files - 1):
            dovecot.send("master: Info: another day")
            journald.rotate()
        with Poprelayd(here, config=config, environment=environment) as daemon:
            yield Stage(here, journald, dovecot, daemon)
