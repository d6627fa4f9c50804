"""Who logged a record: the values that the journal's trusted fields must have."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from journalrelay.event import Record

TRUSTED_FIELDS = ("_SYSTEMD_UNIT", "_EXE", "_UID", "_TRANSPORT", "SYSLOG_IDENTIFIER")


class Like(NamedTuple):
    """Values of a field that cannot be listed: ``regex`` must fit the whole of it.

    Groups ``address`` and ``server`` give the two ends of the connection,
    where a unit's instance is named for them. ``example`` is a value that fits.
    """

    regex: re.Pattern[bytes]
    example: str


Values = tuple[str, ...] | Like
Identity = Mapping[str, Values]

# The account that a login was for: a process that has become its user, never root.
LOGIN_UID = Like(re.compile(rb"[1-9][0-9]{0,9}"), example="1000")

# The daemon's own account, whose number differs from host to host (systemd's system users). It
# counts with the unit and the exe only, which nobody else's process has: to resolve the name
# would say no more, and would not hold for the journal of another host.
SYSTEM_UID = Like(re.compile(rb"[1-9][0-9]{0,2}"), example="102")


def socket_unit(name: str) -> Like:
    """Return the units of ``NAME.socket`` with Accept=yes: one a connection, named for it.

    ``NAME@N-LOCAL:PORT-CLIENT:PORT.service``, IPv6 as inet_ntop(3) writes it, not escaped (src/
    core/socket.c, instance_from_socket_fd, systemd 252; later ones put the socket's cookie
    behind N).
    """
    end = rb"[0-9A-Fa-f.:]{2,45}):[0-9]{1,5}"
    return Like(
        re.compile(
            rb"%s@[0-9]{1,10}-(?:[0-9]{1,20}-)?(?P<server>%s-(?P<address>%s\.service"
            % (re.escape(name.encode()), end, end)
        ),
        example=f"{name}@0-192.0.2.1:110-192.0.2.10:35215.service",
    )


# The same, made ready to be held against a record.
Fields = tuple[tuple[str, frozenset[bytes] | Like], ...]


def fields_of(identity: Identity) -> Fields:
    """Return an identity as :func:`fitting` wants it."""
    return tuple(
        (name, values if isinstance(values, Like) else frozenset(v.encode() for v in values))
        for name, values in identity.items()
    )


def fitting(record: Record, fields: Fields) -> Mapping[str, bytes] | None:
    """Return what the trusted fields tell of the connection (often nothing), or None when one
    of them is missing or names another sender."""
    told: Mapping[str, bytes] = {}
    field = record.field
    for name, values in fields:
        value = field(name)
        if value is None:
            return None
        if isinstance(values, frozenset):
            if value not in values:
                return None
            continue
        found = values.regex.fullmatch(value)
        if found is None:
            return None
        told = {**told, **found.groupdict()}
    return told


def units(identities: Iterable[Identity]) -> tuple[Fields, ...]:
    """Return the units of senders, each made ready for :func:`is_of`."""
    named: dict[Values, None] = dict.fromkeys(one["_SYSTEMD_UNIT"] for one in identities)
    return tuple(fields_of({"_SYSTEMD_UNIT": values}) for values in named)


def is_of(record: Record, units: Iterable[Fields]) -> bool:
    """Tell whether a record was logged in one of the units."""
    return any(fitting(record, unit) is not None for unit in units)


def example(identity: Identity) -> dict[str, str]:
    """Return trusted fields that fit."""
    return {
        name: values.example if isinstance(values, Like) else values[0]
        for name, values in identity.items()
    }


def matches(identities: Iterable[Identity]) -> list[list[bytes]]:
    """Return what the journal's index is asked for, which lets no line of theirs out: the units,
    and where these cannot be listed the programs.

    The other fields are looked at on a hit. To ask for them too, a group for each of thirty
    daemons, made libsystemd take 5.0 instead of 2.2 microseconds an entry.
    """
    units: dict[bytes, None] = {}
    programs: dict[bytes, None] = {}
    for identity in identities:
        name = "_EXE" if isinstance(identity["_SYSTEMD_UNIT"], Like) else "_SYSTEMD_UNIT"
        asked = programs if name == "_EXE" else units
        asked.update((f"{name}={value}".encode(), None) for value in listed(identity, name))
    return [list(asked) for asked in (units, programs) if asked]


def listed(identity: Identity, name: str) -> tuple[str, ...]:
    """Return the values of a field that must be listed; TypeError when they are not."""
    values = identity[name]
    if isinstance(values, Like):
        raise TypeError(f"{name}: its values must be listed")
    return values
