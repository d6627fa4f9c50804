"""What several tests need: a pipeline on files, a record, the clock, many addresses."""

import ipaddress
import time
from pathlib import Path

from journalrelay.config import Config, load
from journalrelay.map.libdb import db as db
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


def harmless(text: str) -> bool:
    """Tell whether a text is lines that a terminal shows, with nothing that it would obey."""
    return all(line.isprintable() for line in text.split("\n"))
