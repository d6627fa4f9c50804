"""The place up to which a source was read, kept over restarts; it follows the map, never leads.

One JSON file a source in the state directory: ``{"format": 1, "cursor", "time_us", "boot",
"clock_us", "map"}``, replaced atomically. ``clock_us`` is the wall clock minus the monotonic one of
boot ``boot`` when it was saved: a clock that was stepped back since shows in it. ``map`` is the
file (its identity, as mapfile has it) that held what was read up to there: another one may lack it.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

from journalrelay.errors import DataError, translate
from journalrelay.owner import as_owner, open_plain, read_plain

_FORMAT = 1
_MEND = "make the state directory, owned by the daemon's user"


class Place(NamedTuple):
    """A journal cursor, the time of its entry, the clock that its reader lived by, and the map
    that it wrote."""

    cursor: str
    time_us: int
    boot: str
    clock_us: int
    map: str


class CursorFile:
    """The kept place of the source called ``name`` in the directory ``state``."""

    def __init__(self, state: Path, name: str) -> None:
        self.path = state / f"{name}.cursor"

    def load(self) -> Place | None:
        """Return the kept place, None when there is none yet; DataError when it is garbage."""
        try:
            content = read_plain(self.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._translated(error) from error
        try:
            return _place(json.loads(content))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise DataError(
                f"{self.path}: not a saved place (remove it: the last window is read instead)"
            ) from error

    def save(self, place: Place, *, surely: bool = True) -> None:
        """Replace the kept place, so that a kill leaves the old or the new one, whole; ``surely``
        when a power failure is to leave one of them too."""
        beside = self.path.with_suffix(".cursor.new")
        content = json.dumps({"format": _FORMAT, **place._asdict()}).encode() + b"\n"
        try:
            with as_owner(self.path.parent):
                fd = open_plain(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                try:
                    os.write(fd, content)
                    if surely:
                        os.fdatasync(fd)
                finally:
                    os.close(fd)
                os.replace(beside, self.path)
        except OSError as error:
            raise self._translated(error) from error

    def _translated(self, error: OSError) -> Exception:
        return translate(error, f"{self.path}", _MEND)


def _place(content: dict[str, object]) -> Place:
    if content["format"] != _FORMAT:
        raise ValueError
    cursor, boot, map_ = content["cursor"], content["boot"], content["map"]
    time_us, clock_us = content["time_us"], content["clock_us"]
    if not isinstance(cursor, str) or not isinstance(boot, str) or not isinstance(map_, str):
        raise TypeError
    if not isinstance(time_us, int) or not isinstance(clock_us, int):
        raise TypeError
    return Place(cursor, time_us, boot, clock_us, map_)
