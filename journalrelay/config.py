"""The configuration: every key declared once, read from TOML, checked whole, frozen.

``/etc/mail/poprelay.conf``, then ``/etc/mail/poprelay.conf.d/*.conf`` in the order of their names;
a later file's key replaces an earlier one's. No file means the defaults. All faults are reported
together, each with its file and key.
"""

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from journalrelay.errors import ConfigError, printable
from journalrelay.grant import Network
from journalrelay.patterns import REGISTRY, Daemon
from journalrelay.policy import Rules
from journalrelay.timespan import parse_span

CONFIG_FILE = Path("/etc/mail/poprelay.conf")


class Key(NamedTuple):
    """One setting: its full name, its default as written in TOML, how it is read, its text."""

    name: str
    default: Any
    read: Callable[[Any], Any]
    text: str


def _span(value: Any) -> int:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a time span (try '15min')")
    return parse_span(str(value))


def _path(value: Any) -> Path:
    if not isinstance(value, str) or not value.startswith("/") or not value.isprintable():
        raise ValueError(f"{value!r} is not an absolute path (try '/var/lib/poprelayd/popip.db')")
    return Path(os.path.abspath(value))


def _map_path(value: Any) -> Path:
    path = _path(value)
    if not path.name:
        raise ValueError(f"{value!r} is a directory (try '/var/lib/poprelayd/popip.db')")
    return path


def _optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: read(value) if value != "" else None


def namespace(value: Any) -> str:
    """Return the name of a journal namespace, or raise ValueError."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", value):
        raise ValueError(f"{value!r} is not a journal namespace (letters, digits, '-', '_')")
    return value


def _logfiles(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is not a list of files (try ['/var/log/mail.log'])")
    return tuple(_logfile(item) for item in value)


def _logfile(item: Any) -> str:
    if not isinstance(item, str) or not item.startswith("/") or not item.isprintable():
        raise ValueError(f"{item!r} is no absolute path or pattern (try '/var/log/mail.log')")
    return os.path.abspath(item)


def _hosts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is not a list of host names (try ['mail.example.org'])")
    for name in value:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_.:-]{1,255}", name):
            raise ValueError(f"{name!r} is no host name as a log has it (try 'mail')")
    return tuple(value)


def _choice(*choices: Any) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if value not in choices or type(value) is not type(choices[0]):
            raise ValueError(f"{value!r} is not one of {', '.join(map(repr, choices))}")
        return value

    return read


def _networks(value: Any) -> tuple[Network, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is not a list of networks (try ['192.0.2.0/24'])")
    return tuple(_network(item) for item in value)


def _network(item: Any) -> Network:
    try:
        if not isinstance(item, str):
            raise ValueError
        return ipaddress.ip_network(item)
    except ValueError:
        raise ValueError(f"{item!r} is not a network (try '192.0.2.0/24')") from None


def _daemons(value: Any) -> tuple[Daemon, ...]:
    if value == "auto":
        return tuple(daemon for daemon in REGISTRY if not daemon.forgeable)
    if value == "all":
        return REGISTRY
    known = {daemon.name: daemon for daemon in REGISTRY}
    if not isinstance(value, list) or not value:
        raise ValueError(f"{value!r} is not 'auto', 'all' or a list of names ({', '.join(known)})")
    for name in value:
        if not isinstance(name, str) or name not in known:
            raise ValueError(f"{name!r} is no known daemon{_nearest(str(name), known)}")
    return tuple(known[name] for name in value)


KEYS = (
    Key("relay.window", "15min", _span, "how long a login lets its address relay"),
    Key("relay.never", [], _networks, "networks that are never granted"),
    Key("relay.ipv6_prefix", 128, _choice(128, 64), "what an IPv6 login grants: 128 or 64"),
    Key("relay.max_grant", "7d", _span, "the longest life of a grant by hand"),
    Key("relay.skew", "1min", _span, "how far ahead of our clock a login's time may lie"),
    Key("daemons.enable", "auto", _daemons, "which POP and IMAP daemons are read"),
    Key(
        "source.kind",
        "auto",
        _choice("journal", "logfile", "auto"),
        "where logins are read: journal, logfile or auto",
    ),
    Key("source.directory", "", _optional(_path), "a journal directory instead of this host's"),
    Key("source.namespace", "", _optional(namespace), "a journal namespace instead of the default"),
    Key("source.logfile", [], _logfiles, "log files, or patterns of their names"),
    Key("source.hosts", [], _hosts, "hosts whose lines in log files count; none: this one's"),
    Key("map.path", "/var/lib/poprelayd/popip.db", _map_path, "sendmail's map"),
    Key("map.type", "hash", _choice("hash", "btree"), "its Berkeley DB type: hash or btree"),
)
_TABLES = {key.name.partition(".")[0] for key in KEYS} | {
    f"daemons.{daemon.name}" for daemon in REGISTRY
}
WINDOW_OF_DAEMON = Key("daemons.NAME.window", None, _span, "the same, for one daemon's logins")

# What the Perl poprelayd called it (its configuration of 1998 to 2001), for those who try.
HEIRS = {
    "logfile": "the journal is read; source.logfile names a file, with source.kind = 'logfile'",
    "pidfile": "systemd keeps the process; there is none",
    "dbfile": "map.path",
    "dbtype": "map.type",
    "timeout": "relay.window",
    "timeout_minutes": "relay.window, as '15min'",
    "scanaddr": "daemons.enable",
}


@dataclass(frozen=True)
class Config:
    """The settings as the house uses them; spans are in µs."""

    rules: Rules
    daemons: tuple[Daemon, ...]
    directory: Path | None
    namespace: str | None
    kind: str
    logfile: tuple[str, ...]
    hosts: tuple[str, ...]
    map_path: Path
    map_type: str


def load(path: Path | None) -> Config:
    """Return the configuration: of ``path`` alone, or of the usual files when None.

    Raises ConfigError with all faults.
    """
    faults: list[str] = []
    values: dict[str, Any] = {}
    for file in _files(path, faults):
        for name, value in _settings(file, faults).items():
            _take(name, value, file, values, faults)
    if faults:
        raise ConfigError("\n".join(faults))
    return _build(values)


def _files(path: Path | None, faults: list[str]) -> Iterable[Path]:
    if path is not None:
        return [path]
    drop_ins = CONFIG_FILE.with_name("poprelay.conf.d")
    found = []
    try:  # a directory that cannot be read is no empty one
        with suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(CONFIG_FILE)
            found = [CONFIG_FILE]
        with suppress(FileNotFoundError, NotADirectoryError):
            names = sorted(os.listdir(drop_ins))
            found += [drop_ins / name for name in names if name.endswith(".conf")]
    except OSError as error:
        faults.append(f"{error.filename}: {error.strerror} (the configuration must be readable)")
    return found


def _settings(file: Path, faults: list[str]) -> dict[str, Any]:
    """Return the file's keys with their full names; a fault stands in ``faults``."""
    try:
        return dict(_flatten(tomllib.loads(file.read_text("utf-8")), ""))
    except (ValueError, RecursionError) as error:
        faults.append(f"{file}: {printable(str(error))} (it is read as TOML, in UTF-8)")
    except OSError as error:
        faults.append(f"{file}: {error.strerror} (name a configuration that can be read)")
    return {}


def _flatten(table: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict) and (value or prefix + name in _TABLES):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _take(name: str, value: Any, file: Path, values: dict[str, Any], faults: list[str]) -> None:
    key = _key(name)
    if key is None:
        faults.append(f"{file}: {printable(name)}: there is no such setting{_advice(name)}")
        return
    try:
        values[name] = key.read(value)
    except ValueError as error:
        faults.append(f"{file}: {name}: {error}")


def _key(name: str) -> Key | None:
    parts = name.split(".")
    if len(parts) == 3 and parts[0] == "daemons" and parts[2] == "window":
        return WINDOW_OF_DAEMON if parts[1] in {daemon.name for daemon in REGISTRY} else None
    return next((key for key in KEYS if key.name == name), None)


def _advice(name: str) -> str:
    heir = HEIRS.get(name.rpartition(".")[2])
    if heir:
        return f" (what it did: {heir})"
    own = [f"daemons.{daemon.name}.window" for daemon in REGISTRY]
    return _nearest(name, [key.name for key in KEYS] + own)


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else f" (known: {', '.join(known)})"


def _build(values: Mapping[str, Any]) -> Config:
    got = {key.name: values.get(key.name, key.read(key.default)) for key in KEYS}
    windows = {name.split(".")[1]: span for name, span in values.items() if name.count(".") == 2}
    return Config(
        rules=Rules(
            window_us=got["relay.window"],
            windows_us=windows,
            never=got["relay.never"],
            ipv6_prefix=got["relay.ipv6_prefix"],
            max_grant_us=got["relay.max_grant"],
            skew_us=got["relay.skew"],
        ),
        daemons=got["daemons.enable"],
        directory=got["source.directory"],
        namespace=got["source.namespace"],
        kind=got["source.kind"],
        logfile=got["source.logfile"],
        hosts=got["source.hosts"],
        map_path=got["map.path"],
        map_type=got["map.type"],
    )
