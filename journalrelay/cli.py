"""The command line: parse it, load the configuration, do the verb, turn errors into exit codes.

A verb's own rooms are imported when it is done: the timer's `expire`, each minute, needs few.
"""

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn, TextIO, cast

from journalrelay import __version__, clock
from journalrelay.config import load, namespace
from journalrelay.errors import OutputError, RelayError, UsageError, printable, translate
from journalrelay.site import STATE, Site
from journalrelay.timespan import parse_span, parse_time

_TIMES = ("--since", "--for")


class _Parser(argparse.ArgumentParser):
    """argparse with sysexits' code for a wrong command line."""

    def error(self, message: str) -> NoReturn:
        text = printable(message)  # a shell may have put a file's name among the words
        print(f"{self.prog}: {text} (see: {self.prog} --help)", file=sys.stderr)
        raise SystemExit(os.EX_USAGE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``journalrelay`` and return its exit code."""
    words = _bind(sys.argv[1:] if argv is None else argv)
    return _guarded("journalrelay", lambda: _do(journalrelay_parser(words).parse_args(words)))


def poprelayd(argv: Sequence[str] | None = None) -> int:
    """Run ``poprelayd``: the daemon, or what one of the ancestor's options asks for."""
    words = _bind(sys.argv[1:] if argv is None else argv)
    return _guarded("poprelayd", lambda: _do(_translated(poprelayd_parser().parse_args(words))))


def _translated(options: argparse.Namespace) -> argparse.Namespace:
    """Return what the ancestor's options mean in ``journalrelay``'s words."""
    if options.print:
        options.verb, options.json, options.bare = "list", False, True
    elif options.add:
        options.verb, options.addresses, options.span_us = "grant", options.add, None
    elif options.remove or options.flush:
        options.verb, options.addresses, options.all = "revoke", options.remove, options.flush
    return options


def _do(options: argparse.Namespace) -> int:
    return _VERBS[options.verb](_site(options), options)


def _guarded(program: str, act: Callable[[], int]) -> int:
    """Act; print what went wrong, one line for each fault, and return the exit code."""
    _open_standard_streams()
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
    _discard_output()
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
        from journalrelay.ledger import Journal
        from journalrelay.log import open_log
        from journalrelay.message import FAILED
    except OSError:  # too few descriptors to import anything
        print(*(f"{program}: {line}" for line in lines), sep="\n", file=sys.stderr)
        return
    log = open_log(Journal())
    for line in lines:
        log(FAILED, f"{program}: {line}", RELAY_REASON=line)


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class _Outlet(io.TextIOBase):
    """Standard output, which somebody may stop reading: the verb's work goes on all the same."""

    def __init__(self, inner: TextIO) -> None:
        self._inner = inner

    def write(self, text: str) -> int:
        try:
            return self._inner.write(text)
        except BrokenPipeError:
            _discard_output()
            return len(text)

    def flush(self) -> None:
        try:
            self._inner.flush()
        except BrokenPipeError:
            _discard_output()

    def isatty(self) -> bool:
        return self._inner.isatty()


def _open_standard_streams() -> None:
    """See to it that no file of ours becomes descriptor 0, 1 or 2 because that was closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout = cast(TextIO, _Outlet(sys.stdout))


def _run(_checked: Site, options: argparse.Namespace) -> int:
    from journalrelay.daemon import Daemon

    Daemon(lambda: _site(options)).run()
    return os.EX_OK


def _replay(site: Site, options: argparse.Namespace) -> int:
    from journalrelay.commands.replay import Request, replay

    since = 0 if options.all else options.since
    return replay(site, Request(options.cursor, since, options.dry_run, options.json))


def _expire(site: Site, options: argparse.Namespace) -> int:
    from journalrelay.commands import byhand

    return byhand.expire(site, dry_run=options.dry_run)


def _list(site: Site, options: argparse.Namespace) -> int:
    from journalrelay.commands import view

    return view.list_grants(site, as_json=options.json, bare=options.bare)


def _check(site: Site, options: argparse.Namespace) -> int:
    from journalrelay.commands import view

    return view.check(site, options.address)


def _status(site: Site, options: argparse.Namespace) -> int:
    from journalrelay.commands import view

    return view.status(site, as_json=options.json)


def _doctor(site: Site, options: argparse.Namespace) -> int:
    from journalrelay.commands.doctor import doctor

    return doctor(site, as_json=options.json)


def _grant(site: Site, options: argparse.Namespace) -> int:
    from journalrelay.commands import byhand

    return byhand.grant(site, options.addresses, options.span_us)


def _revoke(site: Site, options: argparse.Namespace) -> int:
    from journalrelay.commands import byhand

    if bool(options.addresses) == options.all:
        raise UsageError("revoke: name addresses, or --all")
    return byhand.revoke(site, options.addresses, everything=options.all)


def _match(site: Site, options: argparse.Namespace) -> int:
    from journalrelay.commands.match import Question, match

    others = (
        options.since,
        options.directory,
        options.file,
        options.logfile,
        options.namespace,
    )
    if options.input is not None and any(other is not None for other in others):
        raise UsageError("match: a FILE, or the journal with --since and the like, not both")
    files = [options.input] if options.input is not None else map(str, options.logfile or ())
    return match(site, Question(tuple(files), options.since, options.json))


_VERBS: dict[str, Callable[[Site, argparse.Namespace], int]] = {
    "run": _run,
    "replay": _replay,
    "expire": _expire,
    "list": _list,
    "check": _check,
    "grant": _grant,
    "revoke": _revoke,
    "match": _match,
    "status": _status,
    "doctor": _doctor,
}


def _site(options: argparse.Namespace) -> Site:
    """Return the installation that the options and the configuration name."""
    config = load(options.config)
    given = vars(options)
    if given.get("map"):
        config = replace(config, map_path=given["map"])
    if given.get("directory") or given.get("namespace") or given.get("file"):
        config = replace(config, directory=given.get("directory"), namespace=given.get("namespace"))
        config = replace(config, kind="journal")
    elif given.get("logfile"):
        config = replace(config, kind="logfile", logfile=tuple(map(str, given["logfile"])))
    return Site(config, given.get("state") or STATE, tuple(given.get("file") or ()))


def _bind(argv: Sequence[str]) -> list[str]:
    """Join ``--since -10min`` to one word: a leading minus is a value there."""
    words: list[str] = []
    for word in argv:
        if words and words[-1] in _TIMES:
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


def _span(text: str) -> int:
    try:
        return parse_span(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _time(text: str) -> int:
    try:
        return parse_time(text, clock.now_us())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _file(text: str) -> Path:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no file name")
    return Path(os.path.abspath(text))


def _map_file(text: str) -> Path:
    path = _file(text)
    if not path.name:
        raise argparse.ArgumentTypeError(f"{text!r} is a directory, no map")
    if not text.isprintable():  # libdb's and sendmail's configuration are text
        raise argparse.ArgumentTypeError(f"{text!r} is no name that sendmail could be given")
    return path


def _journal_namespace(text: str) -> str:
    try:
        return namespace(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def journalrelay_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser of ``journalrelay``; the manual page is held against it by a test.

    A verb's options take long to make: where verbs are among ``words`` only theirs are made.
    """
    parser = _Parser(
        prog="journalrelay",
        description="POP-before-SMTP for sendmail: logins in the journal open the relay.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    _config(parser)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)
    for name in [name for name in _OPTIONS if name in words] or _OPTIONS:
        text, example, groups = _OPTIONS[name]
        verb = verbs.add_parser(
            name,
            help=text,
            description=text.capitalize() + ".",
            epilog=f"example: journalrelay {example}",
            allow_abbrev=False,
        )
        _add(verb, *groups)
    return parser


def poprelayd_parser() -> argparse.ArgumentParser:
    """Return the parser of ``poprelayd``, the ancestor's name for the daemon."""
    parser = _Parser(
        prog="poprelayd",
        description="POP-before-SMTP for sendmail; the same as: journalrelay run.",
        epilog="-p, -a, -r and -f do what they did in the poprelayd of 1998 and end.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    _config(parser)
    parser.set_defaults(verb="run")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("-d", action="store_true", help="be the daemon (also without options)")
    what.add_argument("-p", dest="print", action="store_true", help="print addresses and seconds")
    what.add_argument("-a", dest="add", metavar="IP", action="append", help="add an address")
    what.add_argument(
        "-r", dest="remove", metavar="IP", action="append", default=[], help="remove an address"
    )
    what.add_argument("-f", dest="flush", action="store_true", help="remove all addresses")
    _add(parser, _source, _map, _state)
    return parser


def _add(
    parser: argparse.ArgumentParser, *groups: Callable[[argparse.ArgumentParser], None]
) -> None:
    for group in groups:
        group(parser)


def _config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", dest="config", metavar="FILE", type=_file, help="read this configuration alone"
    )


def _source(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--directory", metavar="DIR", type=_file, help="journal files of DIR")
    where.add_argument("--file", metavar="FILE", type=_file, nargs="+", help="these journal files")
    where.add_argument(
        "--logfile", metavar="FILE", type=_file, nargs="+", help="these log files, no journal"
    )
    _namespace(where)


def _namespace(parser: "argparse._ActionsContainer") -> None:
    parser.add_argument(
        "--namespace", metavar="NS", type=_journal_namespace, help="the journal namespace NS"
    )


def _map(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--map", metavar="FILE", type=_map_file, help="sendmail's map")


def _state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", metavar="DIR", type=_file, help=f"kept places (default {STATE})")


def _walk(parser: argparse.ArgumentParser) -> None:
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--cursor", metavar="C", help="begin with this entry")
    start.add_argument("--since", metavar="T", type=_time, help="begin at a time ('-10min')")
    start.add_argument("--all", action="store_true", help="begin with the oldest entry")
    _dry_run(parser)
    parser.add_argument("--json", action="store_true", help="print each login as one JSON object")


def _dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="write nothing")


def _form(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON array")
    form.add_argument("--bare", action="store_true", help="print address and seconds left")


def _asked(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS")


def _given(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("addresses", metavar="ADDRESS", nargs="+")
    parser.add_argument("--for", metavar="SPAN", dest="span_us", type=_span, help="for how long")


def _taken(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("addresses", metavar="ADDRESS", nargs="*")
    parser.add_argument("--all", action="store_true", help="withdraw all grants")


def _tried(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input", metavar="FILE", nargs="?", help="lines or entries; '-' is the input"
    )
    parser.add_argument("--since", metavar="T", type=_time, help="begin at a time ('-10min')")
    parser.add_argument("--json", action="store_true", help="print each line as one JSON object")


def _as_array(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def _as_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON object")


# Each verb: what it does, an example, and its options.
_OPTIONS = {
    "run": ("be the daemon, in the foreground", "run", (_source, _map, _state)),
    "replay": (
        "walk the journal and apply it",
        "replay --since -1h",
        (_walk, _source, _map, _state),
    ),
    "expire": ("remove what has expired", "expire", (_dry_run, _map)),
    "list": ("print what is granted", "list --json", (_form, _map)),
    "check": ("say whether an address may relay", "check 192.0.2.7", (_asked, _map)),
    "grant": (
        "let addresses relay, by hand",
        "grant 192.0.2.7 --for 1h",
        (_given, _namespace, _map),
    ),
    "revoke": ("withdraw what was granted", "revoke 192.0.2.7", (_taken, _namespace, _map)),
    "match": (
        "say which pattern takes each line, and why not",
        "match /var/log/mail.log",
        (_tried, _source),
    ),
    "status": ("say how the daemon is", "status", (_as_json, _map, _state)),
    "doctor": ("say what is wrong here, and what mends it", "doctor", (_as_array, _map, _state)),
}
