"""What has become of each old setting: Perl assignments → settings of ours, and what has no heir.

Names and defaults: the Perl poprelayd's $logfile, $pidfile, $dbfile, $dbtype, $timeout_minutes and
scanaddr; pop-before-smtp 1.8 to 1.30 with pop-before-smtp-conf.pl, and the notes on what came up to
its last version, 1.42.
"""

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from journalrelay.migration.perl import Assignment, Script, Sub
from journalrelay.migration.perlvalue import Value, literal
from journalrelay.migration.servers import server_of
from journalrelay.timespan import format_span

_PATTERNS = frozenset(("pat", "pat2", "IP_pat", "OK_pat"))
_GONE = {
    "pidfile": "systemd keeps the process",
    "PID_pat": "our own patterns find the lines of one process",
    "END_pat": "our own patterns find the lines of one process",
    "out_pat": "relay.while_connected lets an open session hold its address",
    "logtime_pat": "the times of all usual logs are known",
    "file_tail": "the source is followed as it grows",
    "match": "each server's lines have their own pattern",
    "flock": "the map is always locked, as sendmail locks it",
    "write": "journalrelay replay --dry-run writes nothing",
    "reprocess": "journalrelay replay --all",
    "debug": "journalrelay match",
    "logto": "journalctl -u poprelayd",
    "log_func": "journalctl -u poprelayd",
    "dbvalue": "a value is the time at which the grant ends",
    "tie_func": "there is one kind of map",
    "sync_func": "there is one kind of map",
    "flock_func": "the map is always locked, as sendmail locks it",
    "tail_init_func": "the source is followed as it grows",
    "tail_getline_func": "the source is followed as it grows",
    "add_func": "there are no hooks",
    "del_func": "there are no hooks",
    "signal_sendmail": "sendmail sees a change at once",
}
_READ = frozenset(
    ("logfile", "dbfile", "dbtype", "timeout", "timeout_minutes", "grace", "mynets", "mynet_func")
)
# Subs of pop-before-smtp's sample configuration whose work needs no heir.
_SUPPORT = ("init_", "getline_", "tie_", "sync_", "flock_", "fcntl_", "mynet_")
WANTED = _READ | _PATTERNS | _GONE.keys()
_SAY_WHICH = (
    "name the server in daemons.enable, or write its pattern as docs/add-a-daemon.md shows; then "
    "take this out of a copy and import the copy"
)


class Heirs(NamedTuple):
    """Settings of ours by their full names; what has no heir, and why; what is not understood,
    as lines and texts."""

    settings: dict[str, Any]
    gone: list[str]
    notes: list[str]
    faults: list[tuple[int, str]]


def heirs(script: Script) -> Heirs:
    """Return what becomes of a configuration."""
    found = Heirs({}, [], [], [])
    servers: dict[str, None] = {}
    for assignment in script.assignments:
        if assignment.name in _PATTERNS:
            _pattern(assignment, servers, found)
        else:
            _setting(assignment, script.subs, found)
    if not script.program:
        _subs(script, found)
    _scanner(script, servers, found)
    if servers:
        found.settings["daemons.enable"] = list(servers)
        found.notes.append(
            f"only logins at {', '.join(servers)} count, as before: if another server runs here by "
            "now, name it in daemons.enable"
        )
    if "courier" in servers:
        found.notes.append("courier: a client without an account can forge its lines, as before")
    return found


def _setting(assignment: Assignment, subs: Mapping[str, Sub], found: Heirs) -> None:
    name, value, line = assignment
    try:
        if name == "mynet_func":
            _networks(_called(value, subs), found)
        elif name in _TAKEN:
            _TAKEN[name](value, found)
        else:
            reason = _GONE.get(name) or _GONE[name.partition(".")[0]]
            found.gone.append(f"{name}: {reason}")
    except ValueError as error:
        found.faults.append((line, f"{name}: {error}"))


def _logfile(value: Value, found: Heirs) -> None:
    if not isinstance(value, str) or not value.startswith("/") or not value.isprintable():
        raise ValueError(f"{value!r} is no log file (write an absolute path)")
    found.settings["source.logfile"] = [value]
    found.notes.append(
        f"{value} is read only where the journal has no entries of the servers: with an entry's "
        "trusted fields nobody can forge a login (source.kind says otherwise)"
    )


def _dbfile(value: Value, found: Heirs) -> None:
    if not isinstance(value, str) or not value.startswith("/") or not value.isprintable():
        raise ValueError(f"{value!r} is no map (write an absolute path)")
    path = value if value.endswith(".db") else f"{value}.db"
    found.gone.append(f"dbfile: the map has a place of its own, map.path; {path} is no more used")


def _dbtype(value: Value, found: Heirs) -> None:
    kinds = {"$DB_HASH": "hash", "DB_HASH": "hash", "hash": "hash"}
    kinds |= {"$DB_BTREE": "btree", "DB_BTREE": "btree", "btree": "btree"}
    kind = kinds.get(value if isinstance(value, str) else "")
    if kind is None:
        raise ValueError(f"{value!r} is neither $DB_HASH nor $DB_BTREE")
    if kind == "btree":
        found.settings["map.type"] = kind
        found.notes.append(
            "map.type: FEATURE(`poprelay', `btree /var/lib/poprelayd/popip') tells sendmail so"
        )


def _span(unit_s: int) -> Callable[[Value, Heirs], None]:
    def take(value: Value, found: Heirs) -> None:
        text = str(value)
        if not text.isdecimal() or not text.isascii() or not 0 < int(text) * unit_s < 10**9:
            raise ValueError(f"{value!r} is no span (write a number from 1 on)")
        found.settings["relay.window"] = format_span(int(text) * unit_s * 1_000_000)

    return take


def _networks(value: Value | None, found: Heirs) -> None:
    words = value if isinstance(value, list) else str(value or "").replace(",", " ").split()
    if value is None:
        raise ValueError("it is no plain list of networks (write them as relay.never)")
    networks = [str(_network(word)) for word in words]
    known = [text for text in networks if not text.startswith(("127.", "::1/"))]
    if known:
        found.settings["relay.never"] = known
        found.notes.append(
            f"{', '.join(known)}: logins from there grant nothing, as before; what may relay "
            "without a login stands in /etc/mail/access or localip"
        )


def _network(word: Value) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(str(word), strict=False)
    except ValueError:
        raise ValueError(f"{word!r} is no network (try '192.0.2.0/24')") from None


_TAKEN: dict[str, Callable[[Value, Heirs], None]] = {
    "logfile": _logfile,
    "file_tail.name": _logfile,
    "dbfile": _dbfile,
    "dbtype": _dbtype,
    "timeout": _span(60),
    "timeout_minutes": _span(60),
    "grace": _span(1),
    "mynets": _networks,
}


def _called(value: Value, subs: Mapping[str, Sub]) -> Value | None:
    """Return the value of the sub that ``\\&name`` names; mynet_postfix, the usual one, asks a
    mail server that is not here."""
    name = str(value).removeprefix("\\&")
    return [] if name == "mynet_postfix" or name not in subs else literal(subs[name].body)


def _pattern(assignment: Assignment, servers: dict[str, None], found: Heirs) -> None:
    name = server_of(str(assignment.value))
    if name is None:
        text = f"{assignment.name}: it is of no server that is known ({_SAY_WHICH})"
        found.faults.append((assignment.line, text))
    else:
        servers[name] = None


def _scanner(script: Script, servers: dict[str, None], found: Heirs) -> None:
    """Find the server of the ancestor's scanaddr, one for each of its patterns."""
    sub = script.subs.get("scanaddr")
    if sub is None:
        return
    patterns = [line for line in sub.body.splitlines() if "=~" in line or "m/" in line]
    named = [server_of(line) for line in patterns]
    if not patterns or None in named:
        found.faults.append(
            (sub.line, f"scanaddr: it is for no server that is known ({_SAY_WHICH})")
        )
    servers.update(dict.fromkeys(name for name in named if name))


def _subs(script: Script, found: Heirs) -> None:
    """Find the subs of a configuration whose work nothing does here."""
    for name, sub in script.subs.items():
        if name != "scanaddr" and not name.startswith(_SUPPORT):
            found.faults.append(
                (sub.line, f"sub {name}: nothing here does its work ({_SAY_WHICH})")
            )
