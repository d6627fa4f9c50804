"""``grant``, ``revoke`` and ``expire``: changes of the map that no login made.

A grant or revocation is first an entry in the journal, which the daemon and every rebuild honour,
and then a change of the map, so that it holds at once and without a daemon.
"""

import os
import sys
from collections.abc import Sequence

from journalrelay import clock, ledger
from journalrelay.changes import Changes
from journalrelay.commands import NO
from journalrelay.commands.address import revoked_network, typed_network
from journalrelay.errors import NoInputError, PermissionRelayError, UnavailableError, UsageError
from journalrelay.grant import Network, map_key, spell
from journalrelay.ledger import Journal
from journalrelay.log import in_journal
from journalrelay.policy import never_granted
from journalrelay.popmap import cut_short
from journalrelay.relay import withdraw
from journalrelay.site import Site
from journalrelay.teller import tell_expired
from journalrelay.timespan import format_span


def grant(site: Site, texts: Sequence[str], span_us: int | None) -> int:
    """Let addresses relay for ``span_us``, or for the window when None."""
    _need_root("grant")
    rules = site.config.rules
    span_us = min(rules.window_us, rules.max_grant_us) if span_us is None else span_us
    if span_us < 1_000_000:
        raise UsageError("--for: a grant lasts a second at least")
    if span_us > rules.max_grant_us:
        raise UsageError(f"--for: longer than relay.max_grant, {format_span(rules.max_grant_us)}")
    networks = [typed_network(text, rules.ipv6_prefix) for text in texts]
    for network in networks:
        reason = never_granted(network.network_address, rules.ipv6_prefix, rules.never)
        if reason:
            print(f"journalrelay: {spell(network)} is not granted: {reason}", file=sys.stderr)
            return NO
    now_us = clock.now_us()
    expiry_s = (now_us + span_us) // 1_000_000
    journal = _ledger_of(site)
    changes = Changes()
    for network in networks:
        if journal:
            ledger.log_grant(journal, network, expiry_s, site.map_path)
        changes.grant(map_key(network), expiry_s)
    popmap = site.popmap()
    popmap.create()
    popmap.commit(changes, now_us // 1_000_000)
    for network in networks:
        print(f"{spell(network)} may relay for {format_span(span_us)}")
    return os.EX_OK


def revoke(site: Site, texts: Sequence[str], *, everything: bool) -> int:
    """Withdraw what addresses, or all, were granted; later logins grant again."""
    _need_root("revoke")
    prefix = site.config.rules.ipv6_prefix
    networks: list[Network | None] = [revoked_network(text, prefix) for text in texts]
    if everything:
        networks = [None]
    changes = Changes()
    for network in networks:
        withdraw(network, changes)
    try:
        journal = _ledger_of(site)
        for network in networks:
            if journal:
                ledger.log_revocation(journal, network, site.map_path)
    except UnavailableError as error:
        closed = _withdraw(site, changes)
        raise UnavailableError(
            f"{error}; {closed} taken out of the map, but not for good: revoke again"
        ) from error
    closed = _withdraw(site, changes)
    what = ", ".join(spell(network) if network else "all grants" for network in networks)
    print(f"{what} revoked ({closed} in the map)")
    return os.EX_OK


def expire(site: Site, *, dry_run: bool) -> int:
    """Remove what has expired; say how much that was."""
    now_s = clock.now_us() // 1_000_000
    popmap = site.popmap()
    if dry_run:
        count = sum(expiry <= now_s for expiry in popmap.read().values())
        print(f"{count} expired, would be removed")
    else:
        expired = popmap.expire(now_s)
        if expired and in_journal():
            tell_expired(site.log(), expired, site.config.shown)
        elif expired:
            print(f"{len(expired)} expired, removed")
    if popmap.cut_short():
        print(f"journalrelay: {cut_short(popmap.path)}", file=sys.stderr)
    return os.EX_OK


def _withdraw(site: Site, changes: Changes) -> int:
    try:
        return len(site.popmap().commit(changes, clock.now_us() // 1_000_000).closed)
    except NoInputError:  # no map: nothing is granted
        return 0


def _need_root(verb: str) -> None:
    if os.getuid() != 0:
        raise PermissionRelayError(
            f"{verb} needs root: the journal proves who did it (try: sudo journalrelay {verb})"
        )


def _ledger_of(site: Site) -> Journal | None:
    """Return the journal to write to; None, and a warning, on a host that has none."""
    journal = site.journal()
    if journal.exists():
        return journal
    if site.config.namespace:
        raise UnavailableError(f"there is no journal namespace {site.config.namespace!r} here")
    print(
        "journalrelay: this host has no journal: what is done by hand holds until the map is "
        "made anew",
        file=sys.stderr,
    )
    return None
