"""Help for a stranger: it fits a screen, every word is explained, and its example works."""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from journalrelay.cli import VERBS, _verb, journalrelay_parser, poprelayd_parser
from journalrelay.commands import NO
from journalrelay.options import bind
from lab.journald import Journald
from lab.poprelayd import TOP

LINES, COLUMNS = 24, 80
CHANGING = {"run", "replay", "expire", "grant", "revoke", "import"}  # not tried here
LOG = Path("/var/log/mail.log")  # the one that examples name


def command(words: list[str]) -> list[str]:
    """Return the words that run a command line of an example."""
    program = {"journalrelay": "main", "poprelayd": "poprelayd"}[words[0]]
    code = f"import sys; from journalrelay.cli import {program}; sys.exit({program}())"
    return [sys.executable, "-c", code, *words[1:]]


def run(words: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(words),
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": str(COLUMNS), "PYTHONPATH": str(TOP)},
    )


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Return every parser by the words that lead to it."""
    whole = journalrelay_parser()
    (verbs,) = (a.choices for a in whole._actions if isinstance(a, argparse._SubParsersAction))
    named = {f"journalrelay {verb}": parser for verb, parser in verbs.items()}
    return {"journalrelay": whole, "poprelayd": poprelayd_parser(), **named}


def example(program: str) -> list[str]:
    """Return the words of the example that a help ends with, up to what the shell would take."""
    told = parsers()[program].epilog or ""
    line = next(line for line in told.splitlines() if line.startswith("example: "))
    words = shlex.split(line.removeprefix("example: "))
    ends = [at for at, word in enumerate(words) if word[0] in "|>"]
    return words[: min(ends, default=len(words))]


@pytest.mark.parametrize("program", parsers())
def test_help_fits_a_screen(program: str) -> None:
    done = run([*program.split(), "--help"])
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) <= LINES, f"{len(lines)} lines"
    assert max(map(len, lines)) <= COLUMNS


@pytest.mark.parametrize("program", parsers())
def test_help_explains_every_word(program: str) -> None:
    for action in parsers()[program]._actions:
        if not isinstance(action, argparse._SubParsersAction):
            assert action.help, action


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_line_of_help_is_a_phrase(verb: str) -> None:
    """It stands in a list below `journalrelay --help`, and as a sentence above the options."""
    said = _verb(verb).HELP
    assert said[0].islower() and said[-1].isalpha() and len(said) <= 60


@pytest.mark.parametrize("program", parsers())
def test_an_example_is_one_that_is_understood(program: str) -> None:
    words = example(program)
    assert " ".join(words).startswith(program)
    parser = poprelayd_parser() if program == "poprelayd" else journalrelay_parser()
    parser.parse_args(bind(words[1:]))


@pytest.mark.parametrize("program", parsers())
def test_an_example_that_changes_nothing_works(journald: Journald, program: str) -> None:
    words = example(program)
    if words[1:2] and words[1] in CHANGING:
        assert "--help" not in words
        return
    LOG.write_text("nothing to be read\n")
    try:
        done = run(words)
    finally:
        LOG.unlink()
    assert done.returncode in (os.EX_OK, NO), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("lst", "journalrelay: there is no verb 'lst' (did you mean 'list'?)"),
        ("list --jsn", "journalrelay list: there is no option '--jsn' (did you mean '--json'?)"),
        ("list --mpa=x", "journalrelay list: there is no option '--mpa=x' (did you mean '--map'?)"),
        ("expire -c x.conf", "journalrelay expire: -c FILE stands before the verb"),
        ("list --sort size", "journalrelay list: argument --sort: invalid choice: 'size'"),
        ("check 192.0.2.7 192.0.2.8", "journalrelay check: '192.0.2.8' is one word too many"),
        ("grant 192.0.2.7 --for 1 hour", "journalrelay grant: 'hour' is one word too many"),
        ("check", "journalrelay check: the following arguments are required: ADDRESS"),
    ],
)
def test_a_slip_is_told_with_what_was_meant(words: str, told: str) -> None:
    done = run(["journalrelay", *words.split()])
    (line,) = done.stderr.splitlines()
    assert done.returncode == os.EX_USAGE
    assert line.startswith(told) and "--help)" in line


def test_a_slip_of_the_daemons_is_told_too() -> None:
    done = run(["poprelayd", "--foreground"])
    assert done.returncode == os.EX_USAGE
    assert done.stderr.startswith("poprelayd: there is no option '--foreground' (")
