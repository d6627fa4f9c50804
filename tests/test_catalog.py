"""The message catalog explains every entry, and a real journalctl shows it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from journalrelay.telling import message
from journalrelay.telling.ledger import Journal
from journalrelay.telling.message import COUNTED, FAILED, GRANTED, READY, Kind
from lab.journald import Journald

TOP = Path(__file__).resolve().parent.parent
CATALOG = TOP / "units" / "poprelayd.catalog"
KINDS = {kind.id: kind for kind in vars(message).values() if isinstance(kind, Kind)}
HEADERS = ["Subject", "Defined-By", "Documentation"]
# journalctl with another catalog than the host's: where libsystemd looks for it cannot be told
SHOW = 'mount --bind "$1" /var/lib/systemd/catalog && shift && exec journalctl "$@"'


def explained() -> dict[str, tuple[str, str]]:
    """Return the catalog: head and text of each entry, by its id."""
    parts = re.split(r"^-- ([0-9a-f]{32})\n", CATALOG.read_text("utf-8"), flags=re.M)[1:]
    texts = [part.partition("\n\n") for part in parts[1::2]]
    return {id_: (head, text) for id_, (head, _, text) in zip(parts[::2], texts, strict=True)}


def described() -> dict[str, set[str]]:
    """Return the fields of each entry as poprelayd(8) lists them."""
    page = (TOP / "man" / "poprelayd.8").read_text("utf-8")
    items = re.findall(r"^\.It ([0-9a-f]{32})\n(.*?)(?=^\.(?:It|El))", page, re.M | re.S)
    return {id_: set(re.findall(r"RELAY_[A-Z]+", text)) for id_, text in items}


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """Return the directory of a catalog that systemd made of ours in a scratch root."""
    sources = tmp_path / "usr/lib/systemd/catalog"
    sources.mkdir(parents=True)
    (sources / CATALOG.name).write_bytes(CATALOG.read_bytes())
    made = tmp_path / "var/lib/systemd/catalog"
    made.mkdir(parents=True)
    ask("journalctl", "--update-catalog", f"--root={tmp_path}")
    return made


def ask(*command: str) -> str:
    utf8 = {**os.environ, "LC_ALL": "C.UTF-8"}  # its marks are of other signs without
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=utf8)
    assert done.stderr == ""
    return done.stdout


def show(catalog: Path, journald: Journald, *arguments: str) -> str:
    journald.sync()
    return ask("unshare", "--mount", "sh", "-c", SHOW, "sh", str(catalog), *arguments)


def test_every_entry_is_explained_and_no_other() -> None:
    text = CATALOG.read_text("utf-8")
    assert re.findall(r"^-- (.*)$", text, re.M) == list(explained())
    assert set(explained()) == set(KINDS)


@pytest.mark.parametrize("id_", KINDS, ids=lambda id_: KINDS[id_].word)
def test_explanation_has_its_head_and_is_readable(id_: str) -> None:
    head, text = explained()[id_]
    assert [line.partition(":")[0] for line in head.splitlines()] == HEADERS
    assert "\nDefined-By: poprelayd\n" in head
    assert re.search(r"^Documentation: man:(poprelayd\(8\)|journalrelay\(1\))$", head, re.M)
    assert len(text.split()) > 15
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.parametrize("id_", KINDS, ids=lambda id_: KINDS[id_].word)
def test_explanation_names_fields_that_the_entry_has(id_: str) -> None:
    named = set(re.findall(r"@(\w+)@", "".join(explained()[id_])))
    assert named - {"RELAY_MAP"} == described()[id_]
    assert "RELAY_MAP" not in named or KINDS[id_] != FAILED


def test_systemd_takes_every_entry(catalog: Path, journald: Journald) -> None:
    listed = show(catalog, journald, "--list-catalog")
    assert {line.partition(" ")[0] for line in listed.splitlines()} == set(KINDS)


def test_journalctl_explains_an_entry(catalog: Path, journald: Journald) -> None:
    user = "anna"
    told = {"RELAY_ADDRESS": "192.0.2.7", "RELAY_USER": user, "RELAY_DAEMON": "dovecot"}
    Journal().send_surely(GRANTED, "granted", RELAY_EXPIRY="1795382573", **told)
    Journal().send_surely(COUNTED, "counted", RELAY_EVENT="granted", RELAY_COUNT="40")
    Journal().send_surely(READY, "ready", RELAY_MAP="/var/lib/poprelayd/popip.db")
    shown = show(catalog, journald, "-x", "-t", "poprelayd")
    for line in (
        "Subject: A client may send mail",
        "Documentation: man:poprelayd(8)",
        "Address: 192.0.2.7",
        "User: anna",
        "Login at: dovecot",
        "Until: 1795382573 (seconds since the epoch)",
        "journalrelay revoke 192.0.2.7",
        "Subject: 40 addresses granted, not listed one by one",
        "Map: /var/lib/poprelayd/popip.db",
    ):
        assert re.search(rf"^░░ {re.escape(line)}$", shown, re.M), line
    assert not re.search(r"@|RELAY_", shown)


def test_a_field_that_was_left_out_is_shown_by_its_name(catalog: Path, journald: Journald) -> None:
    Journal().send_surely(GRANTED, "granted", RELAY_DAEMON="dovecot", RELAY_EXPIRY="1795382573")
    shown = show(catalog, journald, "-x", "-t", "poprelayd")
    assert "░░ Address: RELAY_ADDRESS\n" in shown
    assert "░░ User: RELAY_USER\n" in shown
