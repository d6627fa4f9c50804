"""The map, as sendmail must find it."""

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from journalrelay import clock
from journalrelay.doctor.diagnosis import Diagnosis, well, wrong
from journalrelay.errors import NoInputError, RelayError
from journalrelay.owner import apart
from journalrelay.site import Site

_PART = "map"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ALL_ENTER = stat.S_IROTH | stat.S_IXOTH


class Content(NamedTuple):
    """What is in the map: how many addresses may relay, and one key with its expiry."""

    fault: str = ""
    missing: bool = False
    granted: int = 0
    sample: tuple[str, int] | None = None


def content(site: Site) -> Content:
    """Return what is in the map. It is read by a process that is its owner's for good, since
    Berkeley DB trusts what it reads, and root is still needed here."""
    return Content(*(apart(lambda: _content(site)) or ["the map breaks who reads it"]))


def _content(site: Site) -> Content:
    now_s = clock.now_us() // 1_000_000
    popmap = site.popmap_for_good()
    try:
        found = popmap.read()
    except NoInputError as error:
        return Content(str(error), missing=True)
    except RelayError as error:
        return Content(str(error))
    last_s = max(found.values(), default=0)
    if last_s > now_s + site.config.rules.furthest_us // 1_000_000:
        return Content(f"{site.map_path}: a grant in it would not expire before {last_s}")
    sample = next(((key.decode(), end_s) for key, end_s in found.items()), None)
    return Content(granted=sum(end_s > now_s for end_s in found.values()), sample=sample)


def examine(site: Site, found: Content, user: str) -> Iterator[Diagnosis]:
    """Yield whether sendmail would open the map, and whether it can be believed. ``user`` is the
    daemon's, empty when that is not known."""
    path = site.map_path
    faults = [*_directories(path), *_file(path), *_owner(path, user)]
    yield from faults
    if found.fault and (found.missing or not faults):
        yield wrong(_PART, found.fault, "systemctl restart poprelayd")
    elif not faults:
        what = f"{site.config.map_type}, safe for sendmail, {found.granted} addresses may relay"
        yield well(_PART, f"{path}: {what}")


def _directories(path: Path) -> Iterator[Diagnosis]:
    """Look at each directory on the way as sendmail does (its doc/op/op, FileName safety): one
    in which others write is unsafe, and root counts as one of the others."""
    for directory in reversed(path.parents):
        try:
            found = directory.stat()
        except OSError:
            return
        if found.st_mode & _OTHERS_WRITE:
            what = f"{directory} can be written by others than its owner: sendmail refuses the map"
            yield wrong(_PART, what, f"chmod go-w {directory}")
        if found.st_uid and found.st_mode & _ALL_ENTER != _ALL_ENTER:
            what = f"{directory} is not open to all: sendmail refuses the map"
            yield wrong(_PART, what, f"chmod a+rx {directory}")


def _file(path: Path) -> Iterator[Diagnosis]:
    try:
        found = path.stat()
    except OSError:
        return
    if not stat.S_ISREG(found.st_mode):
        yield wrong(
            _PART,
            f"{path} is no file",
            f"mv {path} {path}.strange && systemctl restart poprelayd",
        )
    elif found.st_mode & _OTHERS_WRITE or not found.st_mode & stat.S_IROTH:
        mode = stat.S_IMODE(found.st_mode)
        what = f"{path} has mode {mode:04o}: sendmail refuses it, or others could write it"
        yield wrong(_PART, what, f"chmod 644 {path}")


def _owner(path: Path, user: str) -> Iterator[Diagnosis]:
    """See that the daemon may change the map and rename another into its place."""
    if not user:
        return
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        yield wrong(_PART, f"there is no user {user}", "systemd-sysusers poprelayd.conf")
        return
    for place in (path.parent, path):
        try:
            found = os.stat(place)
        except OSError:
            continue
        if uid and found.st_uid != uid:
            what = f"{place} does not belong to {user}, as whom the daemon runs"
            yield wrong(_PART, what, f"chown {user}: {place} && systemctl restart poprelayd")
