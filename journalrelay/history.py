"""What was told of the work, read back from the journal: who was granted, refused, taken out.

It is for people alone and decides nothing: the map does. An entry counts when it names this map and
journald vouches that root wrote it, or the map's owner, as whom the daemon runs; of a map that is
not on this host, as when its journal was copied, when it came out of the daemon's units.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from journalrelay.errors import TryAgainError
from journalrelay.sources.openjournal import (
    JournalRecord,
    Where,
    add_matches,
    open_reader,
    unreadable,
)
from journalrelay.telling.message import Kind

_UNITS = ("poprelayd.service", "poprelayd-expire.service")


class Told(NamedTuple):
    """An entry of ours; ``record`` is good until the next one is taken."""

    kind: Kind
    record: JournalRecord

    def text(self, field: str) -> str | None:
        """Return a field's text, None when it is not there, as when it is not to be logged."""
        value = self.record.field(field)
        return None if value is None else value.decode("utf-8", "backslashreplace")

    def number(self, field: str) -> int:
        """Return a field's number, 0 when it is none."""
        value = self.record.field(field) or b""
        return int(value) if value.isdigit() and len(value) < 16 else 0


class History:
    """What was told of the map at ``map_path`` in the journal ``where``.

    The journal is opened at once: a command gives up root's rights before it reads on.
    """

    def __init__(self, where: Where, map_path: Path) -> None:
        self._reader = open_reader(where)
        self._record = JournalRecord(self._reader)
        self._trusted = [os.fsencode(f"RELAY_MAP={map_path}"), *_writers(map_path)]
        if where.machine:
            self._trusted.append(b"_MACHINE_ID=" + where.machine)

    def close(self) -> None:
        """Close the journal."""
        self._reader.close()

    def since(
        self, time_us: int, kinds: Sequence[Kind], fields: Sequence[bytes] = ()
    ) -> Iterator[Told]:
        """Yield the entries of ``kinds`` at or after a time (µs since the epoch), oldest first.

        ``fields`` are further matches, each ``FIELD=value``; those of one field are alternatives.
        """
        self._choose(kinds, fields)
        self._reader.seek_realtime(max(0, time_us))
        return self._told(kinds, self._reader._next)

    def backwards(self, kinds: Sequence[Kind], fields: Sequence[bytes] = ()) -> Iterator[Told]:
        """Yield the entries of ``kinds``, newest first; ``fields`` as for :meth:`since`."""
        self._choose(kinds, fields)
        self._reader.seek_tail()
        return self._told(kinds, self._reader._previous)

    def first_time_us(self) -> int | None:
        """Return the time of the journal's oldest entry, whoever logged it."""
        self._reader.flush_matches()
        self._reader.seek_head()
        return self._reader._get_realtime() if self._reader._next() else None

    def _choose(self, kinds: Sequence[Kind], fields: Sequence[bytes]) -> None:
        self._reader.flush_matches()
        ids = [f"MESSAGE_ID={kind.id}".encode() for kind in kinds]
        add_matches(self._reader, [[*ids, *fields, *self._trusted]])

    def _told(self, kinds: Sequence[Kind], step: Callable[[], bool]) -> Iterator[Told]:
        named = {kind.id.encode(): kind for kind in kinds}
        try:
            while step():
                kind = named.get(self._record.field("MESSAGE_ID") or b"")
                if kind:
                    yield Told(kind, self._record)
        except OSError as error:
            raise TryAgainError(unreadable(error)) from error


def _writers(map_path: Path) -> list[bytes]:
    """Return the matches for who may speak of the map."""
    try:
        uids = {0, map_path.parent.stat().st_uid}
    except OSError:
        return [f"_SYSTEMD_UNIT={unit}".encode() for unit in _UNITS]
    return [f"_UID={uid}".encode() for uid in sorted(uids)]
