"""The map, as sendmail must find it."""

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from journalrelay import clock
from journalrelay.doctor.diagnosis import Diagnosis, well, wrong
from journalrelay.errors import NoInputError, RelayError
from journalrelay.site import Site

_PART = "map"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ALL_ENTER = stat.S_IROTH | stat.S_IXOTH


def examine(site: Site, user: str) -> Iterator[Diagnosis]:
    """Yield whether the map can be believed, and whether sendmail would open it. ``user`` is the
    daemon's, empty when that is not known."""
    path = site.map_path
    faults = [*_directories(path), *_file(path), *_owner(path, user)]
    yield from faults
    try:
        fault = site.popmap().fault((clock.now_us() + site.config.rules.furthest_us) // 1_000_000)
        granted = 0 if fault else site.popmap().count(clock.now_us() // 1_000_000)
    except NoInputError:
        yield wrong(_PART, f"{path}: there is no map", "systemctl restart poprelayd")
        return
    except RelayError as error:
        yield wrong(_PART, str(error), "systemctl restart poprelayd")
        return
    if fault:
        yield wrong(_PART, f"{path}: {fault}", "systemctl restart poprelayd")
    elif not faults:
        kind = site.config.map_type
        yield well(_PART, f"{path}: {kind}, safe for sendmail, {granted} addresses may relay")


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
