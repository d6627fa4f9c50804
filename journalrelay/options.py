"""What the command line is made of: its parser, the options that verbs share and their values."""

import argparse
import ipaddress
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from journalrelay import clock
from journalrelay.config import Setting, load, namespace
from journalrelay.errors import nearest, printable
from journalrelay.grant import Network, parse_address
from journalrelay.site import STATE, Site
from journalrelay.timespan import parse_span, parse_time

_TIMES = ("--since", "--until", "--for")

Options = argparse.Namespace
Group = argparse._ActionsContainer


class _Lines(argparse.RawDescriptionHelpFormatter):
    """Help in which the longest option and its text are one line, and an epilog stays as it is."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=_width() - 2)

    def _format_action(self, action: argparse.Action) -> str:
        if isinstance(action, argparse._SubParsersAction):  # the verbs, without a line above them
            return "".join(map(self._format_action, self._iter_indented_subactions(action)))
        return super()._format_action(action)


class Parser(argparse.ArgumentParser):
    """argparse with sysexits' code for a wrong command line, and help that fits a screen."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Lines, **settings)

    def parse_args(self, args: Sequence[str]) -> Options:  # type: ignore[override]
        """Return the options; say of a word that is none of them what it may have been."""
        options, strange = self.parse_known_args(args)
        if strange:
            self._parser_of(options.verb)._refuse_word(strange[0])
        return options

    def _parser_of(self, verb: str) -> "Parser":
        """Return the parser of a verb; this one if it has no verbs."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                return cast(Parser, action.choices[verb])
        return self

    def _refuse_word(self, word: str) -> NoReturn:
        """Say of a word that is none of the options, nor of the arguments, what is amiss."""
        if word == "-c":
            self.error("-c FILE stands before the verb")
        if not word.startswith("-"):
            self.error(f"{word!r} is one word too many")
        known = [name for action in self._actions for name in action.option_strings]
        self.error(f"there is no option {word!r}{nearest(word.partition('=')[0], known)}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            self.error(f"there is no verb {value!r}{nearest(value, action.choices)}")
        super()._check_value(action, value)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, and end."""
        text = printable(message)  # a shell may have put a file's name among the words
        print(f"{self.prog}: {text} (see: {self.prog} --help)", file=sys.stderr)
        raise SystemExit(os.EX_USAGE)


def _width() -> int:
    """Return how many columns help has, as shutil.get_terminal_size() would."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size().columns or 80
    except OSError:  # no terminal
        return 80


def bind(argv: Sequence[str]) -> list[str]:
    """Join ``--since -10min`` to one word: a leading minus is a value there."""
    words: list[str] = []
    for word in argv:
        if words and words[-1] in _TIMES:
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


def site_of(options: Options, later: Sequence[Setting] = ()) -> Site:
    """Return the installation that the options and the configuration name; ``later`` settings
    replace those of its files."""
    config = load(options.config, later)
    given = vars(options)
    if given.get("map"):
        config = config._replace(map_path=given["map"])
    if given.get("directory") or given.get("namespace") or given.get("file"):
        config = config._replace(directory=given.get("directory"), namespace=given.get("namespace"))
        config = config._replace(kind="journal", remotes=())
    elif given.get("logfile"):
        logfile = tuple(map(str, given["logfile"]))
        config = config._replace(kind="logfile", logfile=logfile, remotes=())
    return Site(config, given.get("state") or STATE, tuple(given.get("file") or ()))


# Values


def a_span(text: str) -> int:
    """Return a time span in µs."""
    try:
        return parse_span(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def a_time(text: str) -> int:
    """Return a time in µs since the epoch."""
    try:
        return parse_time(text, clock.now_us())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def a_network(text: str) -> Network:
    """Return the network, or the single address, that ``text`` names."""
    address = parse_address(text.encode("utf-8", "replace"))
    try:
        return ipaddress.ip_network(address or text, strict=False)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no address or network (try '192.0.2.7' or '192.0.2.0/24')"
        ) from None


def a_file(text: str) -> Path:
    """Return the whole path of a file."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no file name")
    return Path(os.path.abspath(text))


def _a_map(text: str) -> Path:
    path = a_file(text)
    if not path.name:
        raise argparse.ArgumentTypeError(f"{text!r} is a directory, no map")
    if not text.isprintable():  # libdb's and sendmail's configuration are text
        raise argparse.ArgumentTypeError(f"{text!r} is no name that sendmail could be given")
    return path


def _a_namespace(text: str) -> str:
    try:
        return namespace(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# Options that several verbs have


def add_config(parser: Group) -> None:
    """``-c``: which configuration."""
    parser.add_argument(
        "-c",
        dest="config",
        metavar="FILE",
        type=a_file,
        help="read this configuration, and no other file",
    )


def add_source(parser: Parser) -> None:
    """Where entries are read: a journal, or log files."""
    add_journal(parser).add_argument(
        "--logfile", metavar="FILE", type=a_file, nargs="+", help="read these log files, no journal"
    )


def add_journal(parser: Parser) -> Group:
    """Which journal is read, in journalctl's words; the group is returned, for other sources."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--directory", metavar="DIR", type=a_file, help="read the journal files in DIR"
    )
    where.add_argument(
        "--file", metavar="FILE", type=a_file, nargs="+", help="read these journal files"
    )
    add_namespace(where)
    return where


def add_namespace(parser: Group) -> None:
    """``--namespace``: which of this machine's journals."""
    parser.add_argument(
        "--namespace", metavar="NS", type=_a_namespace, help="use the journal namespace NS"
    )


def add_map(parser: Group) -> None:
    """``--map``: which map."""
    parser.add_argument(
        "--map", metavar="FILE", type=_a_map, help="the map to use (default: map.path)"
    )


def add_state(parser: Group) -> None:
    """``--state``: where places are kept."""
    parser.add_argument(
        "--state", metavar="DIR", type=a_file, help=f"where places are kept (default {STATE})"
    )


def add_since(parser: Group) -> None:
    """``--since``: a time to begin at."""
    parser.add_argument("--since", metavar="T", type=a_time, help="begin at a time, as -10min")


def add_dry_run(parser: Group) -> None:
    """``--dry-run``: only say it."""
    parser.add_argument("--dry-run", action="store_true", help="write nothing")


def add_json(parser: Group, what: str) -> None:
    """``--json``: for programs."""
    parser.add_argument("--json", action="store_true", help=f"print {what}")
