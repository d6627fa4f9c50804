"""What a batch makes of the map, as values: what goes, what comes, what that opens and closes."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

_NONE: Mapping[bytes, int] = MappingProxyType({})


class Changes:
    """What a batch makes of the map: first what goes, then what comes; expiries only grow."""

    def __init__(self, removed: Iterable[bytes] = (), granted: Mapping[bytes, int] = _NONE) -> None:
        self.everything = False
        self.removed = set(removed)
        self.within: set[bytes] = set()
        self.granted = dict(granted)

    def remove(self, keys: tuple[bytes, ...]) -> None:
        """Withdraw keys, also what this batch granted them so far."""
        for key in keys:
            self.removed.add(key)
            self.granted.pop(key, None)

    def remove_within(self, start: bytes) -> None:
        """Withdraw every key that begins with ``start``."""
        self.within.add(start)
        self.granted = {k: v for k, v in self.granted.items() if not k.startswith(start)}

    def remove_all(self) -> None:
        """Withdraw all that the map and this batch hold."""
        self.everything = True
        self.removed.clear()
        self.within.clear()
        self.granted.clear()

    def grant(self, key: bytes, expiry_s: int) -> None:
        """Let ``key`` relay until ``expiry_s``, or longer if it already may."""
        if expiry_s > self.granted.get(key, 0):
            self.granted[key] = expiry_s

    def withdraws(self, key: bytes) -> bool:
        """Tell whether ``key`` goes, whatever may come for it after that."""
        return self.everything or key in self.removed or key.startswith(tuple(self.within))

    def __bool__(self) -> bool:
        return bool(self.everything or self.removed or self.within or self.granted)


class Committed(NamedTuple):
    """What a commit changed: keys that can relay and could not before, and keys that cannot any
    more."""

    opened: list[bytes]
    closed: list[bytes]


def apply(
    old: Mapping[bytes, int], changes: Changes, now_s: int
) -> tuple[dict[bytes, int], Committed]:
    """Return what ``changes`` make of the map's content, and what that means."""
    kept, closed = dict(old), []
    if changes.everything or changes.removed or changes.within:
        closed = [key for key in old if changes.withdraws(key)]
        for key in closed:
            del kept[key]
    opened = [key for key in changes.granted if kept.get(key, 0) <= now_s]
    for key, expiry in changes.granted.items():
        kept[key] = max(expiry, kept.get(key, 0))
    return kept, Committed(opened, closed)
