"""What is left of a daemon's identity where nobody vouches for who logged a line: a flat file.

Only the identifier that the line itself claims. So a daemon that even the journal cannot vouch for
is not read there, nor a line whose meaning is in a trusted field; and what sendmail logs is never
anybody else's, whatever text a client had it quote (CVE-2001-1075).
"""

from collections.abc import Iterable

from journalrelay.patterns.identity import Identity, Like, listed
from journalrelay.patterns.pattern import Daemon, Pattern

_FIELD = "SYSLOG_IDENTIFIER"
SENDMAIL = frozenset({"sendmail", "sm-mta", "sm-msp", "sm-msp-queue", "sm-client", "sm-que"})


def unvouched(daemons: Iterable[Daemon]) -> tuple[Daemon, ...]:
    """Return the daemons as they can be read from a flat file; those that cannot are left out."""
    return tuple(
        daemon._replace(identity=_claimed(daemon.identity), patterns=patterns)
        for daemon in daemons
        if not daemon.forgeable and (patterns := _patterns(daemon))
    )


def unread(daemons: Iterable[Daemon]) -> list[str]:
    """Return the names of those that are not read from a flat file."""
    daemons = tuple(daemons)
    read = {daemon.name for daemon in unvouched(daemons)}
    return [daemon.name for daemon in daemons if daemon.name not in read]


def identifiers(daemons: Iterable[Daemon]) -> set[str]:
    """Return the identifiers under which the daemons log."""
    return {
        name
        for daemon in daemons
        for pattern in daemon.patterns
        for name in listed(daemon.identity_of(pattern), _FIELD)
    }


def _patterns(daemon: Daemon) -> tuple[Pattern, ...]:
    """Return the patterns that mean something without a trusted field, each once; none if what
    is left tells of no address."""
    kept: dict[tuple[object, ...], Pattern] = {}
    for pattern in daemon.patterns:
        identity = daemon.identity_of(pattern)
        if not _tells_an_end(identity) and _claimed(identity)[_FIELD]:
            key = pattern.text, pattern.tells, _claimed(identity)[_FIELD]
            kept.setdefault(key, pattern._replace(identity=_claimed(identity)))
    whole = any("address" in pattern.regex.groupindex for pattern in kept.values())
    return tuple(kept.values()) if whole else ()


def _tells_an_end(identity: Identity) -> bool:
    return any(
        isinstance(values, Like) and "address" in values.regex.groupindex
        for values in identity.values()
    )


def _claimed(identity: Identity) -> Identity:
    return {_FIELD: tuple(name for name in listed(identity, _FIELD) if name not in SENDMAIL)}
