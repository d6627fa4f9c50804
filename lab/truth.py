"""What the map must hold by the journal's own entries, worked out apart from the daemon's code."""

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_LOGIN = re.compile(r"(?:pop3|imap)-login: (?:Login|Logged in): user=<[^>]*>.* rip=([0-9.]+), ")
_GRANT, _REVOCATION = "a9333ae4bd204ddeb75a480910f2daa9", "925e911b4a5b454ca9c37e834d5c5b01"
_FIELDS = "MESSAGE,MESSAGE_ID,_SYSTEMD_UNIT,RELAY_ADDRESS,RELAY_EXPIRY,RELAY_MAP"


def entries(since_s: float | None = None, *arguments: str) -> list[dict[str, Any]]:
    """Return the journal's entries of the last ``since_s`` seconds, oldest first, as journalctl
    tells them; it reads every file there is."""
    since = [] if since_s is None else [f"--since=-{since_s:.0f}s"]
    command = ["journalctl", "-q", "-o", "json", "--all", f"--output-fields={_FIELDS}"]
    told = subprocess.run([*command, *since, *arguments], capture_output=True, check=True).stdout
    return [json.loads(line) for line in told.splitlines()]


def truth(
    rows: Iterable[Mapping[str, Any]], window_s: int, map_path: Path | None = None
) -> dict[bytes, int]:
    """Return address and expiry by the entries, in the order of their time, what is over too."""
    content: dict[bytes, int] = {}
    for row in sorted(rows, key=lambda row: int(row["__REALTIME_TIMESTAMP"])):
        by_hand = row.get("RELAY_MAP") == str(map_path)
        if row.get("MESSAGE_ID") == _GRANT and by_hand:
            _keep(content, row["RELAY_ADDRESS"], int(row["RELAY_EXPIRY"]))
        elif row.get("MESSAGE_ID") == _REVOCATION and by_hand:
            if row["RELAY_ADDRESS"] == "all":
                content.clear()
            content.pop(row["RELAY_ADDRESS"].encode(), None)
        elif row.get("_SYSTEMD_UNIT") == "dovecot.service":
            found = _LOGIN.match(str(row.get("MESSAGE")))
            if found:
                at_us = int(row["__REALTIME_TIMESTAMP"])
                _keep(content, found[1], (at_us + window_s * 1_000_000) // 1_000_000)
    return content


def _keep(content: dict[bytes, int], address: str, expiry_s: int) -> None:
    key = address.encode()
    content[key] = max(expiry_s, content.get(key, 0))


def difference(
    found: Mapping[bytes, int], wanted: Mapping[bytes, int], now_s: float
) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """Return what is lost and what is wrong in a map, of what is not over at ``now_s``."""
    lost = {
        key: expiry
        for key, expiry in wanted.items()
        if expiry > now_s and found.get(key, 0) < expiry
    }
    wrong = {
        key: expiry
        for key, expiry in found.items()
        if expiry > now_s and wanted.get(key, 0) < expiry
    }
    return lost, wrong
