"""The standard streams: there may be none, and somebody may stop reading them."""

import io
import os
import sys
from contextlib import suppress
from typing import TextIO, cast


class _Outlet(io.TextIOBase):
    """Standard output, which somebody may stop reading: the verb's work goes on all the same."""

    def __init__(self, inner: TextIO) -> None:
        self._inner = inner

    def write(self, text: str) -> int:
        try:
            return self._inner.write(text)
        except BrokenPipeError:
            discard_output()
            return len(text)

    def flush(self) -> None:
        try:
            self._inner.flush()
        except BrokenPipeError:
            discard_output()

    def isatty(self) -> bool:
        return self._inner.isatty()


def open_standard_streams() -> None:
    """See to it that no file of ours becomes descriptor 0, 1 or 2 because that was closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout = cast(TextIO, _Outlet(sys.stdout))


def discard_output() -> None:
    """Drop what is and will be printed on standard output, if there is a descriptor for that."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def takes_colour() -> bool:
    """Tell whether standard output is a terminal that shows colours, and whoever sits before it
    wants them: NO_COLOR that is set and not empty says no (https://no-color.org)."""
    dumb = os.environ.get("TERM", "dumb") == "dumb"
    return sys.stdout.isatty() and not dumb and not os.environ.get("NO_COLOR")
