"""What the daemon tells people: one event a line, with fields when the journal takes them."""

import os
import sys
from collections.abc import Callable

from journalrelay.ledger import Journal

WARNING, NOTICE, INFO = 4, 5, 6  # syslog(3)

Log = Callable[..., None]


def open_log(journal: Journal) -> Log:
    """Return a function ``log(priority, message, **fields)``: to the journal when standard error
    goes there anyway, to standard error as plain text otherwise."""

    def to_journal(priority: int, message: str, **fields: str) -> None:
        if not journal.send(message, priority, **fields):
            to_terminal(priority, message)

    def to_terminal(priority: int, message: str, **fields: str) -> None:
        print(message, file=sys.stderr, flush=True)

    return to_journal if _in_journal() else to_terminal


def _in_journal() -> bool:
    """Tell whether standard error is journald's stream (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
