"""``status`` for a person: one screen."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from journalrelay.commands.live import in_words
from journalrelay.errors import printable
from journalrelay.telling.report import named
from journalrelay.timespan import format_time

_COLOURS = {"good": "32", "bad": "31", "odd": "33"}  # ECMA-48, SGR
_S_US = 1_000_000


class Line(NamedTuple):
    """A line: what it is about, what is said of it, and whether that is good, bad or odd."""

    title: str
    text: str
    mood: str = ""

    def drawn(self, coloured: bool) -> str:
        """Return it as it is printed."""
        text = printable(self.text)
        if coloured and self.mood:
            text = f"\x1b[{_COLOURS[self.mood]}m{text}\x1b[0m"
        return f"{self.title:10} {text}"


def lines(facts: Mapping[str, Any], map_path: str, now_us: int) -> Iterator[Line]:
    """Yield the lines of the screen."""
    yield _daemon(facts, now_us)
    yield Line("map", f"{map_path}: {facts['granted_now']} addresses may relay")
    if facts["cut_short"]:
        yield Line("map", "a commit was cut short, or others wrote to it", "bad")
    if facts.get("read_to_us"):
        ago = _ago(facts["read_to_us"], now_us)
        mood = "odd" if facts["lag_s"] > 60 else ""
        text = f"last entry {ago}, lag {facts['lag_s']:.1f} s ({facts['source']})"
        yield Line("place", text, mood)
    if facts.get("why"):
        yield Line("source", str(facts["why"]))
    yield Line("servers", named(facts["daemons"]))
    for name in ("logins", "verdicts", "refused"):
        counts = ", ".join(f"{what}: {count}" for what, count in facts.get(name, {}).items())
        if counts:
            yield Line(name, counts)
    yield from _hosts(facts, now_us)
    yield from _expiry(facts, now_us)
    yield from _lost(facts)
    if facts.get("last_fault"):
        yield Line("fault", _fault(facts, now_us), "odd")


def _daemon(facts: Mapping[str, Any], now_us: int) -> Line:
    if not facts["running"]:
        return Line("poprelayd", "not running", "bad")
    text = f"running, process {facts['pid']}"
    if facts.get("since_us"):
        text += f", since {format_time(facts['since_us'])} ({_ago(facts['since_us'], now_us)})"
    if facts["restarts"]:
        text += f", started again {facts['restarts']} times"
    return Line("poprelayd", text, "good")


def _hosts(facts: Mapping[str, Any], now_us: int) -> Iterator[Line]:
    for name, host in facts.get("hosts", {}).items():
        amiss = host["trouble"] or host["clock"] != "right"
        text = f"{name}: {'; '.join(_of_host(host, now_us))}"
        yield Line("host", text, "bad" if amiss else "odd" if host["lag_s"] > 60 else "")
    for name in facts.get("unknown_hosts", []):
        yield Line("host", f"{name}: not known, and so not read", "odd")


def _of_host(host: Mapping[str, Any], now_us: int) -> Iterator[str]:
    if host["read_to_us"] is None:
        yield "nothing to be read so far"
    else:
        yield f"last entry {_ago(host['read_to_us'], now_us)}, lag {host['lag_s']:.1f} s"
    if host["last_login_us"] is not None:
        yield f"last login {_ago(host['last_login_us'], now_us)}"
    for reason, count in host["refused"].items():
        yield f"{count} refused ({reason})"
    if host["clock"] != "right":
        yield f"its clock is {host['clock']}"
    if host["trouble"]:
        yield str(host["trouble"])


def _expiry(facts: Mapping[str, Any], now_us: int) -> Iterator[Line]:
    if facts["expired"] is not None:
        from_when = format_time(facts["expired_from_us"])
        yield Line("expired", f"{facts['expired']} addresses since {from_when}")
    elif "since_us" in facts:
        yield Line("expired", "not known: the journal, which tells it, cannot be read")
    if facts["expire_next_us"] is None:
        yield Line("expiry", "no timer of systemd is due to run journalrelay expire", "odd")
        return
    text = f"next in {in_words(max(0, facts['expire_next_us'] - now_us) // _S_US)}"
    if facts["expire_last_us"]:
        text += f", last {_ago(facts['expire_last_us'], now_us)}"
    if facts["expire_result"] in (None, "success"):
        yield Line("expiry", text)
    else:
        yield Line("expiry", f"{text}: it failed ({facts['expire_result']})", "bad")


def _lost(facts: Mapping[str, Any]) -> Iterator[Line]:
    for unit, count in facts.get("suppressed", {}).items():
        yield Line("lost", f"{count} lines of {unit} were suppressed by journald", "odd")
    if facts.get("gap_from_us"):
        ends = [format_time(facts[end]) for end in ("gap_from_us", "gap_to_us")]
        text = f"what was logged from {ends[0]} to {ends[1]} was gone at the start"
        yield Line("lost", text, "odd")


def _fault(facts: Mapping[str, Any], now_us: int) -> str:
    at_us = facts.get("last_fault_us")
    when = f"{format_time(at_us)} ({_ago(at_us, now_us)}): " if at_us else ""
    return f"{when}{facts['last_fault']}"


def _ago(at_us: int, now_us: int) -> str:
    return f"{in_words(max(0, now_us - at_us) // _S_US)} ago"
