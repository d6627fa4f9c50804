"""The configuration: every key declared once, read from TOML, checked whole, frozen.

``/etc/mail/poprelay.conf``, then ``/etc/mail/poprelay.conf.d/*.conf`` in the order of their names;
a later file's key replaces an earlier one's. No file means the defaults. All faults are reported
together, each with its file and key. The POP and IMAP daemons, whose many patterns take long to
load, are imported when they are spoken of.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from journalrelay.errors import ConfigError, nearest, printable
from journalrelay.rules.policy import Rules
from journalrelay.settings import Fault, at_most, networks
from journalrelay.telling.message import Shown
from journalrelay.timespan import parse_span

if TYPE_CHECKING:
    from journalrelay.patterns import Daemon
    from journalrelay.rules.trust import Trust

CONFIG_FILE = Path("/etc/mail/poprelay.conf")
Setting = tuple[str, Any, Path]  # its full name, its value as TOML has it, its file


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
            quoted = " (without the quotes)" if value in map(str, choices) else ""
            raise ValueError(f"{value!r} is not one of {', '.join(map(repr, choices))}{quoted}")
        return value

    return read


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false (without quotes)")
    return value


def _users(value: Any) -> frozenset[bytes]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is not a list of users (try ['anna', '*@example.org'])")
    return frozenset(_user(item) for item in value)


def _user(item: Any) -> bytes:
    name = item if isinstance(item, str) else ""
    if not name.isprintable() or not name or "*" in name.removeprefix("*@") or name == "*@":
        raise ValueError(f"{item!r} is not a user (try 'anna', or '*@example.org' for a domain)")
    return name.encode()


def _never_users(value: Any) -> frozenset[bytes]:
    return frozenset(name.lower() for name in _users(value))


def _registry() -> tuple["Daemon", ...]:
    from journalrelay.patterns import REGISTRY

    return REGISTRY


def _daemons(value: Any, all_known: Sequence["Daemon"] = ()) -> tuple["Daemon", ...]:
    all_known = all_known or _registry()
    if value == "auto":
        return tuple(daemon for daemon in all_known if not daemon.forgeable)
    if value == "all":
        return tuple(all_known)
    known = {daemon.name: daemon for daemon in all_known}
    if not isinstance(value, list) or not value:
        raise ValueError(f"{value!r} is not 'auto', 'all' or a list of names ({', '.join(known)})")
    for name in value:
        if not isinstance(name, str) or name not in known:
            raise ValueError(f"{name!r} is no known daemon{nearest(str(name), known)}")
    return tuple(known[name] for name in value)


KEYS = (
    Key("relay.window", "15min", _span, "how long a login lets its address relay"),
    Key("relay.never", [], networks, "networks that are never granted"),
    Key("relay.never_users", [], _never_users, "users who are never granted"),
    Key("relay.only_users", [], _users, "the only users who are granted; none named: all"),
    Key(
        "relay.max_addresses_per_user",
        16,
        at_most(1000),
        "how many addresses of one user may relay at once",
    ),
    Key(
        "relay.max_addresses",
        100_000,
        at_most(10_000_000),
        "how many addresses may relay at once",
    ),
    Key(
        "relay.while_connected",
        "",
        _optional(_span),
        "how long an IMAP session may hold its address",
    ),
    Key("relay.ipv6_prefix", 128, _choice(128, 64), "what an IPv6 login grants: 128 or 64"),
    Key("relay.max_grant", "7d", _span, "the longest life of a grant by hand"),
    Key("relay.skew", "1min", _span, "how far ahead of our clock a login's time may lie"),
    Key("daemons.enable", "auto", _daemons, "which POP and IMAP daemons are read"),
    Key(
        "daemons.resolve",
        "",
        _optional(_span),
        "how long to try to confirm a host name that stands for an address; empty: never",
    ),
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
    Key(
        "source.remote",
        "/var/log/journal/remote",
        _path,
        "where the journals of [remote] hosts are received",
    ),
    Key("map.path", "/var/lib/poprelayd/popip.db", _map_path, "sendmail's map"),
    Key("map.type", "hash", _choice("hash", "btree"), "its Berkeley DB type: hash or btree"),
    Key(
        "map.spelling",
        "sendmail",
        _choice("sendmail", "postfix"),
        "whose words its keys are in: sendmail or postfix",
    ),
    Key("log.users", True, _flag, "whether users' names stand in our log"),
    Key("log.addresses", True, _flag, "whether clients' addresses stand in our log"),
)
_KEYS = {key.name: key for key in KEYS}
_PATTERN, _REMOTE = _WHOLE = ("pattern.", "remote.")
_TABLES = {name.partition(".")[0] for name in [*_KEYS, *_WHOLE]}
OF_DAEMON = {
    "window": Key("daemons.NAME.window", None, _span, "the same, for one daemon's logins"),
    "max_addresses": Key(
        "daemons.NAME.max_addresses",
        None,
        at_most(10_000_000),
        "how many addresses one daemon's logins may let relay at once",
    ),
}

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


class _Config(NamedTuple):
    rules: Rules
    own: tuple["Daemon", ...]
    enable: Any
    resolve_us: int | None
    remotes: tuple["Trust", ...]
    remote: Path
    directory: Path | None
    namespace: str | None
    kind: str
    logfile: tuple[str, ...]
    hosts: tuple[str, ...]
    map_path: Path
    map_type: str
    shown: Shown


class Config(_Config):
    """The settings as the house uses them; spans are in µs.

    ``own`` are the daemons of ``[pattern.NAME]``, and ``enable`` says which of all are read.
    ``remotes`` are the hosts of ``[remote.NAME]``, whose journals are received in ``remote``.
    """

    @cached_property
    def known(self) -> tuple["Daemon", ...]:
        """Return the daemons of the registry and of ``[pattern.NAME]``."""
        return (*_registry(), *self.own)

    @cached_property
    def daemons(self) -> tuple["Daemon", ...]:
        """Return those of them that are read."""
        return _daemons(self.enable, self.known)


def load(path: Path | None, later: Sequence[Setting] = ()) -> Config:
    """Return the configuration: of ``path`` alone, or of the usual files when None, and of
    ``later`` settings, which replace theirs.

    Raises ConfigError with all faults.
    """
    faults: list[str] = []
    settings = [
        (name, value, file)
        for file in _files(path, faults)
        for name, value in _settings(file, faults).items()
    ]
    settings += later
    own = _own([setting for setting in settings if setting[0].startswith(_PATTERN)], faults)
    told = [setting for setting in settings if setting[0].startswith(_REMOTE)]
    remotes = _remotes(told, own, faults)
    values: dict[str, Any] = {}
    for name, value, file in settings:
        if not name.startswith(_WHOLE):
            _take(name, value, file, values, own, faults)
    _agree(values, settings, faults)
    if faults:
        raise ConfigError("\n".join(faults))
    return _build(values, own, remotes)


def _agree(values: Mapping[str, Any], settings: Sequence[Setting], faults: list[str]) -> None:
    """Note settings that are good each by itself and not together."""
    if values.get("map.spelling") == "postfix" and values.get("relay.ipv6_prefix") == 64:
        file = next(file for name, _, file in settings[::-1] if name == "relay.ipv6_prefix")
        faults.append(
            f"{file}: relay.ipv6_prefix: not 64 with map.spelling = 'postfix', since Postfix has "
            "no name for a /64 (try 128)"
        )


def _own(settings: Sequence[Setting], faults: list[str]) -> tuple["Daemon", ...]:
    """Return the daemons of ``[pattern.NAME]``."""
    if not settings:
        return ()
    from journalrelay.patterns import Daemon
    from journalrelay.workshop.own import read_daemon
    from journalrelay.workshop.trial import collisions

    own: dict[str, tuple[Daemon, Fault]] = {}
    for name, value, file in settings:
        fault: Fault = partial(_fault, faults, file)
        called = name.removeprefix(_PATTERN)
        daemon = read_daemon(called, value, fault)
        # one with faults is known by its name, so that nothing else is said to be wrong
        own[name] = daemon or Daemon(called, {}, (), ()), fault
    known = list(_registry())
    for name, (daemon, fault) in own.items():
        for text in collisions(daemon, known):
            fault(name, text)
        known.append(daemon)
    return tuple(daemon for daemon, _ in own.values())


def _remotes(
    settings: Sequence[tuple[str, Any, Path]], own: tuple["Daemon", ...], faults: list[str]
) -> tuple["Trust", ...]:
    """Return the hosts of ``[remote.NAME]``."""
    if not settings:
        return ()
    from journalrelay.rules.trust import Trust, read_trust

    known = tuple(daemon.name for daemon in (*_registry(), *own))
    remotes: dict[str, Trust | None] = {}
    for name, value, file in settings:
        fault: Fault = partial(_fault, faults, file)
        remotes[name] = read_trust(name.removeprefix(_REMOTE), value, known, fault)
    return tuple(trust for trust in remotes.values() if trust)


def _fault(faults: list[str], file: Path, key: str, text: str) -> None:
    faults.append(f"{file}: {printable(key)}: {printable(text)}")


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
        text = file.read_text("utf-8")
        if all(line.isspace() or line.startswith("#") for line in text.splitlines(keepends=True)):
            return {}  # as it is installed; the parser is long to import
        import tomllib

        return dict(_flatten(tomllib.loads(text), ""))
    except (ValueError, RecursionError) as error:
        faults.append(f"{file}: {printable(str(error))} (it is read as TOML, in UTF-8)")
    except OSError as error:
        faults.append(f"{file}: {error.strerror} (name a configuration that can be read)")
    return {}


def _flatten(table: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for name, value in table.items():
        whole = prefix in _WHOLE or not isinstance(value, dict)
        if not whole and (value or prefix + name in _TABLES):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _take(
    name: str,
    value: Any,
    file: Path,
    values: dict[str, Any],
    own: tuple["Daemon", ...],
    faults: list[str],
) -> None:
    key = _KEYS.get(name)
    if key is None:
        daemons = (*_registry(), *own)
        of = {f"daemons.{d.name}.{word}": key for d in daemons for word, key in OF_DAEMON.items()}
        if value == {} and f"{name}.window" in of:
            return
        key = of.get(name)
    if key is None:
        faults.append(f"{file}: {printable(name)}: there is no such setting{_advice(name, of)}")
        return
    try:
        if key.read is _daemons:
            _daemons(value, (*_registry(), *own))
            values[name] = value
        else:
            values[name] = key.read(value)
    except ValueError as error:
        faults.append(f"{file}: {name}: {error}")


def _advice(name: str, of_daemons: Iterable[str]) -> str:
    heir = HEIRS.get(name.rpartition(".")[2])
    if heir:
        return f" (what it did: {heir})"
    return nearest(name, [*_KEYS, *of_daemons])


def _build(
    values: Mapping[str, Any], own: tuple["Daemon", ...], remotes: tuple["Trust", ...]
) -> Config:
    enable = _KEYS["daemons.enable"]
    usual = {key.name: key.read(key.default) for key in KEYS if key is not enable}
    got = {enable.name: enable.default, **usual, **values}
    of_daemon = {
        word: {
            name.split(".")[1]: value
            for name, value in values.items()
            if name.count(".") == 2 and name.endswith(f".{word}")
        }
        for word in OF_DAEMON
    }
    return Config(
        rules=Rules(
            window_us=got["relay.window"],
            windows_us=of_daemon["window"],
            never=got["relay.never"],
            never_users=got["relay.never_users"],
            only_users=got["relay.only_users"],
            max_addresses_per_user=got["relay.max_addresses_per_user"],
            max_addresses=got["relay.max_addresses"],
            max_addresses_of=of_daemon["max_addresses"]
            | {f"remote.{host.name}": host.max_addresses for host in remotes},
            while_connected_us=got["relay.while_connected"] or 0,
            ipv6_prefix=got["relay.ipv6_prefix"],
            max_grant_us=got["relay.max_grant"],
            skew_us=got["relay.skew"],
            spelling=got["map.spelling"],
        ),
        own=own,
        enable=got["daemons.enable"],
        resolve_us=got["daemons.resolve"],
        remotes=remotes,
        remote=got["source.remote"],
        directory=got["source.directory"],
        namespace=got["source.namespace"],
        kind=got["source.kind"],
        logfile=got["source.logfile"],
        hosts=got["source.hosts"],
        map_path=got["map.path"],
        map_type=got["map.type"],
        shown=Shown(got["log.users"], got["log.addresses"]),
    )
