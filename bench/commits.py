"""How logins are put together into commits, by the daemon's own system calls."""

from bench import locks
from bench.journals import address
from bench.stage import stage
from bench.table import Row, number
from journalrelay.relay import BATCH, TOGETHER
from lab.journald import login_line
from lab.wait import wait_for

_CONFIG = "[relay]\nmax_addresses = 0\n"
_LONE, _MANY = 20, 150_000
_MOST = TOGETHER + BATCH


def measure(full: bool) -> list[Row]:
    """Return the rows of this group."""
    with stage(_CONFIG) as host:
        pid = host.daemon.process.pid
        with locks.watched(pid, host.daemon.map) as lone:
            for _ in range(_LONE):
                host.latency_ms()
        with locks.watched(pid, host.daemon.map) as many:
            for start in range(0, _MANY, 500):
                host.dovecot.send_many(login_line(address(start + n)) for n in range(500))
            wait_for(lambda: host.has(_MANY - 1, 1), "the last login in the map", 60)
            host.catch_up()  # a lone login, and the sync before its own has been
    syncs, together = len(lone.syncs_ms), len(many.syncs_ms) - 1
    locked = f"{len(many.held_ms)} locks, the longest {number(max(many.held_ms))} ms"
    return [
        Row(
            f"commits, {_LONE} lone logins: each in a batch of its own, one sync a batch",
            f"{syncs} syncs",
            met=syncs <= _LONE,
        ),
        Row(
            f"commits, {_MANY:,} logins at once: batches of a second, {_MOST:,} addresses at most",
            f"{together} syncs, {locked}",
            met=_MANY / _MOST <= together <= _MANY / BATCH,
        ),
    ]
