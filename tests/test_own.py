"""The operator's own daemons: checked whole before they are believed, and then like any other."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journalrelay import config
from journalrelay.config import load
from journalrelay.errors import ConfigError
from journalrelay.patterns import REGISTRY, Daemon
from journalrelay.patterns.pattern import read
from journalrelay.workshop import trial
from journalrelay.workshop.own import KEYS, LINE_KEYS, read_daemon
from journalrelay.workshop.trial import record_of
from tests.support import config_of
from tests.test_patterns import called

SAMPLE = "session 17: mailbox opened by anna, client 192.0.2.10 port 41234, pop3"
REGEX = (
    "session [0-9]{1,10}: mailbox opened by (?P<user>[^ ,]{1,64}), "
    "client (?P<address>[0-9A-Fa-f:.]{2,45}) port [0-9]{1,5}, (?P<service>pop3|imap4)"
)
TRAP = "session 18: mailbox denied to anna, client 203.0.113.66 port 41236, pop3"

HEAD = f"""
[pattern.nook]
unit = "nook.service"
exe = "/usr/sbin/nook"
uid = 412
transport = "syslog"
identifier = "nook"
traps = ["{TRAP}"]
"""
LINE = f"""
[[pattern.nook.line]]
regex = '{REGEX}'
service = {{ pop3 = "pop3", imap4 = "imap" }}
samples = {{ "{SAMPLE}" = "192.0.2.10" }}
"""
TWO_LINES = """
[pattern.nook]
unit = ["nook.service", "inetd.service"]
exe = "/usr/sbin/nook"
uid = "login"
transport = "syslog"
identifier = "nook"
traps = ["auth failed for anna"]

[[pattern.nook.line]]
tells = "connect"
uid = 0
regex = 'connect from (?P<address>[0-9A-Fa-f:.]{2,45})'
samples = { "connect from 192.0.2.10" = "192.0.2.10" }

[[pattern.nook.line]]
regex = 'auth ok for (?P<user>.{1,64})'
service = "pop3"
samples = { "auth ok for anna" = "" }

[[pattern.nook.line]]
tells = "logout"
regex = 'bye (?P<user>.{1,64})'
samples = { "bye anna" = "" }
"""


def own(place: Path, text: str = HEAD + LINE) -> Daemon:
    loaded = config_of(place, text)
    (daemon,) = (daemon for daemon in loaded.known if daemon not in REGISTRY)
    assert daemon in loaded.daemons
    return daemon


def faults(place: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config_of(place, text)
    return [
        line.removeprefix(f"{place}/poprelay.conf: ") for line in str(caught.value).splitlines()
    ]


def test_a_daemon_of_the_operators_is_read_by_itself(place: Path) -> None:
    daemon = own(place)
    (line,) = daemon.lines
    told = read(record_of(daemon, line.pattern, SAMPLE), line)
    assert told and (str(told.address), told.user, told.service) == ("192.0.2.10", b"anna", "pop3")
    assert daemon.programs == ("/usr/sbin/nook",)
    assert dict(line.fields)["_UID"] == frozenset([b"412"])


def test_it_is_enabled_by_name_and_has_a_window(place: Path) -> None:
    text = HEAD + LINE + '[daemons]\nenable = ["nook"]\n[daemons.nook]\nwindow = "1h"\n'
    loaded = config_of(place, text)
    assert [daemon.name for daemon in loaded.daemons] == ["nook"]
    assert loaded.rules.window_of("nook") == 3_600_000_000


def test_one_that_can_be_forged_is_read_by_name_alone(place: Path) -> None:
    text = HEAD + 'forgeable = "a client can write a line of its own."\n' + LINE
    assert "nook" not in [daemon.name for daemon in config_of(place, text).daemons]
    for enable in ('"all"', '["nook"]'):
        loaded = config_of(place, f"{text}[daemons]\nenable = {enable}\n")
        (daemon,) = (daemon for daemon in loaded.daemons if daemon.name == "nook")
        assert daemon.forgeable == "a client can write a line of its own"


def test_two_lines_and_a_logout(place: Path) -> None:
    daemon = own(place, TWO_LINES)
    assert [pattern.tells for pattern in daemon.patterns] == ["connect", "login", "logout"]
    assert daemon.identity_of(daemon.patterns[0])["_UID"] == ("0",)


def test_a_sockets_unit_names_the_client(place: Path) -> None:
    text = (HEAD + LINE).replace("nook.service", "nook@.service")
    text = text.replace("client (?P<address>[0-9A-Fa-f:.]{2,45}) port [0-9]{1,5}", "client .*")
    daemon = own(place, text.replace('" = "192.0.2.10"', '" = ""'))
    (line,) = daemon.lines
    told = read(record_of(daemon, line.pattern, SAMPLE), line)
    assert told and str(told.address) == "192.0.2.10"


def test_a_later_file_takes_the_place_of_the_whole_pattern(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "CONFIG_FILE", place / "poprelay.conf")
    drop_ins = place / "poprelay.conf.d"
    drop_ins.mkdir()
    (drop_ins / "10-nook.conf").write_text(HEAD + LINE)
    (drop_ins / "20-nook.conf").write_text((HEAD + LINE).replace("uid = 412", "uid = 413"))
    (daemon,) = (daemon for daemon in load(None).daemons if daemon.name == "nook")
    assert daemon.identity["_UID"] == ("413",)
    (drop_ins / "30-nook.conf").write_text("[pattern.nook]\nuid = 7\n")
    with pytest.raises(ConfigError, match="30-nook.conf: pattern.nook.unit: it is missing"):
        load(None)


def test_all_faults_are_told_together(place: Path) -> None:
    text = HEAD.replace("uid = 412", 'uid = "nook"').replace("exe", "program")
    text += LINE.replace("<user>", "<usr>").replace("service =", "sevice =")
    assert faults(place, text + "[daemons.nook]\nwindow = 0\n") == [
        "pattern.nook.exe: it is missing (journalctl -o verbose shows it as _EXE)",
        "pattern.nook.uid: 'nook' is not a number or a list of numbers (id -u NAME tells it; or "
        "'system', an account of 1 to 999; or 'login', any but root, for a line that is logged as "
        "the user)",
        "pattern.nook.program: there is no such setting (did you mean 'programs'?)",
        "pattern.nook.line[1].regex: the group 'usr' is none of user, address, server, service, "
        "session (did you mean 'user'?)",
        "pattern.nook.line[1].sevice: there is no such setting (did you mean 'service'?)",
        "daemons.nook.window: '0' is not a positive time span of at most 100 years",
    ]


@pytest.mark.parametrize("key", ["unit", "exe", "uid", "transport", "identifier", "traps"])
def test_every_trusted_field_must_be_there(place: Path, key: str) -> None:
    text = "".join(line for line in HEAD.splitlines(True) if not line.startswith(f"{key} ="))
    (fault,) = faults(place, text + LINE)
    assert fault.startswith(f"pattern.nook.{key}: it is missing")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("pattern.nook", "pattern.dovecot", "dovecot is known already"),
        ("pattern.nook", "pattern.all", "'all' is no name"),
        ("pattern.nook", "pattern.enable", "'enable' is no name"),
        ("pattern.nook", "pattern.Nook", "'Nook' is no name"),
        ("pattern.nook", 'pattern."x\\u001b[2J"', "is no name"),
        ('"nook.service"', '"nook"', "unit: 'nook' is not a service of the system"),
        ('"nook.service"', '"user@1000.service"', "is not a service of the system"),
        ('"nook.service"', "[]", "is not a text or a list of texts"),
        ('"nook.service"', '["a@.service", "b.service"]', "stand alone"),
        ('"/usr/sbin/nook"', '"nook"', "exe: 'nook' is not an absolute path"),
        ("uid = 412", "uid = -1", "uid: -1 is not a number"),
        ("uid = 412", "uid = true", "uid: True is not a number"),
        ('"syslog"', '"kernel"', "'kernel' is not one of 'syslog', 'journal', 'stdout'"),
        ('identifier = "nook"', 'identifier = ""', "identifier: '' is not a text"),
        ("traps = [", "traps = []\nx = [", "traps: there is none"),
        (TRAP, SAMPLE, f"traps[1]: '{SAMPLE}' is taken by line[1]"),
        ("(?P<user>", "(?P<user", "is no regular expression of Python"),
        ("[^ ,]", "[[^ ,]", "is no regular expression of Python"),
        ("(?P<user>", "(?i)(?P<user>", "is no regular expression of Python: global flags"),
        ("by (?P<user>", "b\u00fc (?P<user>", "not ASCII"),
        ("(?P<user>[^ ,]{1,64})", "([^ ,]{1,64})", "no group for the user"),
        ("(?P<address>[0-9A-Fa-f:.]{2,45})", "[0-9.]{1,15}", "no group for the address"),
        ('{ pop3 = "pop3", imap4 = "imap" }', '"pop3"', "what do its words mean?"),
        ('{ pop3 = "pop3", imap4 = "imap" }', "{}", "service: it is empty"),
        ('imap4 = "imap"', 'imap4 = "smtp"', "'smtp' is not one of 'pop2', 'pop3', 'imap'"),
        ('pop3 = "pop3", ', "", "is not taken: 'pop3' is none of the pattern's services"),
        ("service = {", "x = {", "line[1].x: there is no such setting"),
        ('service = { pop3 = "pop3", imap4 = "imap" }', "", "line[1].service: it is missing"),
        ("samples = {", "samples = {} #", "samples: there is none"),
        ('" = "192.0.2.10"', '" = "192.0.2"', "'192.0.2' is no address"),
        ('" = "192.0.2.10"', '" = "192.0.2.11"', "says 192.0.2.10, not 192.0.2.11"),
        ('" = "192.0.2.10"', '" = ""', "says 192.0.2.10, not none"),
        ('pop3" =', 'pop3 " =', "fits, then wants the end of the line (a line is matched whole)"),
        ('pop3" =', 'pop3\\nx" =', "holds a line break"),
        (f'{{ "{SAMPLE}"', f'{{ "{SAMPLE}{"x" * 450}"', "over 450 bytes"),
        ("session [0-9]{1,10}", "(?:session )+.*.*", "is not linear: 'session "),
        ("[^ ,]{1,64}", "[a-z]{9000}", "too large"),
        ("by (?P<user>", r"b[(?P<x>]{3} (?P<user>", "as plain characters"),
        ("[[pattern.nook.line]]", "[pattern.nook.line]", "is not a list of tables"),
        ("regex =", 'tells = "connect"\nregex =', "none of them tells a login"),
        ("regex =", 'tells = "Login"\nregex =', "'Login' is not one of 'login', 'connect'"),
    ],
)
def test_each_fault_says_what_and_how_to_mend_it(
    place: Path, old: str, new: str, said: str
) -> None:
    text = HEAD + LINE
    assert old in text
    lines = faults(place, text.replace(old, new))
    assert any(said in line for line in lines), lines
    assert all(line.isprintable() and line.startswith("pattern.") for line in lines)


def test_a_connect_line_is_roots(place: Path) -> None:
    (fault,) = faults(place, TWO_LINES.replace("uid = 0", "uid = 5"))
    assert fault == "pattern.nook.line[1].uid: a connect line must be root's (write uid = 0)"


def test_a_pattern_without_a_line_is_refused(place: Path) -> None:
    assert faults(place, HEAD) == ["pattern.nook.line: it is missing (write [[pattern.nook.line]])"]
    assert faults(place, "[pattern]\nnook = 3") == [
        "pattern.nook: 3 is not a table (write [pattern.nook])"
    ]


@pytest.mark.parametrize(
    ("regex", "sample"),
    [
        # CVE-2001-1075, CVE-2013-2178: a name that goes on as the line does
        (
            "login (?P<user>.*?) from (?P<address>[0-9.]{7,15}).*",
            "login anna from 192.0.2.10 by pop3",
        ),
        (
            "login (?P<user>.*?), ip=(?P<address>[0-9.]{7,15})(?:, .*)?",
            "login anna, ip=192.0.2.10, port=7",
        ),
        (
            ".*?(?P<address>[0-9]{1,3}[.][0-9.]{5,11}) .*login (?P<user>.*)",
            "pop3 192.0.2.10 login anna",
        ),
    ],
)
def test_no_users_name_may_choose_the_address(place: Path, regex: str, sample: str) -> None:
    text = f"{HEAD}[[pattern.nook.line]]\nregex = '{regex}'\nservice = 'pop3'\n"
    text += f'samples = {{ "{sample}" = "192.0.2.10" }}\n'
    lines = faults(place, text)
    assert any("can choose the address" in line or "not linear" in line for line in lines)


@pytest.mark.parametrize("daemon", REGISTRY, ids=called)
def test_ours_are_held_to_the_same(daemon: Daemon) -> None:
    others = [other for other in REGISTRY if other is not daemon]
    assert trial.faults(daemon) == []
    assert list(trial.collisions(daemon, others)) == []


def test_a_greedy_name_up_to_the_last_address_is_well(place: Path) -> None:
    regex = "login (?P<user>.*) from (?P<address>[0-9.]{7,15})"
    text = f"{HEAD}[[pattern.nook.line]]\nregex = '{regex}'\nservice = 'pop3'\n"
    own(place, text + 'samples = { "login anna from 192.0.2.10" = "192.0.2.10" }\n')


def test_a_line_of_ours_is_not_described_again(place: Path) -> None:
    ours = next(daemon for daemon in REGISTRY if daemon.name == "dovecot").patterns[0]
    sample = next(iter(ours.samples))
    text = f"""
[pattern.my-dovecot]
unit = "dovecot.service"
exe = "/usr/lib/dovecot/log"
uid = 0
transport = "syslog"
identifier = "dovecot"
traps = ["no"]
[[pattern.my-dovecot.line]]
regex = '{ours.text.decode()}'
service = {{ pop3 = "pop3", imap = "imap" }}
samples = {{ "{sample}" = "{ours.samples[sample]}" }}
"""
    lines = faults(place, text)
    assert lines[0].startswith(
        f"pattern.my-dovecot: {sample!r}, a sample of my-dovecot, is taken by"
    )
    other = text.replace("dovecot.service", "other.service")
    assert own(place, other).name == "my-dovecot"


def test_the_manuals_example_is_read(place: Path) -> None:
    page = (Path(__file__).parent.parent / "man" / "poprelay.conf.5").read_text("utf-8")
    found = re.search(r"^\[pattern\.mailnook\]\n.*?(?=^\.Ed$)", page, re.M | re.S)
    assert found and own(place, found[0]).name == "mailnook"


values = st.recursive(
    st.none().map(lambda _: True) | st.integers() | st.text(max_size=12) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
regexes = st.text(r"ab.*+?{}()[]|\\^$<>P=:!,12", max_size=20)


@given(
    table=st.dictionaries(st.sampled_from(KEYS), values),
    line=st.dictionaries(st.sampled_from(LINE_KEYS), values | regexes, max_size=4),
)
def test_any_table_is_read_or_refused(table: dict[str, Any], line: dict[str, Any]) -> None:
    settled = tomllib.loads(HEAD + LINE)["pattern"]["nook"]
    for wrong in ({**settled, **table}, {**settled, "line": [{**settled["line"][0], **line}]}):
        told: dict[str, str] = {}
        daemon = read_daemon("nook", wrong, told.__setitem__)
        assert (daemon is None) == bool(told)


def test_two_of_the_operators_are_kept_apart_too(place: Path) -> None:
    twin = (HEAD + LINE).replace("pattern.nook", "pattern.twin")
    lines = faults(place, HEAD + LINE + twin)
    assert "pattern.twin" in lines[0] and "is taken by nook as well" in lines[0]
