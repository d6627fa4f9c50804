"""From a login's line to the map and to sendmail's answer."""

import random
import subprocess
import time
from contextlib import ExitStack

from bench import place
from bench.measures import BenchError, Figures
from bench.stage import Stage, stage
from bench.table import Row, number, ratio_row
from lab import room
from lab.sendmail import PORT, Sendmail

_LOGINS, _FOLLOWED, _SENT = 400, 20, 100
_ACCESS = "Connect:198.51.100\tRELAY\n"


def measure(full: bool) -> list[Row]:
    """Return the rows of this group."""
    with ExitStack() as parts:
        live = parts.enter_context(stage())
        popip = live.daemon.map.with_suffix("")
        mta = parts.enter_context(Sendmail(room.scratch("sendmail-"), popip=popip))
        plain = parts.enter_context(
            Sendmail(room.scratch("sendmail-"), feature=False, access=_ACCESS, port=PORT + 1)
        )
        sync = place.sync_ms(live.here)
        map_ = _latency(live, _LOGINS * (10 if full else 1))
        followed = _followed(live)
        answered, alone, again = _answered(live, mta, plain)
    synced = f"one fdatasync {number(sync.median)} ms, p99 {number(sync.quantile(0.99))} ms"
    return [
        _bounded("login → map, p50: ≤ 8 ms + fdatasync", map_, 0.5, 8, sync),
        _bounded("login → map, p99: ≤ 16 ms + fdatasync", map_, 0.99, 16, sync),
        Row("the disk under it", synced),
        ratio_row(
            "login → map: 30 times sooner than journalctl -f",
            f"journalctl p50 {number(followed.median)} ms",
            Figures((followed.median / map_.median,)),
            least=30,
        ),
        _bounded("login → sendmail's 250, p99: ≤ 25 ms + fdatasync", answered, 0.99, 25, sync),
        Row(
            "the same, sendmail alone (a client that may relay by access_db), p99",
            f"{number(alone.quantile(0.99))} ms; p50 {number(alone.median)} of "
            f"{number(answered.median)} ms; {again} of {_SENT} had to connect again",
        ),
    ]


def _bounded(goal: str, took: Figures, part: float, most_ms: float, sync: Figures) -> Row:
    seen = took.quantile(part)
    least, greatest = took.spread
    spread = f"{number(least)} to {number(greatest)}"
    return Row(goal, f"{number(seen)} ms", "", spread, seen <= most_ms + sync.quantile(part))


def _latency(live: Stage, count: int) -> Figures:
    chance, took = random.Random(1), []
    for _ in range(count):
        time.sleep(chance.random() * 0.03)  # so that it comes at any moment of the daemon's turn
        took.append(live.latency_ms())
    return Figures(tuple(took))


def _followed(live: Stage) -> Figures:
    """Return when ``journalctl -f`` shows each line, in ms."""
    chance, took = random.Random(2), []
    command = ["journalctl", "--follow", "--lines=0", "--output=cat"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as follower:
        assert follower.stdout
        try:
            time.sleep(1)
            for _ in range(_FOLLOWED):
                time.sleep(chance.random() * 0.3)
                began_s = live.log_in()
                while b"rip=2001:db8:6::%x," % live.number not in follower.stdout.readline():
                    pass
                took.append((time.monotonic() - began_s) * 1000)
        finally:
            follower.terminate()
    return Figures(tuple(took))


def _answered(live: Stage, mta: Sendmail, plain: Sendmail) -> tuple[Figures, Figures, int]:
    """Return how long after its login a client's recipient is accepted, how long it takes one that
    need not log in, both in ms from the beginning to the answer, and how many came too soon."""
    took, alone, again = [], [], 0
    for number_ in range(1, _SENT + 1):
        client = f"198.51.100.{number_}"
        began_s, asked = live.log_in(client), 1
        while _ask(mta, client) != 250:
            asked += 1
            if time.monotonic() > began_s + 10:
                raise BenchError(f"{client} is not let through")
        took.append((time.monotonic() - began_s) * 1000)
        again += asked > 1
        began_s = time.monotonic()
        if _ask(plain, client) != 250:
            raise BenchError(f"{client} is not let through by access_db")
        alone.append((time.monotonic() - began_s) * 1000)
    return Figures(tuple(took)), Figures(tuple(alone)), again


def _ask(mta: Sendmail, client: str) -> int:
    return mta.rcpt(client, "anna@mail.example.test", "friend@elsewhere.example").code
