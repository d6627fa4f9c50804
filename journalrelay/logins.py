"""From records to logins, with what must be remembered between the lines of one process."""

from collections.abc import Iterable

from journalrelay.event import Login, Record
from journalrelay.patterns import Daemon, Dispatch, Told


class Logins:
    """Recognise the logins at ``daemons``."""

    def __init__(self, daemons: Iterable[Daemon]) -> None:
        self._dispatch = Dispatch(daemons)

    def read(self, record: Record) -> Login | None:
        """Return the login that the record proves, or None."""
        told = self._dispatch.read(record)
        if told is None or told.tells != "login" or told.address is None:
            return None
        return _login(record, told)


def _login(record: Record, told: Told) -> Login | None:
    if told.address is None:
        return None
    return Login(
        address=told.address,
        user=told.user,
        service=told.service,
        daemon=told.daemon.name,
        logged_at_us=record.logged_at_us(),
        server=told.server,
        clock_ahead_us=record.clock_ahead_us(),
    )
