"""Who holds a place until when, in few bytes: what the limits count.

A hash table of numbers in arrays, since a dict of Python's own objects takes five times as much.
Rows of one group lie behind each other (linear probing), so that they can be counted; a row that
is over is room for the next one. Three quarters of the slots are taken at most, and four ninths
after it has grown. To double it would leave more of it empty, to add less would take long.
"""

from array import array
from collections.abc import Callable, Iterator
from itertools import chain

_LEAST = 1 << 10
WORD = (1 << 64) - 1  # what makes a number of 64 bits of a hash
LATEST_S = (1 << 32) - 1  # 2106; what ends later is held until then


class Table:
    """Rows (group, member) → end, a time in whole seconds up to the year 2106. Groups are numbers
    of 64 bits, members of the kind that array.array calls so."""

    def __init__(self, members: str = "Q") -> None:
        self._kind = members
        self._used = 0
        self._make(_LEAST)

    def find(self, group: int, member: int, now_s: int) -> int:
        """Return where a row stands that is not over, until the next :meth:`put`; -1 for none."""
        ends, groups, members = self._ends, self._groups, self._members
        size = len(ends)
        slot = group % size
        while end_s := ends[slot]:
            if groups[slot] == group and members[slot] == member:
                return slot if end_s > now_s else -1
            slot = (slot + 1) % size
        return -1

    def prolong(self, slot: int, end_s: int) -> None:
        """Let the row that stands there end at ``end_s``, or later if it already does."""
        if end_s > self._ends[slot]:
            self._ends[slot] = min(end_s, LATEST_S)

    def end(self, group: int, member: int) -> int:
        """Return when a row ends, 0 for none."""
        slot = self.find(group, member, 0)
        return self._ends[slot] if slot >= 0 else 0

    def rows(self, group: int) -> list[tuple[int, int]]:
        """Return member and end of each row of a group."""
        ends, groups, size = self._ends, self._groups, len(self._ends)
        slot, found = group % size, []
        while ends[slot]:
            if groups[slot] == group:
                found.append((self._members[slot], ends[slot]))
            slot = (slot + 1) % size
        return found

    def put(self, group: int, member: int, end_s: int, now_s: int) -> None:
        """Let a row end at ``end_s``, or later if it already does; what is over is given up."""
        ends, groups, size = self._ends, self._groups, len(self._ends)
        end_s = min(end_s, LATEST_S)
        slot, free = group % size, -1
        while ends[slot]:
            if groups[slot] == group and self._members[slot] == member:
                ends[slot] = max(end_s, ends[slot])
                return
            if free < 0 and ends[slot] <= now_s:
                free = slot
            slot = (slot + 1) % size
        if free < 0:
            free, self._used = slot, self._used + 1
        groups[free], self._members[free], ends[free] = group, member, end_s
        if 4 * self._used > 3 * size:
            self._renew(now_s)

    def keep(self, wanted: Callable[[int, int], bool]) -> None:
        """Give up every row whose group and member are not wanted."""
        for slot, (group, member) in enumerate(zip(self._groups, self._members, strict=True)):
            if not wanted(group, member):
                self._ends[slot] = 0
        self._renew(0)

    def all(self) -> Iterator[tuple[int, int, int]]:
        """Yield group, member and end of every row, also of what is over."""
        rows = zip(self._groups, self._members, self._ends, strict=True)
        return (row for row in rows if row[2])

    def _renew(self, now_s: int) -> None:
        """Give up what is over, and have nine slots for four rows that are left."""
        rows = self.all()
        self._used = sum(end_s > now_s for end_s in self._ends)
        self._make(size := max(_LEAST, 9 * self._used // 4))
        groups, members, ends = self._groups, self._members, self._ends
        for group, member, end_s in rows:
            if end_s > now_s:
                slot = group % size
                while ends[slot]:
                    slot = (slot + 1) % size
                groups[slot], members[slot], ends[slot] = group, member, end_s

    def _make(self, size: int) -> None:
        self._groups = array("Q", [0]) * size
        self._members = array(self._kind, [0]) * size
        self._ends = array("I", [0]) * size


class Ends:
    """How many things have not ended, each a number whose end ``end_of`` tells: asked only when
    it would have ended by what was known, since most ends are put off many times."""

    def __init__(self, end_of: Callable[[int], int]) -> None:
        self._end_of = end_of
        self._due: dict[int, array[int]] = {}
        self._now_s = 0
        self._left = 0

    def add(self, number: int, end_s: int) -> None:
        """Count one that was not there, or had ended."""
        self._left += 1
        self._put_off(number, end_s)

    def left(self, now_s: int) -> int:
        """Return how many end later than ``now_s``; time only goes on."""
        if now_s > self._now_s:
            if now_s - self._now_s <= len(self._due):
                over = [s for s in range(self._now_s + 1, now_s + 1) if s in self._due]
            else:
                over = [s for s in self._due if s <= now_s]
            self._now_s = now_s
            for number in chain.from_iterable([self._due.pop(s) for s in over]):
                end_s = self._end_of(number)
                if end_s > now_s:
                    self._put_off(number, end_s)
                else:
                    self._left -= 1
        return self._left

    def _put_off(self, number: int, end_s: int) -> None:
        due = self._due.get(end_s)
        if due is None:
            self._due[end_s] = due = array("Q")
        due.append(number)
