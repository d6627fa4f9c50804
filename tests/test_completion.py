"""bash, zsh and fish complete what the parsers take, asked through their own line editors."""

import argparse
import fcntl
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from journalrelay.cli import journalrelay_parser, poprelayd_parser
from journalrelay.map.changes import Changes
from journalrelay.map.popmap import PopMap
from lab import room
from lab.shells import Shell

TOP = Path(__file__).resolve().parent.parent
GRANTED = {"192.0.2.7": b"192.0.2.7", "2001:db8::7": b"ipv6:2001:db8:0:0:0:0:0:7"}


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings}


def verbs() -> dict[str, argparse.ArgumentParser]:
    (choices,) = (
        action.choices
        for action in journalrelay_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return dict(choices)


def commands() -> dict[str, argparse.ArgumentParser]:
    """Return the parser behind each beginning of a command line."""
    named = {f"journalrelay {name}": parser for name, parser in verbs().items()}
    programs = {"journalrelay": journalrelay_parser(), "poprelayd": poprelayd_parser()}
    return programs | named


def values(*metavars: str) -> list[str]:
    """Return the command lines that end with an option whose value is one of ``metavars``."""
    return [
        f"{command} {action.option_strings[0]}"
        for command, parser in commands().items()
        for action in parser._actions
        if action.option_strings and action.metavar in metavars
    ]


@pytest.fixture(scope="module")
def installed() -> Path:
    """Return the root of an installation, with a configuration that names a map with grants."""
    root = room.scratch("installed-")
    install = ["make", "-s", "-C", str(TOP), "install", "PREFIX=/usr", f"DESTDIR={root}"]
    subprocess.run(install, check=True)
    for program, function in (("journalrelay", "main"), ("poprelayd", "poprelayd")):
        code = f"import sys; sys.path.insert(0, {str(TOP)!r}); from journalrelay.cli import "
        code += f"{function}; sys.exit({function}())"
        words = shlex.join([sys.executable, "-c", code])
        (root / "usr/bin" / program).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    popmap = PopMap(root / "popip.db", "hash")
    popmap.create()
    changes = Changes()
    for key in GRANTED.values():
        changes.grant(key, int(time.time()) + 3600)
    popmap.commit(changes, int(time.time()))
    Path("/etc/mail/poprelay.conf").write_text(f'[map]\npath = "{popmap.path}"\n')
    return root


@pytest.fixture(scope="module", params=["bash", "zsh", "fish"])
def shell(request: pytest.FixtureRequest, installed: Path) -> Iterator[Shell]:
    with Shell(request.param, installed / "usr/share", installed / "usr/bin") as running:
        yield running
        for word in ("rror", "not found", "Traceback", "journalrelay: "):
            assert word not in running.said


@pytest.fixture
def files(place: Path) -> Path:
    (place / "some-directory").mkdir()
    (place / "some-file").touch()
    return place


def asked(shell: Shell, line: str) -> set[str]:
    found = shell.complete(line)
    assert len(set(found)) == len(found)
    return {word.removesuffix("=") for word in found}


def test_verbs(shell: Shell) -> None:
    assert asked(shell, "journalrelay ") == set(verbs())
    assert asked(shell, "journalrelay re") == {"replay", "report", "revoke"}
    assert asked(shell, "journalrelay -c /tmp/x.conf re") == {"replay", "report", "revoke"}


@pytest.mark.parametrize("command", commands())
def test_options(shell: Shell, command: str) -> None:
    assert asked(shell, f"{command} -") == options_of(commands()[command])


def test_options_behind_a_configuration(shell: Shell) -> None:
    assert asked(shell, "journalrelay -c /tmp/x.conf expire --") == {
        name for name in options_of(verbs()["expire"]) if name.startswith("--")
    }


@pytest.mark.parametrize("words", values("FILE"))
def test_files(shell: Shell, files: Path, words: str) -> None:
    found = asked(shell, f"{words} {files}/some")
    assert {word.rstrip("/") for word in found} == {
        f"{files}/some-file",
        f"{files}/some-directory",
    }


@pytest.mark.parametrize("words", values("DIR"))
def test_directories(shell: Shell, files: Path, words: str) -> None:
    found = asked(shell, f"{words} {files}/some-")
    assert {word.rstrip("/") for word in found} == {f"{files}/some-directory"}


def test_a_value_behind_an_equals_sign(shell: Shell, files: Path) -> None:
    (found,) = asked(shell, f"journalrelay list --map={files}/some-f")
    assert found.removeprefix("--map=") == f"{files}/some-file"


def test_old_files_for_import(shell: Shell, files: Path) -> None:
    line = f"journalrelay import --dry-run {files}/a {files}/some-f"
    assert asked(shell, line) == {f"{files}/some-file"}


def test_more_than_one_journal_file(shell: Shell, files: Path) -> None:
    for command in ("journalrelay replay", "poprelayd"):
        line = f"{command} --file {files}/a.journal {files}/some-f"
        assert asked(shell, line) == {f"{files}/some-file"}


@pytest.mark.parametrize("words", values("NS"))
def test_namespaces(shell: Shell, words: str) -> None:
    place = Path("/run/systemd/journal.mail-test")
    place.mkdir(exist_ok=True)
    try:
        assert asked(shell, f"{words} mail-") == {place.name.removeprefix("journal.")}
    finally:
        place.rmdir()


@pytest.mark.parametrize(
    "words", ["journalrelay check", "journalrelay revoke", "journalrelay revoke 192.0.2.9"]
)
def test_addresses_that_are_granted(shell: Shell, words: str) -> None:
    assert asked(shell, f"{words} ") == set(GRANTED)
    assert asked(shell, f"{words} 192.") == {"192.0.2.7"}
    assert asked(shell, f"{words} 2001:d") == {"2001:db8::7"}


def test_addresses_for_the_ancestors_option(shell: Shell) -> None:
    assert asked(shell, "poprelayd -r ") == set(GRANTED)


def test_no_address_is_offered_to_be_granted(shell: Shell) -> None:
    assert asked(shell, "journalrelay grant ") == set()


def test_a_map_that_nobody_can_read_now_offers_nothing(shell: Shell, installed: Path) -> None:
    with (installed / "popip.db").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert asked(shell, "journalrelay revoke ") == set()


def test_without_a_configuration_that_can_be_read_nothing_is_offered(shell: Shell) -> None:
    config = Path("/etc/mail/poprelay.conf")
    good = config.read_text()
    config.write_text("nonsense")
    try:
        assert asked(shell, "journalrelay revoke ") == set()
    finally:
        config.write_text(good)
