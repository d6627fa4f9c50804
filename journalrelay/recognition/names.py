"""The waiting room for logins whose line has the client's host name and no address.

Each name is asked for once, whatever waits for it, and within a time; how, is the resolver's. The
road goes on meanwhile, and the place that is kept stays before whatever waits.
"""

from itertools import takewhile
from typing import Generic, NamedTuple, Protocol, TypeVar

from journalrelay.grant import Address

# What waits at once, and what is remembered. A name may be given to another address at any time:
# so an answer is used again for ten seconds, which is for the many logins of a catch-up.
MOST = 10_000
KEPT_US = 10_000_000

# Reserved (RFC 6761): whoever can ask learns at once that it does not exist.
_PROBE = "invalid."

_CANNOT = "host names cannot be looked up: {} (daemons.resolve; see poprelayd(8), Host names)"
_LATE = "its host name could not be confirmed in time"
_TOO_MANY = "too many host names at once"

T = TypeVar("T")
Place = tuple[str, int] | None


class Answer(NamedTuple):
    """The address that a name was confirmed for, or why it was not; ``failure`` is what the
    resolver said when it could not even ask."""

    address: Address | None
    reason: str = ""
    failure: str = ""


class Resolver(Protocol):
    """Confirms names while others do their work."""

    def ask(self, name: str, until_us: int) -> None:
        """Begin to confirm a name; nobody waits after ``until_us`` of the monotonic clock."""

    def answers(self) -> list[tuple[str, Answer]]:
        """Return what has been found out since the last call."""

    def wait(self, span_s: float) -> None:
        """Wait for an answer, so long at most."""


class _Asked(NamedTuple, Generic[T]):
    until_us: int
    before: Place
    waiting: list[T]


class Names(Generic[T]):
    """What waits for a name; all times are of the monotonic clock. A ``within_us`` of 0 is for
    a road on which no names are read."""

    def __init__(self, resolver: Resolver, within_us: int) -> None:
        self.within_us = within_us
        self._resolver = resolver
        self._asked: dict[str, _Asked[T]] = {}
        self._known: dict[str, tuple[Answer, int]] = {}
        self._count = 0
        self._fault: str | None = None

    def put(self, name: str, item: T, before: Place, now_us: int) -> Answer | None:
        """Return what is known of a name already; else None, and let ``item`` wait for it.

        ``before`` is a place in the source from which ``item`` can be read again.
        """
        answer, until_us = self._known.get(name, (None, 0))
        if answer and now_us < until_us:
            return answer
        if self._count >= MOST:
            return Answer(None, _TOO_MANY)
        if name not in self._asked:
            self._asked[name] = _Asked(now_us + self.within_us, before, [])
            self._resolver.ask(name, now_us + self.within_us)
        self._asked[name].waiting.append(item)
        self._count += 1
        return None

    def settled(self, now_us: int) -> list[tuple[T, Answer]]:
        """Return what need not wait any more, with the answer or why there is none."""
        if not self.within_us:
            return []
        done = []
        for name, answer in self._resolver.answers():
            self._learn(name, answer, now_us)
            done += self._leave(name, answer)
        for name in list(takewhile(lambda name: self._late(name, now_us), self._asked)):
            done += self._leave(name, Answer(None, _LATE))
        return done

    def linger(self, span_s: float = 0.1) -> bool:
        """Tell whether anything waits, after waiting with it for the next answer."""
        if self._asked:
            self._resolver.wait(span_s)
        return bool(self._asked)

    def forget(self) -> None:
        """Let all that waits go: it is read again."""
        self._asked.clear()
        self._count = 0

    def place(self, read_to: Place) -> Place:
        """Return the place up to which nothing waits, when reading has come to ``read_to``."""
        first = next(iter(self._asked.values()), None)
        return first.before if first else read_to

    def probe(self, now_us: int) -> None:
        """Try whether names can be asked for at all; :meth:`fault` has what comes of it."""
        if self.within_us:
            self._resolver.ask(_PROBE, now_us + self.within_us)

    def fault(self) -> str | None:
        """Return once, and then None, why no name can be asked for."""
        fault, self._fault = self._fault, None
        return fault

    def _learn(self, name: str, answer: Answer, now_us: int) -> None:
        if name == _PROBE:
            self._fault = _CANNOT.format(answer.failure) if answer.failure else None
        if answer.failure:  # passes, perhaps at once
            return
        self._known.pop(name, None)
        self._known[name] = answer, now_us + KEPT_US
        if len(self._known) > MOST:
            del self._known[next(iter(self._known))]

    def _late(self, name: str, now_us: int) -> bool:
        return self._asked[name].until_us <= now_us

    def _leave(self, name: str, answer: Answer) -> list[tuple[T, Answer]]:
        asked = self._asked.pop(name, None)
        if asked is None:  # it was given up
            return []
        self._count -= len(asked.waiting)
        return [(item, answer) for item in asked.waiting]
