"""What the times of another host's entries say of its clock."""

from typing import Literal

from journalrelay.timespan import format_span

_STEADY_US = 60_000_000


class Clock:
    """A host's clock, as far as it is known: right within ``skew_us``, or not.

    Who was cut off sends late what it logged in time, and then faster than time goes on; what
    comes late for a minute, and no faster, was stamped by a clock that is behind. A clock is right
    again when it was not seen wrong for a minute, so that nobody has it said all the time.
    """

    def __init__(self, skew_us: int) -> None:
        self._skew_us = skew_us
        self._late_since: tuple[int, int] | None = None
        self._wrong_us = 0
        self.word: Literal["right", "ahead", "behind"] = "right"

    def see(self, logged_at_us: int, now_us: int) -> bool:
        """Take notice of an entry that has come; tell whether that makes a difference."""
        before = self.word
        if logged_at_us > now_us + self._skew_us:
            self.word, self._wrong_us = "ahead", now_us
        elif logged_at_us < now_us - self._skew_us:
            self._see_late(logged_at_us, now_us)
        else:
            self._late_since = None
            if now_us - self._wrong_us >= _STEADY_US:
                self.word = "right"
        return self.word != before

    def told(self, late_us: int) -> str:
        """Return what is to be said of it, when its last entry came so late."""
        span = format_span(abs(late_us) // 1_000_000 * 1_000_000)
        if self.word == "right":
            return "its clock is right again, or its entries come in time"
        if self.word == "ahead":
            return f"its clock is {span} ahead of ours: its logins are refused until it is right"
        return (
            f"its entries come {span} late, and no sooner than that: its clock is behind ours, or "
            "its upload; its logins count by the time that they give"
        )

    def _see_late(self, logged_at_us: int, now_us: int) -> None:
        since = self._late_since
        if since is None or logged_at_us - since[0] > 2 * (now_us - since[1]) + self._skew_us:
            self._late_since = logged_at_us, now_us
        elif now_us - since[1] >= _STEADY_US:
            self.word, self._wrong_us = "behind", now_us
