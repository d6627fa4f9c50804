"""What is read: is it there, does it last, and is anything in it?"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from journalrelay import clock
from journalrelay.doctor.diagnosis import Diagnosis, note, well, wrong
from journalrelay.doctor.host import ask
from journalrelay.errors import PermissionRelayError, RelayError
from journalrelay.patterns import Daemon
from journalrelay.patterns.identity import Like
from journalrelay.recognition.logins import LOST_MATCHES, matches
from journalrelay.site import Site
from journalrelay.sources.journal import JournalSource
from journalrelay.timespan import format_span

_PERSISTENT = Path("/var/log/journal")
_LATELY_US = 7 * 86_400_000_000
_PART = "source"
_LASTING = (
    "mkdir -p /var/log/journal && systemd-tmpfiles --create --prefix /var/log/journal && "
    "journalctl --flush"
)


def examine(site: Site) -> Iterator[Diagnosis]:
    """Yield whether the source can be read, and when each server was last heard of there."""
    yield from _clock()
    try:
        parts = site.parts()
    except PermissionRelayError as error:
        yield wrong(_PART, str(error), "journalrelay doctor  # as root")
        return
    except RelayError as error:
        yield wrong(_PART, str(error), "systemctl restart systemd-journald")
        return
    parts.source.close()
    yield well(_PART, parts.why)
    if not parts.source.vouched:
        yield note(_PART, "a log file does not tell who wrote a line; the journal does")
        return
    if not _PERSISTENT.is_dir():
        yield wrong(_PART, "the journal is kept in memory only, and lost at a reboot", _LASTING)
    found = [daemon for daemon in parts.daemons if daemon.name in site.found()]
    if not found and not site.config.remotes:
        yield wrong(
            "servers",
            f"none of {', '.join(daemon.name for daemon in parts.daemons)} is installed here",
            "apt install dovecot-pop3d dovecot-imapd",
        )
    for daemon in found:
        yield _heard_of(site, daemon)
    yield from _swallowed(site, found)


def _heard_of(site: Site, daemon: Daemon) -> Diagnosis:
    source = JournalSource(site.where(), matches([daemon]), [])
    try:
        last_us = source.last_time_us()
    finally:
        source.close()
    ago_us = clock.now_us() - (last_us or 0)
    if ago_us > _LATELY_US:
        unit = next(iter(_units([daemon])), f"{daemon.name}.service")
        what = f"{daemon.name} is installed, and has logged nothing here for a week"
        return wrong("servers", what, f"systemctl restart {unit}  # and see that it logs to syslog")
    span = format_span(max(0, ago_us) // 1_000_000 * 1_000_000)
    return well("servers", f"{daemon.name}: its last line was logged {span} ago")


def _swallowed(site: Site, daemons: Iterable[Daemon]) -> Iterator[Diagnosis]:
    """Yield the units of these servers of which journald's rate limit has swallowed entries."""
    units, lost = _units(daemons), dict[str, int]()
    source = JournalSource(site.where(), [LOST_MATCHES], [])
    source.seek_time(clock.now_us() - _LATELY_US)
    for record in source.read(10_000):
        unit = (record.field("OBJECT_SYSTEMD_UNIT") or b"").decode("utf-8", "replace")
        dropped = record.field("N_DROPPED") or b""
        if unit in units and dropped.isdigit():
            lost[unit] = lost.get(unit, 0) + int(dropped)
    source.close()
    for unit, count in lost.items():
        if _unlimited(unit):
            continue
        yield wrong(
            "servers",
            f"journald has swallowed {count} lines of {unit} in the last week, logins perhaps",
            f"mkdir -p /etc/systemd/system/{unit}.d && printf '[Service]\\n"
            f"LogRateLimitIntervalSec=0\\n' >/etc/systemd/system/{unit}.d/poprelay.conf && "
            f"systemctl daemon-reload && systemctl restart {unit}",
        )


def _unlimited(unit: str) -> bool:
    return "=0\n" in (ask("systemctl", "show", "-p", "LogRateLimitIntervalUSec", unit) or "")


def _units(daemons: Iterable[Daemon]) -> list[str]:
    named = (
        daemon.identity_of(pattern)["_SYSTEMD_UNIT"]
        for daemon in daemons
        for pattern in daemon.patterns
    )
    return [unit for values in named if not isinstance(values, Like) for unit in values]


def _clock() -> Iterator[Diagnosis]:
    """A clock that is set to another time makes grants too long or honest logins too old."""
    said = ask("timedatectl", "show", "--property=NTP", "--property=NTPSynchronized") or ""
    if "NTP=no" in said:
        yield note("clock", "nothing keeps the clock right (timedatectl set-ntp true)")
    elif "NTPSynchronized=no" in said:
        yield note("clock", "the clock is not synchronised yet")
    elif said:
        yield well("clock", "synchronised")
