"""What docs/ and sendmail/README.md name is there: verbs, options, settings, exit codes, files."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from journalrelay.cli import journalrelay_parser, poprelayd_parser
from journalrelay.config import load
from journalrelay.options import bind
from lab import room
from lab.sendmail import Sendmail
from tests.test_documentation import (
    TOP,
    documented_codes,
    exit_codes,
    options_of,
    settings_known,
    verbs,
)

DOCS = sorted((TOP / "docs").glob("*.md"))
PAGES = {path.name: path for path in DOCS} | {"sendmail": TOP / "sendmail/README.md"}
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
TABLES = "relay|daemons|source|map|log|pattern"
SETTING = re.compile(rf"((?:{TABLES})\.[a-zA-Z_.]+)(?: = (.+))?")
END = re.compile(r"[|&;<>].*")
OTHERS = {"--grep"}  # options of journalctl


def text(name: str) -> str:
    return PAGES[name].read_text("utf-8")


def inline(name: str) -> list[str]:
    """Return what stands between backticks in a page's prose."""
    prose = FENCED.sub("", text(name))
    return [code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", prose)]


def commands(name: str) -> Iterator[str]:
    """Yield every command line of ours in a page, in blocks and in prose."""
    typed = re.findall(r"^(?:[#$] |    )(.*)$", text(name), re.M)
    for line in [*typed, *inline(name)]:
        for part in re.split(r" (?:&&|\|) ", line):
            if re.match(r"(journalrelay|poprelayd) (?!-\S+-)", part):
                yield END.sub("", part).strip()


def parsed(command: str) -> bool:
    """Tell whether a command line is one that is understood."""
    program, *words = shlex.split(command)
    if words and words[0] in verbs() and len(words) == 1:
        return True  # the verb is spoken of
    parser = journalrelay_parser() if program == "journalrelay" else poprelayd_parser()
    try:
        parser.parse_args(bind(words))
    except SystemExit as end:
        return not end.code  # --help and --version
    return True


@pytest.mark.parametrize("name", PAGES)
def test_every_command_is_understood(name: str) -> None:
    wrong = [line for line in commands(name) if not re.search(r"\b[A-Z]{2,}\b", line)]
    assert [line for line in wrong if not parsed(line)] == []


def test_the_commands_are_found() -> None:
    found = {line.split()[1] for name in PAGES for line in commands(name) if " " in line}
    assert {"check", "list", "doctor", "replay", "grant", "revoke", "match", "status"} <= found


@pytest.mark.parametrize("name", PAGES)
def test_every_option_named_is_one(name: str) -> None:
    every = options_of(journalrelay_parser()) | options_of(poprelayd_parser())
    every = every.union(*map(options_of, verbs().values())) | OTHERS
    named = {code for code in inline(name) if re.fullmatch(r"--[a-z-]+", code)}
    assert named <= every


@pytest.mark.parametrize("name", PAGES)
def test_every_setting_named_is_one_and_takes_its_value(name: str, tmp_path: Path) -> None:
    for code in inline(name):
        found = SETTING.fullmatch(code)
        if found and not re.search(r"\.(py|db|md|conf)$", found[1]):
            assert found[1] in settings_known(), code
        if found and found[2]:
            file = tmp_path / "one.conf"
            file.write_text(code)
            load(file)


@pytest.mark.parametrize("name", PAGES)
def test_every_configuration_shown_is_one(name: str, tmp_path: Path) -> None:
    for kind, block in FENCED.findall(text(name)):
        if kind == "toml":
            file = tmp_path / "shown.conf"
            file.write_text(block)
            load(file)


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", text(name)):
        assert (PAGES[name].parent / link).exists(), link


@pytest.mark.parametrize("name", PAGES)
def test_every_unit_and_installed_file_named_is_there(name: str) -> None:
    for unit in set(re.findall(r"\bpoprelayd(?:-\w+)?\.(?:service|timer)\b", text(name))):
        assert (TOP / "units" / unit).exists(), unit
    for file in re.findall(r"/usr/share/doc/poprelayd/([\w.-]+)", text(name)):
        assert (TOP / "units" / file).exists() or (TOP / "docs" / file).exists(), file


@pytest.mark.parametrize("name", PAGES)
def test_every_exit_status_named_is_documented(name: str) -> None:
    codes = {int(code) for code in re.findall(r"[Ee]xit status (\d+)", text(name))}
    assert codes <= documented_codes("journalrelay.1") | exit_codes()


def test_every_page_is_in_the_index() -> None:
    listed = set(re.findall(r"\]\((\w[\w-]*\.md)\)", text("README.md")))
    parts = {name for name in PAGES if name.startswith("performance-")}
    assert listed | parts == {path.name for path in DOCS} - {"README.md"}


def test_every_page_that_a_manual_names_is_there() -> None:
    manuals = [*(TOP / "man").iterdir(), *(TOP / "packaging/debian").glob("poprelayd.*")]
    named = {
        name
        for path in manuals
        for name in re.findall(r"docs/([\w-]+\.md)|/poprelayd/([\w-]+\.md)", path.read_text())
        for name in name
        if name
    }
    assert named
    assert named <= {path.name for path in DOCS}


def test_every_reason_of_a_refusal_is_explained() -> None:
    """The first column of the table has what the program says, up to what differs."""
    told = re.findall(r"^\| (`.*?`) \|", text("why-refused.md").split("## 2.")[1], re.M)
    explained = {
        reason.partition(":")[0] for cell in told for reason in re.findall("`([^`]+)`", cell)
    }
    source = "".join(
        (TOP / "journalrelay/rules" / room).read_text()
        for room in ("policy.py", "limits.py", "trust.py")
    )
    for reason in explained:
        spelled = reason.replace("daemons.NAME.", "daemons.{place.daemon}.")
        spelled = spelled.replace('"NAME".max', '"{host}".max').replace(
            'remote."NAME"', "{self._table}"
        )
        assert spelled in source, reason
    said = re.findall(r'(?:return f?|, )"(relay\.\w+|map\.\w+|never granted)', source)
    said += re.findall(r'return "([a-z][a-z\' ]{6,})"', source)
    assert set(said) <= explained


def features() -> list[str]:
    block = text("sendmail").partition("For example:\n")[2].partition("The first is enough")[0]
    return re.findall(r"^    (FEATURE.*)$", block, re.M)


@pytest.mark.parametrize("line", features())
def test_every_line_shown_for_sendmail_mc_is_one(line: str) -> None:
    """m4 takes it, and each map is the one that the line names, or the default."""
    mta = Sendmail(room.scratch("shown-"), before=line, feature=False)
    keyed = dict(re.findall(r"^K(popip|localip|relay) (.*)$", mta.cf.read_text(), re.M))
    usual = ["hash /var/lib/poprelayd/popip", None, None]
    given = [part.strip(" `'") for part in line.removesuffix(")dnl").split(",")[1:]]
    given += [""] * (3 - len(given))
    wanted = [spec or default for spec, default in zip(given, usual, strict=True)]
    assert keyed["popip"] == wanted[0]
    for name, spec in zip(("localip", "relay"), wanted[1:], strict=True):
        assert keyed[name] == (spec or f"hash -o {mta.mail}/{name}")


def test_a_page_says_what_the_sendmail_sample_does() -> None:
    """The keys of the table are looked up as it says, by sendmail's own tools."""
    table = text("sendmail").partition("Keys, and whom they mean:\n")[2].split("\n\nIn localip")[0]
    rows = re.findall(r"^\| (localip|relay) \| `(.+?)` \|", table, re.M)
    tables = {
        which: {key: "RELAY" for name, key in rows if name == which}
        for which in ("localip", "relay")
    }
    mta = Sendmail(room.scratch("keys-"), localip=tables["localip"], relay=tables["relay"])
    elsewhere = "ann@elsewhere.example"
    with mta.rule_test() as ask:
        assert ask.allows("192.168.200.1", elsewhere)
        assert not ask.allows("192.169.1.20", elsewhere)
        assert ask.allows("IPv6:2001:db8:7:0:0:0:0:20", elsewhere)
        assert ask.allows("IPv6:2001:db8:7:5:0:0:0:1", elsewhere)
        assert not ask.allows("IPv6:2001:db8:8:0:0:0:0:20", elsewhere)
        assert ask.allows("203.0.113.5", "ann@mx.example.org")
        assert not ask.allows("203.0.113.5", "ann@badexample.org")
