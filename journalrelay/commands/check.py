"""``check``: may an address relay? Asked as sendmail's rules ask, map by map."""

import os
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from journalrelay import clock
from journalrelay.commands import NO
from journalrelay.commands.address import typed_address
from journalrelay.commands.live import in_words
from journalrelay.errors import NoInputError, printable
from journalrelay.grant import Address, client_keys, parse_key, spell
from journalrelay.mailer import ruleset, sendmailcf
from journalrelay.mailer.sendmailcf import Keyed
from journalrelay.mailer.tables import Found, find
from journalrelay.map.popmap import cut_short
from journalrelay.options import Options, Parser, add_map
from journalrelay.site import Site

HELP = "say whether an address may relay"
EXAMPLE = "check 192.0.2.7"
_NAMES = "names are not asked"


class Step(NamedTuple):
    """What a part of the rules says, nothing when it was not asked, and why; for how long, and
    what it was asked."""

    part: str
    says: ruleset.Answer | None
    why: str
    span: str = ""
    asked: str = ""

    def line(self) -> str:
        """Return it as it is printed."""
        says = f"{self.says}: " if self.says else ""
        return printable(f"  {self.part:8} {says}{self.why}{self.asked}")


def options(parser: Parser) -> None:
    """Add its options."""
    parser.add_argument("address", metavar="ADDRESS", help="a client's, IPv4 or IPv6")
    parser.add_argument("--to", metavar="RECIPIENT", help="to whom; anybody if it is left out")
    add_map(parser)


def act(site: Site, options: Options) -> int:
    """Say whether sendmail lets an address relay, and which part of its rules: 0 yes, 1 no."""
    address = typed_address(options.address)
    steps = [*_sendmail(site, address, options.to), _popip(site, address)]
    decided = _decided(steps)
    yes = decided.says == "yes"
    may = f"may relay{decided.span}" if yes else "may not relay"
    print(printable(f"{address}: {may}: {decided.why}"))
    for step in steps:
        print(step.line())
    return os.EX_OK if yes else NO


def _decided(steps: Sequence[Step]) -> Step:
    """Return the step that decides: one that rejects, or the first yes, or else popip's no."""
    for word in ("rejects", "yes"):
        for step in steps:
            if step.says == word:
                return step
    return steps[-1]


def _sendmail(site: Site, address: Address, recipient: str | None) -> Iterator[Step]:
    """Yield what sendmail's rules ask before popip, in their order; where they do not ask popip
    at all, only that."""
    cf = sendmailcf.CF
    if site.config.rules.spelling == "postfix":
        yield Step("postfix", None, "its restrictions are not read: the map alone is asked")
        return
    try:
        text = cf.read_text("utf-8", "replace")
    except OSError as error:
        yield Step("sendmail", None, f"{cf}: {error.strerror}: the map alone is asked")
        return
    maps = sendmailcf.maps(text)
    if "popip" not in maps:
        yield Step("sendmail", None, f"{cf} has no FEATURE(`poprelay'): the map alone is asked")
        return
    yield _class_r(address, text)
    if "access" in maps:
        yield _access(address, maps["access"])
    if "localip" in maps:
        yield _localip(address, maps["localip"])
    if "relay" in maps:
        yield _relay(recipient, maps["relay"])
    asked = maps["popip"].database
    if os.path.realpath(asked) != os.path.realpath(site.map_path):
        yield Step("popip", None, f"sendmail asks {asked}, another map than this (see: doctor)")


def _class_r(address: Address, text: str) -> Step:
    if ruleset.is_itself(address):
        return Step("itself", "yes", "it is this host itself")
    member = ruleset.in_class(address, sendmailcf.relayable(text))
    if member is None:
        return Step("class R", "no", f"its address is not in it ({_NAMES})")
    return Step("class R", "yes", f"{member} is in class R")


def _access(address: Address, table: Keyed) -> Step:
    found = find(table, ruleset.access_keys(address))
    if found.fault:
        return Step("access", None, found.fault)
    if not found.key:
        return Step("access", "no", f"its address is not in {table.database} ({_NAMES})")
    return Step("access", ruleset.access_says(found.value), _has(table, found))


def _localip(address: Address, table: Keyed) -> Step:
    found = find(table, ruleset.localip_keys(address))
    return _judged("localip", table, found, f"its address is not in {table.database}")


def _relay(recipient: str | None, table: Keyed) -> Step:
    if recipient is None:
        return Step("relay", None, "it is about recipients: name one with --to")
    found = find(table, ruleset.relay_keys(recipient))
    return _judged("relay", table, found, f"the recipient's domain is not in {table.database}")


def _judged(part: str, table: Keyed, found: Found, missing: str) -> Step:
    if found.fault:
        return Step(part, None, found.fault)
    if not found.key:
        return Step(part, "no", missing)
    return Step(part, "yes" if ruleset.permits(found.value) else "no", _has(table, found))


def _has(table: Keyed, found: Found) -> str:
    return f"{table.database} has {found.key}: {found.value!r}"


def _popip(site: Site, address: Address) -> Step:
    now_s = clock.now_us() // 1_000_000
    popmap, keys = site.popmap_for_good(), client_keys(address)
    try:
        found = popmap.look_up(keys)
        if popmap.cut_short():
            print(f"journalrelay: {cut_short(popmap.path)}", file=sys.stderr)
    except NoInputError as error:
        return Step("popip", "no", str(error))
    if not found:
        asked = f" as {' nor '.join(key.decode() for key in keys)}"
        return Step("popip", "no", f"it is not in {site.map_path}", asked=asked)
    key, expiry = max(found.items(), key=lambda item: item[1])
    if expiry <= now_s:
        return Step("popip", "no", f"its grant ended {in_words(now_s - expiry)} ago")
    granted = f"{spell(parse_key(key))} is granted"
    return Step("popip", "yes", granted, f" for {in_words(expiry - now_s)}")
