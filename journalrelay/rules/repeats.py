"""Which logins need not be recalled one by one: those between the first and the last of one user
from one address.

What a login leaves behind is a place with its address, held until its grant ends. The first one
has taken it, the last one says for how long; those between them hold what is held. That is so as
long as no place can end between two of them, and while times only grow: so a stretch is no longer
than the shortest window, and another one begins where the clock was set.

Who logged a record is asked of the last one only, and of all that are recalled: to ask takes half
as long as recalling. So a line that lies about it can pass for the first one; then the last one
takes the place, a little later than it was taken.
"""

from collections.abc import Callable, Iterator

from journalrelay.event import Record

_MOST = 1 << 17  # clients that are told apart at once, some 150 bytes each

Gist = Callable[[Record], int | None]


class Repeats:
    """Finds them on the way back through the records. ``gist`` says what is the same in two that
    tell the same but for the session, None of a record that stands for itself; ``proves`` whether
    a record proves a login."""

    def __init__(self, gist: Gist, proves: Callable[[Record], bool], stretch_us: int) -> None:
        self._gist = gist
        self._proves = proves
        self._stretch_us = stretch_us
        self._needed = bytearray()  # the latest record first
        self._earliest: dict[int, int] = {}  # where in it, by gist
        self._since_us, self._before_us = 0, -1

    def see(self, record: Record, logged_at_us: int) -> None:
        """Take notice of the record before the one that was seen last."""
        earliest = self._earliest
        if not self._since_us <= logged_at_us <= self._before_us or len(earliest) >= _MOST:
            self._begin(logged_at_us)
        self._before_us = logged_at_us
        gist = self._gist(record)
        needed = gist not in earliest
        if gist is not None and (not needed or self._proves(record)):
            earliest[gist] = len(self._needed)
        self._needed.append(needed)

    def steps(self) -> Iterator[int]:
        """Yield, from the first record to the last, how far it is to the next one that is
        needed."""
        self._begin(0)
        steps = 0
        for needed in reversed(self._needed):
            steps += 1
            if needed:
                yield steps
                steps = 0

    def _begin(self, latest_us: int) -> None:
        """Begin a stretch; of the one that has been seen whole the first ones are known now."""
        for at in self._earliest.values():
            self._needed[at] = True
        self._earliest.clear()
        self._since_us, self._before_us = latest_us - self._stretch_us, latest_us
