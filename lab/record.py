"""A record made of what the caller says it is; no source stands behind it."""

from dataclasses import dataclass


@dataclass
class FakeRecord:
    """A record as a source would show it."""

    message: bytes
    fields: dict[str, str]
    time_us: int = 0

    def field(self, name: str) -> bytes | None:
        return self.fields[name].encode() if name in self.fields else None

    def logged_at_us(self) -> int:
        return self.time_us

    def clock_ahead_us(self) -> int:
        return 0

    def cursor(self) -> str:
        return "s=0"
