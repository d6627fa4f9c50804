"""Another reader of the journal at work, in a process of its own; prints what a limit program does.

    peer.py NAME DIRECTORY MOST MATCH...

It stands alone, for it runs with the interpreter that has the peers.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from itertools import islice

LOGIN = r"(?:pop3|imap)-login: (?:Login|Logged in): user=<[^>]*>, method=\S+, rip="
IMPORTS = {
    "fail2ban": "fail2ban.server.filtersystemd",
    "fail2ban with a rule": "fail2ban.server.filtersystemd",
    "python-systemd": "systemd.journal",
    "cysystemd": "cysystemd.reader",
    "journalpump": "journalpump.journalpump",
}


def python_systemd(directory: str, matches: list[str]) -> Callable[[int], int]:
    """Read with systemd.journal's dictionaries."""
    reader = import_module("systemd.journal").Reader(path=directory)
    _select(matches, reader.add_match, reader.add_disjunction)

    def read(most: int) -> int:
        return sum("MESSAGE" in entry for entry in islice(reader, most))

    return read


def fail2ban(directory: str, matches: list[str], recognising: bool = False) -> Callable[[int], int]:
    """Read as a jail with backend = systemd does, its run()'s steps an entry, the rule left out
    unless it is ``recognising``."""
    jail = import_module("fail2ban.tests.dummyjail").DummyJail()
    backend = import_module("fail2ban.server.filtersystemd").FilterSystemd(
        jail, journalpath=directory
    )
    backend.setFindTime(10**9)
    backend.inOperation = False
    backend.addFailRegex(f"^.* {LOGIN}<HOST>")
    reader = backend._FilterSystemd__journal
    reader.flush_matches()
    _select(matches, reader.add_match, reader.add_disjunction)
    reader.seek_head()

    def read(most: int) -> int:
        for _ in range(most):
            entry = reader.get_next()
            if not entry:
                break
            line = backend.formatJournalEntry(entry)
            if recognising:
                backend.processLineAndAdd(*line)
        return int(backend.failManager.getFailTotal())

    return read


def cysystemd(directory: str, matches: list[str]) -> Callable[[int], int]:
    """Read with cysystemd, whose rules are ours as far as it has them."""
    module = import_module("cysystemd.reader")
    reader = module.JournalReader()
    reader.open_directory(directory)
    reader.add_filter(module.Rule("_SYSTEMD_UNIT", "dovecot.service"))

    def read(most: int) -> int:
        return sum("MESSAGE" in entry.data for entry in islice(reader, most))

    return read


def journalpump(directory: str, matches: list[str]) -> Callable[[int], int]:
    """Read with journalpump's reader, whose entries are dictionaries too."""
    reader = import_module("journalpump.journalpump").PumpReader(path=directory)
    _select(matches, reader.add_match, reader.add_disjunction)

    def entries() -> Iterator[object]:
        while entry := reader.get_next():
            yield entry

    def read(most: int) -> int:
        return sum(entry is not None for entry in islice(entries(), most))

    return read


def _select(
    matches: list[str], match: Callable[[str], object], other: Callable[[], object]
) -> None:
    for word in matches:
        other() if word == "+" else match(word)


READERS: dict[str, Callable[[str, list[str]], Callable[[int], int]]] = {
    "fail2ban": fail2ban,
    "fail2ban with a rule": partial(fail2ban, recognising=True),
    "python-systemd": python_systemd,
    "cysystemd": cysystemd,
    "journalpump": journalpump,
}


def main(name: str, directory: str, most: str, *matches: str) -> None:
    """Read and print how long it took."""
    read = READERS[name](directory, list(matches))
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    found = read(int(most))
    took = {"seconds": time.perf_counter() - began_s, "cpu": time.process_time() - began_cpu_s}
    print(json.dumps({**took, "entries": int(most), "found": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
