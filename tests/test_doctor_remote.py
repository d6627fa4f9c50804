"""The doctor on other hosts' journals: real files, real certificates."""

import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from journalrelay.doctor import remote
from journalrelay.doctor.diagnosis import Diagnosis
from journalrelay.site import Site
from journalrelay.telling.report import Report
from lab.received import login, receive
from tests.support import config_of, now_us
from tests.test_hosts import TABLES


@pytest.fixture
def site(place: Path) -> Site:
    (place / "remote").mkdir()
    (place / "remote").chmod(0o755)
    return Site(config_of(place, f'[source]\nremote = "{place}/remote"\n{TABLES}'), place)


def examined(site: Site, **service: str) -> list[Diagnosis]:
    place = site.state
    return list(remote.examine(site, service, place / "journal-remote.conf", place / "transport"))


def texts(found: Iterable[Diagnosis], word: str) -> list[str]:
    return [diagnosis.what for diagnosis in found if diagnosis.word == word]


def test_where_no_other_host_is_read_nothing_is_looked_at(place: Path) -> None:
    site = Site(config_of(place, f'[source]\nremote = "{place}/nonesuch"\n'), place)
    assert list(remote.examine(site, {})) == []


def test_a_directory_that_is_not_there_is_a_fault(site: Site) -> None:
    site.config.remote.rmdir()
    (found,) = examined(site)
    assert found.what == f"{site.config.remote}: No such file or directory"
    assert found.mend.endswith(f"systemd-journal-remote {site.config.remote}")


def test_who_is_silent_has_never_sent_or_is_not_known_is_said(site: Site) -> None:
    for host in ("pop1.example", "evil.example"):
        receive(site.config.remote, host, login("anna", "198.51.100.1", now_us()))
    found = examined(site)
    assert texts(found, "wrong") == ["pop2.example has sent nothing so far"]
    assert texts(found, "note") == [
        'evil.example sends and is not read: there is no [remote."evil.example"]'
    ]
    (well,) = texts(found, "well")
    assert well.startswith("pop1.example: its journal came last ")
    long_ago = time.time() - 3 * 86_400
    os.utime(site.config.remote / "remote-pop1.example.journal", (long_ago, long_ago))
    assert "pop1.example: its journal came last 3d ago" in texts(examined(site), "wrong")


def test_journals_of_several_hosts_in_one_file_are_a_fault(site: Site) -> None:
    (site.config.remote / "remote.journal").touch()
    faults = texts(examined(site), "wrong")
    assert f"{site.config.remote}/remote.journal is of no one host, and not read" in faults


def test_files_that_the_daemon_may_not_read_are_a_fault(site: Site) -> None:
    file = receive(site.config.remote, "pop1.example", login("anna", "198.51.100.1", now_us()))
    os.chown(file, 0, 12)
    file.chmod(0o640)
    readable = f"{file}: the daemon may not read it"
    assert readable in texts(examined(site, User="nobody"), "wrong")
    assert readable not in texts(examined(site, User="nobody", SupplementaryGroups="man"), "wrong")
    assert readable not in texts(examined(site), "wrong")  # nobody else than we


def certificate(file: Path, days: int) -> Path:
    file.parent.mkdir(exist_ok=True)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    made = ["openssl", "req", "-x509", *key, "-keyout", "/dev/null", "-subj", "/CN=relay1"]
    subprocess.run([*made, "-days", str(days), "-out", str(file)], check=True, capture_output=True)
    return file


def test_the_end_of_each_certificate_is_told(site: Site) -> None:
    mine = certificate(site.state / "mine.pem", 3)
    theirs = certificate(site.state / "theirs.pem", 100)
    ours = certificate(site.state / "transport" / "certificate.pem", 13)
    broken = site.state / "transport" / "authority.pem"
    broken.write_text("nothing")
    conf = site.state / "journal-remote.conf"
    conf.write_text(f"[Remote]\nServerCertificateFile={mine}\nTrustedCertificateFile=all\n")
    found = examined(site)
    wrong = texts(found, "wrong")
    assert f"{mine} ends in 3 days" in wrong
    assert f"{ours} ends in 13 days" in wrong
    assert f"{broken}: it cannot be read as a certificate" in wrong
    assert f"{conf}: TrustedCertificateFile=all: anybody may take any host's name" in wrong
    drop_in = site.state / "journal-remote.conf.d" / "trust.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(f"[Remote]\nTrustedCertificateFile={theirs}\n")
    assert f"{theirs} ends in 100 days" in texts(examined(site), "well")


def test_a_clock_that_the_daemon_found_wrong_is_told(site: Site) -> None:
    report = Report(now_us(), str(site.map_path), "", "", [])
    report.hosts_are({"pop1.example": {"clock": "ahead"}, "pop2.example": {"clock": "right"}}, [])
    report.write(site.status_file)
    assert [text for text in texts(examined(site), "wrong") if "clock" in text] == [
        "pop1.example: its clock is ahead"
    ]
