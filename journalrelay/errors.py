"""The errors an operator can meet, each with its whole message and its exit code.

They are raised where the fact is known and printed in one place, :func:`journalrelay.cli.main`.
Exit codes are those of sysexits(3); 1 is a negative answer and not an error.
"""

import difflib
import os
from collections.abc import Iterable


class RelayError(Exception):
    """A failure whose text says what failed, on what, and what to do."""

    exit_code = os.EX_SOFTWARE


class UsageError(RelayError):
    """The command line asks for something that cannot be."""

    exit_code = os.EX_USAGE


class ConfigError(RelayError):
    """The configuration is wrong; the text lists every fault, one a line."""

    exit_code = os.EX_CONFIG


class DataError(RelayError):
    """A file of ours holds what we never wrote."""

    exit_code = os.EX_DATAERR


class NoInputError(RelayError):
    """What should be read is not there."""

    exit_code = os.EX_NOINPUT


class UnavailableError(RelayError):
    """A service that is needed does not answer."""

    exit_code = os.EX_UNAVAILABLE


class OutputError(RelayError):
    """Standard output takes no more of what was asked for."""

    exit_code = os.EX_IOERR


class TryAgainError(RelayError):
    """Somebody else is in the way, or the disk is full; later it may work."""

    exit_code = os.EX_TEMPFAIL


class PermissionRelayError(RelayError):
    """The caller may not do this."""

    exit_code = os.EX_NOPERM


def printable(text: str) -> str:
    """Return text of unknown origin as one line that can do no harm to a terminal or a log."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the advice for a word that is none of those known, with a blank before it."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else f" (known: {', '.join(known)})"


def translate(error: OSError, what: str, mend: str) -> RelayError:
    """Return the error an operator should see for an ``OSError`` met while doing ``what``."""
    text = f"{what}: {error.strerror or error} ({mend})"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NoInputError(text)
    if isinstance(error, PermissionError):
        return PermissionRelayError(text)
    return TryAgainError(text)
