"""``status``: how the daemon is."""

import json
import os
from pathlib import Path
from typing import Any

from journalrelay import clock, report
from journalrelay.commands import NO
from journalrelay.commands.live import in_words, live
from journalrelay.errors import PermissionRelayError, printable
from journalrelay.locks import daemon_pid
from journalrelay.options import Options, Parser, add_json, add_map, add_state
from journalrelay.site import Site
from journalrelay.timespan import format_time

HELP = "say how the daemon is"
EXAMPLE = "status"


def options(parser: Parser) -> None:
    """Add its options."""
    add_json(parser, "a JSON object")
    for add in (add_map, add_state):
        add(parser)


def act(site: Site, options: Options) -> int:
    """Print how the daemon is: 0 when it runs, 1 when not."""
    told = report.read(site.status_file) or {}
    pid = _pid(site, told)
    granted = len(live(site, clock.now_us() // 1_000_000))
    facts = {
        "daemons": site.found(),
        **told,
        "running": pid is not None,
        "pid": pid,
        "granted_now": granted,
    }
    if options.json:
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
        ago = in_words(max(0, clock.now_us() - int(facts["read_to_us"])) // 1_000_000)
        source = printable(str(facts["source"]))
        print(f"place      last entry {ago} ago, lag {facts['lag_s']:.1f} s ({source})")
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
