"""The doctor on real parts: a private sendmail, a live journal, real files and processes.

What needs a booted systemd is played by the system test (lab/ailments.py).
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from journalrelay.cli import main
from journalrelay.commands import doctor
from journalrelay.doctor import journal, mailer, mapstate, rivals, units
from journalrelay.doctor.diagnosis import Diagnosis
from journalrelay.doctor.mailer import Mailer
from journalrelay.map.popmap import PopMap
from journalrelay.options import Options
from journalrelay.site import Site
from lab.journald import Journald, Sender, login_line
from lab.sendmail import FEATURES, PROGRAM, Sendmail
from lab.wait import wait_for
from tests.support import config_of, now_us

NOBODY = 65534


@pytest.fixture
def site(place: Path) -> Site:
    made = Site(config_of(place), place)
    made.popmap().create()
    return made


@pytest.fixture
def mta(place: Path) -> Iterator[Sendmail]:
    with Sendmail(place / "mta", popip=place / "popip") as running:
        yield running


def mailer_of(mta: Sendmail) -> Mailer:
    mc = mta.base / "sendmail.mc"
    return Mailer(Path(PROGRAM), mta.cf, mc, FEATURES / "poprelay.m4")


def examined(site: Site, user: str = "") -> list[Diagnosis]:
    return list(mapstate.examine(site, mapstate.content(site), user))


def asked(site: Site, of: Mailer) -> list[Diagnosis]:
    return list(mailer.examine(site, mapstate.content(site).sample, of))


def wrongs(found: Iterable[Diagnosis]) -> list[Diagnosis]:
    return [diagnosis for diagnosis in found if diagnosis.word == "wrong"]


def fault(found: Iterable[Diagnosis]) -> Diagnosis:
    """Return the only fault."""
    (only,) = wrongs(found)
    return only


def mend(diagnosis: Diagnosis) -> None:
    subprocess.run(diagnosis.mend, shell=True, check=True, capture_output=True)


def test_a_map_as_it_should_be_is_well(site: Site) -> None:
    (found,) = examined(site)
    assert found.word == "well" and "0 addresses may relay" in found.what


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o664])
def test_a_mode_that_sendmail_refuses(site: Site, mode: int) -> None:
    site.map_path.chmod(mode)
    found = fault(examined(site))
    assert f"mode {mode:04o}" in found.what
    mend(found)
    assert not wrongs(examined(site))


@pytest.mark.parametrize(("mode", "told"), [(0o775, "written by others"), (0o700, "open to all")])
def test_a_directory_that_sendmail_refuses(site: Site, place: Path, mode: int, told: str) -> None:
    os.chown(place, NOBODY, NOBODY)
    place.chmod(mode)
    found = fault(examined(site))
    assert told in found.what
    mend(found)
    assert not wrongs(examined(site))


def test_a_map_of_another_user(site: Site, place: Path) -> None:
    found = wrongs(examined(site, "nobody"))
    assert [str(path) in one.what for path, one in zip((place, site.map_path), found, strict=True)]
    assert "no user nonesuch" in fault(examined(site, "nonesuch")).what


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def of_another_kind(path: Path) -> None:
    path.unlink()
    PopMap(path, "btree").create()


def in_the_way(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [damaged, of_another_kind, in_the_way, Path.unlink])
def test_a_map_that_cannot_be_believed(site: Site, harm: Callable[[Path], None]) -> None:
    harm(site.map_path)
    assert any(str(site.map_path) in one.what for one in wrongs(examined(site)))


def test_a_sendmail_with_the_feature_is_well(site: Site, mta: Sendmail) -> None:
    assert not wrongs(asked(site, mailer_of(mta)))
    soon_s = now_us() // 1_000_000 + 600
    subprocess.run(["makemap", "hash", mta.popip], input=f"192.0.2.7 {soon_s}\n", text=True)
    said = [one.what for one in asked(site, mailer_of(mta)) if one.part == "lookup"]
    assert said == ["sendmail finds 192.0.2.7"]


def test_no_sendmail(site: Site, mta: Sendmail) -> None:
    for program in ("/nonexistent", "/bin/true"):
        other = replace(mailer_of(mta), program=Path(program))
        assert "is not there, or another's" in fault(asked(site, other)).what


def test_a_sendmail_without_the_feature(site: Site, place: Path) -> None:
    with Sendmail(place / "mta", feature=False) as mta:
        assert "has no line FEATURE" in fault(asked(site, mailer_of(mta))).what
        mailer_of(mta).mc.write_text("dnl FEATURE(`poprelay')\n")
        assert "has no line FEATURE" in fault(asked(site, mailer_of(mta))).what
        mailer_of(mta).mc.write_text("FEATURE(`poprelay')dnl\n")
        assert "was not made from" in fault(asked(site, mailer_of(mta))).what


def test_a_sendmail_that_asks_another_map(site: Site, place: Path) -> None:
    with Sendmail(place / "mta", popip=place / "mta" / "other") as mta:
        told = [one.what for one in wrongs(asked(site, mailer_of(mta)))]
    assert f"sendmail asks hash {place}/mta/other.db, and the daemon writes" in told[0]
    assert "sendmail does not find" in told[1]


def test_a_link_in_the_place_of_the_ancestors_map_is_the_same_map(site: Site, place: Path) -> None:
    link = place / "mta" / "popip"
    with Sendmail(place / "mta", popip=link) as mta:
        link.with_suffix(".db").symlink_to(site.map_path)
        assert not wrongs(asked(site, mailer_of(mta)))


def test_a_map_that_sendmail_will_not_open(site: Site, mta: Sendmail) -> None:
    site.map_path.write_bytes(b"junk" * 4096)
    assert "does not find" in fault(asked(site, mailer_of(mta))).what


def test_a_configuration_that_is_not_what_runs(site: Site, mta: Sendmail) -> None:
    later_s = mta.cf.stat().st_mtime + 3600
    os.utime(mta.cf, (later_s, later_s))
    assert "runs since before" in fault(asked(site, mailer_of(mta))).what
    mta.stop()
    assert "accept connections" in fault(asked(site, mailer_of(mta))).what


def test_a_table_that_was_not_made(site: Site, mta: Sendmail) -> None:
    table = mta.mail / "localip"
    table.write_text("192.0.2 RELAY\n")
    database = table.with_suffix(".db")
    database.unlink(missing_ok=True)
    found = fault(asked(site, mailer_of(mta)))
    assert "was never made" in found.what
    mend(found)
    assert not wrongs(asked(site, mailer_of(mta)))
    os.utime(table, (database.stat().st_mtime + 9,) * 2)
    assert "is older than" in fault(asked(site, mailer_of(mta))).what


@contextmanager
def process(*command: str | Path, stdin: IO[bytes] | None = None) -> Iterator[int]:
    """Run a command while the context is held; give its number."""
    with subprocess.Popen(command, stdin=stdin) as running:
        try:
            yield running.pid
        finally:
            running.kill()


def test_a_rival_is_found_and_ended(site: Site, place: Path) -> None:
    assert not wrongs(rivals.examine(site))
    ancestor = place / "poprelayd"
    ancestor.write_text("sleep 1000;")
    with process("perl", ancestor, "-d") as pid:
        told = f"poprelayd runs too (process {pid})"
        found = wait_for(
            lambda: [one for one in rivals.examine(site) if one.what == told], "its discovery"
        )
        mend(found[0])
        wait_for(
            lambda: told not in [one.what for one in rivals.examine(site)], "the end of the rival"
        )


def test_who_holds_the_map_open_for_writing_is_found(site: Site) -> None:
    with site.map_path.open("r+b") as held, process("sleep", "1000", stdin=held) as pid:
        told = f"process {pid} (sleep) has the map open for writing"
        wait_for(lambda: told in [one.what for one in rivals.examine(site)], "its discovery")


def test_the_journals_servers_are_heard_of(
    journald: Journald, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Site, "found", lambda _: ["dovecot"])
    site = Site(config_of(place), place)
    assert "dovecot is installed, and has logged nothing" in wrongs(journal.examine(site))[0].what
    with Sender() as sender:
        sender.send(login_line("192.0.2.7"))
    journald.sync()
    assert not wrongs(journal.examine(site))


def test_swallowed_lines_are_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Site, "found", lambda _: ["dovecot"])
    with Journald(RateLimitIntervalSec="1s", RateLimitBurst="1") as journald, Sender() as sender:

        def swallowed() -> list[str]:
            for _ in range(50):
                sender.send(login_line("192.0.2.7"))
            journald.sync()
            site = Site(config_of(place), place)
            return [one.what for one in wrongs(journal.examine(site))]

        told = wait_for(swallowed, "journald to say so", 30, 0.5)
    assert "journald has swallowed" in told[0] and "of dovecot.service" in told[0]


def test_no_journal_and_no_server_are_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Site(config_of(place, f'[source]\ndirectory = "{place}/none"'), place)
    assert "there is no such journal" in fault(journal.examine(nowhere)).what
    monkeypatch.setattr(Site, "found", lambda _: [])
    with Journald():
        site = Site(config_of(place), place)
        assert "is installed here" in fault(journal.examine(site)).what


def test_units_of_a_host_without_systemd() -> None:
    (found,) = units.examine(units.service())
    assert found.word == "note"


def test_text_and_json_say_the_same(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.act(site, Options(json=False)) == 1
    text = capsys.readouterr().out
    assert doctor.act(site, Options(json=True)) == 1
    found = [Diagnosis(**one) for one in json.loads(capsys.readouterr().out)]
    assert len(wrongs(found)) == int(text.splitlines()[-1].split()[0])
    for one in found:
        assert f"{one.word:6} {one.part:9} {one.what}\n" in text
        assert bool(one.mend) == (one.word == "wrong")


def test_what_others_wrote_does_no_harm_to_a_terminal(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = place / "\x1b[31m\u202epopip.db"
    made = Site(config_of(place)._replace(map_path=name), place)
    assert doctor.act(made, Options(json=False)) == 1
    assert "\x1b" not in (said := capsys.readouterr().out) and "\u202e" not in said


def test_the_verb(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["doctor", "--json", "--map", str(place / "popip.db"), "--state", str(place)]
    assert main(words) == 1
    assert json.loads(capsys.readouterr().out)
