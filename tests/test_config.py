"""The configuration: all faults at once, each with file, key and advice."""

import re
from pathlib import Path

import pytest

from journalrelay import config
from journalrelay.config import KEYS, load
from journalrelay.errors import ConfigError
from journalrelay.patterns import REGISTRY
from journalrelay.timespan import parse_span
from lab.poprelayd import journalrelay
from tests.support import config_of


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Move the usual configuration to a directory of the test's own."""
    monkeypatch.setattr(config, "CONFIG_FILE", tmp_path / "poprelay.conf")
    (tmp_path / "poprelay.conf.d").mkdir()
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def faults(text: str, tmp_path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path / "c.conf", text))
    return [line.removeprefix(f"{tmp_path}/") for line in str(caught.value).splitlines()]


def test_no_file_means_the_defaults(usual: Path) -> None:
    loaded = load(None)
    assert loaded.rules.window_us == 15 * 60 * 1_000_000
    assert str(loaded.map_path) == "/var/lib/poprelayd/popip.db"
    assert (loaded.map_type, loaded.rules.ipv6_prefix, loaded.rules.never) == ("hash", 128, ())
    assert list(loaded.daemons) == [daemon for daemon in REGISTRY if not daemon.forgeable]


def test_drop_ins_follow_in_the_order_of_their_names(usual: Path) -> None:
    write(usual / "poprelay.conf", '[relay]\nwindow = "1min"\nipv6_prefix = 64\n')
    write(usual / "poprelay.conf.d/20-b.conf", '[relay]\nwindow = "3min"\n')
    write(usual / "poprelay.conf.d/10-a.conf", '[relay]\nwindow = "2min"\n')
    write(usual / "poprelay.conf.d/notes.txt", "not = [valid")
    loaded = load(None)
    assert (loaded.rules.window_us, loaded.rules.ipv6_prefix) == (180_000_000, 64)


def test_a_named_file_is_read_alone(usual: Path) -> None:
    write(usual / "poprelay.conf.d/10-a.conf", "nonsense")
    assert load(write(usual / "own.conf", "")).rules.window_us == 900_000_000


def test_each_daemon_can_have_its_own_window(tmp_path: Path) -> None:
    text = '[daemons]\nenable = ["dovecot"]\n[daemons.dovecot]\nwindow = "1h"\n'
    rules = load(write(tmp_path / "c.conf", text)).rules
    assert rules.window_of("dovecot") == 3_600_000_000
    assert rules.look_back_us == 3_600_000_000 + rules.skew_us


@pytest.mark.parametrize("value", ['"15 min"', '"500ms"', '"1y 2months"', "900"])
def test_any_positive_span_is_a_window(tmp_path: Path, value: str) -> None:
    loaded = load(write(tmp_path / "c.conf", f"[relay]\nwindow = {value}\n"))
    assert loaded.rules.window_us == parse_span(value.strip('"'))


def test_all_faults_are_reported_together(usual: Path) -> None:
    write(usual / "poprelay.conf", '[relay]\nwindow = "30 mn"\nwindov = "1min"\n')
    write(usual / "poprelay.conf.d/a.conf", '[map]\ntype = "dbm"\npath = "popip.db"\n')
    with pytest.raises(ConfigError) as caught:
        load(None)
    assert str(caught.value).splitlines() == [
        f"{usual}/poprelay.conf: relay.window: '30 mn' is not a time span (try '15min' or "
        "'1h 30min')",
        f"{usual}/poprelay.conf: relay.windov: there is no such setting (did you mean "
        "'relay.window'?)",
        f"{usual}/poprelay.conf.d/a.conf: map.type: 'dbm' is not one of 'hash', 'btree'",
        f"{usual}/poprelay.conf.d/a.conf: map.path: 'popip.db' is not an absolute path (try "
        "'/var/lib/poprelayd/popip.db')",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[relay", "TOML"),
        ("a = 1", "no such setting"),
        ("[relay]\nwindow = 0", "positive"),
        ("[relay]\nwindow = true", "not a time span"),
        ("[relay]\nwindow = -5", "not a time span"),
        ("[relay]\nipv6_prefix = 48", "128, 64"),
        ("[relay]\nipv6_prefix = true", "128, 64"),
        ("[relay]\nnever = '10/8'", "list of networks"),
        ("[relay]\nnever = ['10.0.0.1/8']", "not a network"),
        ("[relay]\nnever = [7]", "not a network"),
        ("[daemons]\nenable = ['dovcot']", "did you mean 'dovecot'"),
        ("[daemons]\nenable = []", "'auto', 'all' or a list"),
        ("[daemons.nonesuch]\nwindow = '1min'", "no such setting"),
        ("[source]\nkind = 'file'", "'journal', 'logfile', 'auto'"),
        ("[source]\nnamespace = '../x'", "not a journal namespace"),
        ("[source]\nlogfile = '/var/log/mail.log'", "not a list of files (try ['/var/log/mail"),
        ("[source]\nlogfile = ['mail.log']", "'mail.log' is no absolute path or pattern"),
        ("[source]\nhosts = 'mail'", "not a list of host names"),
        ("[source]\nhosts = ['a b']", "'a b' is no host name as a log has it"),
        ("relay = 5", "no such setting"),
        ("[map]\npidfile = '/run/x'", "systemd keeps the process"),
        ("timeout_minutes = 15", "relay.window"),
    ],
)
def test_each_fault_says_what_and_how_to_mend_it(tmp_path: Path, text: str, said: str) -> None:
    lines = faults(text, tmp_path)
    assert len(lines) == 1
    assert lines[0].startswith("c.conf: ")
    assert said in lines[0]


def test_a_file_that_is_not_utf8_is_said(tmp_path: Path) -> None:
    (tmp_path / "c.conf").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(tmp_path / "c.conf")


def test_a_wrong_configuration_ends_the_command_with_78(tmp_path: Path) -> None:
    done = journalrelay("-c", str(write(tmp_path / "c.conf", "[relay]\nx = 1\ny = 2")), "list")
    assert done.returncode == 78
    assert len(done.stderr.splitlines()) == 2
    assert journalrelay("-c", str(tmp_path / "none.conf"), "list").returncode == 78


def test_defaults_are_valid_and_every_key_has_a_text() -> None:
    for key in KEYS:
        key.read(key.default)
        assert key.text


def test_a_forgeable_daemon_is_read_only_by_name_or_in_all(place: Path) -> None:
    assert "courier" not in [daemon.name for daemon in config_of(place).daemons]
    for enable in ('"all"', '["courier"]'):
        loaded = config_of(place, f"[daemons]\nenable = {enable}")
        assert "courier" in [daemon.name for daemon in loaded.daemons]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('relay.ipv6_prefix = "64"', "relay.ipv6_prefix: '64' is not one of 128, 64 (without the"),
        ('log.users = "false"', "log.users: 'false' is neither true nor false (without quotes)"),
    ],
)
def test_a_number_or_truth_in_quotes_is_told(place: Path, text: str, told: str) -> None:
    file = place / "poprelay.conf"
    file.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(told)):
        load(file)
