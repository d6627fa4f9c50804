"""How far a long walk is, for who waits for it at a terminal."""

import time
from typing import TextIO

from journalrelay.sources.source import Source


class Progress:
    """A line on a terminal that says how far a long walk is, by the time of its entries."""

    _EVERY_S = 0.2
    _BAR = 30

    def __init__(self, terminal: TextIO, source: Source) -> None:
        self._terminal = terminal
        self._source = source
        self._began_s = self._shown_s = time.monotonic()
        self._first_us: int | None = None
        self._last_us = source.last_time_us() or 0

    def show(self, records: int) -> None:
        """Draw the line anew, five times a second at most."""
        now_s = time.monotonic()
        place = self._source.place()
        if place is None:
            return
        self._first_us = self._first_us or place[1]
        if now_s - self._shown_s < self._EVERY_S:
            return
        self._shown_s = now_s
        part = (place[1] - self._first_us) / max(1, self._last_us - self._first_us)
        full = round(self._BAR * min(1.0, max(0.0, part)))
        rate = records / (now_s - self._began_s)
        bar = "#" * full + "." * (self._BAR - full)
        self._terminal.write(f"\r[{bar}] {records} entries, {rate:,.0f}/s\x1b[K")
        self._terminal.flush()

    def clear(self) -> None:
        """Take the line away."""
        self._terminal.write("\r\x1b[K")
        self._terminal.flush()
