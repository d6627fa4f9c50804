"""The command line: parse it, load the configuration, do the verb, turn errors into exit codes.

A verb is a room in :mod:`journalrelay.commands` that bears its name; it is imported when it is
asked for: the timer's `expire`, each minute, needs few of the others.
"""

import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Protocol, cast

from journalrelay import __version__
from journalrelay.errors import OutputError, RelayError, printable, translate
from journalrelay.options import (
    Options,
    Parser,
    add_config,
    add_map,
    add_source,
    add_state,
    bind,
    site_of,
)
from journalrelay.site import Site
from journalrelay.streams import discard_output, open_standard_streams

VERBS = (
    "run",
    "replay",
    "expire",
    "list",
    "check",
    "grant",
    "revoke",
    "match",
    "status",
    "doctor",
    "import",
    "report",
)


class Verb(Protocol):
    """What a verb's room has: its line of help, an example, its options, and what it does, which
    returns the exit code."""

    HELP: str
    EXAMPLE: str

    def options(self, parser: Parser) -> None: ...

    def act(self, site: Site, options: Options) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``journalrelay`` and return its exit code."""
    words = bind(sys.argv[1:] if argv is None else argv)
    return _guarded("journalrelay", lambda: _do(journalrelay_parser(words).parse_args(words)))


def poprelayd(argv: Sequence[str] | None = None) -> int:
    """Run ``poprelayd``: the daemon, or what one of the ancestor's options asks for."""
    words = bind(sys.argv[1:] if argv is None else argv)
    return _guarded("poprelayd", lambda: _do(_translated(poprelayd_parser().parse_args(words))))


def _translated(options: Options) -> Options:
    """Return what the ancestor's options mean in ``journalrelay``'s words."""
    if options.print:
        words = ["list", "--bare"]
    elif options.add:
        words = ["grant", *options.add]
    elif options.flush:
        words = ["revoke", "--all"]
    elif options.remove:
        words = ["revoke", *options.remove]
    else:
        words = ["run"]
    meant = journalrelay_parser(words).parse_args(words)
    return Options(**(vars(meant) | vars(options) | {"verb": meant.verb}))


def _do(options: Options) -> int:
    verb, site = _verb(options.verb), site_of(options)
    # What is loaded stays, and no garbage is looked for in it, at the end neither: for a short
    # command that would be a tenth of its work. The programs did not look while importing.
    gc.freeze()
    gc.enable()
    return verb.act(site, options)


def _verb(name: str) -> Verb:
    return cast(Verb, import_module(f"journalrelay.commands.{name}"))


def _guarded(program: str, act: Callable[[], int]) -> int:
    """Act; print what went wrong, one line for each fault, and return the exit code."""
    open_standard_streams()
    try:
        try:
            code = act()
        except SystemExit as end:  # argparse: --help, --version, a wrong command line
            code = end.code if isinstance(end.code, int) else os.EX_OK
        sys.stdout.flush()
        return code
    except RelayError as error:
        _complain(program, str(error))
        return error.exit_code
    except OSError as error:
        return _failed(program, error)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _failed(program: str, error: OSError) -> int:
    """Say what the system refused; what is left for standard output is dropped."""
    discard_output()
    told: RelayError = OutputError(f"standard output: {error.strerror} (look at the disk)")
    if error.filename is not None:
        told = translate(error, printable(str(error.filename)), "look at the disk")
    _complain(program, str(told))
    return told.exit_code


def _complain(program: str, text: str) -> None:
    """Say what went wrong, one line for each fault, where it is looked for: in the journal with
    its fields when standard error goes there."""
    lines = [printable(line) for line in text.splitlines()]
    try:
        from journalrelay.telling.ledger import Journal
        from journalrelay.telling.log import open_log
        from journalrelay.telling.message import FAILED
    except OSError:  # too few descriptors to import anything
        print(*(f"{program}: {line}" for line in lines), sep="\n", file=sys.stderr)
        return
    log = open_log(Journal())
    for line in lines:
        log(FAILED, f"{program}: {line}", RELAY_REASON=line)


def journalrelay_parser(words: Sequence[str] = ()) -> Parser:
    """Return the parser of ``journalrelay``; the manual page is held against it by a test.

    A verb's options take long to make: where verbs are among ``words`` only theirs are made.
    """
    parser = Parser(
        prog="journalrelay",
        description="POP before SMTP by the logins in the journal; more: man journalrelay",
        epilog="example: journalrelay status",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    add_config(parser)
    verbs = parser.add_subparsers(
        title="verbs",
        dest="verb",
        metavar="VERB",
        required=True,
        prog=parser.prog,
        parser_class=Parser,
    )
    for name in [name for name in VERBS if name in words] or VERBS:
        verb = _verb(name)
        verb.options(
            verbs.add_parser(
                name,
                help=verb.HELP,
                description=verb.HELP.capitalize() + ".",
                epilog=f"example: journalrelay {verb.EXAMPLE}",
            )
        )
    return parser


def poprelayd_parser() -> Parser:
    """Return the parser of ``poprelayd``, the ancestor's name for the daemon."""
    parser = Parser(
        prog="poprelayd",
        usage="%(prog)s [-c FILE] [-d | -p | -a IP | -r IP | -f] [OPTION ...]",
        description="POP-before-SMTP for sendmail; the same as: journalrelay run.",
        epilog="example: poprelayd -p\n-p, -a, -r, -f do what they did in the poprelayd of 1998.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    add_config(parser)
    parser.set_defaults(verb="run")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("-d", action="store_true", help="be the daemon (also without options)")
    what.add_argument(
        "-p", dest="print", action="store_true", help="print who may relay, and seconds left"
    )
    what.add_argument("-a", dest="add", metavar="IP", action="append", help="let an address relay")
    what.add_argument(
        "-r",
        dest="remove",
        metavar="IP",
        action="append",
        default=[],
        help="withdraw what an address was granted",
    )
    what.add_argument("-f", dest="flush", action="store_true", help="withdraw all grants")
    for add in (add_source, add_map, add_state):
        add(parser)
    return parser
