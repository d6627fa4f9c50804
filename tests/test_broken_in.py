"""Who has broken into the daemon owns its directory, and gets nothing of root by it."""

import fcntl
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from journalrelay.cli import main
from journalrelay.map import libdb
from journalrelay.map.popmap import PopMap
from journalrelay.sources.spot import spot_of
from journalrelay.telling.report import Report
from lab import room
from lab.journald import Journald, login_line
from lab.journalfile import entry, make_journal
from lab.poprelayd import COMMAND, TOP
from lab.sendmail import Sendmail
from lab.wait import wait_for
from tests.support import harmless, now_us

BROKEN_IN = 1234  # the daemon's user, when somebody else acts as him
SECRET = "root:$y$j9T$secret"
LOGIN = "192.0.2.7"
PATIENCE_S = 30
NASTY = "\x1b]0;gone\x07\x1b[2J\n\r\x9b31m\u202e\u2066$(id)`id`%s%n'\"\\"


# A process of the daemon's user that is not ours any more


class Said(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    text: str


def as_root(*words: str) -> Said:
    """Run ``journalrelay`` as root in a process of its own, as it may not be root at its end."""
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            signal.alarm(PATIENCE_S)  # ends it, unlike a hang
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            code = 70
            try:
                code = main(words)
            except BaseException as error:
                print(f"Traceback: {error!r}", file=sys.stderr)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        return Said(status, said.read().decode("utf-8", "replace"))


@contextmanager
def acting_as(uid: int) -> Iterator[None]:
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


class Lair:
    """A directory of the daemon's user with its map and state, and beside it what is root's."""

    def __init__(self, place: Path) -> None:
        self.home = place / "lib" / "poprelayd"
        self.home.mkdir(parents=True)
        os.chown(self.home, BROKEN_IN, BROKEN_IN)
        self.map = self.home / "popip.db"
        self.treasure = place / "treasure"
        self.treasure.mkdir(0o755)
        self.secret = self.treasure / "shadow"
        self.secret.write_text(SECRET)
        self.secret.chmod(0o600)
        self.open_secret = self.treasure / "motd"
        self.open_secret.write_text("welcome")
        self.config = place / "empty.conf"
        self.config.touch()
        login = entry(login_line(LOGIN), now_us() - 1_000_000)
        self.journal = make_journal([login], place / "mail.journal")
        with acting_as(BROKEN_IN):
            PopMap(self.map, "hash").replace({b"192.0.2.77": int(time.time()) + 900})

    def argv(self, verb: str, *more: str) -> list[str]:
        words = ["-c", str(self.config), verb, *more, "--map", str(self.map)]
        if verb in ("status", "replay"):
            words += ["--state", str(self.home)]
        if verb == "replay":
            words += ["--file", str(self.journal)]
        return words

    def commands(self) -> Iterator[list[str]]:
        """Yield every command that root runs on the map."""
        for verb in ("list", "status", "expire", "replay"):
            yield self.argv(verb)
        for verb in ("check", "grant", "revoke"):
            yield self.argv(verb, "192.0.2.9")
        yield self.argv("revoke", "--all")

    def names(self) -> list[Path]:
        """Return all that the commands open, make, rename or remove by a name that is known."""
        (cursor,) = (path for path in self.home.iterdir() if path.suffix == ".cursor")
        names = [self.map.name, *(f"{self.map.name}{end}" for end in (".lock", ".damaged"))]
        names += [cursor.name, f"{cursor.name}.new", "status.json", "status.json.new"]
        return [self.home / name for name in names]

    def outside(self) -> dict[str, tuple[object, ...]]:
        """Return all there is to see of what is root's."""
        found: dict[str, tuple[object, ...]] = {}
        for path in (self.treasure, *sorted(self.treasure.iterdir())):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[path.name] = content, status.st_mode, status.st_uid, status.st_mtime_ns
        return found


@pytest.fixture(scope="module", autouse=True)
def journald() -> Iterator[Journald]:
    """Run this machine's journald, which grant and revoke need."""
    with Journald() as running:
        yield running


@pytest.fixture
def lair(place: Path) -> Lair:
    made = Lair(place)
    assert as_root(*made.argv("replay")).code == 0  # so that there is a place to be laid over
    return made


def link(lair: Lair, path: Path) -> None:
    path.symlink_to(lair.secret)


def link_to_what_root_would_make(lair: Lair, path: Path) -> None:
    path.symlink_to(lair.treasure / "new")


def hard_link(lair: Lair, path: Path) -> None:
    """As where fs.protected_hardlinks is 0."""
    os.link(lair.secret, path)


def hard_link_to_what_all_may_read(lair: Lair, path: Path) -> None:
    os.link(lair.open_secret, path)


def fifo(_: Lair, path: Path) -> None:
    os.mkfifo(path)
    os.chown(path, BROKEN_IN, BROKEN_IN)


def directory(_: Lair, path: Path) -> None:
    path.mkdir()
    os.chown(path, BROKEN_IN, BROKEN_IN)


def device(_: Lair, path: Path) -> None:
    """As left by somebody else; the daemon's user can make none."""
    path.symlink_to("/dev/full")


def huge(_: Lair, path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)
    os.chown(path, BROKEN_IN, BROKEN_IN)


TRAPS: tuple[Callable[[Lair, Path], None], ...] = (
    link,
    link_to_what_root_would_make,
    hard_link,
    hard_link_to_what_all_may_read,
    fifo,
    directory,
    device,
    huge,
)


@pytest.mark.parametrize("lay", TRAPS, ids=lambda lay: lay.__name__)
@pytest.mark.parametrize("spared", [False, True], ids=["everywhere", "beside a good map"])
def test_what_is_laid_for_root_changes_and_discloses_nothing(
    lair: Lair, lay: Callable[[Lair, Path], None], spared: bool
) -> None:
    for path in lair.names():
        if not (spared and path == lair.map):
            path.unlink(missing_ok=True)
            lay(lair, path)
    before = lair.outside()
    for words in lair.commands():
        said = as_root(*words)
        assert said.code >= 0, f"{words} hangs"
        assert "Traceback" not in said.text, (words, said.text)
        assert SECRET not in said.text and "welcome" not in said.text
        assert lair.outside() == before, words


def test_the_traps_would_catch_a_root_that_goes_on_as_root(
    lair: Lair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the test before would prove nothing."""
    monkeypatch.setattr("journalrelay.owner._first_owner", lambda _directory: None)
    lair.map.unlink()
    hard_link_to_what_all_may_read(lair, lair.map)
    before = lair.outside()
    as_root(*lair.argv("grant", "192.0.2.9"))
    assert lair.outside() != before


@pytest.mark.parametrize("verb", ["list", "status", "check", "expire", "grant", "revoke"])
def test_no_root_is_left_to_be_found_while_berkeley_db_reads(
    lair: Lair, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watched(real: Callable[..., object]) -> Callable[..., object]:
        def open_it(*arguments: object, **named: object) -> object:
            print("users:", *os.getresuid(), "groups:", *os.getresgid(), *os.getgroups())
            return real(*arguments, **named)

        return open_it

    monkeypatch.setattr(libdb, "opened", watched(libdb.opened))
    monkeypatch.setattr(libdb.Writer, "handle", watched(libdb.Writer.handle))
    shutil.rmtree(lair.map.with_name(f"{lair.map.name}.due"))  # else expire finds nothing to read
    words = ["192.0.2.9"] if verb in ("check", "grant", "revoke") else []
    said = as_root(*lair.argv(verb, *words))
    told = {line for line in said.text.splitlines() if line.startswith("users:")}
    assert told == {f"users: {' '.join(['1234'] * 3)} groups: {' '.join(['1234'] * 3)}"}, said


def test_a_lease_on_the_map_holds_nobody_up(lair: Lair) -> None:
    """A file's owner may have every open(2) of it wait for 45 seconds (fcntl(2), F_SETLEASE)."""
    holder = os.fork()
    if holder == 0:
        os.setgid(BROKEN_IN)
        os.setuid(BROKEN_IN)
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        file = os.open(lair.map, os.O_RDWR)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        signal.pause()
    try:
        lease = re.compile(rf"LEASE .*:{lair.map.stat().st_ino} ")
        wait_for(lambda: lease.search(Path("/proc/locks").read_text()), "the lease")
        for words in (lair.argv("list"), lair.argv("grant", "192.0.2.9")):
            assert as_root(*words).code == os.EX_TEMPFAIL
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)


@pytest.mark.parametrize("late", ["popip.db", "popip.db.lock"])
def test_a_time_beyond_all_times_is_one_clear_line(lair: Lair, late: str) -> None:
    (lair.home / late).touch()
    subprocess.run(["touch", "-d", f"@{2**63 - 1}", lair.home / late], check=True)
    said = as_root(*lair.argv("grant", "192.0.2.9"))
    assert (said.code, said.text.count("\n")) == (os.EX_DATAERR, 1), said
    assert str(lair.map) in said.text


def test_what_a_report_says_reaches_no_terminal_as_it_is(lair: Lair) -> None:
    report = Report(1, NASTY, NASTY, NASTY, [NASTY])
    report.logins = report.verdicts = report.refused = {NASTY: 1}
    report.last_fault = report.cursor = NASTY
    report.read_to_us = now_us()
    (lair.home / "status.json").write_text(json.dumps(vars(report)))
    for more in ((), ("--json",)):
        said = as_root(*lair.argv("status", *more))
        assert "gone" in said.text
        assert harmless(said.text), said.text


@pytest.mark.parametrize("name", ["pid", "lag_s", "read_to_us", "logins"])
def test_no_number_of_a_report_is_too_large(lair: Lair, name: str) -> None:
    number = 10**400
    told = {**vars(Report(1, "", "", "", [])), "read_to_us": 5}
    told[name] = {"dovecot": number} if name == "logins" else number
    (lair.home / "status.json").write_text(json.dumps(told))
    said = as_root(*lair.argv("status"))
    assert (said.code, said.text.count("\n")) == (os.EX_DATAERR, 1), said


def test_no_place_is_beyond_the_end_of_all_files() -> None:
    good = f"1.1.0.{(1 << 63) - 1:x}.{'0' * 16}.{'0' * 16}"
    assert spot_of(good).end == (1 << 63) - 1
    with pytest.raises(ValueError, match="no place"):
        spot_of(good.replace("7fff", "8fff"))


def test_settings_of_berkeley_db_that_lie_around_are_not_read(lair: Lair) -> None:
    """CVE-2017-10140: libdb took DB_CONFIG from wherever the program was started."""
    (lair.home / "DB_CONFIG").write_text(f"set_data_dir {lair.treasure}\nnonsense\n")
    for words in (lair.argv("list"), lair.argv("grant", "192.0.2.9")):
        done = subprocess.run(
            [*COMMAND, *words],
            cwd=lair.home,
            env={**os.environ, "PYTHONPATH": str(TOP)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), words


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_map_that_others_can_write_is_made_anew(lair: Lair, mode: int) -> None:
    """sendmail itself reads it all the same."""
    lair.map.chmod(mode)
    said = as_root(*lair.argv("replay"))
    assert "others than its owner can write it" in said.text
    status = lair.map.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o644, BROKEN_IN)
    assert set(PopMap(lair.map, "hash").read()) == {LOGIN.encode()}


# The package's scripts


SCRIPTS = TOP / "packaging" / "debian"


@pytest.fixture
def installed(lair: Lair, place: Path) -> Iterator[Callable[[str, str], Said]]:
    """Yield what runs a maintainer script: the lair is /var/lib/poprelayd there, and the programs
    are this checkout's."""
    bin_ = place / "bin"
    bin_.mkdir()
    read = f'import sys; sys.path.insert(0, "{TOP}"); exec(sys.stdin.read())'
    python = f"{sys.executable} -c '{read}'"
    relay = f"cd {TOP} && exec {sys.executable} -m journalrelay"
    for name, command in (("python3", python), ("journalrelay", f'{relay} "$@"')):
        (bin_ / name).write_text(f"#!/bin/sh\n{command}\n")
        (bin_ / name).chmod(0o755)

    def run(script: str, argument: str) -> Said:
        inside = 'mount --bind "$1" /var/lib && PATH="$2:$PATH" sh "$3" "$4"'
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", inside, "sh"]
            + [str(lair.home.parent), str(bin_), str(SCRIPTS / f"poprelayd.{script}"), argument],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE_S,
            text=True,
            check=False,
        )
        return Said(done.returncode, done.stdout)

    yield run


@pytest.mark.parametrize("lay", [link, hard_link, fifo], ids=lambda lay: lay.__name__)
def test_the_packages_scripts_obey_nothing_that_is_laid(
    lair: Lair, installed: Callable[[str, str], Said], lay: Callable[[Lair, Path], None]
) -> None:
    for path in lair.names():
        path.unlink(missing_ok=True)
        lay(lair, path)
    (lair.home / "way out").symlink_to(lair.treasure)
    before = lair.outside()
    for script, argument in (("postinst", "configure"), ("prerm", "remove"), ("postrm", "purge")):
        said = installed(script, argument)
        assert said.code == 0, said.text
        assert "Traceback" not in said.text, said.text
        assert SECRET not in said.text
        assert lair.outside() == before, script
        assert ("popip.db: " in said.text) == (script == "prerm"), said.text
    assert not lair.home.exists()  # it is purged


def test_a_first_installation_makes_the_map(
    lair: Lair, installed: Callable[[str, str], Said]
) -> None:
    """Else the test before would prove nothing."""
    lair.map.unlink()
    assert installed("postinst", "configure").code == 0
    assert lair.map.stat().st_uid == BROKEN_IN


def test_tmpfiles_change_nothing_in_the_directory(lair: Lair, place: Path) -> None:
    root = place / "root"
    (root / "var/lib").mkdir(parents=True)
    (root / "etc").mkdir()
    for kind in ("sysusers", "tmpfiles"):
        (root / f"usr/lib/{kind}.d").mkdir(parents=True)
        text = (TOP / "units" / f"poprelayd.{kind}").read_text()
        (root / f"usr/lib/{kind}.d/poprelayd.conf").write_text(text)
    lair.home.rename(root / "var/lib/poprelayd")
    (root / "var/lib/poprelayd/way out").symlink_to(lair.treasure)
    before = lair.outside()
    inner = {path: path.lstat().st_uid for path in (root / "var/lib/poprelayd").iterdir()}
    for tool in (["systemd-sysusers"], ["systemd-tmpfiles", "--create"]):
        subprocess.run([*tool, f"--root={root}", "poprelayd.conf"], check=True, capture_output=True)
    assert lair.outside() == before
    assert {path: path.lstat().st_uid for path in inner} == inner


def test_mail_to_the_daemons_user_obeys_nothing_of_his(lair: Lair) -> None:
    """sendmail follows a .forward in a user's home, and is in no sandbox."""
    (lair.home / ".forward").write_text("mallory@elsewhere.example\n")
    os.chown(lair.home / ".forward", BROKEN_IN, BROKEN_IN)
    with Sendmail(room.scratch("sendmail-"), popip=lair.home / "popip") as sendmail:
        usual = lair.home.parent.parent / "usual.cf"
        lines = sendmail.cf.read_text().splitlines()
        lines = [line for line in lines if not line.startswith("O ForwardPath")]
        usual.write_text("\n".join([*lines, "O ForwardPath=$z/.forward", ""]))

    def expanded(home: str) -> str:
        user = f"u poprelayd {BROKEN_IN} - {home} -\n"
        inside = (
            'mount --bind "$1" /var/lib && cp -a /etc "$1/etc" && mount --bind "$1/etc" /etc && '
            'systemd-sysusers - && exec sendmail -C "$2" -bv poprelayd'
        )
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", inside, "sh"]
            + [str(lair.home.parent), str(usual)],
            input=user,
            capture_output=True,
            text=True,
            check=False,
        )
        shutil.rmtree(lair.home.parent / "etc")
        return done.stdout

    (line,) = re.findall(r"^u poprelayd .*", (TOP / "units/poprelayd.sysusers").read_text(), re.M)
    home = line.split()[-2]
    assert "mallory" in expanded("/var/lib/poprelayd")  # it would be followed
    assert expanded(home) == "poprelayd... deliverable: mailer local, user poprelayd\n"
