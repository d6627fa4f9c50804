"""A week of a mail host's journal, made up: what a report shows, each thing at a known time.

Always the same entries for the same end: logins with the rhythm of days, some that are refused, a
flood, a stolen password, a local user who forges, lines that journald suppressed, a daemon that
is stopped, dies and cannot write its map.
"""

import math
import random
from collections.abc import Iterator
from pathlib import Path

from journalrelay.telling import message
from journalrelay.telling.message import Kind
from lab.journald import login_line
from lab.journalfile import entry

END_S = 1_795_338_000  # 2026-11-22 09:00 UTC, where a week may end
CONFIG = '[relay]\nnever = ["203.0.113.0/24"]\n'  # the configuration of the host
MINUTE_US, HOUR_US, DAY_US = 60_000_000, 3_600_000_000, 86_400_000_000
_SUPPRESSED = "a596d6fe7bfa4994828e72309e95d61e"
_EXITED = "98e322203f7a4ed290d09fe03c09fe15"

Timed = tuple[int, bytes]


def week(end_us: int, map_path: Path, logins: int = 20_000) -> list[bytes]:
    """Return the entries of the seven days before ``end_us``, oldest first, with so many logins."""
    start_us = end_us - 7 * DAY_US
    chance = random.Random(8)
    parts = (
        _rhythm(start_us, logins, chance),
        _refused(start_us, chance),
        _stolen(start_us, chance),
        _forged(start_us, chance),
        _suppressed(start_us),
        _daemon(start_us, str(map_path), chance),
    )
    timed = [one for part in parts for one in part]
    return [text for time_us, text in sorted(timed, key=lambda pair: pair[0]) if time_us < end_us]


def _login(time_us: int, address: str, user: str, service: str = "imap") -> Timed:
    return time_us, entry(login_line(address, user, service), time_us)


def _address(number: int) -> str:
    if number % 7 == 3:
        return f"2001:db8:{number:x}::7"
    return f"198.18.{number >> 8 & 255}.{number & 255}"


def _rhythm(start_us: int, logins: int, chance: random.Random) -> Iterator[Timed]:
    for _ in range(logins):
        while True:
            at = chance.random() * 7 * 24
            busy = 0.12 + 0.88 * max(0.0, math.sin(math.pi * (at % 24 - 6) / 16)) ** 1.5
            if chance.random() < busy * (0.45 if at // 24 in (0, 6) else 1.0):
                break
        user = int(chance.paretovariate(0.7)) % 900
        device = min(3, int(chance.expovariate(1.1)))
        service = "pop3" if user % 3 == 0 else "imap"
        place = _address(user * 5 + device * (1 + user % 4))
        yield _login(start_us + int(at * HOUR_US), place, f"user{user}@example.org", service)


def _refused(start_us: int, chance: random.Random) -> Iterator[Timed]:
    for n in range(7 * 24 * 4):  # a web mail on the host itself
        time_us = start_us + n * 15 * MINUTE_US + chance.randrange(MINUTE_US)
        yield _login(time_us, "127.0.0.1", f"user{n % 40}@example.org")
    flood_us = start_us + 3 * DAY_US + 14 * HOUR_US + 20 * MINUTE_US
    for _ in range(2600):  # out of a network that relay.never names
        time_us = flood_us + chance.randrange(22 * MINUTE_US)
        host = 60 + min(5, int(chance.expovariate(0.9)))
        yield _login(time_us, f"203.0.113.{host}", "info@example.org", "pop3")


def _stolen(start_us: int, chance: random.Random) -> Iterator[Timed]:
    begin_us = start_us + 5 * DAY_US + 2 * HOUR_US
    for n in range(140):
        address = f"198.51.100.{n % 120 + 1}"
        yield _login(begin_us + chance.randrange(4 * HOUR_US), address, "clara@example.org")


def _forged(start_us: int, chance: random.Random) -> Iterator[Timed]:
    for n in range(60):
        time_us = start_us + 2 * DAY_US + 9 * HOUR_US + chance.randrange(5 * HOUR_US)
        line = login_line(f"192.0.2.{n % 9 + 1}", "mallory")
        text = entry(line, time_us, unit="session-4.scope", uid=1007, exe="/usr/bin/logger", pid=77)
        yield time_us, text


def _suppressed(start_us: int) -> Iterator[Timed]:
    for hours, lines in ((86.4, 1840), (86.5, 312), (130.0, 77)):
        time_us = start_us + int(hours * HOUR_US)
        extra = [
            ("MESSAGE_ID", _SUPPRESSED),
            ("OBJECT_SYSTEMD_UNIT", "dovecot.service"),
            ("N_DROPPED", str(lines)),
        ]
        told = f"Suppressed {lines} messages from dovecot.service"
        yield time_us, _driver(told, time_us, "systemd-journald.service", extra)


def _driver(told: str, time_us: int, unit: str, extra: list[tuple[str, str]]) -> bytes:
    return entry(
        told,
        time_us,
        unit=unit,
        exe="/usr/lib/systemd/systemd-journald",
        transport="driver",
        identifier="systemd-journald",
        pid=300,
        extra=list(extra),
    )


def _daemon(start_us: int, map_path: str, chance: random.Random) -> Iterator[Timed]:
    def told(kind: Kind, time_us: int, text: str, pid: int, **fields: str) -> Timed:
        extra = [("MESSAGE_ID", kind.id), ("RELAY_MAP", map_path), *fields.items()]
        return time_us, entry(
            text,
            time_us,
            unit="poprelayd.service",
            exe="/usr/bin/python3.11",
            transport="journal",
            identifier="poprelayd",
            pid=pid,
            extra=list(extra),
        )

    hour = HOUR_US
    yield told(message.READY, start_us + hour // 2, "keeping the map", 901)
    yield told(message.STOPPED, start_us + 30 * hour, "stopped", 901)
    yield told(message.READY, start_us + 33 * hour, "keeping the map", 902)
    lost_us = start_us + 100 * hour
    full = "/var/lib/poprelayd/popip.db: No space left on device (look at the disk)"
    yield told(message.MAP_LOST, lost_us, f"{full}; it is tried again, and no login is lost", 902)
    yield told(
        message.MAP_BACK, lost_us + 95 * MINUTE_US, "what could not be written is written", 902
    )
    died_us = start_us + 140 * hour
    exited = [("MESSAGE_ID", _EXITED), ("UNIT", "poprelayd.service")]
    yield (
        died_us,
        entry(
            "poprelayd.service: Main process exited, code=killed, status=9/KILL",
            died_us,
            unit="init.scope",
            exe="/usr/lib/systemd/systemd",
            transport="journal",
            identifier="systemd",
            pid=1,
            extra=exited,
        ),
    )
    yield told(message.READY, died_us + 9_000_000, "keeping the map", 903)
    yield told(
        message.FAULT, start_us + 87 * hour, "journald suppressed 1840 lines of dovecot", 902
    )
    for _ in range(2400):
        at = chance.random() * 7 * 24
        if 30 < at < 33:
            continue
        time_us = start_us + int(at * hour)
        fields = {"RELAY_ADDRESS": "198.18.0.1", "RELAY_DAEMON": "dovecot"}
        yield told(message.GRANTED, time_us, "granted 198.18.0.1", 902, **fields)
        over_us = time_us + 15 * MINUTE_US
        yield told(message.EXPIRED, over_us, "expired 198.18.0.1", 4000, **fields)
    for kind, hours in ((message.HAND_GRANT, 55), (message.HAND_REVOCATION, 127)):
        fields = {"RELAY_ADDRESS": "198.51.100.3", "RELAY_EXPIRY": "0"}
        yield told(kind, start_us + hours * hour, "relay by hand", 5000, **fields)
