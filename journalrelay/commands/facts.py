"""How the daemon is, gathered from all who know it: what ``status`` tells, in each of its forms."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from journalrelay import clock
from journalrelay.commands import units
from journalrelay.errors import NoInputError, PermissionRelayError, RelayError
from journalrelay.history import History
from journalrelay.map.locks import daemon_pid
from journalrelay.map.popmap import PopMap
from journalrelay.site import STATE, Site
from journalrelay.telling import report
from journalrelay.telling.message import COUNTED, EXPIRED

Facts = dict[str, Any]
_READ_AT_MOST = 500_000  # a second's reading


def gather(site: Site) -> Facts:
    """Return what ``status --json`` prints.

    Root's rights are given up on the way: what needs them, the journal too, is opened before.
    """
    told = report.read(site.status_file) or {}
    pid = _pid(site, told)
    kept = units.kept() if site.state == STATE else units.UNKNOWN
    history = _history(site) if told else None
    popmap, now_s = site.popmap_for_good(), clock.now_us() // 1_000_000
    ended = Ended(None, None)
    if history:
        ended = _expired(history, told["since_us"])
        history.close()
    return {
        "daemons": site.found(),
        **told,
        "running": pid is not None,
        "pid": pid,
        "granted_now": _granted(popmap, now_s),
        "cut_short": _cut_short(popmap),
        "expired": ended.addresses,
        "expired_from_us": ended.from_us,
        **kept,
    }


def _pid(site: Site, told: Mapping[str, Any]) -> int | None:
    """Return the daemon's process; for who may not look at its lock, by what it reported."""
    try:
        return daemon_pid(site.map_path)
    except PermissionRelayError:
        pid = told.get("pid")
        return pid if pid and os.path.exists(f"/proc/{pid}") else None


def _granted(popmap: PopMap, now_s: int) -> int:
    try:
        return popmap.count(now_s)
    except NoInputError:
        return 0


def _cut_short(popmap: PopMap) -> bool:
    try:
        return popmap.cut_short()
    except NoInputError:
        return False


class Ended(NamedTuple):
    """How many grants were taken out because their time was over, and from when on that was
    counted, µs since the epoch; None when it is not known."""

    addresses: int | None
    from_us: int | None


def _history(site: Site) -> History | None:
    try:
        return History(site.where(), site.map_path)
    except RelayError:
        return None


def _expired(history: History, since_us: int) -> Ended:
    """Count what expire, a process of its own, has told of since the daemon was started: from
    later on where the journal does not reach back so far, or has too much of it."""
    count = 0
    try:
        from_us = max(since_us, history.first_time_us() or since_us)
        for kind, fields in ((EXPIRED, ()), (COUNTED, (b"RELAY_EVENT=expired",))):
            for number, told in enumerate(history.backwards((kind,), fields)):
                at_us = told.record.logged_at_us()
                if at_us < from_us:
                    break
                if number == _READ_AT_MOST:
                    from_us = at_us
                    break
                count += told.number("RELAY_COUNT") or 1
    except RelayError:
        return Ended(None, None)
    return Ended(count, from_us)
