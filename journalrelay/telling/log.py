"""What is told to people: one event a line, with fields when the journal takes them."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from journalrelay.errors import printable
from journalrelay.telling.ledger import Journal
from journalrelay.telling.message import FAULT, Kind

Log = Callable[..., None]


def open_log(journal: Journal, map_path: Path | None = None) -> Log:
    """Return a function ``log(kind, message, **fields)``: to the journal when standard error goes
    there anyway, to standard error as plain text otherwise. A field that is None is left out.

    It never waits for journald: what a full socket does not take is counted, and told later. What
    it tells can do no harm to a terminal, wherever it came from: journalctl -x shows the fields as
    they are.
    """
    about = {} if map_path is None else {"RELAY_MAP": str(map_path)}
    lost = 0

    def to_journal(kind: Kind, message: str, **fields: str | None) -> None:
        nonlocal lost
        try:
            if lost and journal.send(FAULT, f"journald did not take {lost} of our lines", **about):
                lost = 0
            given = {name: printable(text) for name, text in fields.items() if text is not None}
            lost += not journal.send(kind, printable(message), **about, **given)
        except OSError:
            to_terminal(kind, message)

    def to_terminal(kind: Kind, message: str, **fields: str | None) -> None:
        with suppress(OSError):  # nobody is left to read it; the work goes on
            print(printable(message), file=sys.stderr, flush=True)

    return to_journal if in_journal() else to_terminal


def in_journal() -> bool:
    """Tell whether standard error is journald's stream (systemd.exec(5), $JOURNAL_STREAM)."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
