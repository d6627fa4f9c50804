"""How far another host is trusted: ``[remote.NAME]`` of the configuration.

A host that sends its journal may write anything into it. It is known by the name in its
certificate, which is the name of its file here, and not by what its entries say of themselves; and
it speaks for the daemons and the clients' networks that are stated here, for no others.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from journalrelay.errors import nearest
from journalrelay.event import Login
from journalrelay.grant import Network, fold
from journalrelay.settings import Fault, Settings, at_most, networks

KEYS = ("daemons", "networks", "max_addresses")
MAX_ADDRESSES = 10_000
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")  # a common name has 64 (RFC 5280)


@dataclass(frozen=True)
class Trust:
    """The daemons for which the host ``name`` may speak, and the networks of which it may let
    clients in; of ``max_addresses`` 0 is no limit."""

    name: str
    daemons: tuple[str, ...]
    networks: tuple[Network, ...]
    max_addresses: int = MAX_ADDRESSES

    def doubt(self, login: Login, ipv6_prefix: int) -> str:
        """Return why a login of this host's does not count, empty if it does."""
        if login.daemon not in self.daemons:
            return f"{self._table}.daemons: {login.daemon}"
        last = int(login.address)
        first = last
        if login.address.version == 6 and ipv6_prefix < 128:
            opened = fold(login.address, ipv6_prefix)
            first, last = int(opened.network_address), int(opened.broadcast_address)
        for low, high in self._ranges[login.address.version]:
            if low <= first and last <= high:
                return ""
        return f"{self._table}.networks: not in them"

    @property
    def _table(self) -> str:
        return f'remote."{self.name}"'

    @cached_property
    def _ranges(self) -> Mapping[int, tuple[tuple[int, int], ...]]:
        return {
            version: tuple(
                (int(network.network_address), int(network.broadcast_address))
                for network in self.networks
                if network.version == version
            )
            for version in (4, 6)
        }


def read_trust(name: str, value: Any, known: tuple[str, ...], fault: Fault) -> Trust | None:
    """Return what ``[remote.NAME]`` states, None when something is wrong with it; ``known`` are
    the names of all daemons."""
    where = f'remote."{name}"'
    if not _NAME.fullmatch(name):
        fault(where, f"{name!r} is no name (it is the common name of the host's certificate)")
        return None
    if not isinstance(value, dict):
        fault(where, f"{value!r} is not a table (write [{where}])")
        return None

    def daemons(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not value:
            raise ValueError(f"{value!r} is not a list of daemons (try ['dovecot'])")
        for one in value:
            if one not in known:
                raise ValueError(f"{one!r} is no known daemon{nearest(str(one), known)}")
        return tuple(value)

    table = Settings(where, value, fault)
    trust = Trust(
        name,
        table.take("daemons", daemons, mend="those for which the host may speak, as ['dovecot']"),
        table.take(
            "networks",
            networks,
            mend="those of its clients; ['0.0.0.0/0', '::/0'] if they may be anywhere",
        ),
        table.take("max_addresses", at_most(10_000_000), usual=MAX_ADDRESSES),
    )
    table.close(KEYS)
    return None if table.wrong else trust
