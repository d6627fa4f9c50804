"""When a line of a daemon that a client can make log a login is not to be believed.

Such a daemon cuts long text in pieces and logs each as an entry of its own, with its genuine
fields: the client chooses the length, and with it how the next piece begins. What betrays a piece
is the one before it, which is as long as the cut, or was padded with blanks that journald took
away (it keeps the original as SYSLOG_RAW then). So a line counts only if the entry before it, of
the same process, is known and whole. courierlogger cuts at 511 bytes, mailutils' imap4d at 8187.
"""

from journalrelay.event import Process, Record
from journalrelay.recognition.correlate import LONGEST_US

CUT = 500  # bytes; no whole line of theirs is as long
MOST = 10_000

_PADDED = "padded text: it can be a piece of a client's line"
_PIECE = "after a line that was cut: it can be the client's text"
_UNKNOWN = "after a gap: what its process logged before is not known"


class Predecessors:
    """For each process whether what it logged last was a whole line."""

    def __init__(self) -> None:
        self._whole: dict[Process, bool] = {}
        self._gaps: dict[bytes | None, int] = {}

    def see(self, process: Process, record: Record, *, first: bool) -> str:
        """Return why ``record`` is not to be believed, empty if it is, and remember it.

        ``first`` tells that it is a line with which a process begins, so that nothing need
        precede it, except where entries were lost.
        """
        padded = record.field("SYSLOG_RAW") is not None
        before = self._whole.pop(process, None)
        self._whole[process] = not padded and 0 < len(record.message) < CUT
        if len(self._whole) > MOST:
            del self._whole[next(iter(self._whole))]
        if padded:
            return _PADDED
        if before is False:
            return _PIECE
        if before is None and not (first and self._unbroken(process.unit, record)):
            return _UNKNOWN
        return ""

    def forget(self, unit: bytes | None, at_us: int) -> None:
        """Believe nothing of a unit, of all when None, of which entries were lost at ``at_us``
        until it is known again what precedes it."""
        if len(self._gaps) >= MOST:  # another host may name as many units as it likes
            self._gaps, unit = {}, None
        self._gaps[unit] = at_us
        for process in [process for process in self._whole if unit in (None, process.unit)]:
            del self._whole[process]

    def _unbroken(self, unit: bytes, record: Record) -> bool:
        """Tell whether nothing of the unit was lost for so long that no piece can be left of it."""
        lost_us = [self._gaps[which] for which in (unit, None) if which in self._gaps]
        return all(abs(record.logged_at_us() - at_us) > LONGEST_US for at_us in lost_us)
