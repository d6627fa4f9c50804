"""How logins are put together into commits, by the daemon's own system calls."""

from bench import locks
from bench.journals import address
from bench.stage import stage
from bench.table import Row, number
from lab.journald import login_line
from lab.wait import wait_for

_CONFIG = "[relay]\nmax_addresses = 0\n"
_LONE, _MANY = 20, 30_000
_BATCH_MS = 1000


def measure(full: bool) -> list[Row]:
    """Return the rows of this group."""
    with stage(_CONFIG) as host:
        pid = host.daemon.process.pid
        with locks.watched(pid, host.here) as lone:
            for _ in range(_LONE):
                host.latency_ms()
        with locks.watched(pid, host.here) as many:
            for start in range(0, _MANY, 500):
                host.dovecot.send_many(login_line(address(start + n)) for n in range(500))
            wait_for(lambda: host.has(_MANY - 1, 1), "the last login in the map", 60)
    taken = [*lone, *many]
    syncs = sum(lock.syncs for lock in taken)
    longest = max(many)
    return [
        Row(
            "commits: one sync a batch",
            f"{len(taken)} batches, {syncs} syncs",
            met=all(lock.syncs == 1 for lock in taken),
        ),
        Row(
            "commits: a lone login is not delayed",
            f"{len(lone)} batches of {_LONE} lone logins",
            met=len(lone) == _LONE,
        ),
        Row(
            f"commits: a batch is bounded ({_MANY:,} logins at once)",
            f"{len(many)} batches, the longest {number(longest.ms)} ms, "
            f"{number(longest.sync_ms)} ms of it the disk's",
            met=len(many) > 1 and longest.ms < _BATCH_MS,
        ),
    ]
