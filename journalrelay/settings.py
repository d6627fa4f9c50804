"""Tables of the configuration, read key by key, and values that several of them have."""

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from journalrelay.errors import nearest, printable
from journalrelay.grant import Network

Fault = Callable[[str, str], None]  # of a key, in words
_MISSING = object()


class Settings:
    """A table of the configuration, read key by key; what is wrong is told to ``fault``."""

    def __init__(self, where: str, table: Mapping[str, Any], fault: Fault) -> None:
        self._where, self._rest, self._tell = where, dict(table), fault
        self.wrong = False

    def fault(self, key: str, text: str) -> None:
        """Tell that a key is wrong."""
        self.wrong = True
        self._tell(f"{self._where}.{key}", text)

    def take(
        self, key: str, read: Callable[[Any], Any], usual: Any = _MISSING, mend: str = ""
    ) -> Any:
        """Return a key's value, ``usual`` when it is not there; None when it is wrong."""
        value = self._rest.pop(key, _MISSING)
        if value is _MISSING:
            if usual is _MISSING:
                self.fault(key, f"it is missing{f' ({mend})' if mend else ''}")
                return None
            return usual
        try:
            return read(value)
        except ValueError as error:
            self.fault(key, str(error))
            return None

    def close(self, known: Iterable[str]) -> None:
        """Refuse what nobody has taken."""
        for key in self._rest:
            self.fault(printable(key), f"there is no such setting{nearest(key, known)}")


def networks(value: Any) -> tuple[Network, ...]:
    """Return a list of networks, or raise ValueError."""
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


def at_most(most: int) -> Callable[[Any], int]:
    """Return what reads a number up to ``most``, 0 for no limit, or raises ValueError."""

    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise ValueError(f"{value!r} is not a number from 1 to {most} (0 is no limit)")
        return value

    return read
