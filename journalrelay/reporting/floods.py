"""Floods of refused logins: minutes in which so many were refused that it is no accident."""

from collections import Counter
from dataclasses import dataclass

from journalrelay.reporting.span import MINUTE_US

LEAST = 30  # refused logins a minute
_MOST = 100  # floods that are listed
_KEYS = 1000  # addresses that are told apart in a minute
_LULL = 2  # minutes that do not end a flood


@dataclass
class Flood:
    """Minutes in a row, more or less: from when to when (µs since the epoch), how many logins were
    refused in all and in the worst minute, for what reason mostly, and from where mostly."""

    from_us: int
    until_us: int
    refused: int
    worst: int
    reason: str
    address: str
    share: int


class Floods:
    """Finds the floods in refusals that come in the order of their times, more or less."""

    def __init__(self) -> None:
        self.found: list[Flood] = []
        self.unlisted = 0
        self._minute = 0
        self._reasons: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()

    def note(self, time_us: int, address: str, reason: str) -> None:
        """Count a refused login."""
        minute = time_us // MINUTE_US
        if minute > self._minute:
            self.close()
            self._minute = minute
        self._reasons[reason] += 1
        if address in self._addresses or len(self._addresses) < _KEYS:
            self._addresses[address] += 1

    def close(self) -> None:
        """Look back at the last minute."""
        count = self._reasons.total()
        if count >= LEAST:
            self._add(count)
        self._reasons.clear()
        self._addresses.clear()

    def _add(self, count: int) -> None:
        began_us = self._minute * MINUTE_US
        reason = self._reasons.most_common(1)[0][0]
        address, share = self._addresses.most_common(1)[0]
        last = self.found[-1] if self.found else None
        if last and began_us - last.until_us <= _LULL * MINUTE_US:
            last.until_us = began_us + MINUTE_US
            last.refused += count
            if count > last.worst:
                last.worst, last.reason = count, reason
                last.address, last.share = address, share
        elif len(self.found) < _MOST:
            until_us = began_us + MINUTE_US
            self.found.append(Flood(began_us, until_us, count, count, reason, address, share))
        else:
            self.unlisted += 1
