"""Other hosts' journals: do they come, from whom, and who vouches for that?"""

import configparser
import grp
import os
import pwd
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from journalrelay import clock
from journalrelay.doctor.diagnosis import Diagnosis, note, well, wrong
from journalrelay.doctor.host import ask
from journalrelay.errors import RelayError
from journalrelay.owner import apart
from journalrelay.site import Site
from journalrelay.sources.received import host_of
from journalrelay.telling import report
from journalrelay.timespan import format_span

CONF = Path("/etc/systemd/journal-remote.conf")
OURS = Path("/etc/journal-transport")  # where several-hosts.md has the certificates
_PART = "remote"
_UNIT, _SOCKET = "systemd-journal-remote.service", "systemd-journal-remote.socket"
_LONG_US, _SOON_S = 86_400_000_000, 14 * 86_400
_DROP_IN = "/etc/systemd/system/poprelayd.service.d"


def examine(
    site: Site, service: Mapping[str, str], conf: Path = CONF, ours: Path = OURS
) -> Iterator[Diagnosis]:
    """Yield how it is with the hosts of ``[remote.NAME]``; nothing where there is none.
    ``service`` is the daemon's unit."""
    if not site.config.remotes:
        return
    directory = site.config.remote
    try:
        files = {file.name: file.stat() for file in sorted(directory.iterdir())}
    except OSError as error:
        yield wrong(
            _PART,
            f"{directory}: {error.strerror}",
            "apt install systemd-journal-remote && install -d -o systemd-journal-remote -g "
            f"systemd-journal-remote {directory}",
        )
        return
    yield from _readable([directory / name for name in files if host_of(name)], service)
    yield from _each(site, files)
    yield from _others(site, files)
    yield from _receiver(site)
    yield from _certificates(conf, ours)
    yield from _clocks(site)


def _readable(files: Sequence[Path], service: Mapping[str, str]) -> Iterator[Diagnosis]:
    """The receiver's files are its group's to read, and not systemd-journal's."""
    hidden = [Path(file) for file in apart(lambda: _hidden(files, service)) or ()]
    if hidden:
        group = hidden[0].stat().st_gid
        yield wrong(
            _PART,
            f"{hidden[0]}: the daemon may not read it",
            f"mkdir -p {_DROP_IN} && printf '[Service]\\nSupplementaryGroups={_group(group)}\\n' "
            f">{_DROP_IN}/remote.conf && systemctl daemon-reload && systemctl restart poprelayd",
        )


def _hidden(files: Sequence[Path], service: Mapping[str, str]) -> list[str]:
    """Return the files that the daemon may not read, having become who it is."""
    user = service.get("User")
    if user and os.geteuid() == 0:
        with suppress(KeyError):
            who = pwd.getpwnam(user)
            named = service.get("SupplementaryGroups", "").split()
            groups = [*os.getgrouplist(user, who.pw_gid), *map(_number, named)]
            os.setgroups(groups)
            os.setresgid(who.pw_gid, who.pw_gid, who.pw_gid)
            os.setresuid(who.pw_uid, who.pw_uid, who.pw_uid)
    return [str(file) for file in files if not os.access(file, os.R_OK)]


def _each(site: Site, files: Mapping[str, os.stat_result]) -> Iterator[Diagnosis]:
    now_us = clock.now_us()
    for trust in site.config.remotes:
        own = [
            status.st_mtime_ns // 1000
            for name, status in files.items()
            if host_of(name) == trust.name
        ]
        upload = f"systemctl restart 'journal-upload@*'  # on {trust.name}; see several-hosts.md"
        if not own:
            yield wrong(_PART, f"{trust.name} has sent nothing so far", upload)
            continue
        ago_us = max(0, now_us - max(own))
        span = format_span(ago_us // 1_000_000 * 1_000_000)
        told = f"{trust.name}: its journal came last {span} ago"
        yield wrong(_PART, told, upload) if ago_us > _LONG_US else well(_PART, told)


def _others(site: Site, files: Mapping[str, os.stat_result]) -> Iterator[Diagnosis]:
    known = {trust.name for trust in site.config.remotes}
    for host in sorted({host_of(name) or "" for name in files} - known - {""}):
        yield note(_PART, f'{host} sends and is not read: there is no [remote."{host}"]')
    mixed = [name for name in files if name.endswith(".journal") and not host_of(name)]
    if mixed:
        yield wrong(
            _PART,
            f"{site.config.remote / mixed[0]} is of no one host, and not read",
            f"mkdir -p {CONF}.d && printf '[Remote]\\nSplitMode=host\\n' >{CONF}.d/split.conf && "
            f"rm {site.config.remote / mixed[0]} && systemctl restart {_UNIT}",
        )


def _receiver(site: Site) -> Iterator[Diagnosis]:
    """Does anything receive, and only from whom a certificate names?"""
    said = ask("systemctl", "list-units", "--plain", "--no-legend", "--state=active") or ""
    if ".socket" not in said:  # systemd does not run here
        return
    if _SOCKET in said:
        if "-GNUTLS" in (ask("/lib/systemd/systemd-journal-remote", "--version") or ""):
            yield wrong(
                _PART,
                f"{_SOCKET} is active, and as it was built, without GnuTLS, it looks at no "
                "certificate: whoever reaches it is believed (see several-hosts.md)",
                f"systemctl disable --now {_SOCKET} {_UNIT}",
            )
    elif "journal-receive@" not in said:
        name = site.config.remotes[0].name
        yield wrong(
            _PART,
            "nothing receives journals here (see several-hosts.md)",
            f"systemctl enable --now journal-receive@{name}.socket",
        )
    elif "nginx.service" not in said:
        yield wrong(_PART, "nginx, which receives journals, does not run", "systemctl start nginx")


def _certificates(conf: Path, ours: Path) -> Iterator[Diagnosis]:
    """When do they end? The receiver has to be started anew for others."""
    for name in ("certificate.pem", "authority.pem"):
        if (ours / name).exists():
            yield from _ends(str(ours / name), "systemctl reload nginx")
    settings = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    settings.optionxform = str  # type: ignore[assignment,method-assign]
    with suppress(configparser.Error, UnicodeError):
        settings.read([conf, *sorted(conf.with_name(f"{conf.name}.d").glob("*.conf"))], "utf-8")
    told = dict(settings["Remote"]) if settings.has_section("Remote") else {}
    if told.get("TrustedCertificateFile") == "all":
        yield wrong(
            _PART,
            f"{conf}: TrustedCertificateFile=all: anybody may take any host's name",
            f"sed -i '/^TrustedCertificateFile=all$/d' {conf} && systemctl restart {_UNIT}",
        )
    for key in ("ServerCertificateFile", "TrustedCertificateFile"):
        file = told.get(key)
        if file and file != "all":
            yield from _ends(file, f"systemctl restart {_UNIT}")


def _ends(file: str, anew: str) -> Iterator[Diagnosis]:
    renewed = f"{anew}  # once it is renewed"
    said = ask("openssl", "x509", "-noout", "-enddate", "-in", file)
    if said is None:
        yield note(_PART, f"{file}: openssl is not there to say when it ends")
        return
    try:
        left_s = ssl.cert_time_to_seconds(said.strip().partition("notAfter=")[2]) - time.time()
    except ValueError:
        yield wrong(_PART, f"{file}: it cannot be read as a certificate", renewed)
        return
    days = f"{file} ends in {left_s / 86_400:.0f} days"
    if left_s < 0:
        yield wrong(_PART, f"{file} has ended", renewed)
    else:
        yield wrong(_PART, days, renewed) if left_s < _SOON_S else well(_PART, days)


def _clocks(site: Site) -> Iterator[Diagnosis]:
    with suppress(RelayError):
        told = report.read(site.status_file) or {}
        for name, host in told.get("hosts", {}).items():
            if host["clock"] != "right":
                yield wrong(
                    _PART,
                    f"{name}: its clock is {host['clock']}",
                    f"timedatectl set-ntp true  # on {name} and here",
                )


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _number(group: str) -> int:
    return int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
