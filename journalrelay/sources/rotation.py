"""Which files of a directory are one log, and in which order rotation has made them."""

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from journalrelay.errors import RelayError
from journalrelay.sources.openlog import Key, Log, open_log, written_us
from journalrelay.sources.spot import PRINT

_TRIES = 500  # some hundred milliseconds; a rotation renames for some
_SAME_TIME_NS = 2_000_000_000  # a writer may keep to a renamed file for a moment
_PACKED = re.compile(r"\.(?:gz|xz|zst)$")
# logrotate's and newsyslog's numbers, with a word before or behind, and logrotate's dateext
_NUMBER = re.compile(r"[.-](?P<number>[0-9]{1,5})")
_DATE = re.compile(r"[.-]?(?P<date>[0-9]{4}-?[0-9]{2}-?[0-9]{2}[0-9T:._-]*|@[0-9a-f]{24}\.\w)")
_ROTATED = re.compile(
    r"(?:[.-][0-9]+|[.-]?[0-9]{4}-?[0-9]{2}-?[0-9]{2}.*)(?:\.(?:gz|xz|zst|bz2|Z))?"
)


class Chain:
    """The files of a log that were there at one moment, oldest first, and why others are not
    among them. Whoever takes one out of ``logs`` closes it himself. ``head`` is how the newest one
    began at that moment: while it does, nothing that it held is in a copy that is not here.
    ``written_us`` is when the last of them was written."""

    def __init__(self, path: Path, logs: list[Log], refused: dict[Path, str]) -> None:
        self.path = path
        self.logs = logs
        self.refused = refused
        self.written_us = max(map(written_us, logs), default=0)
        self.head = logs[-1].read(0, PRINT) if logs else b""

    def take(self, wanted: Iterable[Log]) -> list[Log]:
        """Return the wanted ones, in order, and close the others."""
        chosen = {id(log) for log in wanted}
        for log in self.logs:
            if id(log) not in chosen:
                log.close()
        taken = [log for log in self.logs if id(log) in chosen]
        self.logs = []
        return taken

    def close(self) -> None:
        """Close all."""
        self.take(())


def chain_of(path: Path) -> Chain:
    """Open the log at ``path`` and all its predecessors. Since rotation may be at work, this is
    done again until the names have stayed the same meanwhile."""
    for _ in range(_TRIES):
        chain, seen = _opened(path)
        if seen == _keys(_names(path)):
            break
        chain.close()
    else:
        chain, _ = _opened(path)
    return chain


def is_rotated(name: str, others: Iterable[str]) -> bool:
    """Tell whether a file name is that of a predecessor of one of the others."""
    return any(
        other != name and name.startswith(other) and _ROTATED.fullmatch(name[len(other) :])
        for other in others
    )


def _opened(path: Path) -> tuple[Chain, list[tuple[str, Key]]]:
    logs: list[Log] = []
    refused: dict[Path, str] = {}
    names = _names(path)
    seen = _keys(names)
    for name in names:
        try:
            logs.append(open_log(name))
        except FileNotFoundError:  # gone since
            pass
        except RelayError as error:
            refused[name] = str(error)
        except PermissionError:
            refused[name] = f"{name}: permission denied (reading it needs its group: often adm)"
        except OSError as error:
            refused[name] = f"{name}: {error.strerror} (it is not read)"
    return Chain(path, logs, refused), seen


def _keys(names: Sequence[Path]) -> list[tuple[str, Key]]:
    found = []
    for name in names:
        with suppress(OSError):
            status = name.stat()
            found.append((str(name), (status.st_dev, status.st_ino)))
    return found


def _names(path: Path) -> list[Path]:
    """Return the names of the predecessors of ``path``, oldest first, and itself as the last."""
    target = Path(os.path.realpath(path))
    found: dict[str, str] = {}
    with suppress(OSError):
        for name in os.listdir(target.parent):
            rest = _rest(name, target.name, linked=path.is_symlink())
            if rest is not None:
                found[name] = rest
    for name in [name for name in found if _PACKED.search(name)]:
        if _PACKED.sub("", name) in found:  # being compressed: the whole one counts
            del found[name]
    return [target.parent / name for name in _in_order(target.parent, found)] + [path]


def _rest(name: str, live: str, *, linked: bool) -> str | None:
    """Return what a name has beside the log's own, None when it is no predecessor's."""
    if name == live:
        return None
    if name.startswith(live) and _ROTATED.fullmatch(name[len(live) :]):
        return name[len(live) :]
    stem, suffix = os.path.splitext(live)
    inner = name[len(stem) :].removesuffix(suffix)
    if suffix and name.startswith(stem) and name.endswith(suffix) and _ROTATED.fullmatch(inner):
        return inner  # logrotate's "extension"
    if live == "current" and name.startswith("@"):
        return name  # multilog
    if linked:
        stem = re.split("[0-9]", live, maxsplit=1)[0]
        if stem and name.startswith(stem):
            return name[len(stem) :]
    return None


def _in_order(directory: Path, found: dict[str, str]) -> list[str]:
    """Return names oldest first: by their numbers, falling, or their dates, and when they do
    not all have one of these by when they were last written."""
    numbers = {name: _NUMBER.match(rest) for name, rest in found.items()}
    dates = {name: _DATE.match(rest) for name, rest in found.items()}
    if all(dates.values()):
        return sorted(found, key=lambda name: found[name])
    by_number = sorted(found)
    if all(numbers.values()) and not any(dates.values()):
        by_number = sorted(found, key=lambda name: -int((numbers[name] or [0, 0])[1]))
        times = [_written_ns(directory / name) for name in by_number]
        if all(later > earlier - _SAME_TIME_NS for earlier, later in pairwise(times)):
            return by_number
    # numbers that some other rule of rotation has left behind tell nothing
    return sorted(by_number, key=lambda name: _written_ns(directory / name))


def _written_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
