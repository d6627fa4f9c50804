"""sendmail: does it have the feature, and does it ask the map that the daemon writes?"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from journalrelay.doctor.diagnosis import Diagnosis, well, wrong
from journalrelay.doctor.host import Process, ask, process
from journalrelay.mailer.sendmailcf import CF, Keyed, maps
from journalrelay.map import libdb
from journalrelay.site import Site

_PART = "sendmail"
_REMAKE = "make -C /etc/mail sendmail.cf && systemctl restart sendmail"
_INSTALL = "apt install sendmail-bin sendmail-cf"
_ADD = 'sed -i "s/^MAILER_DEFINITIONS/FEATURE(\\`poprelay\')dnl\\n&/" /etc/mail/sendmail.mc'
_FEATURE = re.compile(r"^[^d#\n]*FEATURE\(`poprelay'", re.MULTILINE)
_PID_FILE = re.compile(r"^O PidFile=(.*)$", re.MULTILINE)
_NOBODY = "192.0.2.1"


@dataclass(frozen=True)
class Mailer:
    """Where a sendmail and its configuration are."""

    program: Path = Path("/usr/sbin/sendmail")
    cf: Path = CF
    mc: Path = Path("/etc/mail/sendmail.mc")
    feature: Path = Path("/usr/share/sendmail/cf/feature/poprelay.m4")


def examine(
    site: Site, sample: tuple[str, int] | None, mailer: Mailer = Mailer()
) -> Iterator[Diagnosis]:
    """Yield what of sendmail is not as the feature needs it. ``sample`` is a key of the map, and
    its expiry."""
    said = ask(str(mailer.program), f"-C{mailer.cf}", "-d0.1", "-bt")
    version = re.search(r"^Version (8\.\S+)", said or "", re.MULTILINE)
    if version is None:
        yield wrong(_PART, f"{mailer.program} is not there, or another's than sendmail", _INSTALL)
        return
    yield from _library(version[1], said or "")
    if not mailer.feature.exists():
        what = f"{mailer.feature} is missing: the package of sendmail-cf came later, or cleared it"
        yield wrong("feature", what, "apt install --reinstall poprelayd")
    keyed = _maps(mailer)
    if "popip" not in keyed:
        yield _without_feature(mailer)
        return
    if mailer.mc.exists() and mailer.mc.stat().st_mtime > mailer.cf.stat().st_mtime:
        yield wrong("feature", f"{mailer.cf} is older than {mailer.mc}", _REMAKE)
    yield from _same_map(site, keyed["popip"])
    yield from _answers(sample, mailer)
    for name in ("localip", "relay"):
        if name in keyed:
            yield from _table(name, keyed[name])
    yield from _running(mailer)


def _library(version: str, said: str) -> Iterator[Diagnosis]:
    """Yield whether sendmail can read the files that our Berkeley DB writes."""
    theirs = re.search(r"\bNEWDB=(\d+\.\d+)", said)
    ours = libdb.VERSION
    if theirs is None:
        yield wrong(_PART, f"sendmail {version} was built without Berkeley DB", _INSTALL)
    elif theirs[1] != ours:
        what = f"sendmail {version} has Berkeley DB {theirs[1]}, the daemon {ours}"
        yield wrong(_PART, what, "apt install --reinstall sendmail-bin python3-bsddb3")
    else:
        yield well(_PART, f"{version}, Berkeley DB {ours} as the daemon")
    if "is not qualified" in said:
        what = "the host's name has no dot: sendmail waits a minute at every start"
        yield wrong(_PART, what, "hostnamectl set-hostname mail.example.org  # your host's name")


def _maps(mailer: Mailer) -> Mapping[str, Keyed]:
    with suppress(OSError):
        return maps(mailer.cf.read_text("utf-8", "replace"))
    return {}


def _without_feature(mailer: Mailer) -> Diagnosis:
    with suppress(OSError):
        if _FEATURE.search(mailer.mc.read_text("utf-8", "replace")):
            return wrong("feature", f"{mailer.cf} was not made from {mailer.mc}", _REMAKE)
    what = f"{mailer.mc} has no line FEATURE(`poprelay')dnl: nobody can relay"
    return wrong("feature", what, f"{_ADD} && {_REMAKE}")


def _same_map(site: Site, popip: Keyed) -> Iterator[Diagnosis]:
    path, kind = site.map_path, site.config.map_type
    there = popip.database
    with suppress(OSError):
        if there.samefile(path):
            path = there
    if (popip.kind, there) == (kind, path):
        yield well("feature", f"sendmail asks {popip.kind} {there}")
        return
    name = str(site.map_path).removesuffix(".db")
    asked = f"FEATURE(`poprelay', `{kind} {name}')"
    yield wrong(
        "feature",
        f"sendmail asks {popip.kind} {there}, and the daemon writes {kind} {site.map_path}",
        f'sed -i "s|^FEATURE(.poprelay.*|{asked.replace("`", chr(92) + "`")}dnl|" '
        f"/etc/mail/sendmail.mc && {_REMAKE}",
    )


def _answers(sample: tuple[str, int] | None, mailer: Mailer) -> Iterator[Diagnosis]:
    """Have sendmail itself look up a key of the map, or one that cannot be in it."""
    key, expiry = sample or (_NOBODY, "")
    question = f"/map popip {key}\n"
    said = ask(str(mailer.program), f"-C{mailer.cf}", "-bt", told=question) or "no answer"
    wanted = f"returns {expiry} " if expiry else "no match (0)"
    if wanted in said:
        yield well("lookup", f"sendmail finds {key}" if expiry else "sendmail opens the map")
        return
    told = next((line for line in said.splitlines() if "popip" in line), said.splitlines()[-1])
    yield wrong(
        "lookup",
        f"sendmail does not find {key} in the map: {told.removeprefix('> ')}",
        f"systemctl restart poprelayd && echo '/map popip {key}' | sendmail -bt",
    )


def _table(name: str, table: Keyed) -> Iterator[Diagnosis]:
    """Yield whether a table of the administrator's was made since he last changed it."""
    if not table.file.exists():
        return
    make = f"makemap {table.kind} {table.file} <{table.file}"
    if not table.database.exists():
        yield wrong(name, f"{table.file} was never made to {table.database}", make)
    elif table.database.stat().st_mtime < table.file.stat().st_mtime:
        yield wrong(name, f"{table.database} is older than {table.file}", make)
    else:
        yield well(name, f"{table.database} is made")


def _running(mailer: Mailer) -> Iterator[Diagnosis]:
    """Yield whether sendmail runs, with the configuration that is there."""
    listening = _listening(mailer)
    if listening is None:
        yield wrong(_PART, "sendmail does not accept connections", "systemctl restart sendmail")
    elif mailer.cf.stat().st_mtime > listening.began_s():
        what = f"sendmail runs since before {mailer.cf} was changed"
        yield wrong(_PART, what, "systemctl restart sendmail")


def _listening(mailer: Mailer) -> Process | None:
    """Return the sendmail that listens: it writes its number to a file that the cf names."""
    named = _PID_FILE.search(mailer.cf.read_text("utf-8", "replace"))
    with suppress(OSError, ValueError, IndexError):
        found = process(int(Path(named[1]).read_text().split()[0])) if named else None
        return found if found and "sendmail" in found.words[0] else None
    return None
