"""Postfix: does it ask the map that the daemon writes, and is what has expired taken out for it?"""

import re
from collections.abc import Iterator

from journalrelay.doctor.diagnosis import Diagnosis, note, well, wrong
from journalrelay.doctor.host import ask
from journalrelay.doctor.units import EXPIRE, TIMER
from journalrelay.map.spelling import SPELLINGS
from journalrelay.site import Site

_PART = "postfix"
_LISTS = ("smtpd_relay_restrictions", "smtpd_recipient_restrictions")
_ASKED = re.compile(r"\bcheck_client_access[\s,]+(?:\{\s*)?(hash|btree):([^\s,}]+)")
_DROP_IN = f"/etc/systemd/system/{EXPIRE}.d"
_WANTING = "/etc/systemd/system/postfix.service.d"  # not by a link, which `disable` takes away


def examine(site: Site, sample: tuple[str, int] | None, by_systemd: bool) -> Iterator[Diagnosis]:
    """Yield what of Postfix is not as the map needs it. ``sample`` is a key of the map, and its
    expiry; ``by_systemd`` tells that systemd starts things here."""
    types = ask("postconf", "-m")
    if types is None:
        yield wrong(_PART, "postconf is not there: is Postfix installed?", "apt install postfix")
        return
    kind, name = site.config.map_type, str(site.map_path.with_suffix(""))
    if kind not in types.split():
        what = f"this Postfix cannot read {kind} maps (postconf -m)"
        yield wrong(_PART, what, "apt install --reinstall postfix")
        return
    yield from _restrictions(f"{kind}:{name}")
    yield from _answers(f"{kind}:{name}", sample)
    if by_systemd:
        yield from _guards()


def _restrictions(table: str) -> Iterator[Diagnosis]:
    """Yield whether a list of main.cf names the table, behind what must come before it."""
    asked = set()
    for name in _LISTS:
        told = ask("postconf", "-hx", name) or ""
        for found in _ASKED.finditer(told):
            asked.add(f"{found[1]}:{found[2]}")
            own = re.search(r"\b(permit_auth|reject_unauth)_destination\b", told[: found.start()])
            if f"{found[1]}:{found[2]}" == table and not own:
                what = f"{name}: without permit_auth_destination before {table}, mail for this host"
                yield note(_PART, f"{what} waits when the map cannot be read")
    if table in asked:
        yield well(_PART, f"it asks {table}")
        return
    others = f"; it asks {', '.join(sorted(asked))}" if asked else ""
    yield wrong(
        _PART,
        f"no check_client_access {table} in main.cf{others}",
        f"postconf -e 'smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, "
        f"permit_auth_destination, check_client_access {table}, reject_unauth_destination' && "
        "systemctl reload postfix",
    )


def _answers(table: str, sample: tuple[str, int] | None) -> Iterator[Diagnosis]:
    """Have Postfix itself look up a key of the map."""
    if sample is None:
        return
    key = SPELLINGS["postfix"].written(sample[0].encode()).decode()
    said = (ask("postmap", "-q", key, table) or "no answer").strip()
    if said == str(sample[1]):
        yield well("lookup", f"Postfix finds {key}")
    else:
        what = f"Postfix does not find {key} in the map: {said or 'no match'}"
        yield wrong("lookup", what, "systemctl restart poprelayd")


def _guards() -> Iterator[Diagnosis]:
    """Yield whether what has expired is taken out whenever Postfix runs, or else the map is."""
    wants = ask("systemctl", "show", "--property=Wants", "postfix.service") or ""
    if TIMER not in wants or EXPIRE not in wants:
        yield wrong(
            "units",
            f"Postfix is started without {TIMER}: a grant may outlive its time",
            f"mkdir -p {_WANTING} && printf '[Unit]\\nWants={EXPIRE} {TIMER}\\n' "
            f">{_WANTING}/poprelay.conf && systemctl daemon-reload && systemctl start {TIMER}",
        )
    guard = ask("systemctl", "show", "--property=ExecStopPost", EXPIRE) or ""
    if "SERVICE_RESULT" not in guard:
        yield wrong(
            "units",
            f"where {EXPIRE} fails, a grant outlives its time: nothing takes the map away",
            f"mkdir -p {_DROP_IN} && cp /usr/share/doc/poprelayd/poprelayd-postfix.conf {_DROP_IN} "
            "&& systemctl daemon-reload",
        )
