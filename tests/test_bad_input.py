"""What is wrong, unreadable, missing or full gets one clear line and its exit code, and never a
lost or wrong grant."""

import fcntl
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from journalrelay.cli import main
from journalrelay.map.changes import Changes
from journalrelay.map.popmap import PopMap
from lab.journald import Journald, login_line
from lab.journalfile import entry, make_journal
from lab.poprelayd import COMMAND, TOP, Poprelayd
from lab.wait import wait_for
from tests.support import db

S_US = 1_000_000
LOGINS = {b"192.0.2.7", b"192.0.2.8"}
KEPT = b"192.0.2.77"
PATIENCE_S = 6
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")
READ_ONLY_VERBS = ("list", "check", "expire --dry-run")
WRITING_VERBS = ("expire", "grant", "revoke", "replay", "run")
VERBS = (*READ_ONLY_VERBS, *WRITING_VERBS)
REBUILDING_VERBS = ("replay", "run")
WORDS = {"check": ("192.0.2.77",), "grant": ("192.0.2.9",), "revoke": ("192.0.2.99",)}
Said = subprocess.CompletedProcess[str]


class Host:
    """A mail host's files: a map with a grant that no log knows, and a journal with two logins."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.home = place / "lib"
        self.state = place / "state"
        for directory in (self.home, self.state):
            directory.mkdir()
        self.map = self.home / "popip.db"
        self.kind = "hash"
        self.now_s = int(time.time())
        self.until_s = self.now_s + 800
        self.config = place / "poprelay.conf"
        self.config.write_text("")
        self.journal = place / "mail.journal"
        self.log("192.0.2.7", "192.0.2.8")
        self.source: tuple[str, ...] = ("--file", str(self.journal))

    def log(self, *addresses: str, ago_s: float = 60) -> None:
        """Log logins from addresses."""
        first_us = time.time_ns() // 1000 - round(ago_s * S_US)
        lines = map(login_line, addresses)
        make_journal(
            (entry(line, first_us + n * S_US) for n, line in enumerate(lines)), self.journal
        )
        self.journal.chmod(0o644)

    def make_map(self) -> PopMap:
        """Make the map with its one grant, and one that is over."""
        popmap = self.popmap()
        popmap.replace({})
        changes = Changes()
        changes.grant(KEPT, self.until_s)
        changes.grant(b"192.0.2.99", self.now_s - 5)
        popmap.commit(changes, 0)
        return popmap

    def popmap(self) -> PopMap:
        return PopMap(self.map, self.kind)

    def content(self) -> dict[bytes, int]:
        """Return what the map holds, which must be whole."""
        assert self.popmap().fault(self.now_s + 10**6) is None
        return self.popmap().read()

    def argv(self, verb: str, *arguments: str) -> list[str]:
        """Return a command with all its options."""
        name, *more = verb.split()
        words = [*COMMAND, "-c", str(self.config), name, *more, *arguments]
        words += [*WORDS.get(name, ()), "--map", str(self.map)]
        if name in ("run", "replay", "status"):
            words += ["--state", str(self.state)]
        if name in ("run", "replay"):
            words += self.source
        return words

    def run(self, verb: str, *arguments: str, wrapper: Sequence[str] = ()) -> Said:
        """Run a verb to its end; ``run`` is the daemon, which must come to one."""
        if verb == "run":
            return self._daemon(wrapper)
        argv = self.argv(verb, *arguments)
        return call(*wrapper, *argv) if wrapper else say(*argv[len(COMMAND) :])

    def daemon(self, wrapper: Sequence[str] = ()) -> Poprelayd:
        """Return a daemon that has not been started."""
        options = ("--map", str(self.map), "--state", str(self.state), *self.source)
        config = self.config.read_text()
        return Poprelayd(self.place, *options, config=config, wrapper=wrapper)

    def _daemon(self, wrapper: Sequence[str]) -> Said:
        daemon = self.daemon(wrapper)
        with ExitStack() as stack:
            stack.push(daemon)
            daemon.launch()
            try:
                code = daemon.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                daemon.kill()
                raise
        said = daemon.log.read_text()
        daemon.log.unlink()
        (self.place / "notify").unlink()
        assert "READY=1" not in daemon.notified
        return Said((), code, "", said)


@pytest.fixture
def host(place: Path) -> Host:
    made = Host(place)
    made.make_map()
    return made


@pytest.fixture(scope="module", autouse=True)
def journald() -> Iterator[Journald]:
    """Run this machine's journald, which grant and revoke need."""
    with Journald() as running:
        yield running


def say(*words: str) -> Said:
    """Run ``journalrelay`` in this process; what it does not catch is a failure here."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 70
    return Said(words, code, out.getvalue(), err.getvalue())


def call(*argv: str, **options: object) -> Said:
    """Run a command; hanging is a failure too."""
    settings: dict[str, object] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done = subprocess.run(
        argv,
        cwd=TOP,
        timeout=PATIENCE_S,
        text=True,
        errors="surrogateescape",
        **(settings | options),
    )  # type: ignore[call-overload]
    assert isinstance(done, subprocess.CompletedProcess)
    return done


def fault(done: Said, code: int | Sequence[int], *said: str, by: str = "journalrelay") -> str:
    """Return the one line that a command ended with, which says ``said`` and how to mend it."""
    codes = (code,) if isinstance(code, int) else code
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in codes, done
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert re.fullmatch(rf"{by}: .*\(.+\)", lines[0]), lines[0]
    assert all(word in lines[0] for word in said), lines[0]
    return lines[0]


def usage_fault(done: Said, *said: str) -> str:
    """Return the line of a wrong command line; argparse may put the usage before it."""
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 64, done
    lines = [line for line in done.stderr.splitlines() if line.startswith("journalrelay")]
    assert len(lines) == 1, done.stderr
    assert done.stderr.endswith(f"{lines[0]}\n")
    assert all(word in lines[0] for word in said), lines[0]
    return lines[0]


def snapshot(top: Path) -> dict[str, object]:
    """Return names, modes and contents below a directory."""
    paths = [path for path in (top, *sorted(top.rglob("*"))) if path.name != "poprelayd.log"]
    return {
        str(path): (path.lstat().st_mode, written(path) if path.is_file() else []) for path in paths
    }


def written(path: Path) -> list[tuple[int, bytes]]:
    """Return a file's parts that are no holes, of which a map has many."""
    parts, at = [], 0
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # ENXIO: a hole up to the end
                break
            end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            parts.append((at, os.pread(file.fileno(), end - at, at)))
            at = end
    return [*parts, (size, b"")]


@contextmanager
def mounted(place: Path, *options: str) -> Iterator[Path]:
    """Mount something at ``place`` for a while."""
    subprocess.run(["mount", *options, str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    with mounted(place, "--bind", str(place)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
        yield


def small_disk(place: Path) -> "ExitStack":
    """Return a context in which ``place`` is a disk of its own, as yet with room."""
    stack = ExitStack()
    stack.enter_context(mounted(place, "-t", "tmpfs", "-o", "size=256k,mode=755", "small"))
    return stack


def fill(place: Path) -> None:
    """Use up all the room of a disk."""
    with open(place / "ballast", "wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(b"\xff" * 4096)
        except OSError:
            return


# configuration


BAD_SETTINGS = {
    "not TOML": b"[relay",
    "not UTF-8": b"[relay]\nwindow = '\xff'",
    "binary": bytes(range(256)),
    "NUL": b"\0" * 4096,
    "deeply nested": b"a = " + b"[" * 100_000,
    "deep tables": b".".join([b"a"] * 2_000) + b" = 1",
    "a key with a line break": b'"a\\nb" = 1',
    "a huge number": b"[relay]\nwindow = " + b"9" * 5000,
    "a huge span": b"[relay]\nwindow = '" + b"9" * 5000 + b"d'",
    "a prefix that is no integer": b"[relay]\nipv6_prefix = 128.0",
    "a date": b"[relay]\nwindow = 2026-11-22",
    "a list of tables": b"[[relay]]\nwindow = '1min'",
    "an empty namespace": b"[source]\nnamespace = ' '",
}


@pytest.mark.parametrize("text", BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_a_wrong_configuration_is_one_line_and_78(host: Host, text: bytes) -> None:
    host.config.write_bytes(text)
    done = say("-c", str(host.config), "check", "192.0.2.77")
    assert (done.returncode, done.stdout) == (78, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"journalrelay: {host.config}: ")


def test_every_fault_of_the_configuration_is_a_line(host: Host) -> None:
    host.config.write_text('[relay]\nwindow = "x"\nskew = "y"\n[map]\ntype = "z"\n')
    done = call(*host.argv("run"))
    assert done.returncode == 78
    assert len(done.stderr.splitlines()) == 3


def test_a_configuration_that_cannot_be_read_is_said(host: Host) -> None:
    host.config.unlink()
    fault(call(*host.argv("list")), 78, str(host.config), "No such file")
    host.config.mkdir()
    fault(call(*host.argv("list")), 78, str(host.config), "Is a directory")
    host.config.rmdir()
    host.config.touch(0o600)
    fault(call(*NOBODY, *host.argv("list")), 78, str(host.config), "Permission denied")


@pytest.fixture
def usual() -> Iterator[Path]:
    """Return the usual configuration's directory, with a drop-in, which ends with the test."""
    mail, drop_ins = Path("/etc/mail"), Path("/etc/mail/poprelay.conf.d")
    mode = mail.stat().st_mode
    drop_ins.mkdir()
    yield mail
    mail.chmod(mode)
    for path in (mail / "poprelay.conf", *drop_ins.iterdir()):
        path.unlink(missing_ok=True)
    drop_ins.rmdir()


def usually(host: Host, verb: str = "list") -> list[str]:
    """Return a command that reads the usual configuration."""
    argv = host.argv(verb)
    return argv[: argv.index("-c")] + argv[argv.index("-c") + 2 :]


def test_a_usual_configuration_that_cannot_be_read_is_not_taken_for_none(
    host: Host, usual: Path
) -> None:
    (usual / "poprelay.conf").symlink_to("nowhere")
    fault(call(*usually(host)), 78, f"{usual}/poprelay.conf")
    (usual / "poprelay.conf").unlink()
    (usual / "poprelay.conf").touch()
    usual.chmod(0o700)
    fault(call(*NOBODY, *usually(host)), (77, 78), str(usual))


def test_drop_ins_that_cannot_be_read_are_not_taken_for_none(host: Host, usual: Path) -> None:
    drop_ins = usual / "poprelay.conf.d"
    (drop_ins / "a.conf").symlink_to("nowhere")
    fault(call(*usually(host)), 78, f"{drop_ins}/a.conf")
    (drop_ins / "a.conf").unlink()
    drop_ins.chmod(0o700)
    fault(call(*NOBODY, *usually(host)), (77, 78), str(drop_ins))


def test_a_reload_with_a_wrong_configuration_changes_nothing(host: Host) -> None:
    with host.daemon() as daemon:
        host.config.write_bytes(b"[relay")
        daemon.reload()
        host.log("192.0.2.10", ago_s=1)
        daemon.stop()
        assert "poprelay.conf" in daemon.log.read_text()
        assert "the earlier configuration stays" in daemon.log.read_text()
    assert set(host.content()) == {*LOGINS, b"192.0.2.10"}


# arguments


BAD_WORDS = (
    ("nonsense",),
    ("\udcff",),
    ("",),
    ("list", "--nonsense"),
    ("list", "192.0.2"),
    ("list", "192.0.2.0/33"),
    ("list", "--sort", "age"),
    ("list", "--json", "--bare"),
    ("check",),
    ("check", ""),
    ("check", "x" * 100_000),
    ("check", "\udcff\udcfe"),
    ("check", "1.2.3"),
    ("check", "192.0.2.7/32"),
    ("check", "fe80::1%eth0"),
    ("check", "２.2.2.2"),
    ("check", "192.0.2.7\n"),
    ("grant", "192.0.2.9", "\udcff"),
    ("grant", "192.0.2.0/24"),
    ("grant", "2001:db8::/64"),
    ("grant", "192.0.2.9", "--for", "0"),
    ("grant", "192.0.2.9", "--for", "-1h"),
    ("grant", "192.0.2.9", "--for", ""),
    ("grant", "192.0.2.9", "--for", "\udcff"),
    ("grant", "192.0.2.9", "--for", "9" * 100_000),
    ("grant", "192.0.2.9", "--for", "101y"),
    ("grant", "192.0.2.9", "--for"),
    ("revoke",),
    ("revoke", "192.0.2.77", "nonsense"),
    ("revoke", "192.0.2.77", "--all"),
    ("replay", "--since", "nonsense"),
    ("replay", "--since", ""),
    ("replay", "--since", "-"),
    ("replay", "--since", "\udcff"),
    ("replay", "--since", "2026-13-45"),
    ("replay", "--since", "@" + "9" * 100_000),
    ("replay", "--since", "9999-12-31 23:59:61"),
    ("replay", "--since"),
    ("replay", "--cursor", ""),
    ("replay", "--cursor", "nonsense"),
    ("replay", "--cursor", "\udcff"),
    ("replay", "--cursor", "s=0;" * 20_000),
    ("replay", "--all", "--since", "-1h"),
    ("replay", "--file"),
    ("replay", "--file", "x", "--directory", "y"),
)


@pytest.mark.parametrize("words", BAD_WORDS, ids=lambda words: ascii(" ".join(words))[1:40])
def test_wrong_words_are_said_in_one_line_and_64(host: Host, words: Sequence[str]) -> None:
    before = host.content()
    files = [] if "--file" in words else list(host.source) if "replay" in words else []
    files += ["--state", str(host.state)] if "replay" in words else []
    mapped = ["--map", str(host.map)] if words[0].isalpha() and words[0] != "nonsense" else []
    if words[-1] in ("--for", "--since", "--file"):
        done = say(words[0], *mapped, *files, *words[1:])
    else:
        done = say(*words, *mapped, *files)
    usage_fault(done)
    assert done.stdout == ""
    assert host.content() == before
    assert list(host.state.iterdir()) == []


@pytest.mark.parametrize("option", ["--map", "--state", "--directory", "--file", "-c"])
def test_an_empty_file_name_is_a_usage_error(host: Host, option: str) -> None:
    words = (option, "", "replay") if option == "-c" else ("replay", option, "")
    usage_fault(say(*words), option)


LONG = "/srv/" + "x" * 5000


@pytest.mark.parametrize("verb", [*VERBS, "status"])
@pytest.mark.parametrize(
    "path", [LONG, "/etc/hostname/a/popip.db", "/"], ids=["long", "below", "/"]
)
def test_a_map_that_cannot_be_is_said(host: Host, verb: str, path: str) -> None:
    """In a name too long, below a file, and the root itself."""
    host.map = Path(path)
    argv = host.argv(verb)
    done = call(*argv) if verb == "run" else say(*argv[len(COMMAND) :])
    assert "Traceback" not in done.stderr, done.stderr
    if done.returncode in (0, 1):  # there is no map: nothing is granted, as when it is missing
        assert verb in ("list", "check", "revoke", "status")
        assert done.stderr == ""
    elif done.returncode == 64:
        usage_fault(done, "--map")
    else:
        fault(done, (65, 66, 75))


@pytest.mark.parametrize("verb", ["replay", "run", "status"])
def test_a_state_directory_with_too_long_a_name_is_said(host: Host, verb: str) -> None:
    host.state = Path(LONG)
    fault(call(*host.argv(verb)), (64, 66, 75), "too long")


@pytest.mark.parametrize("verb", REBUILDING_VERBS)
@pytest.mark.parametrize("option", ["--directory", "--file", "--namespace"])
def test_a_source_with_too_long_a_name_is_said(host: Host, verb: str, option: str) -> None:
    host.source = (option, LONG.replace("/", "") if option == "--namespace" else LONG)
    before = host.content()
    done = call(*host.argv(verb))
    if done.returncode == 64:
        usage_fault(done, option)
    else:
        fault(done, (65, 66, 69, 75))
    assert host.content() == before


@pytest.mark.parametrize("verb", [*VERBS, "status"])
@pytest.mark.parametrize(
    "name", ["\udcff.db", "a\nb.db", "\x1b[2J.db"], ids=["byte", "line", "esc"]
)
def test_a_map_that_sendmail_could_not_be_told_of_is_refused(
    host: Host, verb: str, name: str
) -> None:
    host.map = host.map.rename(host.home / name)
    before = snapshot(host.home)
    argv = host.argv(verb)
    assert usage_fault(call(*argv) if verb == "run" else say(*argv[len(COMMAND) :])).isprintable()
    assert snapshot(host.home) == before


@pytest.mark.parametrize("verb", REBUILDING_VERBS)
def test_a_map_may_have_a_name_in_any_script(host: Host, verb: str) -> None:
    host.map = host.home / "почта 'ü'.db"
    if verb == "run":
        with host.daemon() as daemon:
            assert daemon.stop() == 0
    else:
        assert call(*host.argv("replay")).returncode == 0
    assert set(host.content()) == LOGINS


@pytest.mark.parametrize("option", ["--directory", "--file"])
def test_a_journals_name_is_bytes_too(host: Host, option: str) -> None:
    directory = host.place / "\udcff"
    directory.mkdir()
    file = host.journal.rename(directory / "system.journal")
    host.source = (option, str(file if option == "--file" else directory))
    done = call(*host.argv("replay"))
    assert (done.returncode, done.stderr) == (0, "")
    assert set(host.content()) >= LOGINS


def test_a_name_that_cannot_be_printed_is_printed_somehow(host: Host) -> None:
    """In a locale that has not all its letters."""
    host.map = host.home / "почта.db"
    for encoding in ("ascii:strict", "latin-1:strict"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        for verb in ("check", "status"):
            done = call(*host.argv(verb), env=environment)
            assert (done.returncode, done.stderr) == (1, "")


def test_json_is_the_same_in_every_locale(host: Host) -> None:
    first_us = time.time_ns() // 1000 - S_US
    make_journal([entry(login_line("192.0.2.10", "用户"), first_us)], host.journal)
    for encoding in ("ascii:strict", "latin-1:strict", "utf-8:strict"):
        done = call(
            *host.argv("replay --all --json --dry-run"),
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "用户" in [json.loads(line)["user"] for line in done.stdout.splitlines()]


# the map


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def garbled(path: Path) -> None:
    path.write_bytes(random.Random(7).randbytes(40_000))


def garbled_inside(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 : len(content)] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)


def text(path: Path) -> None:
    path.write_text("192.0.2.77 1795400000\n")


DAMAGES = (truncated, emptied, garbled, garbled_inside, text)
Damage = Callable[[Path], None]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("verb", [*READ_ONLY_VERBS, "expire", "grant", "revoke"])
def test_a_damaged_map_is_said_and_left_as_it_is(host: Host, verb: str, damage: Damage) -> None:
    damage(host.map)
    shutil.rmtree(f"{host.map}.due")  # an index of what is damaged
    before = snapshot(host.home)
    fault(host.run(verb), 65, str(host.map), "journalrelay replay")
    shutil.rmtree(f"{host.map}.due", ignore_errors=True)
    assert snapshot(host.home) == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_replay_puts_a_damaged_map_aside_and_makes_it_anew(host: Host, damage: Damage) -> None:
    damage(host.map)
    broken = host.map.read_bytes()
    done = host.run("replay")
    assert done.returncode == 0, done.stderr
    (note,) = done.stderr.splitlines()
    assert note.startswith(f"journalrelay: {host.map}: ")
    assert f"{host.map}.damaged" in note
    assert Path(f"{host.map}.damaged").read_bytes() == broken
    assert set(host.content()) == LOGINS


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_daemon_puts_a_damaged_map_aside_and_makes_it_anew(host: Host, damage: Damage) -> None:
    damage(host.map)
    broken = host.map.read_bytes()
    with host.daemon() as daemon:
        assert set(host.content()) == LOGINS
        assert f"{host.map}.damaged" in daemon.log.read_text()
        assert daemon.stop() == 0
    assert Path(f"{host.map}.damaged").read_bytes() == broken


def test_a_missing_map_is_no_grant(host: Host) -> None:
    host.map.unlink()
    assert host.run("list").returncode == 0
    assert host.run("check").returncode == 1
    fault(host.run("expire"), 66, str(host.map), "no such map")
    fault(host.run("expire --dry-run"), 66, str(host.map), "no such map")
    assert host.run("revoke").returncode == 0
    assert not host.map.exists()


@pytest.mark.parametrize("verb", ["expire", "expire --dry-run", "grant", "replay", "run"])
def test_a_missing_directory_of_the_map_is_said(host: Host, verb: str) -> None:
    host.map = host.place / "gone" / "popip.db"
    fault(host.run(verb), 66, str(host.map.parent), "no such directory")
    assert not host.map.parent.exists()


@pytest.mark.parametrize("verb", [*READ_ONLY_VERBS, "expire", "grant", "revoke"])
@pytest.mark.parametrize(("wanted", "is_"), [("hash", "btree"), ("btree", "hash")])
def test_a_map_of_the_other_type_loses_nothing(
    host: Host, verb: str, wanted: str, is_: str
) -> None:
    """Whether a verb takes it or refuses it: it stays a whole map with the grants it had."""
    host.map.unlink()
    host.kind = is_
    host.make_map()
    host.config.write_text(f'[map]\ntype = "{wanted}"\n')
    done = host.run(verb)
    if done.returncode != 0:
        fault(done, 65, str(host.map), wanted, is_)
    else:
        assert done.stderr == ""
    assert PopMap(host.map, is_).read()[KEPT] == host.until_s
    left = [PopMap(host.map, kind).fault(host.now_s + 10**6) for kind in ("hash", "btree")]
    assert None in left


@pytest.mark.parametrize("verb", REBUILDING_VERBS)
def test_a_map_of_the_other_type_is_put_aside(host: Host, verb: str) -> None:
    host.map.unlink()
    host.kind = "btree"
    host.make_map()
    host.kind = "hash"
    if verb == "replay":
        assert host.run("replay").returncode == 0
    else:
        with host.daemon() as daemon:
            assert daemon.stop() == 0
    assert set(host.content()) == LOGINS
    assert PopMap(Path(f"{host.map}.damaged"), "btree").read()[KEPT] == host.until_s


JUNK = {
    b"anything": b"1999999999",
    b"999.1.2.3": b"1999999999",
    b"ipv6:2001:db8": b"1999999999",
    b"ipv6:2001:db8:0:0:0:0:0:00c": b"1999999999",
    b"192.0.2.78\0": b"1999999999",
    b"\xff\xfe": b"1999999999",
    b"": b"1999999999",
    b"192.0.2.79": b"never",
    b"192.0.2.80": b"-1",
    b"192.0.2.81": b"9" * 400,
}


@pytest.fixture
def junk(host: Host) -> Host:
    """Have all that in the map, beside its grant."""
    for key, value in JUNK.items():
        write(host.map, key, value)
    os.utime(host.map, (host.now_s, host.now_s))  # as one of us leaves it, at a whole second
    return host


def test_what_we_never_wrote_is_not_shown(junk: Host) -> None:
    listed = junk.run("list", "--json")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert [row["address"] for row in json.loads(listed.stdout)] == [KEPT.decode()]
    assert len(junk.run("list").stdout.splitlines()) == 1


@pytest.mark.parametrize("key", JUNK)
def test_list_falls_over_no_key(host: Host, key: bytes) -> None:
    write(host.map, key, JUNK[key])
    assert host.run("list").returncode == 0


@pytest.mark.parametrize("verb", ["check", "expire", "grant", "revoke", "status", "replay"])
def test_no_verb_falls_over_what_we_never_wrote(junk: Host, verb: str) -> None:
    done = junk.run(verb)
    assert done.returncode == (1 if verb == "status" else 0)
    if verb != "replay":
        assert done.stderr == ""
        assert junk.popmap().read()[KEPT] == junk.until_s


def test_revoke_all_takes_out_what_we_never_wrote(junk: Host) -> None:
    done = say("revoke", "--all", "--map", str(junk.map))
    assert (done.returncode, done.stderr) == (0, "")
    assert junk.content() == {}


def test_the_daemon_makes_a_map_with_junk_anew(junk: Host) -> None:
    with junk.daemon() as daemon:
        assert set(junk.content()) == LOGINS
        assert daemon.stop() == 0


def test_the_daemon_makes_a_map_with_an_address_that_cannot_be_anew(host: Host) -> None:
    """It looks like one, and is none: telling that it was revoked must not end the daemon."""
    write(host.map, b"999.1.2.3", b"%d" % host.until_s)
    with host.daemon() as daemon:
        assert set(host.content()) == LOGINS
        assert daemon.stop() == 0


def write(path: Path, key: bytes, value: bytes) -> None:
    """Write to a map as makemap or an editor of Berkeley DB files would."""
    handle = db.DB()
    handle.open(str(path), None, db.DB_HASH, 0)
    handle.put(key, value)
    handle.sync()
    handle.close()


@pytest.mark.parametrize("verb", [*READ_ONLY_VERBS, "expire", "replay", "run"])
def test_a_map_that_may_not_be_read_is_said(host: Host, verb: str) -> None:
    host.map.chmod(0o600)
    for path in (host.state, host.home):
        os.chown(path, 65534, 65534)
    before = host.map.read_bytes()
    fault(host.run(verb, wrapper=NOBODY), 77, str(host.map), "Permission denied")
    assert host.map.read_bytes() == before


@pytest.mark.parametrize("verb", ["expire", "replay", "run"])
def test_a_map_that_may_not_be_written_is_said(host: Host, verb: str) -> None:
    os.chown(host.state, 65534, 65534)
    before = host.map.read_bytes()
    fault(host.run(verb, wrapper=NOBODY), 77, str(host.map), "Permission denied")
    assert host.map.read_bytes() == before


@pytest.mark.parametrize("verb", [*VERBS, "status"])
def test_a_directory_that_may_not_be_entered_is_said(host: Host, verb: str) -> None:
    host.home.chmod(0o700)
    os.chown(host.state, 65534, 65534)
    before = snapshot(host.home)
    fault(host.run(verb, wrapper=NOBODY), 77, "root" if verb in ("grant", "revoke") else "popip.db")
    assert snapshot(host.home) == before


def directory(path: Path) -> None:
    path.mkdir()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def full_device(path: Path) -> None:
    path.symlink_to("/dev/full")


def link(path: Path) -> None:
    elsewhere = path.with_name("elsewhere.db")
    PopMap(elsewhere, "hash").replace({})
    path.symlink_to(elsewhere)


def link_to_nothing(path: Path) -> None:
    path.symlink_to("nowhere")


NO_FILES = (directory, fifo, unix_socket, full_device, link, link_to_nothing)


@pytest.mark.parametrize(
    ("verb", "make"),
    [
        *((verb, make) for verb in VERBS for make in (fifo, directory, link)),
        *((verb, make) for verb in ("list", "grant", "replay") for make in NO_FILES[2:4]),
        *((verb, link_to_nothing) for verb in ("list", "grant", "replay")),
    ],
)
def test_what_is_no_file_in_the_maps_place_is_said(host: Host, verb: str, make: Damage) -> None:
    host.map.unlink()
    make(host.map)
    before = snapshot(host.home)
    done = call(*host.argv(verb)) if make is fifo and verb != "run" else host.run(verb)
    fault(done, (65, 66, 75), str(host.map))
    after = snapshot(host.home)
    after.pop(f"{host.map}.lock", None)  # the daemon's
    assert after == before


@pytest.mark.parametrize("make", [directory, fifo, link])
@pytest.mark.parametrize("verb", ["replay", "run", "status"])
def test_what_is_no_file_in_the_locks_place_is_said(host: Host, verb: str, make: Damage) -> None:
    make(Path(f"{host.map}.lock"))
    before = host.content()
    done = call("timeout", "3", *host.argv(verb))
    assert "Traceback" not in done.stderr, done.stderr
    if verb == "run" and make is fifo and done.returncode == 0:
        return  # a lock can be had on it as on a file, and timeout(1) ended the daemon in order
    if done.returncode not in (0, 1):
        fault(done, (65, 66, 75), f"{host.map}.lock")
    assert set(host.content()) >= set(before)


# the saved place


BAD_PLACES = {
    "empty": b"",
    "zeros": b"\0" * 4096,
    "not UTF-8": b"\xff\xfe\xfd",
    "text": b"s=0;i=1;b=2\n",
    "no object": b"[]",
    "a number": b"5",
    "cut short": b'{"format": 1, "cursor": "s=',
    "another format": b'{"format": 2, "cursor": "x", "time_us": 1, "boot": "", "clock_us": 1}',
    "a missing key": b'{"format": 1, "cursor": "x"}',
    "wrong types": b'{"format": 1, "cursor": 5, "time_us": "x", "boot": [], "clock_us": null}',
    "deeply nested": b"[" * 200_000,
    "a huge number": b'{"format": ' + b"9" * 10_000 + b"}",
}


def saved(host: Host) -> Path:
    """Return the saved place's file, made by a replay."""
    assert host.run("replay").returncode == 0
    (file,) = host.state.iterdir()
    return file


@pytest.mark.parametrize("content", BAD_PLACES.values(), ids=BAD_PLACES)
def test_a_garbage_place_is_said_and_the_last_window_read(host: Host, content: bytes) -> None:
    file = saved(host)
    good = json.loads(file.read_bytes())
    file.write_bytes(content)
    host.popmap().commit(removing(*LOGINS), 0)
    done = host.run("replay")
    assert done.returncode == 0
    fault(done, 0, str(file))
    assert set(host.content()) >= {*LOGINS, KEPT}
    assert json.loads(file.read_bytes())["cursor"] == good["cursor"]


@pytest.mark.parametrize("cursor", ["", "nonsense", "\ud800", "a\0b", "s=" + "x" * 70_000])
def test_a_place_without_a_cursor_is_said_and_the_last_window_read(host: Host, cursor: str) -> None:
    file = saved(host)
    good = json.loads(file.read_bytes())
    file.write_text(json.dumps({**good, "cursor": cursor}))
    host.popmap().commit(removing(*LOGINS), 0)
    done = host.run("replay")
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1
    assert str(file) in done.stderr
    assert set(host.content()) >= {*LOGINS, KEPT}
    assert json.loads(file.read_bytes())["cursor"] == good["cursor"]


@pytest.mark.parametrize("number", [10**30, -(10**30), 2**63, 0, True])
@pytest.mark.parametrize("name", ["time_us", "clock_us"])
def test_no_number_in_a_place_stops_the_road(host: Host, name: str, number: int) -> None:
    file = saved(host)
    file.write_text(json.dumps({**json.loads(file.read_bytes()), name: number}))
    host.popmap().commit(removing(*LOGINS), 0)
    host.log("192.0.2.10", ago_s=1)
    done = host.run("replay")
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0
    assert b"192.0.2.10" in host.content()


@pytest.mark.parametrize("content", [b"", b"[" * 200_000, b"\0" * 4096], ids=["e", "nested", "0"])
def test_the_daemon_starts_from_the_last_window_when_its_place_is_garbage(
    host: Host, content: bytes
) -> None:
    file = saved(host)
    file.write_bytes(content)
    host.popmap().commit(removing(*LOGINS), 0)
    with host.daemon() as daemon:
        assert set(host.content()) == LOGINS  # a map is not believed without its place
        assert str(file) in daemon.log.read_text()
        assert daemon.stop() == 0


def removing(*keys: bytes) -> Changes:
    changes = Changes()
    changes.remove(keys)
    return changes


@pytest.mark.parametrize("verb", REBUILDING_VERBS)
def test_a_missing_state_directory_is_said(host: Host, verb: str) -> None:
    host.state = host.place / "gone"
    fault(host.run(verb), 66, str(host.state), "make")
    assert set(host.content()) >= LOGINS
    assert not host.state.exists()


@pytest.mark.parametrize("verb", REBUILDING_VERBS)
def test_a_file_as_state_directory_is_said(host: Host, verb: str) -> None:
    host.state = host.config
    fault(host.run(verb), (66, 75), str(host.state))
    assert set(host.content()) >= {KEPT}


@pytest.mark.parametrize("verb", REBUILDING_VERBS)
def test_a_daemon_without_logins_needs_its_state_directory_too(host: Host, verb: str) -> None:
    """Said at the start, not when the first login comes."""
    make_journal([entry("auth: nothing", time.time_ns() // 1000)], host.place / "o.journal")
    host.source = ("--file", str(host.place / "o.journal"))
    host.state = host.place / "gone"
    daemon = call("timeout", "-s", "KILL", "3", *host.argv(verb))
    fault(daemon, 66, str(host.state))


@pytest.mark.parametrize("verb", REBUILDING_VERBS)
def test_a_state_directory_that_may_not_be_written_is_said(host: Host, verb: str) -> None:
    for path in (host.home, host.map):
        os.chown(path, 65534, 65534)
    fault(host.run(verb, wrapper=NOBODY), 77, str(host.state), "Permission denied")
    assert set(host.content()) >= LOGINS


@pytest.mark.parametrize("verb", REBUILDING_VERBS)
@pytest.mark.parametrize("make", [directory, fifo, unix_socket])
def test_what_is_no_file_in_the_places_place_is_said(host: Host, verb: str, make: Damage) -> None:
    file = saved(host)
    file.unlink()
    make(file)
    before = host.content()
    done = host.run(verb) if verb == "run" else call(*host.argv(verb))
    fault(done, (65, 75), str(file))
    assert host.content() == before


@pytest.mark.parametrize("verb", REBUILDING_VERBS)
def test_a_place_that_may_not_be_read_is_said(host: Host, verb: str) -> None:
    file = saved(host)
    file.chmod(0o600)
    Path(f"{host.map}.lock").unlink()
    for path in (host.home, host.map, host.state):
        os.chown(path, 65534, 65534)
    before = file.read_bytes()
    fault(host.run(verb, wrapper=NOBODY), 77, str(file), "Permission denied")
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "report",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 200_000,
        b'{"read_to_us": "x"}',
        b'{"read_to_us": 5}',
        b'{"read_to_us": 5, "lag_s": "x", "source": 7}',
        b'{"logins": 5}',
        b'{"verdicts": null, "refused": []}',
    ],
    ids=range(9),
)
def test_a_garbage_report_is_said(host: Host, report: bytes) -> None:
    (host.state / "status.json").write_bytes(report)
    done = host.run("status")
    assert (done.returncode, done.stdout) == (65, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"journalrelay: {host.state}/status.json: not a report")


# the journal


def bad_file(done: Said, host: Host, before: dict[str, object], code: int, *said: str) -> None:
    fault(done, code, *said)
    after = snapshot(host.home)
    after.pop(f"{host.map}.lock", None)
    assert after == before


@pytest.mark.parametrize("verb", REBUILDING_VERBS)
@pytest.mark.parametrize("damage", [truncated, emptied, garbled, text, directory])
def test_a_damaged_journal_file_is_said(host: Host, verb: str, damage: Damage) -> None:
    before = snapshot(host.home)
    if damage is directory:
        host.journal.unlink()
    damage(host.journal)
    bad_file(host.run(verb), host, before, 65, str(host.journal))


@pytest.mark.parametrize("verb", REBUILDING_VERBS)
def test_one_damaged_journal_file_among_others_is_said(host: Host, verb: str) -> None:
    other = host.place / "other.journal"
    other.write_bytes(b"no journal")
    host.source = (*host.source, str(other))
    before = snapshot(host.home)
    bad_file(host.run(verb), host, before, 65, str(other))


@pytest.mark.parametrize("verb", REBUILDING_VERBS)
def test_a_missing_journal_is_said(host: Host, verb: str) -> None:
    before = snapshot(host.home)
    for option, name in (("--file", "gone.journal"), ("--directory", "gone")):
        host.source = (option, str(host.place / name))
        bad_file(host.run(verb), host, before, 66, str(host.place / name))
    host.source = ("--directory", str(host.journal))
    bad_file(host.run(verb), host, before, 66, str(host.journal))


@pytest.mark.parametrize("verb", REBUILDING_VERBS)
@pytest.mark.parametrize("what", ["a file", "a directory", "the files of a directory"])
def test_a_journal_that_may_not_be_read_is_said(host: Host, verb: str, what: str) -> None:
    for path in (host.home, host.map, host.state):
        os.chown(path, 65534, 65534)
    logs = host.place / "logs"
    logs.mkdir(mode=0o700 if what == "a directory" else 0o755)
    file = host.journal.rename(logs / "system.journal")
    file.chmod(0o600)
    host.source = ("--file", str(file)) if what == "a file" else ("--directory", str(logs))
    before = snapshot(host.home)
    bad_file(host.run(verb, wrapper=NOBODY), host, before, 77, str(logs), "systemd-journal")


@pytest.mark.parametrize("verb", REBUILDING_VERBS)
def test_this_machines_journal_that_may_not_be_read_is_said(host: Host, verb: str) -> None:
    for path in (host.home, host.map, host.state):
        os.chown(path, 65534, 65534)
    host.source = ()
    before = snapshot(host.home)
    bad_file(host.run(verb, wrapper=NOBODY), host, before, 77, "journal", "systemd-journal")


@pytest.mark.parametrize("verb", [*REBUILDING_VERBS, "grant", "revoke"])
@pytest.mark.parametrize("name", ["nonesuch", "../x", "a/b", "\udcff"])
def test_a_namespace_that_does_not_exist_is_said(host: Host, verb: str, name: str) -> None:
    host.source = ("--namespace", name)
    before = host.content()
    argv = host.argv(verb) + (list(host.source) if verb in ("grant", "revoke") else [])
    done = call(*argv) if verb == "run" else say(*argv[len(COMMAND) :])
    if done.returncode == 64:
        usage_fault(done)
    else:
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == 69
        assert len(done.stderr.splitlines()) == 1
        assert "namespace" in done.stderr
    assert host.content()[KEPT] == before[KEPT]
    assert b"192.0.2.9" not in host.content()


@pytest.mark.parametrize("verb", REBUILDING_VERBS)
def test_a_machine_without_a_journal_is_said(host: Host, verb: str) -> None:
    host.source = ()
    before = snapshot(host.home)
    cover = 'mount -t tmpfs none /var/log && mount -t tmpfs none /run/log && exec "$@"'
    wrapper = ("unshare", "--mount", "--propagation", "private", "sh", "-c", cover, "sh")
    bad_file(host.run(verb, wrapper=wrapper), host, before, 69, "journal", "systemd-journald")


@pytest.fixture
def silent() -> Iterator[Path]:
    """Return the directory of a journal namespace whose journald is not there."""
    run = Path("/run/systemd/journal.silent")
    run.mkdir()
    yield run
    (run / "socket").unlink(missing_ok=True)
    run.rmdir()


def test_a_grant_that_journald_does_not_take_is_none(host: Host, silent: Path) -> None:
    before = snapshot(host.home)
    argv = [*host.argv("grant"), "--namespace", "silent"]
    fault(call(*argv), 69, f"{silent}/socket", "systemctl start systemd-journald")
    unix_socket(silent / "socket")  # nobody listens
    fault(call(*argv), 69, f"{silent}/socket", "systemctl start systemd-journald")
    assert snapshot(host.home) == before


def test_a_revocation_that_journald_does_not_take_holds_now(host: Host, silent: Path) -> None:
    argv = [*COMMAND, "revoke", KEPT.decode(), "--map", str(host.map), "--namespace", "silent"]
    done = call(*argv)
    assert (done.returncode, done.stdout) == (69, "")
    (line,) = done.stderr.splitlines()
    assert f"{silent}/socket" in line
    assert "systemctl start systemd-journald" in line
    assert KEPT not in host.content()


# disks


@pytest.mark.parametrize("verb", ["grant", "replay", "run"])
@pytest.mark.parametrize("kind", ["hash", "btree"])
def test_a_full_disk_loses_no_grant(host: Host, verb: str, kind: str) -> None:
    """What could not be written leaves the map in doubt, and so it is made anew from the journal;
    KEPT is not in that."""
    host.kind = kind
    host.config.write_text(f'[map]\ntype = "{kind}"\n')
    with small_disk(host.home):
        host.make_map()
        shutil.rmtree(f"{host.map}.due")  # which would be given up, and so leave some room
        fill(host.home)
        fault(call(*host.argv(verb)), 75, str(host.map), "No space left")
        content = host.content()
        assert content[KEPT] == host.until_s
        assert set(content) <= {KEPT, b"192.0.2.99", b"192.0.2.9", *LOGINS}
        left = {path.name for path in host.home.iterdir()} - {"popip.db.lock", "popip.db.due"}
        assert left == {"popip.db", "ballast"}
        (host.home / "ballast").unlink()
        assert host.run("replay").returncode == 0
        assert set(host.content()) >= {*LOGINS}


@pytest.mark.parametrize("verb", ["grant", "replay", "run"])
def test_a_full_disk_has_no_room_for_a_new_map(host: Host, verb: str) -> None:
    with small_disk(host.home):
        fill(host.home)
        fault(call(*host.argv(verb)), 75, str(host.map), "No space left")
        left = {path.name for path in host.home.iterdir()} - {"popip.db.lock"}
        assert left == {"ballast"}


def test_what_is_there_can_be_taken_out_on_a_full_disk(host: Host) -> None:
    with small_disk(host.home):
        host.make_map()
        fill(host.home)
        for verb in ("list", "check", "expire --dry-run", "expire", "revoke"):
            done = host.run(verb)
            assert (done.returncode, done.stderr) == (0, "")
        assert host.content() == {KEPT: host.until_s}
        done = call(*COMMAND, "revoke", KEPT.decode(), "--map", str(host.map))
        assert (done.returncode, done.stderr) == (0, "")
        assert host.content() == {}


def test_a_damaged_map_on_a_full_disk_is_made_anew_when_there_is_room(host: Host) -> None:
    with small_disk(host.home):
        host.make_map()
        garbled(host.map)
        fill(host.home)
        for verb in REBUILDING_VERBS:
            done = call(*host.argv(verb))
            assert "Traceback" not in done.stderr, done.stderr
            assert done.returncode == 75
        (host.home / "ballast").unlink()
        assert call(*host.argv("replay")).returncode == 0
        assert set(host.content()) == LOGINS


TWICE = """
import pathlib, sys
from journalrelay.errors import TryAgainError
from journalrelay.map.popmap import PopMap
path = pathlib.Path(sys.argv[1])
try:
    PopMap(path, "hash").replace({})
except TryAgainError:
    path.with_name("ballast").unlink()
    PopMap(path, "hash").replace({})
"""


def test_who_found_the_disk_full_can_try_again(host: Host) -> None:
    """By the same process, as after a reload, or by one with the same number."""
    with small_disk(host.home):
        fill(host.home)
        done = call(COMMAND[0], "-c", TWICE, str(host.map))
        assert (done.returncode, done.stderr) == (0, "")
        assert {path.name for path in host.home.iterdir()} == {"popip.db", "popip.db.due"}


@pytest.mark.parametrize("verb", REBUILDING_VERBS)
def test_a_full_disk_keeps_the_earlier_place(host: Host, verb: str) -> None:
    with small_disk(host.state):
        file = saved(host)
        before = file.read_bytes()
        host.log("192.0.2.10", ago_s=1)
        fill(host.state)
        fault(host.run(verb), 75, str(file), "No space left")
        assert file.read_bytes() == before
        assert b"192.0.2.10" in host.content()
        (host.state / "ballast").unlink()
        assert host.run("replay").returncode == 0
        assert file.read_bytes() != before


@pytest.mark.parametrize("verb", WRITING_VERBS)
def test_a_read_only_map_is_said(host: Host, verb: str) -> None:
    with read_only(host.home):
        before = snapshot(host.home)
        for reading in READ_ONLY_VERBS:
            assert host.run(reading).returncode == 0
        fault(host.run(verb), 75, str(host.map), "Read-only")
        assert snapshot(host.home) == before


@pytest.mark.parametrize("verb", REBUILDING_VERBS)
def test_a_read_only_state_directory_is_said(host: Host, verb: str) -> None:
    with read_only(host.state):
        fault(host.run(verb), 75, str(host.state), "Read-only")
        assert set(host.content()) >= LOGINS


# others in the way


def test_a_map_that_somebody_keeps_locked_is_said(host: Host) -> None:
    """Five seconds are waited, by all verbs at once."""
    before = host.map.read_bytes()
    began_s = time.monotonic()
    with open(host.map, "rb") as held, ExitStack() as stack:
        fcntl.flock(held, fcntl.LOCK_EX)
        daemon = host.daemon()
        stack.push(daemon)
        daemon.launch()
        waiting = {
            verb: subprocess.Popen(
                host.argv(verb), cwd=TOP, text=True, stdout=-1, stderr=subprocess.PIPE
            )
            for verb in VERBS
            if verb != "run"
        }
        for verb, process in waiting.items():
            said = process.communicate(timeout=15)[1]
            done = Said((), process.returncode, "", said)
            assert verb in fault(done, 75, str(host.map), "locked by another", "fuser") + verb
        code = daemon.process.wait(15)
        fault(Said((), code, "", daemon.log.read_text()), 75, str(host.map), "locked by another")
    assert time.monotonic() - began_s > 5
    assert host.map.read_bytes() == before


def test_a_second_daemon_is_refused(host: Host) -> None:
    with host.daemon() as first:
        done = call(*host.argv("run"))
        fault(done, 75, str(host.map), f"process {first.process.pid}")
        assert first.process.poll() is None
        assert first.stop() == 0


def limited(files: int) -> tuple[str, ...]:
    return ("bash", "-c", f'ulimit -n {files}; exec "$@"', "bash")


@pytest.mark.parametrize("verb", ["expire", "grant", "replay", "run"])
def test_too_few_descriptors_are_said(host: Host, verb: str) -> None:
    """With each number of descriptors, from five, with which Python itself starts. libdb waits a
    while for another one; whoever is still at it then is ended."""
    argv = [*host.argv(verb), "--map"]  # one each, for only one daemon may keep a map
    wrong = {}
    pipe = subprocess.PIPE
    for files in range(5, 10):
        shutil.copy2(host.map, f"{host.map}{files}")
    tries = {
        files: subprocess.Popen(
            ["timeout", "-k", "0.1", "1.5", *limited(files), *argv, f"{host.map}{files}"],
            cwd=TOP,
            text=True,
            stdout=pipe,
            stderr=pipe,
        )
        for files in range(5, 10)
    }
    for files, process in tries.items():
        said = process.communicate(timeout=PATIENCE_S)[1]
        ended = "Traceback" in said or process.returncode not in (0, 1, 124, 137, -9)
        if ended and not (process.returncode in (75, 78) and "Too many open files" in said):
            wrong[files] = (process.returncode, said.splitlines()[-1])
    assert wrong == {}
    for files in tries:
        assert PopMap(Path(f"{host.map}{files}"), "hash").read()[KEPT] == host.until_s


# output


def many(host: Host) -> None:
    """Grant so many addresses that a list of them is longer than a pipe."""
    changes = Changes()
    for n in range(4000):
        changes.grant(b"198.18.%d.%d" % divmod(n, 256), host.until_s)
    host.popmap().commit(changes, 0)


PRINTING = ("list", "list --json", "check", "expire", "grant", "replay", "replay --json", "status")


@pytest.mark.parametrize("verb", PRINTING)
def test_a_full_output_is_said(host: Host, verb: str) -> None:
    with open("/dev/full", "wb") as full:
        done = call(*host.argv(verb), stdout=full)
    fault(done, (74, 75), "output", "No space left")
    assert host.content()[KEPT] == host.until_s


@pytest.mark.parametrize("verb", ["list", "list --json", "check", "status", "replay --json"])
def test_nobody_reading_on_is_no_fault(host: Host, verb: str) -> None:
    many(host)
    argv = host.argv(verb)
    for reader in ("head -n 1", "true"):
        line = f'{{ "$@"; echo "$?" >&3; }} 3>{host.place}/code | {reader}'
        done = call("bash", "-c", line, "bash", *argv)
        assert done.stderr == ""
        code = int((host.place / "code").read_text())
        assert code in ((0, 1) if verb == "status" else (0,))


@pytest.mark.parametrize("verb", [*PRINTING, "revoke"])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_do_no_harm(host: Host, verb: str, closed: str) -> None:
    """Then the map's own descriptor may be 0, 1 or 2, and what is printed must not go there."""
    done = call("bash", "-c", f'exec "$@" {closed}', "bash", *host.argv(verb))
    assert "Traceback" not in done.stderr, done.stderr
    if done.returncode not in (0, 1):
        fault(done, (74, 75), "output")
    content = host.content()
    assert content[KEPT] == host.until_s
    assert (b"192.0.2.9" in content) == (verb == "grant")
    assert (b"192.0.2.7" in content) == verb.startswith("replay")


def test_notes_never_stand_among_the_json(host: Host) -> None:
    file = saved(host)
    file.write_bytes(b"garbage")
    argv = host.argv("replay --json")
    done = call("bash", "-c", 'exec "$@" 2>&-', "bash", *argv)
    assert done.returncode == 0
    assert [json.loads(line)["address"] for line in done.stdout.splitlines()] == [
        "192.0.2.7",
        "192.0.2.8",
    ]


def test_an_error_never_stands_among_the_json(host: Host) -> None:
    garbled(host.map)
    done = call("bash", "-c", 'exec "$@" 2>&-', "bash", *host.argv("list --json"))
    assert (done.returncode, done.stdout) == (65, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_the_daemon_needs_no_terminal(host: Host, closed: str) -> None:
    with host.daemon(("bash", "-c", f'exec "$@" {closed}', "bash")) as daemon:
        assert set(host.content()) == LOGINS
        assert daemon.stop() == 0
    assert set(host.content()) == LOGINS


def test_an_interrupt_is_no_traceback(host: Host) -> None:
    with open(host.map, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = subprocess.Popen(host.argv("list"), cwd=TOP, stderr=-1, text=True)
        opened = Path(f"/proc/{waiting.pid}/fd")
        wait_for(lambda: host.map in map(Path.resolve, opened.iterdir()), "the map to be opened")
        waiting.send_signal(signal.SIGINT)
        said = waiting.communicate(timeout=15)[1]
    assert said == ""
