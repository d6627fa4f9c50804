"""Which source is read, and why that one.

The journal tells who logged a line and a file does not. So a file is read where it is asked for,
or in the place of a journal that is not there or that no server logs to; never because the journal
could not be read.
"""

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from journalrelay.config import Config
from journalrelay.errors import NoInputError, RelayError, UnavailableError
from journalrelay.patterns import Daemon
from journalrelay.patterns.unvouched import identifiers, unread, unvouched
from journalrelay.recognition.logins import matches
from journalrelay.sources.journal import JournalSource
from journalrelay.sources.openjournal import Where
from journalrelay.sources.source import Source

USUAL = ("/var/log/mail.log", "/var/log/maillog")


class Chosen(NamedTuple):
    """A source, open; the daemons as they can be read there; what it is and why, for people."""

    source: Source
    daemons: tuple[Daemon, ...]
    why: str


def choose(config: Config, where: Where, hand: Sequence[bytes], has_journal: bool) -> Chosen:
    """Return the source that the configuration means. ``hand`` are the journal's matches for what
    was done by hand, which is read from the journal in any case if the host ``has_journal``."""
    if config.kind == "logfile":
        return _logfiles(config, config.logfile or _usual(), hand, has_journal, "as configured")
    if config.kind == "journal" or where.files or where.directory or where.namespace:
        return _journal(config, where, hand, "as configured")
    try:
        chosen = _journal(config, where, hand, "it has entries of the servers that are read")
    except (UnavailableError, NoInputError) as error:
        files = config.logfile or _usual()
        if not files:
            raise
        return _logfiles(config, files, hand, has_journal, str(error))
    if chosen.source.last_time_us() is not None:
        return chosen
    why = "the journal has no entry of the servers that are read"
    try:
        if config.logfile:
            instead = _logfiles(config, config.logfile, hand, has_journal, why)
            chosen.source.close()
            return instead
    except RelayError as error:
        return chosen._replace(why=f"the journal, though without an entry yet: {error}")
    return chosen._replace(why="the journal, though without an entry yet: no log file is named")


def _journal(config: Config, where: Where, hand: Sequence[bytes], why: str) -> Chosen:
    source = JournalSource(where, matches(config.daemons), hand)
    return Chosen(source, config.daemons, f"the journal: {why}")


def _logfiles(
    config: Config, files: Sequence[str], hand: Sequence[bytes], has_journal: bool, why: str
) -> Chosen:
    from journalrelay.sources.logfile import Logfiles, LogfileSource  # much, where it is not read

    if not files:
        raise NoInputError(
            f"source.logfile names no file, and there is none of {', '.join(USUAL)} (name the "
            "file that syslogd writes the mail log to)"
        )
    daemons = unvouched(config.daemons)
    if not daemons:
        raise NoInputError(
            f"{', '.join(unread(config.daemons))}: not to be read from a log file, which does not "
            "tell who logged a line (enable others, or read the journal)"
        )
    hosts = config.hosts or (socket.gethostname(),)
    ledger = _ledger(config, hand) if has_journal else None
    source = LogfileSource(Logfiles(tuple(files), hosts), identifiers(daemons), ledger)
    left_out = ", ".join(unread(config.daemons))
    if left_out:
        source.remark(
            f"{left_out}: not read from a log file, which does not tell who logged a line"
        )
    return Chosen(source, daemons, f"{', '.join(files)}: {why}")


def _ledger(config: Config, hand: Sequence[bytes]) -> JournalSource | None:
    """Return the journal in which is written what was done by hand, if there is one after all."""
    try:
        return JournalSource(Where(namespace=config.namespace), [], hand)
    except UnavailableError:
        return None


def _usual() -> tuple[str, ...]:
    return tuple(name for name in USUAL if Path(name).is_file() and os.access(name, os.R_OK))[:1]
