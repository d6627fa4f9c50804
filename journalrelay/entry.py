"""A record that is held in memory: a line of text, or an entry that somebody has exported."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as default


@dataclass(frozen=True, slots=True)
class Entry:
    """A :class:`~journalrelay.event.Record` made of its parts; ``place`` is its cursor."""

    message: bytes
    fields: Mapping[str, bytes] = default(default_factory=dict)
    time_us: int = 0
    place: str = ""

    def field(self, name: str) -> bytes | None:
        """Return a field's bytes; None when it is missing."""
        return self.fields.get(name)

    def logged_at_us(self) -> int:
        """Return its time, 0 when it has none."""
        return self.time_us

    def clock_ahead_us(self) -> int:
        """Return 0: whether the clock ran ahead is not known of a copy."""
        return 0

    def cursor(self) -> str:
        """Return its cursor, empty when it has none."""
        return self.place
