"""How systemd keeps the daemon, and when it runs the expiry next."""

from collections.abc import Mapping
from typing import Any

from journalrelay import clock
from journalrelay.doctor.host import ask
from journalrelay.timespan import parse_span, parse_time

_UNITS = ("poprelayd.service", "poprelayd-expire.timer", "poprelayd-expire.service")
_ASKED = "Id,LoadState,NRestarts,Result,NextElapseUSecMonotonic,LastTriggerUSec"
UNKNOWN: Mapping[str, Any] = {
    "restarts": None,
    "expire_next_us": None,
    "expire_last_us": None,
    "expire_result": None,
}


def kept() -> Mapping[str, Any]:
    """Return ``restarts`` of the daemon by systemd, when expire runs next and ran last (µs since
    the epoch), and systemd's word for how that ended; None for what there is not."""
    said = ask("systemctl", "show", "--timestamp=unix", f"--property={_ASKED}", *_UNITS)
    return read(said or "", clock.offset_us())


def read(said: str, offset_us: int) -> Mapping[str, Any]:
    """Return what systemctl(1) ``said``; ``offset_us`` is the wall clock less the monotonic one."""
    units = {unit["Id"]: unit for unit in map(_pairs, said.split("\n\n")) if "Id" in unit}
    service, timer, expire = (units.get(name, {}) for name in _UNITS)
    last_us = _time_us(timer.get("LastTriggerUSec", ""))
    next_us = _span_us(timer.get("NextElapseUSecMonotonic", ""))
    restarts = service.get("NRestarts", "")
    return {
        "restarts": int(restarts) if restarts.isdigit() else None,
        "expire_next_us": None if next_us is None else next_us + offset_us,
        "expire_last_us": last_us,
        "expire_result": expire.get("Result") if last_us else None,
    }


def _pairs(text: str) -> Mapping[str, str]:
    pairs = (line.partition("=") for line in text.splitlines())
    found = {name: value for name, equals, value in pairs if equals}
    return {} if found.get("LoadState") == "not-found" else found


def _span_us(text: str) -> int | None:
    try:
        return parse_span(text)
    except ValueError:  # "infinity", "0", or nothing: it does not run
        return None


def _time_us(text: str) -> int | None:
    try:
        return parse_time(text, 0) or None if text.startswith("@") else None
    except ValueError:
        return None
