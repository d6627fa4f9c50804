"""Where reading begins in the files that are one log: at a time, or behind a place."""

from collections.abc import Sequence

from journalrelay.sources.openlog import Log, written_us
from journalrelay.sources.reading import Reading, length_of
from journalrelay.sources.rotation import Chain
from journalrelay.sources.spot import Spot, holding


def at_time(chain: Chain, time_us: int) -> list[Reading]:
    """Return the files to be read, oldest first, from before the first line at or after a time."""
    first = len(chain.logs)
    while first and _may_hold(chain.logs[first - 1 :], time_us):
        first -= 1
    readings = [Reading(log) for log in chain.take(chain.logs[first:])]
    if readings:
        readings[0].go_to(time_us)
    return readings


def _may_hold(logs: Sequence[Log], time_us: int) -> bool:
    """Tell whether the first of ``logs`` may hold lines at or after a time: it is the last one,
    was written then, or its successor begins too late to hold all of them."""
    if len(logs) == 1 or written_us(logs[0]) >= time_us:
        return True
    began_us = Reading(logs[1]).first_time_us()
    return began_us is None or began_us >= time_us


def behind(
    chain: Chain, spots: Sequence[Spot], *, inclusive: bool
) -> list[tuple[Reading, Spot | None]] | None:
    """Return the files to be read from behind the last of these places on, or before the record
    that it is behind of, each with the place that was found in it; None when that one is gone."""
    found = {id(log): spot for spot in spots if (log := holding(chain.logs, spot))}
    numbers = [n for n, log in enumerate(chain.logs) if id(log) in found]
    if spots and spots[-1] not in found.values():
        numbers = [n for n, log in enumerate(chain.logs) if spots[-1].is_behind(log)]
        if not numbers:
            return None
    newest = max(numbers, default=-1)
    wanted = [
        log
        for n, log in enumerate(chain.logs)
        if n >= newest or id(log) in found or any(spot.is_before(log) for spot in spots)
    ]
    readings: list[tuple[Reading, Spot | None]] = []
    for log in chain.take(wanted):
        spot = found.get(id(log))
        if spot:
            readings.append((Reading(log, spot.start if inclusive else spot.end), spot))
        else:
            read = bool(spots) and spots[-1].is_behind(log)
            readings.append((Reading(log, length_of(log) if read else 0), None))
    return readings
