"""Try a daemon of the operator's on its own samples and traps, before it is believed.

Nothing is taken on trust: its patterns take their samples and no trap, say the same address
whatever a user is called, and take no line of another daemon. The registry's are held to the same
by tests.
"""

import re
from collections.abc import Iterable, Iterator

from journalrelay.entry import Entry
from journalrelay.grant import Address, parse_address
from journalrelay.patterns import Daemon, Dispatch, Pattern
from journalrelay.patterns.fit import fit
from journalrelay.patterns.identity import Like, example
from journalrelay.patterns.pattern import Line, read, sound
from journalrelay.workshop.finding import misfit, unfit, unread, unsound

_LIES = {4: b"203.0.113.66", 6: b"2001:db8:bad::66"}

_ADDRESS = "(?P<address>[0-9A-Fa-f:.]{2,45})"


def faults(daemon: Daemon) -> list[tuple[str, str]]:
    """Return what is wrong with a daemon as a whole: the key, below its own, and the fault."""
    found: list[tuple[str, str]] = []
    if not any(pattern.tells == "login" for pattern in daemon.patterns):
        found.append(("line", 'none of them tells a login (one must have tells = "login")'))
    for number, line in enumerate(daemon.lines, 1):
        told = [*_groups(line)] or [*_samples(line)] or [*_users(line)]
        found += [(f"line[{number}].{key}", text) for key, text in told]
    return found or [*_traps(daemon)]


def _groups(line: Line) -> Iterator[tuple[str, str]]:
    daemon, pattern, fields = line
    groups, units = set(pattern.regex.groupindex), dict(fields)["_SYSTEMD_UNIT"]
    addressed = "address" in groups or pattern.by_name or isinstance(units, Like)
    if isinstance(units, Like) and daemon.forgeable:
        yield "unit", "a daemon that can be forged needs units that can be listed"
    if pattern.tells == "connect":
        if not addressed:
            yield "regex", "a connect line must have the address (write (?P<address>…))"
        if daemon.identity_of(pattern)["_UID"] != ("0",):
            yield "uid", "a connect line must be root's (write uid = 0)"
    if pattern.tells != "login":
        return
    connects = any(other.tells == "connect" for other in daemon.patterns)
    if "user" not in groups:
        yield "regex", "it has no group for the user (write (?P<user>…))"
    if not addressed and not connects:
        yield "regex", f"it has no group for the address (write {_ADDRESS})"


def _samples(line: Line) -> Iterator[tuple[str, str]]:
    """Yield which samples are not taken, or say another address than they are given with."""
    daemon, pattern, _ = line
    dispatch = Dispatch([daemon], by_name=True)
    for number, (text, address) in enumerate(pattern.samples.items(), 1):
        key, record = f"samples[{number}]", record_of(daemon, pattern, text)
        told = read(record, line)
        if told is None:
            yield key, _unread(record, line)
            continue
        said = told.host or str(told.address or "")
        by_unit = told.address and "address" not in pattern.regex.groupindex  # not the line's
        if said not in (address, _spelled(address)) and not (by_unit and not address):
            yield key, f"{text!r} says {said or 'no address'}, not {address or 'none'}"
        elif pattern.tells == "login" and not told.user:
            yield key, f"{text!r} says no user"
        elif pattern.tells != "logout" and dispatch.read(record) != told:
            yield key, f"{text!r} is taken by an earlier line (make the two differ)"


def _unread(record: Entry, line: Line) -> str:
    """Return why a sample is not taken."""
    text, shown = record.message, repr(record.message)[1:]
    found = line.pattern.regex.fullmatch(text)
    if not sound(text):
        return f"{shown} {unsound(text)}"
    if found is None:
        near = fit(line.pattern.regex, text)
        return (
            f"{shown} is not taken: {repr(text[: near.length])[1:]} fits, {unfit(near)} "
            "(a line is matched whole)"
        )
    return f"{shown} is not taken: {misfit(record, line.fields) or unread(line, found.groupdict())}"


def _users(line: Line) -> Iterator[tuple[str, str]]:
    """Yield where a user's name can say where he is: each sample is tried with users whose name
    goes on as the line does, with another address."""
    for number, (text, address) in enumerate(line.pattern.samples.items(), 1):
        true = parse_address(address.encode())
        for forged in _forged(line.pattern.regex, text.encode(), true):
            told = read(record_of(line.daemon, line.pattern, forged), line)
            if told and told.address != true:
                yield (
                    f"samples[{number}]",
                    f"a user's name can choose the address: {repr(forged)[1:]} says {told.address} "
                    "(let the last address of the line count, up to its end, or keep blanks and "
                    "commas out of the group user)",
                )
                break


def _forged(regex: re.Pattern[bytes], text: bytes, address: Address | None) -> Iterator[bytes]:
    """Yield a sample with users who would be taken for another address."""
    found = regex.fullmatch(text)
    if found is None or address is None or not {"user", "address"} <= set(regex.groupindex):
        return
    (start, end), (begins, ends) = found.span("user"), found.span("address")
    lie = _LIES[address.version]
    if begins >= end:  # the address stands behind the user
        pieces = [text[end:begins] + lie, text[end:begins] + lie + text[ends:]]
    else:
        pieces = [text[ends:start], text[:begins] + lie + text[ends:start]]
    for piece in (*pieces, text[:begins] + lie + text[ends:], b" " + lie, lie):
        for name in (text[start:end] + piece, piece, piece + text[start:end]):
            yield text[:start] + name + text[end:]


def _traps(daemon: Daemon) -> Iterator[tuple[str, str]]:
    for number, text in enumerate(daemon.traps, 1):
        for which, line in enumerate(daemon.lines, 1):
            if read(record_of(daemon, line.pattern, text), line):
                yield f"traps[{number}]", f"{text!r} is taken by line[{which}]"


def collisions(daemon: Daemon, others: Iterable[Daemon]) -> Iterator[str]:
    """Yield which samples of one daemon another takes as well."""
    for other in others:
        for one, two in ((daemon, other), (other, daemon)):
            for pattern in one.patterns:
                for text in pattern.samples:
                    record = record_of(one, pattern, text)
                    if any(read(record, line) for line in two.lines):
                        yield (
                            f"{text!r}, a sample of {one.name}, is taken by {two.name} as well "
                            "(both name the same unit, exe, uid, transport and identifier)"
                        )


def record_of(daemon: Daemon, pattern: Pattern, text: str | bytes) -> Entry:
    """Return a record with a text, logged by whom the pattern wants."""
    fields = {name: v.encode() for name, v in example(daemon.identity_of(pattern)).items()}
    return Entry(text if isinstance(text, bytes) else text.encode("utf-8", "replace"), fields)


def _spelled(address: str) -> str:
    return str(parse_address(address.encode()) or "")
