"""``list``, ``check`` and ``status``: what is granted, to whom, and how the daemon is."""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from journalrelay import clock, report
from journalrelay.commands import NO
from journalrelay.commands.address import typed_address
from journalrelay.errors import NoInputError, PermissionRelayError, printable
from journalrelay.grant import client_keys, parse_key, spell
from journalrelay.locks import daemon_pid
from journalrelay.popmap import cut_short
from journalrelay.site import Site
from journalrelay.timespan import format_span, format_time


def list_grants(site: Site, *, as_json: bool, bare: bool = False) -> int:
    """Print what is granted, the soonest to end first. ``bare`` is the ancestor's form: address
    and seconds left."""
    rows = _live(site, clock.now_us() // 1_000_000)
    if as_json:
        print(json.dumps(rows))
        return os.EX_OK
    for row in rows:
        left = str(row["remaining_s"]) if bare else _span(row["remaining_s"])
        print(f"{row['address']} {left}" if bare else f"{row['address']:39} {left}")
    return os.EX_OK


def _live(site: Site, now_s: int) -> list[dict[str, Any]]:
    try:
        content = site.popmap().read()
    except NoInputError:
        return []
    rows = []
    for expiry, key in sorted((expiry, key) for key, expiry in content.items() if expiry > now_s):
        with suppress(ValueError):  # no address: sendmail never asks for it
            address = spell(parse_key(key))
            rows.append({"address": address, "expiry": expiry, "remaining_s": expiry - now_s})
    return rows


def check(site: Site, text: str) -> int:
    """Say whether popip lets an address relay, and why: 0 yes, 1 no."""
    address = typed_address(text)
    now_s = clock.now_us() // 1_000_000
    popmap = site.popmap()
    try:
        found = popmap.look_up(client_keys(address))
        if popmap.cut_short():
            print(f"journalrelay: {cut_short(popmap.path)}", file=sys.stderr)
    except NoInputError as error:
        print(f"{address}: may not relay: {error}")
        return NO
    key, expiry = max(found.items(), key=lambda item: item[1], default=(b"", 0))
    if not found:
        print(f"{address}: may not relay: it is not in {site.map_path}")
    elif expiry <= now_s:
        print(f"{address}: may not relay: its grant ended {_span(now_s - expiry)} ago")
    else:
        print(
            f"{address}: may relay for {_span(expiry - now_s)}: {spell(parse_key(key))} is granted"
        )
        return os.EX_OK
    return NO


def status(site: Site, *, as_json: bool) -> int:
    """Print how the daemon is: 0 when it runs, 1 when not."""
    told = report.read(site.status_file) or {}
    pid = _pid(site, told)
    granted = len(_live(site, clock.now_us() // 1_000_000))
    facts = {
        "daemons": site.found(),
        **told,
        "running": pid is not None,
        "pid": pid,
        "granted_now": granted,
    }
    if as_json:
        print(json.dumps(facts))
    else:
        _print_status(site, facts)
    return os.EX_OK if pid is not None else NO


def _pid(site: Site, told: dict[str, Any]) -> int | None:
    """Return the daemon's process; for who may not look at its lock, by what it reported."""
    try:
        return daemon_pid(site.map_path)
    except PermissionRelayError:
        pid = told.get("pid")
        return pid if pid and Path(f"/proc/{pid}").exists() else None


def _print_status(site: Site, facts: dict[str, Any]) -> None:
    state = f"running, process {facts['pid']}" if facts["running"] else "not running"
    print(f"poprelayd  {state}")
    print(f"map        {site.map_path}: {facts['granted_now']} addresses may relay")
    if facts.get("read_to_us"):
        ago = _span(max(0, clock.now_us() - int(facts["read_to_us"])) // 1_000_000)
        print(f"place      last entry {ago} ago, lag {facts['lag_s']:.1f} s ({facts['source']})")
    if facts.get("why"):
        print(f"source     {printable(str(facts['why']))}")
    print(f"servers    {printable(report.named(facts['daemons']))}")
    for title, name in (("logins", "logins"), ("verdicts", "verdicts"), ("refused", "refused")):
        counts = ", ".join(
            f"{printable(what)}: {count}" for what, count in facts.get(name, {}).items()
        )
        if counts:
            print(f"{title:10} {counts}")
    for unit, count in facts.get("suppressed", {}).items():
        print(f"lost       {count} lines of {printable(unit)} were suppressed by journald")
    if facts.get("gap_from_us"):
        ends = [format_time(facts[end]) for end in ("gap_from_us", "gap_to_us")]
        print(f"lost       what was logged from {ends[0]} to {ends[1]} was gone at the start")
    if facts.get("last_fault"):
        print(f"fault      {printable(str(facts['last_fault']))}")


def _span(seconds: int) -> str:
    return format_span(seconds * 1_000_000)
