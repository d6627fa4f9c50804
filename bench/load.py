"""Logging as fast as journald can: what the reader takes beside it, and whether all arrives."""

import threading
from dataclasses import dataclass

from bench.journals import address
from bench.measures import Figures
from bench.processes import cpu_s
from bench.stage import Stage, stage
from bench.table import Row, number, ratio_row
from lab.journald import Sender, login_line
from lab.wait import wait_for

_CONFIG = "[relay]\nmax_addresses = 0\n"
_CHUNK = 500
_NOISE = "6AMLfJHo{n:06d}: from=<a@example.org>, size=15, class=0, nrcpts=1, proto=ESMTP"


@dataclass(frozen=True)
class Flood:
    """What came of a flood: seconds of processor time, lines a second, logins in the map."""

    reader_s: float
    journald_s: float
    rate: float
    logins: int
    arrived: int


def measure(full: bool) -> list[Row]:
    """Return the rows of this group."""
    lines = 1_000_000 if full else 150_000
    mixed, all_logins = _flood(lines, 20), _flood(lines, 1)
    rows = []
    for what, flood, most in (("mixed", mixed, 1 / 5), ("logins", all_logins, 1 / 2)):
        ratio = Figures((flood.reader_s / flood.journald_s,))
        figure = f"{number(flood.rate)} lines/s"
        goal = f"flood, {what}: reader's time, journald's × {most:g} at most"
        rows.append(ratio_row(goal, figure, ratio, most=most))
        arrived = f"{flood.arrived} of {flood.logins}"
        rows.append(Row(f"flood, {what}: nothing lost", arrived, met=flood.arrived == flood.logins))
    return rows


def _flood(lines: int, one_in: int) -> Flood:
    """Log ``lines``, one in so many of them a login, each from an address of its own."""
    logins = lines // one_in
    with stage(_CONFIG) as host, Sender(unit="sendmail.service", identifier="sm-mta") as mta:
        pids = host.daemon.process.pid, host.journald.pid
        before = [cpu_s(pid) for pid in pids]
        noise = threading.Thread(target=_make_noise, args=(mta, lines - logins))
        began_s = host.log_in("2001:db8:7::1")
        noise.start()
        for start in range(0, logins, _CHUNK):
            count = min(_CHUNK, logins - start)
            host.dovecot.send_many(login_line(address(start + n)) for n in range(count))
        noise.join()
        host.journald.sync()
        took_s = host.log_in("2001:db8:7::2") - began_s
        arrived = wait_for(lambda: _all(host, logins), "the last logins in the map", 120, 0.5)
        reader_s, journald_s = (cpu_s(pid) - b for pid, b in zip(pids, before, strict=True))
    return Flood(reader_s, journald_s, lines / took_s, logins, arrived)


def _all(host: Stage, logins: int) -> int:
    """Return how many are in the map, once the last one is."""
    last = host.daemon.popmap().look_up((b"ipv6:2001:db8:7:0:0:0:0:2",))
    return host.has(0, logins) if last else 0


def _make_noise(mta: Sender, lines: int) -> None:
    for start in range(0, lines, _CHUNK):
        mta.send_many(_NOISE.format(n=start + n) for n in range(min(_CHUNK, lines - start)))
