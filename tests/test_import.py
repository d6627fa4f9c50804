"""``import``: what an older daemon left is shown and taken over, and sendmail relays by it."""

import json
import os
import re
import shutil
import subprocess
import time
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from journalrelay.config import load
from journalrelay.map.popmap import PopMap
from journalrelay.telling.message import HAND_GRANT
from lab import room
from lab.journald import Journald, Sender, login_line
from lab.poprelayd import COMMAND, TOP, Poprelayd, journalrelay
from lab.sendmail import Sendmail
from lab.wait import wait_for
from tests.test_old_maps import CORPUS
from tests.test_old_settings import BEFORE_SMTP, POPRELAYD

SENDER, ELSEWHERE = "anna@mail.example.test", "friend@elsewhere.example"
HELD, HELD_BEHIND_A_PROVIDER, OVER, NEW = (
    "198.51.100.21",
    "198.51.100.22",
    "198.51.100.23",
    "198.51.100.24",
)
STRANGER = "203.0.113.66"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")
# What Perl's DB_File, by which both older daemons keep their map, makes of pairs on its input.
TIE = """
use DB_File; use Fcntl;
my ($file, $type) = @ARGV;
my $kind = $type eq 'btree' ? $DB_BTREE : $DB_HASH;
tie my %db, 'DB_File', $file, O_CREAT|O_RDWR, 0644, $kind or die "$file: $!";
while (<STDIN>) { chomp; my ($key, $value) = split /\\t/; $db{$key} = $value; }
"""
# The rules of a sendmail.mc of that time, in the ancestor's way: a hit is as good as $#OK.
OLD_RULES = """\
LOCAL_CONFIG
Kpopip hash -a<OK> {map}
LOCAL_RULESETS
SLocal_check_rcpt
R$*\t$: $(popip $&{{client_addr}} $: <?> $)
R$* <OK>\t$# OK
"""


class Old:
    """A directory as an older daemon leaves it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.output = place / "conf.d" / "50-imported.conf"
        self.map = place / "lib" / "popip.db"
        self.map.parent.mkdir()
        self.config = place / "empty.conf"
        self.config.touch()

    def file(self, name: str, text: str) -> Path:
        path = self.place / name
        path.write_text(text)
        return path

    def popip(self, ends: Mapping[str, int | str], kind: str = "hash", name: str = "old") -> Path:
        """Let Perl make a map."""
        path = self.place / f"{name}.db"
        rows = "".join(f"{key}\t{value}\n" for key, value in ends.items())
        command = ["perl", "-e", TIE, str(path), kind]
        subprocess.run(command, input=rows, text=True, check=True)
        return path

    def words(self, *words: str | Path) -> list[str]:
        options = ["--output", str(self.output), "--map", str(self.map)]
        return ["-c", str(self.config), "import", *map(str, words), *options]

    def run(self, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        return journalrelay(*self.words(*words))

    def granted(self) -> dict[str, int]:
        rows = json.loads(journalrelay("list", "--json", "--map", str(self.map)).stdout)
        return {row["address"]: row["expiry"] for row in rows}


@pytest.fixture
def old(place: Path) -> Old:
    return Old(place)


@pytest.fixture(scope="module", autouse=True)
def running() -> Iterator[Journald]:
    with Journald() as journald:
        yield journald


def soon(seconds: int = 600) -> int:
    return int(time.time()) + seconds


def failed(done: "subprocess.CompletedProcess[str]", code: int, *said: str) -> None:
    """Check that it ended with one line, which says how to mend it, and did nothing."""
    assert (done.returncode, done.stdout) == (code, ""), done
    (line,) = done.stderr.splitlines()
    assert line.startswith("journalrelay: ") and line.endswith(")"), line
    assert all(word in line for word in said), line


def seen(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in place.rglob("*") if path.is_file()}


# shown, and done


def test_a_dry_run_shows_everything_and_does_nothing(old: Old) -> None:
    files = (old.file("poprelayd", POPRELAYD), old.popip({HELD: soon(), OVER: 1_600_000_000}))
    before = seen(old.place)
    done = journalrelay(*old.words("--dry-run", *files))
    assert (done.returncode, done.stderr) == (0, "")
    for said in (
        f"{files[0]}: read as Perl, not run",
        f"{files[1]}: Berkeley DB 4.6 to 5.3 hash, 2 keys: 1 taken over, 1 over, 0 refused",
        f"would be written, {old.output}:",
        'window = "20min"',
        f"    {HELD} for ",
        "pidfile: systemd keeps the process",
        "FEATURE(`poprelay')",
        "systemctl enable --now poprelayd",
    ):
        assert said in done.stdout, said
    assert "done." not in done.stdout
    assert seen(old.place) == before


def test_a_dry_run_needs_no_root(old: Old) -> None:
    files = (old.file("poprelayd", POPRELAYD), old.popip({HELD: soon()}))

    def as_nobody(*words: str | Path) -> "subprocess.CompletedProcess[str]":
        command = [*NOBODY, *COMMAND, *old.words(*words)]
        return subprocess.run(command, capture_output=True, text=True, cwd=TOP)

    assert (as_nobody("--dry-run", *files).returncode, old.granted()) == (0, {})
    failed(as_nobody(*files), 77, "import needs root", "sudo journalrelay import")


def test_it_is_done_as_it_was_shown(old: Old, running: Journald) -> None:
    files = (old.file("poprelayd", POPRELAYD), old.popip({HELD: soon(), OVER: 1_600_000_000}))
    would = old.run("--dry-run", *files)
    done = old.run(*files)
    assert (done.returncode, done.stderr) == (0, "")
    assert bare(done.stdout.replace("done.\n", "")) == bare(would.stdout.replace("would be ", ""))
    assert set(old.granted()) == {HELD}
    assert abs(old.granted()[HELD] - soon()) < 60
    config = load(old.output)
    assert config.rules.window_us == 20 * 60 * 10**6
    assert [daemon.name for daemon in config.daemons] == ["qpopper", "uw"]
    assert config.logfile == ("/var/log/maillog",)
    assert old.output.stat().st_mode & 0o777 == 0o644
    running.sync()
    entries = running.entries(f"MESSAGE_ID={HAND_GRANT.id}", f"RELAY_MAP={old.map}")
    assert [(entry["RELAY_ADDRESS"], entry["_UID"]) for entry in entries] == [(HELD, "0")]
    assert int(entries[0]["RELAY_EXPIRY"]) == old.granted()[HELD]


def bare(said: str) -> str:
    """Return what was said without the spans, which grow shorter."""
    return re.sub(r"^(    [0-9.]+ for ).*$", r"\1", said, flags=re.MULTILINE)


def test_done_again_it_changes_nothing(old: Old) -> None:
    files = (old.file("poprelayd", POPRELAYD), old.popip({HELD: soon()}))
    assert old.run(*files).returncode == 0
    granted, written = old.granted(), old.output.read_bytes()
    again = old.run(*files)
    assert again.returncode == 0
    assert "written" not in again.stdout
    assert (old.granted(), old.output.read_bytes()) == (granted, written)


def test_a_drop_in_with_other_settings_is_never_replaced(old: Old) -> None:
    old.output.parent.mkdir()
    old.output.write_text('[relay]\nwindow = "1h"\n')
    done = old.run(old.file("poprelayd", POPRELAYD), old.popip({HELD: soon()}))
    assert done.returncode == 65
    assert str(old.output) in done.stderr and "--output" in done.stderr
    assert old.output.read_text() == '[relay]\nwindow = "1h"\n'
    assert old.granted() == {}


@pytest.mark.parametrize("kind", ["hash", "btree"])
def test_pop_before_smtps_own_map_has_no_times(old: Old, kind: str) -> None:
    popauth = old.popip({HELD: "ok", STRANGER: "ok"}, kind)
    os.utime(popauth, (soon(-100), soon(-100)))
    done = old.run(old.file("conf.pl", BEFORE_SMTP), popauth)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 without a time" in done.stdout
    assert set(old.granted()) == {HELD, STRANGER}
    window = tomllib.loads(old.output.read_text())["relay"]["window"]
    assert window == "45min"
    assert all(abs(end - soon(45 * 60 - 100)) < 60 for end in old.granted().values())


def test_a_map_of_berkeley_db_1_85_is_taken_over(old: Old) -> None:
    done = old.run(CORPUS / "db185-hash-little.db", "--dry-run")
    assert "Berkeley DB 1.85 hash, 400 keys" in done.stdout
    assert done.returncode == 0


def test_the_imported_rules_decide_what_is_taken_over(old: Old) -> None:
    """pop-before-smtp's own networks are never granted, also not those that its map has."""
    done = old.run(old.file("conf.pl", BEFORE_SMTP), old.popip({"10.1.2.7": "ok", HELD: "ok"}))
    assert done.returncode == 0
    assert set(old.granted()) == {HELD}
    assert re.search(r"^    10\.1\.2\.7: .*10\.1\.2\.0/24", done.stdout, re.MULTILINE)


def test_a_later_grant_is_not_shortened(old: Old) -> None:
    assert old.run(old.popip({HELD: soon(3000)})).returncode == 0
    assert old.run(old.popip({HELD: soon(60)}, name="older")).returncode == 0
    assert abs(old.granted()[HELD] - soon(3000)) < 60


def test_what_the_ancestors_p_printed_is_taken_over(old: Old) -> None:
    printed = old.file("popip.txt", f"{HELD} 700\n{OVER}\t{soon(-5)}\n{NEW} {soon(80)}\n")
    assert old.run(printed).returncode == 0
    assert set(old.granted()) == {HELD, NEW}


def test_without_a_journald_nothing_is_granted_and_the_next_time_all(old: Old) -> None:
    files = (old.file("poprelayd", POPRELAYD), old.popip({HELD: soon()}))
    socket = Path("/run/systemd/journal/socket")
    away = socket.rename(socket.with_name("away"))
    try:
        done = old.run(*files)
    finally:
        away.rename(socket)
    assert done.returncode == 69
    assert "journald must run" in done.stderr
    assert old.granted() == {}
    assert old.run(*files).returncode == 0
    assert set(old.granted()) == {HELD}


# what cannot be


def test_every_fault_is_a_line_and_nothing_is_done(old: Old) -> None:
    wrong = old.file("conf.pl", "$grace = 1;\n$pat = 'odd';\n$dbfile = `ls`;\nprint 1;\n")
    done = old.run(wrong, old.popip({HELD: soon()}))
    assert (done.returncode, done.stdout) == (78, "")
    lines = done.stderr.splitlines()
    assert [line.split(":")[2] for line in lines] == ["2", "3", "4"]
    assert all(str(wrong) in line and line.endswith(")") for line in lines)
    assert old.granted() == {} and not old.output.exists()


def test_what_cannot_be_read_is_one_line(old: Old) -> None:
    failed(old.run(old.place / "none"), 66, "none: No such file", "copy of it")
    failed(old.run(old.place), 65, "no regular file")
    failed(old.run(old.file("empty", "")), 65, "neither a map nor a Perl configuration")
    failed(old.run(old.file("words", "\0\0\0")), 65, "neither a map nor a Perl configuration")
    failed(old.run(old.file("other.pl", "#!/usr/bin/perl\nmy $x = 1;\n")), 65, "no setting")
    damaged = old.popip({HELD: soon()})
    damaged.write_bytes(damaged.read_bytes()[:5000])
    failed(old.run(damaged), 65, f"{damaged}: it is cut short", "dump")
    link = old.place / "link.db"
    link.symlink_to(CORPUS / "db185-hash-little.db")
    failed(old.run(link), 65, "no regular file", "name the file itself")
    os.mkfifo(old.place / "fifo")
    failed(old.run(old.place / "fifo"), 65, "no regular file")


def test_root_reads_a_users_file_as_that_user(old: Old) -> None:
    """What he has laid there leads root to nothing that he could not read himself."""
    users = old.place / "home"
    users.mkdir()
    secret = old.popip({HELD: soon()}, name="secret")
    secret.chmod(0o600)
    os.link(secret, users / "popip.db")
    os.chown(users, 65534, 65534)
    failed(old.run(users / "popip.db"), 77, "popip.db: Permission denied", "copy of it")
    os.chown(secret, 65534, 65534)
    assert old.run(users / "popip.db").returncode == 0


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("settings.toml", 64),
        ("none/deeper/x.conf", 66),
        ("empty.conf/x.conf", 66),
        ("taken.conf", 65),
        ("ends\nhere.conf", 0),
    ],
)
def test_where_the_drop_in_can_be_written(old: Old, output: str, code: int) -> None:
    (old.place / "taken.conf").mkdir()
    old.output = old.place / output
    done = old.run(old.file("poprelayd", POPRELAYD), old.popip({HELD: soon()}))
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == (code != 0)
    assert (set(old.granted()) == {HELD}) == (code == 0)
    assert "ends\nhere" not in done.stdout


def test_the_drop_ins_directory_is_no_link(old: Old) -> None:
    elsewhere = old.place / "elsewhere"
    elsewhere.mkdir()
    old.output.parent.symlink_to(elsewhere)
    done = old.run(old.file("poprelayd", POPRELAYD))
    assert done.returncode != 0
    assert "Traceback" not in done.stderr and str(old.output) in done.stderr
    assert list(elsewhere.iterdir()) == []


# the whole way


def test_a_mail_host_goes_over(old: Old) -> None:
    """The ancestor's directory and rules → import → the feature's rules on the new map; who could
    relay still can, who could not cannot, also when the map is made anew from the journal."""
    was = old.popip({HELD: soon(), HELD_BEHIND_A_PROVIDER: soon(900), OVER: soon(-60)})
    before = OLD_RULES.format(map=was)
    with Sendmail(room.scratch("old-"), after=before, feature=False) as sendmail:
        answers = {client: sendmail.rcpt(client, SENDER, ELSEWHERE).code for client in (HELD, OVER)}
        assert answers == {HELD: 250, OVER: 250}  # it never looks at the time
        assert sendmail.rcpt(STRANGER, SENDER, ELSEWHERE).code == 550
    script = old.file("poprelayd", POPRELAYD.replace("POP login by user", "pop3-login: Login"))
    dropins = Path("/etc/mail/poprelay.conf.d")
    try:
        done = journalrelay("import", "--map", str(old.map), str(script), str(was))
        assert (done.returncode, done.stderr) == (0, "")
        assert (dropins / "50-imported.conf").exists()
        _check_the_new_way(old)
    finally:
        shutil.rmtree(dropins)


def _check_the_new_way(old: Old) -> None:
    daemon = Poprelayd(old.map.parent, config=None)
    with Sendmail(room.scratch("new-"), popip=old.map.with_suffix("")) as sendmail:

        def relayed() -> set[str]:
            clients = (HELD, HELD_BEHIND_A_PROVIDER, OVER, NEW, STRANGER)
            codes = {client: sendmail.rcpt(client, SENDER, ELSEWHERE).code for client in clients}
            assert set(codes.values()) <= {250, 550}
            return {client for client, code in codes.items() if code == 250}

        taken_over = {HELD, HELD_BEHIND_A_PROVIDER}
        assert relayed() == taken_over  # before the daemon runs
        with daemon, Sender() as dovecot:
            assert relayed() == taken_over
            dovecot.send(login_line(NEW))
            wait_for(lambda: NEW in daemon.granted(), "the grant of a login")
            assert relayed() == taken_over | {NEW}
            daemon.stop()
            old.map.unlink()
            daemon.start()
            assert relayed() == taken_over | {NEW}
    assert PopMap(old.map, "hash").fault(soon(10**6)) is None
