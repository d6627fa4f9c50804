"""What comes out of a log stays text: no command, no format, no file's name, nothing that a
terminal obeys. And docs/security.md names tests that there are."""

import ast
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from journalrelay.cli import main
from journalrelay.telling.message import GRANTED, REFUSED, SOURCE_LOST, Kind
from lab.journald import Journald, Sender, login_line
from lab.journalfile import entry, make_journal
from lab.poprelayd import IN_JOURNAL, Poprelayd
from lab.wait import wait_for
from tests.support import harmless, now_us
from tests.test_broken_in import NASTY, as_root

TOP = Path(__file__).resolve().parent.parent
DOCUMENT = TOP / "docs" / "security.md"
TOKEN = "evil"  # in all that a client or a local user has chosen
USERS = (
    "evil\u202etxt.exe",
    "evil\u2066\u2069\u200b",
    "evil\u009b31m\u0085",
    "$(touch evil)`touch evil`;evil|evil&evil",
    "%s%n%x{0}{evil}%(evil)s",
    "../../../../etc/evil",
    "'\"\\evil' OR 1=1 --",
    "evil" * 60,
)
RAW = (b"evil\xff\xfe\xc0\xaf", b"evil\xc2\x9b31m", b"evil\xed\xa0\x80")
OBEYED = (b"evil\x1b[2J", b"evil\r\n", b"evil\x7f\x07", b"evil\0")  # no daemon logs these


@pytest.fixture
def journal(place: Path) -> Path:
    """Return a journal file in which every text that a client chooses is nasty."""
    users = [*(user.encode() for user in USERS), *RAW, *OBEYED]
    lines = [
        login_line(f"192.0.2.{number}", "USER").encode().replace(b"USER", user)
        for number, user in enumerate(users, 1)
    ]
    entries = [entry(line, now_us() - 1_000_000) for line in lines]
    entries += [
        entry(NASTY, now_us() - 1_000_000, identifier=NASTY, unit=NASTY, exe=NASTY),
        entry(lines[0], now_us() - 1_000_000, unit=f"evil\x1b[2J{NASTY}"),
    ]
    return make_journal(entries, place / "mail.journal")


def commands(journal: Path, place: Path) -> Iterator[list[str]]:
    """Yield every command that reads a log, or what came of one."""
    (place / "empty.conf").touch()
    chosen = ["-c", str(place / "empty.conf")]
    files = ["--map", str(place / "popip.db")]
    walk = ["--state", str(place), "--file", str(journal), *files]
    yield [*chosen, "replay", "--all", "--json", *walk]
    yield [*chosen, "replay", "--all", *walk]
    yield [*chosen, "match", "--file", str(journal)]
    yield [*chosen, "match", "--json", "--file", str(journal)]
    yield [*chosen, "list", *files]
    yield [*chosen, "list", "--json", *files]
    yield [*chosen, "list", "--bare", *files]
    yield [*chosen, "check", "192.0.2.1", *files]
    yield [*chosen, "status", "--state", str(place), *files]
    yield [*chosen, "expire", *files]


def test_no_command_prints_what_a_terminal_obeys(journal: Path, place: Path) -> None:
    for words in commands(journal, place):
        said = as_root(*words)
        assert said.code in (0, 1), said.text
        assert harmless(said.text), (words, said.text)
        if "replay" in words and "--json" in words:
            rows = [json.loads(line) for line in said.text.splitlines() if line[0] == "{"]
            assert [row["user"] for row in rows][: len(USERS)] == list(USERS)
            assert len(rows) == len(USERS) + len(RAW)


def test_no_wrong_word_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """A shell puts the names of files among the words."""
    for words in (["match", "a", f"b{NASTY}"], ["check", NASTY], [NASTY], ["list", f"--{NASTY}"]):
        try:
            assert main(words) == os.EX_USAGE
        except SystemExit as ended:
            assert ended.code == os.EX_USAGE
        said = capsys.readouterr()
        assert "gone" in said.err and harmless(said.err), said.err


def test_what_the_daemon_logs_is_harmless(journald: Journald, place: Path) -> None:
    """Its fields too: journalctl -x shows them as they are."""
    with Poprelayd(place, wrapper=IN_JOURNAL) as daemon, Sender() as dovecot:
        users = [*(user.encode() for user in USERS), *RAW]
        for number, user in enumerate(users, 2):
            for network in ("192.0.2", "127.0.0"):
                line = login_line(f"{network}.{number}", "USER")
                dovecot.send(line.encode().replace(b"USER", user))
        for kind in (GRANTED, REFUSED):
            told = await_all(journald, kind, len(users))
            assert all(map(is_harmless, told)), told
        assert daemon.stop() == 0


def test_a_name_of_a_log_file_is_told_harmlessly(journald: Journald, place: Path) -> None:
    logs = place / "logs"
    logs.mkdir()
    (logs / "mail.log").touch()
    config = f'[source]\nkind = "logfile"\nlogfile = ["{logs}/*.log"]\n'
    with Poprelayd(place, config=config, wrapper=IN_JOURNAL):
        name = NASTY.replace("/", "")
        (place / name).touch()
        (place / name).chmod(0o666)
        (place / name).rename(logs / f"{name}.log")
        told = await_all(journald, SOURCE_LOST, 1)
        assert "everybody can write it" in told[0]["MESSAGE"]
        assert all(map(is_harmless, told)), told


def await_all(journald: Journald, kind: Kind, count: int) -> list[dict[str, Any]]:
    def all_there() -> list[dict[str, Any]] | None:
        found = journald.entries(f"MESSAGE_ID={kind.id}")
        return found if len(found) >= count else None

    return wait_for(all_there, f"{count} entries of {kind.word}")


def is_harmless(told: dict[str, Any]) -> bool:
    """Tell whether each field of ours is text of one line; journalctl gives others as numbers."""
    ours = [told[name] for name in told if name == "MESSAGE" or name.startswith("RELAY_")]
    return all(isinstance(text, str) and text.isprintable() for text in ours)


def test_no_text_of_a_log_names_a_file_or_a_command(
    journal: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen by Python's own audit of what is opened, made, removed, started and connected to."""

    def audited(words: Sequence[str]) -> int:
        sys.addaudithook(watch)
        return main(words)

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        said = event.startswith(("subprocess.", "os.system", "os.exec", "os.posix_spawn"))
        outside = event.startswith(("open", "os.", "shutil.", "socket.", "compile", "exec"))
        if said or (outside and TOKEN in repr(arguments)):
            print(f"AUDIT {event} {arguments!r}", file=sys.stderr)

    monkeypatch.setattr("tests.test_broken_in.main", audited)
    for words in commands(journal, place):
        assert "AUDIT" not in as_root(*words).text
    (place / TOKEN).touch()
    assert "AUDIT open" in as_root("-c", str(place / TOKEN), "list").text  # it would be seen


# The code


CALLS = {"eval", "exec", "__import__", "system", "popen", "execv", "execve", "execvp", "spawnv"}
MODULES = {"pickle", "marshal", "shelve", "yaml", "importlib", "code", "ctypes", "pty"}
VERBS_ROOM = ("cli.py", "import importlib")  # by a name that argparse found among VERBS
NUMBER = re.compile(r"[0-9]+|.*(_us|_s|size|BATCH)")


def nodes() -> Iterator[tuple[str, ast.AST]]:
    for file in (TOP / "journalrelay").rglob("*.py"):
        name = str(file.relative_to(TOP / "journalrelay"))
        yield from ((name, node) for node in ast.walk(ast.parse(file.read_text("utf-8"))))


def is_written(text: ast.expr) -> bool:
    """Tell whether an expression is text that stands in the code, itself or by a name."""
    constant = isinstance(text, ast.Constant) and isinstance(text.value, str | bytes)
    return constant or (isinstance(text, ast.Name) and text.id.isupper())


def dangers(node: ast.AST) -> Iterator[str]:
    """Yield what in the code might take text for more than text."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
        yield from (f"import {name}" for name in names if name.split(".")[0] in MODULES)
    elif isinstance(node, ast.Call):
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name in CALLS or any(word.arg == "shell" for word in node.keywords):
            yield f"a call of {name}"
        if isinstance(node.func, ast.Attribute) and name in ("format", "format_map"):
            yield from () if is_written(node.func.value) else (ast.unparse(node),)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        number = NUMBER.fullmatch(ast.unparse(node.right))
        if not number and not is_written(node.left):
            yield ast.unparse(node)


def test_nowhere_is_text_taken_for_code_or_for_a_format() -> None:
    found = [(file, danger) for file, node in nodes() for danger in dangers(node)]
    assert found == [VERBS_ROOM]


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "eval(x)",
        "os.system('ls')",
        "subprocess.run(x, shell=True)",
        "text.format(1)",
        "message % user",
        "message % (user, 1)",
    ],
)
def test_it_would_be_seen(code: str) -> None:
    assert [danger for node in ast.walk(ast.parse(code)) for danger in dangers(node)]


def test_the_one_program_that_is_started_is_written_out() -> None:
    """zstd, for log files that rotation has packed; and what the doctor asks, each by a name that
    is written out."""
    started = [
        (file, ast.unparse(node.args[0]))
        for file, node in nodes()
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("subprocess.")
    ]
    assert sorted(started) == [
        ("doctor/host.py", "command"),
        ("sources/openlog.py", "['zstd', '-dcq']"),
    ]
    asked = {
        ast.unparse(node.args[0])
        for _, node in nodes()
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "ask"
    }
    assert asked == {
        "'/lib/systemd/systemd-journal-remote'",
        "'openssl'",
        "'postconf'",
        "'postmap'",
        "'systemctl'",
        "'timedatectl'",
        "str(mailer.program)",
    }
    importing = {
        file
        for file, node in nodes()
        if isinstance(node, ast.Import | ast.ImportFrom) and "subprocess" in ast.unparse(node)
    }
    assert importing == {"doctor/host.py", "sources/openlog.py"}


# The document


def claims() -> list[str]:
    """Return the rows of the document's tables."""
    rows = [line for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith("| ")]
    return [row for row in rows if not row.startswith(("| ---", "| What"))]


def test_every_claim_names_a_test_that_there_is() -> None:
    tests = "\n".join(file.read_text("utf-8") for file in (TOP / "tests").glob("test_*.py"))
    known = set(re.findall(r"^def (test_\w+)\(", tests, re.M))
    assert len(claims()) > 40
    for claim in claims():
        named = set(re.findall(r"`(test_\w+)`", claim))
        assert named, claim
        assert named <= known, claim


def test_every_adversary_has_a_table() -> None:
    parts = DOCUMENT.read_text("utf-8").split("\n## ")
    adversaries = [part for part in parts if re.match(r"[1-6]\. ", part)]
    assert len(adversaries) == 6
    assert all("| What" in part and "| no" in part for part in adversaries)
