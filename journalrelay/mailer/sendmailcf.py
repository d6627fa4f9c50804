"""What sendmail.cf says of the maps and the class that decide who may relay (sendmail's doc/op/op,
K, C and F lines)."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

CF = Path("/etc/mail/sendmail.cf")
_KEYED = re.compile(r"^K(popip|localip|relay|access) (\w+)((?: -\S+)*) (\S+)", re.MULTILINE)
_CLASS = re.compile(r"^C(?:R|\{R\})(.*)$", re.MULTILINE)
_CLASS_FILE = re.compile(r"^F(?:R|\{R\})\s*(?:-o\s+)?(/\S+)", re.MULTILINE)


class Keyed(NamedTuple):
    """A ``K`` line: the map's class, and its file without ``.db``."""

    kind: str
    file: Path

    @property
    def database(self) -> Path:
        """Return the file that sendmail opens."""
        return self.file.with_name(self.file.name + ".db")


def maps(text: str) -> Mapping[str, Keyed]:
    """Return the maps of popip, localip, relay and access that the configuration has."""
    return {m[1]: Keyed(m[2], Path(m[4])) for m in _KEYED.finditer(text)}


def relayable(text: str) -> Iterator[str]:
    """Yield the members of class R: of its lines, and of its files as far as they can be read."""
    for line in _CLASS.findall(text):
        yield from line.split()
    for name in _CLASS_FILE.findall(text):
        with suppress(OSError):
            for line in Path(name).read_text("utf-8", "replace").splitlines():
                yield from line.partition("#")[0].split()
