"""Which lines of a log file are looked at: the first look at all of them. Pure."""

import re
from collections.abc import Iterable, Iterator

from journalrelay.sources import logtime
from journalrelay.sources.logline import OWN

_NEWLINE = 10


class Sieve:
    """Find the lines that one of ``identifiers`` may have written.

    It may find too many, and :func:`logline.take_apart` looks again; all others are passed over
    here, without a step of Python for each, which takes a fifth off. It must fail soon: its
    quantifiers are possessive, which takes a quarter off. The group around the lookahead is not:
    Python 3.11.2 goes on in the wrong place behind one that is.
    """

    def __init__(self, identifiers: Iterable[str]) -> None:
        self._skip = re.compile(b"(?:(?!%s)[^\n]*+\n)*" % _beginning(sorted(identifiers))).match

    def found(self, text: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield from whole lines those that count, each with where it begins.

        NULs part lines too: a crash leaves them between what was written before and after it.
        """
        parted = text.replace(b"\0", b"\n") if b"\0" in text else text
        at, size = 0, len(text)
        while (at := self._after(parted, at)) < size:
            end = parted.index(b"\n", at)
            if text[end] == _NEWLINE:  # else it was cut short
                yield at, parted[at:end]
            at = end + 1

    def _after(self, text: bytes, at: int) -> int:
        """Return where the next line that counts begins."""
        passed = self._skip(text, at)
        return passed.end() if passed else at


def _beginning(names: list[str]) -> bytes:
    """Return what the beginning of a line matches that was logged under one of these names."""
    any_name = b"|".join(re.escape(name.encode()) for name in names)
    behind = [rb"[^ ]{1,255}+ (?:%s)[\[:]" % any_name]
    forms = [rb"%s .{0,64}?(?:%s)[\[:]" % (logtime.TAI64N, any_name)]
    if OWN in names:
        behind.append(rb"[a-z0-9-]{1,32}+: Info: ")
        forms.append(rb"dovecot: .{15,40}? Info: ")
    told = b"(?:%s)" % b"|".join(behind)
    dates = (rb"[^ ]{19,35}+", logtime.YEARLESS, rb"[0-9-]{10} [0-9][^ ]*+")
    return b"(?:%s)" % b"|".join([*(b"%s %s" % (date, told) for date in dates), *forms])
