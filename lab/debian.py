"""Debian roots for the system test: made once with debootstrap, kept in a cache, lent as overlays.

The cache is $JOURNALRELAY_CACHE, or /var/cache/journalrelay-lab. Each root stands under a name that
tells what it was made from, so that a changed recipe makes a new one. Remove the cache to have
Debian's newest packages.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

CACHE = Path(os.environ.get("JOURNALRELAY_CACHE", "/var/cache/journalrelay-lab"))
RELEASES = {12: "bookworm", 13: "trixie"}
APT = "apt-get -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends"

# What a mail server has before poprelayd comes, and what its administrator works with.
SERVER = (
    "systemd systemd-sysv dbus libpam-systemd iproute2 procps make openssl man-db mandoc "
    "dovecot-pop3d dovecot-imapd sendmail-bin sendmail-cf libsasl2-modules "
    "needrestart bash-completion"
)
# What poprelayd's own dependencies are, to be installed with it by apt, without a network.
FETCHED = "python3 python3-systemd python3-sdnotify python3-bsddb3"
# What writes the mail log to a file, and rotates it.
SYSLOGD = "rsyslog logrotate python3-inotify"
# What scrapes, judges and alerts.
MONITORING = "prometheus prometheus-node-exporter"
# What takes sendmail's place.
OTHER_MAILER = "postfix"
# What carries a journal to other hosts, and looks at who sends it.
CARRIER = "systemd-journal-remote nginx"
# What carries a journal to other hosts, and looks at who sends it.
CARRIER = "systemd-journal-remote nginx"
BUILDER = "git make ca-certificates lintian"


class RootError(Exception):
    """A root cannot be made; the message says what failed and what it said."""


class Recipe(NamedTuple):
    """What a root is made of: the release, what it is for, and the shell commands that make it."""

    release: int
    purpose: str
    commands: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return a name that is another one when the recipe is."""
        digest = hashlib.sha256("\n".join(self.commands).encode()).hexdigest()
        return f"debian{self.release}-{self.purpose}-{digest[:12]}"


_FIRST = (
    "printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d",
    "chmod 755 /usr/sbin/policy-rc.d",
    "printf '127.0.0.1 localhost\\n127.0.1.1 mail.example.test mail\\n' >/etc/hosts",
    "echo mail.example.test >/etc/hostname; echo mail.example.test >/etc/mailname",
    f"{APT} update",
    f"{APT} install {SERVER}",
    f"{APT} install --download-only {FETCHED}",
)
_LAST = "rm /usr/sbin/policy-rc.d"


def server(release: int) -> Recipe:
    """Return the recipe of a mail server without poprelayd, its dependencies waiting for apt."""
    return Recipe(
        release,
        "server",
        (
            *_FIRST,
            f"{APT} install --download-only {SYSLOGD}",
            f"{APT} install --download-only {MONITORING}",
            f"{APT} install --download-only {OTHER_MAILER}",
            # installed again later, as an upgrade of a library does
            f"{APT} install --download-only --reinstall libsystemd0",
            _LAST,
        ),
    )


def several(release: int) -> Recipe:
    """Return the recipe of a mail server, one of several; see :func:`server`."""
    return Recipe(release, "several", (*_FIRST, f"{APT} install --download-only {CARRIER}", _LAST))


def builder(release: int) -> Recipe:
    """Return the recipe of a clean Debian in which the package is built."""
    return Recipe(release, "builder", (f"{APT} update", f"{APT} install {BUILDER}"))


def root(recipe: Recipe) -> Path:
    """Return the cached root of a recipe; it is made when it is not there."""
    place = CACHE / recipe.name
    CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (CACHE / f"{recipe.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            _make(recipe, place)
    return place


@contextmanager
def lent(recipe: Recipe) -> Iterator[Path]:
    """Lend a root of the recipe, to be changed at will; the changes are dropped in the end."""
    lower = root(recipe)
    _sweep()
    own = Path(tempfile.mkdtemp(prefix=f"lent-{os.getpid()}-", dir=CACHE))
    merged = own / "root"
    for name in ("root", "upper", "work"):
        (own / name).mkdir(mode=0o755)
    layers = f"lowerdir={lower},upperdir={own / 'upper'},workdir={own / 'work'}"
    _run("mount", "-t", "overlay", "-o", layers, "overlay", str(merged))
    try:
        yield merged
    finally:
        _run("umount", str(merged))
        shutil.rmtree(own)


def inside(place: Path, command: str) -> str:
    """Run a shell command in the root at PLACE, on the host's network; return what it printed."""
    start = "systemd-nspawn -q --register=no --keep-unit --as-pid2 --pipe"
    environment = [
        f"--setenv={pair}" for pair in ("DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
    ]
    return _run(*start.split(), *environment, "-D", str(place), "bash", "-ec", command)


def _make(recipe: Recipe, place: Path) -> None:
    unfinished = place.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    release = RELEASES[recipe.release]
    bootstrap = "debootstrap --variant=minbase --include=ca-certificates"
    _run(*bootstrap.split(), release, str(unfinished), _mirror())
    for command in recipe.commands:
        inside(unfinished, command)
    unfinished.rename(place)


def _sweep() -> None:
    """Remove what was lent to processes that were killed."""
    for own in CACHE.glob("lent-*"):
        if not Path("/proc", own.name.split("-")[1]).exists():
            subprocess.run(["umount", "--quiet", str(own / "root")], check=False)
            shutil.rmtree(own, ignore_errors=True)


def _mirror() -> str:
    """Return the Debian archive that this machine's own apt takes packages from."""
    targets = _run("apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(SITE)")
    for line in targets.splitlines():
        suite, component, site = line.split(" ", 2)
        if component == "main" and suite in (*RELEASES.values(), "stable", "oldstable"):
            return site
    raise RootError("apt-get indextargets: no Debian archive in apt's sources (add one)")


def _run(*command: str) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        raise RootError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout
