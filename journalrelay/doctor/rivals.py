"""Other programs that do the same work, or write the same map."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from journalrelay.doctor.diagnosis import Diagnosis, wrong
from journalrelay.doctor.host import Process, processes
from journalrelay.site import Site

_PART = "rivals"
_NAMES = ("poprelayd", "pop-before-smtp", "rpc.dracd", "dracd", "popauthd", "relay-ctrld")
_INTERPRETERS = ("perl", "sh", "bash", "python")
_CRON = ("/etc/crontab", "/etc/cron.d", "/var/spool/cron/crontabs")


def examine(site: Site) -> Iterator[Diagnosis]:
    """Yield who else grants, by its name, its open files or its line in cron."""
    for process in processes():
        words = [Path(word).name for word in process.words[:2]]
        if _is_ours(words):
            continue
        name = _rival(words)
        if name:
            yield wrong(_PART, f"{name} runs too (process {process.pid})", _end(process))
        elif process.writes(site.map_path):
            what = f"process {process.pid} ({words[0]}) has the map open for writing"
            yield wrong(_PART, what, _end(process))
    yield from _cron(site)


def _is_ours(words: Sequence[str]) -> bool:
    return words[0].startswith("python") and words[1:] in (["poprelayd"], ["journalrelay"])


def _rival(words: Sequence[str]) -> str:
    """Return the name by which a process is known as one that grants, or nothing."""
    interpreted = words[0].rstrip("0123456789.") in _INTERPRETERS
    return next((word for word in words[: 1 + interpreted] if word in _NAMES), "")


def _end(process: Process) -> str:
    if process.unit and not process.unit.startswith(("user@", "poprelayd")):
        # --now does not stop what an init script started (systemd 252), nor can all be disabled
        return f"systemctl disable {process.unit}; systemctl stop {process.unit}"
    return f"kill {process.pid}"


def _cron(site: Site) -> Iterator[Diagnosis]:
    """Find lines that make the map with makemap: it is never to be made from a text."""
    name = site.map_path.name.removesuffix(".db")
    for place in map(Path, _CRON):
        for file in sorted(place.iterdir()) if place.is_dir() else [place]:
            try:
                lines = file.read_text("utf-8", "backslashreplace").splitlines()
            except OSError:
                continue
            live = [line for line in lines if not line.lstrip().startswith("#")]
            if any("makemap" in line and name in line for line in live):
                yield wrong(
                    _PART,
                    f"{file} makes the map anew with makemap: that loses every grant",
                    f"sed -i '/makemap.*{name}/s/^/# /' {file}",
                )
