"""The manual says what the code does: every verb, option, setting and exit code, and no others."""

import argparse
import json
import os
import re
import subprocess
import time
import tomllib
from pathlib import Path

import pytest

from journalrelay.cli import journalrelay_parser, main, poprelayd_parser
from journalrelay.commands import NO
from journalrelay.config import HEIRS, KEYS, OF_DAEMON, Key, load
from journalrelay.errors import RelayError
from journalrelay.patterns import REGISTRY
from journalrelay.rules import trust
from journalrelay.rules.policy import NEVER
from journalrelay.telling import message
from journalrelay.telling.message import Kind
from journalrelay.telling.report import Report
from journalrelay.workshop import own
from lab.journald import login_line
from lab.journalfile import entry, make_journal

TOP = Path(__file__).resolve().parent.parent
MANUAL = {page: TOP / "man" / page for page in ("journalrelay.1", "poprelay.conf.5", "poprelayd.8")}
SAMPLE = TOP / "packaging" / "poprelay.conf"
SOURCE_OPTIONS = {"--directory", "--file", "--logfile", "--namespace"}
INTERRUPTED = 130
HELP = {"-h", "--help"}
MACRO = re.compile(r"[A-Z][a-z]")
PUNCTUATION = {",", "|", ".", ";", ")"}


def page(name: str) -> str:
    return MANUAL[name].read_text("utf-8")


def section(name: str, title: str) -> str:
    """Return what stands in a page below `.Sh TITLE`."""
    found = re.search(rf"^\.Sh {re.escape(title)}\n(.*?)(?=^\.Sh |\Z)", page(name), re.M | re.S)
    assert found, f"{name} has no section {title}"
    return found[1]


def flags(text: str) -> set[str]:
    """Return the options that mdoc text names with `Fl`, as they are typed."""
    named = set()
    for line in text.splitlines():
        macro = ""
        for word in line.removeprefix(".").split() if line.startswith(".") else ():
            if MACRO.fullmatch(word):
                macro = word
            elif macro == "Fl" and word not in PUNCTUATION:
                named.add(f"-{word}")
    return named


def described(text: str) -> set[str]:
    """Return the options that a list of `.It Fl` items describes."""
    return flags("\n".join(line for line in text.splitlines() if line.startswith(".It Fl")))


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings}


def verbs() -> dict[str, argparse.ArgumentParser]:
    (choices,) = (
        action.choices
        for action in journalrelay_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return dict(choices)


def synopses() -> dict[str, str]:
    """Return the synopsis of each verb, by its name; the general one has none."""
    blocks = section("journalrelay.1", "SYNOPSIS").partition("\n.Pp\n")[0].split(".Nm journalrelay")
    named = {}
    for block in blocks[1:]:
        verb = re.search(r"^\.Cm (\w+)$", block, re.M)
        named[verb[1] if verb else ""] = block
    return named


def exit_codes() -> set[int]:
    return {error.exit_code for error in RelayError.__subclasses__()}


def documented_codes(name: str) -> set[int]:
    return {int(code) for code in re.findall(r"^\.It (\d+)$", section(name, "EXIT STATUS"), re.M)}


def uncommented(text: str) -> str:
    return re.sub(r"^#(?=\w+ = )", "", text, flags=re.M)


def test_every_verb_has_a_synopsis_and_a_description() -> None:
    lines = section("journalrelay.1", "DESCRIPTION")
    assert re.findall(r"^\.It Cm (\w+)$", lines, re.M) == list(verbs())
    assert set(synopses()) == {*verbs(), ""}


@pytest.mark.parametrize("verb", verbs())
def test_synopsis_of_a_verb_names_its_options(verb: str) -> None:
    text = synopses()[verb]
    named = flags(text) - {"-c"}
    if re.search(r"^\.Op Ar source$", text, re.M):
        named |= SOURCE_OPTIONS
    if re.search(r"^\.Op Ar journal$", text, re.M):
        named |= SOURCE_OPTIONS - {"--logfile"}
    assert named == options_of(verbs()[verb]) - HELP


@pytest.mark.parametrize("verb", verbs())
def test_synopsis_of_a_verb_names_its_arguments(verb: str) -> None:
    takes = [action for action in verbs()[verb]._actions if not action.option_strings]
    assert [str(action.metavar) for action in takes] == re.findall(
        r"^(?!\.Op Fl).*Ar (ADDRESS|FILE)(?: \.\.\.)?$", synopses()[verb], re.M
    )


def test_source_options_of_the_synopsis_are_the_parsers() -> None:
    text = section("journalrelay.1", "SYNOPSIS").partition("\n.Pp\n")[2]
    assert flags(text) == SOURCE_OPTIONS


def test_every_option_is_described() -> None:
    every = options_of(journalrelay_parser()).union(*map(options_of, verbs().values()))
    assert described(section("journalrelay.1", "OPTIONS")) == every


def test_every_option_of_the_daemon_is_described() -> None:
    every = options_of(poprelayd_parser())
    assert described(section("poprelayd.8", "DESCRIPTION")) == every
    assert flags(section("poprelayd.8", "SYNOPSIS")) == every


def test_every_exit_code_is_described() -> None:
    assert documented_codes("journalrelay.1") == exit_codes() | {os.EX_OK, NO, INTERRUPTED}
    assert documented_codes("poprelayd.8") <= exit_codes()


def test_every_setting_is_described_with_its_default() -> None:
    items = re.findall(r"^\.It Va (\S+)(?: No = (.*))?$", page("poprelay.conf.5"), re.M)
    told = dict(items)
    assert list(told) == [
        *(key.name for key in KEYS if key.name.startswith("relay.")),
        *(key.name for key in KEYS if key.name.startswith("daemons.")),
        *(key.name for key in OF_DAEMON.values()),
        *(f"pattern.NAME.{key}" for key in own.KEYS),
        *(f"pattern.NAME.line.{key}" for key in own.LINE_KEYS),
        *(f"remote.NAME.{key}" for key in trust.KEYS),
        *(key.name for key in KEYS if key.name.startswith(("source.", "map.", "log."))),
    ]
    for key in KEYS:
        text = f"Qq {key.default or chr(92) + '&'}"
        told_so = text if isinstance(key.default, str) else json.dumps(key.default)
        assert told[key.name] == told_so


def settings_known() -> set[str]:
    """Return every name of a setting that a text may use."""
    known = {key.name for key in KEYS} | {"source.*", *(key.name for key in OF_DAEMON.values())}
    known |= {f"daemons.{daemon.name}.{word}" for daemon in REGISTRY for word in OF_DAEMON}
    known |= {"pattern.NAME", *(f"pattern.NAME.{key}" for key in own.KEYS)}
    known |= {f"pattern.NAME.line.{key}" for key in own.LINE_KEYS}
    return known | {f"remote.NAME.{key}" for key in trust.KEYS}


def test_every_setting_named_anywhere_exists() -> None:
    known = settings_known()
    for name in MANUAL:
        named = re.findall(r"\bVa (\S+)", page(name))
        assert set(named) <= known, name


def test_every_daemon_is_named() -> None:
    """Each has its row: name, versions, what it needs, notes."""
    table = section("poprelayd.8", "DAEMONS READ")
    names = re.findall(r"^\.It Ql (\S+) No \S", table, re.M)
    assert names == sorted(daemon.name for daemon in REGISTRY)
    for daemon in REGISTRY:
        row = re.split(r"\n\.(?:It|El)\b", table.partition(f".It Ql {daemon.name} ")[2])[0]
        assert ("forge" in row) == bool(daemon.forgeable), daemon.name


def test_every_network_never_granted_is_named() -> None:
    text = section("poprelayd.8", "DESCRIPTION")
    for network in NEVER:
        assert re.search(rf"(?<![\w:]){re.escape(str(network))}(?!\d)", text), network


def test_every_knob_of_the_ancestor_has_its_heir() -> None:
    rows = re.findall(r"^\.It \"?(\w+).* Ta ", section("poprelayd.8", "INSTALLATION"), re.M)
    assert set(rows) - {"Fl", "Sy"} == set(HEIRS) - {"timeout_minutes"}


def test_every_kind_of_entry_in_the_journal_is_described() -> None:
    told = re.findall(r"^\.It ([0-9a-f]{32})$", page("poprelayd.8"), re.M)
    assert told == [kind.id for kind in vars(message).values() if isinstance(kind, Kind)]


def promised(verb: str) -> set[str]:
    """Return the names in the JSON of a verb, as the manual lists them."""
    text = section("journalrelay.1", "JSON").partition(f"\n.Ss {verb} --json\n")[2]
    heads = re.findall(r"^(?:\.It Ql (.*)|\.Ql (\w+) ,)$", text.partition("\n.Ss ")[0], re.M)
    return {name for item, word in heads for name in (item or word).split(" , ")}


def test_json_holds_what_the_manual_promises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    login = entry(login_line("192.0.2.7"), time.time_ns() // 1000)
    journal = make_journal(login, tmp_path / "one.journal")
    place = ["--map", str(tmp_path / "popip.db")]
    config = tmp_path / "empty.conf"
    config.touch()
    walk = ["replay", "--all", "--json", "--file", str(journal), "--state", str(tmp_path)]
    tried = ["match", "--json", "--file", str(journal)]
    walks = ((walk + place, "replay"), (["list", "--json", *place], "list"), (tried, "match"))
    for command, verb in walks:
        capsys.readouterr()
        assert main(["-c", str(config), *command]) == os.EX_OK
        shown = json.loads(capsys.readouterr().out)
        assert set(shown[0] if verb == "list" else shown) == promised(verb)


def test_json_of_doctor_holds_what_the_manual_promises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["doctor", "--json", "--map", str(tmp_path / "popip.db"), "--state", str(tmp_path)])
    assert promised("doctor") == set(json.loads(capsys.readouterr().out)[0])


def test_json_of_status_holds_what_the_manual_promises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["status", "--json", "--map", str(tmp_path / "popip.db"), "--state", str(tmp_path)])
    always = set(json.loads(capsys.readouterr().out))
    assert promised("status") == always | set(vars(Report(0, "", "", "", [])))


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_sample_shows_the_setting_with_its_text_and_default(key: Key) -> None:
    table, _, name = key.name.partition(".")
    part = SAMPLE.read_text("utf-8").partition(f"\n[{table}]\n")[2].partition("\n[")[0]
    assert f"# {key.text}\n#{name} = {json.dumps(key.default)}\n" in part + "\n"


def test_sample_sets_nothing_as_it_is_installed(tmp_path: Path) -> None:
    nothing = tmp_path / "empty.conf"
    nothing.touch()
    assert load(SAMPLE) == load(nothing)


def test_sample_without_the_number_signs_is_the_defaults(tmp_path: Path) -> None:
    full = tmp_path / "full.conf"
    full.write_text(uncommented(SAMPLE.read_text("utf-8")))
    settings = tomllib.loads(full.read_text())
    assert settings["daemons"].keys() == {"enable", "resolve", "dovecot"}  # one, as the example
    assert {f"{table}.{name}" for table, values in settings.items() for name in values} - {
        f"daemons.{daemon.name}" for daemon in REGISTRY
    } == {key.name for key in KEYS}
    config, default = load(full), load(SAMPLE)
    assert set(config.rules.windows_us.values()) == {default.rules.window_us}
    assert set(config.rules.max_addresses_of.values()) == {default.rules.max_addresses}
    rules = config.rules._replace(windows_us={}, max_addresses_of={})
    assert config._replace(rules=rules) == default


def test_every_manual_page_that_is_referred_to_is_there() -> None:
    ours = "journalrelay|poprelay"
    for path in [*filter(Path.is_file, (TOP / "units").rglob("*")), *MANUAL.values(), SAMPLE]:
        text = path.read_text("utf-8")
        found = re.findall(rf"\b((?:{ours})[\w.]*)(?:\(| )([158])\b", text)
        for name, number in found:
            assert f"{name}.{number}" in MANUAL, f"{path}: {name}({number})"


def test_every_unit_names_its_manual_page() -> None:
    units = [path for path in (TOP / "units").iterdir() if path.suffix in (".service", ".timer")]
    assert len(units) == 5
    for unit in units:
        documents = re.findall(r"^Documentation=(.*)$", unit.read_text("utf-8"), re.M)
        pages = re.findall(r"man:([\w.]+)\((\d)\)", " ".join(documents))
        assert pages, unit
        assert {f"{name}.{number}" for name, number in pages} <= MANUAL.keys(), unit


@pytest.mark.parametrize("name", MANUAL)
def test_manual_page_has_no_fault(name: str) -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", str(MANUAL[name])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", MANUAL)
def test_manual_page_renders_whole(name: str) -> None:
    """A word that happens to be a macro's name vanishes, or leaves the name of another one."""
    done = subprocess.run(
        ["mandoc", "-T", "ascii", "-O", "width=78", str(MANUAL[name])],
        capture_output=True,
        text=True,
        check=True,
    )
    text = re.sub(r".\x08", "", done.stdout)
    for title in re.findall(r"^\.S[hs] (.*)$", page(name), re.M):
        assert re.search(rf"^ *{re.escape(title.replace(chr(92) + '&', ''))}$", text, re.M), title
    assert not re.search(r"\b(Fl|Va|Ar|Pa|Xr|Ql|Cm|Qq|Ta)\b ", text)


def test_every_promise_of_reliability_names_a_test_that_there_is() -> None:
    promised = set(re.findall(r"`(test_\w+|Test\w+)`", (TOP / "docs/reliability.md").read_text()))
    tests = "".join(file.read_text() for file in (TOP / "tests").glob("test_*.py"))
    there = set(re.findall(r"^(?:def )?(test_\w+|Test\w+)(?:\(| = )", tests, re.M))
    assert len(promised) > 30
    assert promised <= there
