"""The system test: a whole day of the Debian package on booted Debians.

    make system-test
    python3 -m lab.systemtest [12 13]

For each release the package is built with `make deb` in a clean Debian, from the last commit, and
installed in another one that boots with systemd; there the steps of :mod:`lab.day` are played, and
those of :mod:`lab.goingover` in a third one. The releases run side by side. Each step prints how
long it took and what was seen. Exit status 1 when one failed.
"""

import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import debian, room
from lab.box import BoxError
from lab.day import Day
from lab.goingover import GoingOver
from lab.mailhost import MailHost
from lab.stage import Packages, Unexpected

CHECKOUT = "/srv/journalrelay"
LATER = (  # the same with a later version, for the upgrade
    "sed -i '1s/(\\(.*\\))/(\\1+later)/' packaging/debian/changelog && "
    'sed -i \'s/^__version__ = "\\(.*\\)"/__version__ = "\\1+later"/\' journalrelay/__init__.py && '
    "git -c user.name=lab -c user.email=lab@mail.example.test commit -qam later"
)


class Report:
    """Prints a line a step, of several releases at once, and counts."""

    def __init__(self) -> None:
        self.passed = self.failed = 0
        self._lock = threading.Lock()

    def step(self, release: int, name: str, play: Callable[[], str]) -> bool:
        """Play a step, print what came of it and tell whether it passed."""
        began_s = time.monotonic()
        try:
            said, word = play(), "ok"
        except Exception as error:
            said, word = self._told(error), "FAILED"
        with self._lock:
            took_s = time.monotonic() - began_s
            first, *more = said.splitlines() or [""]
            print(f"debian{release} {took_s:6.1f} s  {word:6} {name:20} {first}", flush=True)
            for line in more:
                print(f"           {line}", flush=True)
            self.passed += word == "ok"
            self.failed += word != "ok"
        return word == "ok"

    def note(self, release: int, failure: str) -> None:
        """Print a failure outside of the steps."""
        with self._lock:
            self.failed += 1
            print(f"debian{release} {failure}", flush=True)

    def _told(self, error: Exception) -> str:
        if isinstance(error, Unexpected | BoxError | debian.RootError | TimeoutError):
            return str(error)
        return "".join(traceback.format_exception(error))


def main(arguments: Sequence[str]) -> int:
    """Play the day on the releases named, all when none is; return the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the boxes end with this process
    releases = [int(word) for word in arguments] or list(debian.RELEASES)
    report, began_s = Report(), time.monotonic()
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda release: play(release, report), releases))
    print(f"done in {time.monotonic() - began_s:.0f} s")
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed or not report.passed else 0


def play(release: int, report: Report) -> None:
    """Play one release's day; it ends with the first step that fails."""
    built: list[Packages] = []

    def build() -> str:
        packages, said = build_packages(release)
        built.append(packages)
        return said

    if not report.step(release, "roots", lambda: make_roots(release)):
        return
    if not report.step(release, "make deb", build):
        return
    for stage in (Day, GoingOver):
        if not play_on_a_new_host(stage, release, built[0], report):
            return


def play_on_a_new_host(
    stage: type[Day | GoingOver], release: int, packages: Packages, report: Report
) -> bool:
    """Boot a mail host and play steps on it, to the first that fails; tell whether none did."""
    host = MailHost(debian.server(release))
    try:
        with host:
            for step in stage(host, packages).steps():
                if not report.step(release, step.__name__.replace("_", " "), step):
                    report_state(host)
                    return False
    except (BoxError, TimeoutError) as error:
        report.note(release, f"the box does not boot: {error}")
        return False
    return True


def make_roots(release: int) -> str:
    """Have both roots in the cache; say which had to be made."""
    recipes = (debian.builder(release), debian.server(release))
    made = [recipe.purpose for recipe in recipes if not (debian.CACHE / recipe.name).is_dir()]
    for recipe in recipes:
        debian.root(recipe)
    return f"made: {', '.join(made)}" if made else "from the cache"


def build_packages(release: int) -> tuple[Packages, str]:
    """Build the package in a clean Debian, and a later version of it; say what lintian said."""
    keep = debian.CACHE / f"packages-{release}"
    keep.mkdir(exist_ok=True)
    with debian.lent(debian.builder(release)) as root:
        _clone(root)
        first, said = _make_deb(root, keep, "true")
        later, _ = _make_deb(root, keep, LATER)
    lintian = [line for line in said.splitlines() if line[:2] in ("E:", "W:", "I:", "P:")]
    size = first.stat().st_size // 1024
    return Packages(
        first, later
    ), f"{first.name}, {size} KiB; lintian --pedantic: {lintian or 'silent'}"


def build_package(release: int) -> Path:
    """Build the package in a clean Debian."""
    keep = debian.CACHE / f"packages-{release}"
    keep.mkdir(exist_ok=True)
    with debian.lent(debian.builder(release)) as root:
        _clone(root)
        return _make_deb(root, keep, "true")[0]


def _clone(root: Path) -> None:
    git = "git -c safe.directory=*"
    clone = [*git.split(), "clone", "-q", str(room.TOP), str(root) + CHECKOUT]
    subprocess.run(clone, check=True, capture_output=True)


def _make_deb(root: Path, keep: Path, before: str) -> tuple[Path, str]:
    """Run `make deb` in ROOT after the command BEFORE; return the package, kept, and the output."""
    said = debian.inside(root, f"cd {CHECKOUT}; {before}; make deb")
    (made,) = (root / CHECKOUT[1:] / "build").glob("poprelayd_*_all.deb")
    kept = keep / made.name
    kept.write_bytes(made.read_bytes())
    return kept, said


def report_state(host: MailHost) -> None:
    """Print what may explain a failure."""
    for command in (
        "systemctl --no-pager status poprelayd",
        "journalctl -q --no-pager -n 40 -u poprelayd",
        "journalctl -q --no-pager -n 25",
        "journalrelay list",
    ):
        done = host.attempt(command)
        print(f"--- debian{host.recipe.release}: {command}\n{done.stdout}{done.stderr}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
