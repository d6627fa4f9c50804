"""What is found of a part of an installation."""

from typing import Literal, NamedTuple

Word = Literal["well", "note", "wrong"]


class Diagnosis(NamedTuple):
    """``what`` was found of a ``part``; a note is no fault. ``mend`` is a command for root, or
    several joined by ``&&`` or ``;``."""

    part: str
    word: Word
    what: str
    mend: str = ""


def well(part: str, what: str) -> Diagnosis:
    """Return that something is as it should be."""
    return Diagnosis(part, "well", what)


def note(part: str, what: str) -> Diagnosis:
    """Return something to be known."""
    return Diagnosis(part, "note", what)


def wrong(part: str, what: str, mend: str) -> Diagnosis:
    """Return a fault, and what mends it."""
    return Diagnosis(part, "wrong", what, mend)
