"""What several tests need: a pipeline on files, a record, the clock, many addresses."""

import ipaddress
import time
from dataclasses import dataclass
from pathlib import Path

from journalrelay.config import Config, load
from journalrelay.popmap import db as db  # type: ignore[attr-defined]
from journalrelay.relay import Relay, Witness, unwitnessed
from journalrelay.site import Site


def config_of(place: Path, text: str = "") -> Config:
    """Return the configuration ``text`` with its map in ``place``."""
    file = place / "poprelay.conf"
    file.write_text(f'{text}\n[map]\npath = "{place}/popip.db"\n')
    return load(file)


def relay_on(place: Path, *files: Path, text: str = "", witness: Witness = unwitnessed) -> Relay:
    """Return a pipeline from journal files to the map in ``place``."""
    return Relay(Site(config_of(place, text), place, files).parts(), witness)


def drain(relay: Relay, now_us: int) -> None:
    """Step to the end of what there is."""
    while relay.step(now_us).more:
        pass


def now_us() -> int:
    """Return the clock."""
    return time.time_ns() // 1000


def address(number: int) -> str:
    """Return the ``number``-th of many client addresses."""
    return str(ipaddress.ip_address("198.18.0.0") + number)


@dataclass
class FakeRecord:
    """A record as a source would show it."""

    message: bytes
    fields: dict[str, str]
    time_us: int = 0

    def field(self, name: str) -> bytes | None:
        return self.fields[name].encode() if name in self.fields else None

    def logged_at_us(self) -> int:
        return self.time_us

    def clock_ahead_us(self) -> int:
        return 0

    def cursor(self) -> str:
        return "s=0"
