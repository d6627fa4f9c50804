"""A daemon's pipeline on a journal in memory and a map on disk, and a story for it to follow."""

import ipaddress
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from journalrelay.config import Config, load
from journalrelay.cursor import CursorFile
from journalrelay.grant import Network
from journalrelay.map.popmap import PopMap
from journalrelay.patterns.dovecot import DOVECOT
from journalrelay.recognition.names import Names
from journalrelay.recognition.resolve import Resolver
from journalrelay.relay import Parts, Relay
from journalrelay.telling.message import HAND_GRANT, HAND_REVOCATION
from lab.journald import login_line
from lab.journalfile import entry
from lab.memory import MemoryJournal, MemorySource

SECOND_US = 1_000_000
WINDOW_S = 900


@dataclass(frozen=True)
class Home:
    """Where a story's map and place are, and of which kind the map is."""

    place: Path
    kind: str = "hash"

    @property
    def map(self) -> Path:
        """The map's file."""
        return self.place / "popip.db"

    def popmap(self) -> PopMap:
        """Return the map, looked at before use."""
        return PopMap(self.map, self.kind)

    def relay(self, journal: MemoryJournal, config: Config | None = None) -> Relay:
        """Return the pipeline, not yet started."""
        return Relay(
            Parts(
                source=MemorySource(journal),
                known=(DOVECOT,),
                daemons=(DOVECOT,),
                rules=(config or usual()).rules,
                popmap=PopMap(self.map, self.kind, careful=False),
                kept=CursorFile(self.place, "memory"),
                names=Names(Resolver(), 0),
            )
        )


def usual() -> Config:
    """Return the configuration of who sets nothing."""
    return load(Path("/dev/null"))


def client(number: int) -> str:
    """Return the ``number``-th of many addresses."""
    return f"198.18.{number >> 8}.{number & 255}"


def network(number: int) -> Network:
    """Return it as a network of one."""
    return ipaddress.ip_network(client(number))


def login(number: int, at_us: int) -> bytes:
    """Return the entry of a login."""
    return entry(login_line(client(number)), at_us)


def by_hand(map_path: Path, at_us: int, what: str, expiry_s: int | None = None) -> bytes:
    """Return the entry of a grant, or of a revocation when there is no expiry."""
    kind = HAND_REVOCATION if expiry_s is None else HAND_GRANT
    fields = [("MESSAGE_ID", kind.id), ("RELAY_ADDRESS", what), ("RELAY_MAP", str(map_path))]
    if expiry_s is not None:
        fields.append(("RELAY_EXPIRY", str(expiry_s)))
    return entry(
        f"relay by hand: {what}",
        at_us,
        unit="user@0.service",
        transport="journal",
        identifier="poprelayd",
        extra=fields,
    )


def rows(journal: MemoryJournal) -> list[dict[str, str]]:
    """Return the journal's entries as :mod:`lab.truth` wants them."""
    return [{n: v.decode() for n, v in record.fields.items()} for record in journal.records]


def now_us() -> int:
    """Return the clock."""
    return time.time_ns() // 1000


def drain(relay: Relay, at_us: int) -> None:
    """Follow to the end of what there is, and keep the place."""
    while relay.step(at_us).more:
        pass
    relay.save()


Chapters = Sequence[Sequence[bytes]]


def chapters(home: Home, at_us: int) -> Chapters:
    """Return what is logged between one commit and the next: new addresses, renewals whose digits
    differ, a revocation, many at once."""
    at_s = at_us // SECOND_US
    return (
        [login(n, at_us - 800 * SECOND_US + n) for n in range(40)],
        [login(n, at_us - 300 * SECOND_US + n) for n in range(20, 60)],
        [login(n, at_us - 10 * SECOND_US + n) for n in range(0, 60, 2)],
        [by_hand(home.map, at_us - 9 * SECOND_US, client(n), at_s + 90_000) for n in range(5)],
        [by_hand(home.map, at_us - 8 * SECOND_US, client(n)) for n in range(3)],
        [login(n, at_us - 5 * SECOND_US + n) for n in range(0, 300, 3)],
    )
