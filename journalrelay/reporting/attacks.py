"""What looks like an attack: floods of refused logins, addresses that are refused again and again,
users from many addresses, lines of strangers that read as logins."""

from collections.abc import Iterator

from journalrelay.reporting.bounded import Row
from journalrelay.reporting.chart import Plot, drawn, strip
from journalrelay.reporting.floods import LEAST, Flood
from journalrelay.reporting.markup import isolated, number, table, text
from journalrelay.reporting.reasons import OWN
from journalrelay.reporting.tally import Tally
from journalrelay.telling.message import Shown
from journalrelay.timespan import format_span, format_time

REFUSALS = 10  # of an address
ADDRESSES = 16  # of a user
_LISTED = 20


def count_attacks(tally: Tally) -> int:
    """Return how many signs of attack there are."""
    return (
        len(tally.floods.found)
        + tally.floods.unlisted
        + len(_refused(tally))
        + len(_scattered(tally))
        + len(tally.strangers.rows())
    )


def attacks(tally: Tally, shown: Shown, vouched: bool) -> str:
    """Return this part of the page."""
    parts = [
        *_floods(tally, shown),
        *_addresses(tally, shown),
        *_users(tally, shown),
        *_strangers(tally),
    ]
    if not vouched:
        parts.append(
            '<p class="note">A log file does not tell who logged a line: forged ones cannot be '
            "seen in it.</p>"
        )
    none = (
        '<p class="card well">None seen: no flood of refused logins '
        f"({LEAST} in a minute), no address refused {REFUSALS} times, no user with "
        f"{ADDRESSES} addresses, no line of a stranger that reads as a login.</p>"
    )
    return "".join(parts if count_attacks(tally) else [none, *parts])


def _floods(tally: Tally, shown: Shown) -> Iterator[str]:
    found = tally.floods.found
    if not found:
        return
    rows = [
        [
            format_time(flood.from_us)[:-3],
            format_span(flood.until_us - flood.from_us),
            number(flood.refused),
            number(flood.worst),
            text(flood.reason),
            *(
                [f"{isolated(flood.address)} ({flood.share} of {flood.worst})"]
                if shown.addresses
                else []
            ),
        ]
        for flood in found[:_LISTED]
    ]
    heads = ["@from", "#how long", "#refused", "#worst minute", "mostly because"]
    heads += ["mostly from"] if shown.addresses else []
    listed = table("Each flood", heads, rows, listed=True)
    stretches = [(flood.from_us, flood.until_us, _flood(flood)) for flood in found]
    yield (
        '<figure class="plot"><figcaption><h3>Floods of refused logins</h3>'
        f"<p>{LEAST} or more in a minute</p></figcaption>"
        f"{strip({'floods': stretches}, tally.span)}"
        f"{listed}{_more(len(found) + tally.floods.unlisted)}</figure>"
    )


def _flood(flood: Flood) -> str:
    return f"{format_time(flood.from_us)}: {flood.refused:,} refused, {flood.reason}"


def _refused(tally: Tally) -> list[tuple[str, Row]]:
    """Return who was refused again and again, this host's own web mail and monitors left out."""
    return [
        (address, row)
        for address, row in tally.refused.rows()
        if row.count >= REFUSALS and row.main not in OWN
    ]


def _addresses(tally: Tally, shown: Shown) -> Iterator[str]:
    found = _refused(tally)
    if not found:
        return
    title = f"Addresses refused {REFUSALS} times and more"
    if not shown.addresses:
        yield f'<p class="card">{title}: {number(len(found))}.</p>'
        return
    rows = [
        [
            isolated(address),
            _counted(row),
            text(row.main),
            format_time(row.first_us)[:-3],
            format_time(row.last_us)[:-3],
        ]
        for address, row in found[:_LISTED]
    ]
    heads = ["address", "#refused", "mostly because", "@first", "@last"]
    yield f'<div class="card">{table(title, heads, rows, listed=True)}{_more(len(found))}</div>'


def _scattered(tally: Tally) -> list[tuple[bytes, int]]:
    return [(user, count) for user, count in tally.spread.rows() if count >= ADDRESSES]


def _users(tally: Tally, shown: Shown) -> Iterator[str]:
    found = _scattered(tally)
    if not found:
        return
    title = f"Users from {ADDRESSES} addresses and more"
    note = (
        '<p class="note">A telephone changes its address often. A password that was stolen shows '
        "here as well.</p>"
    )
    if not shown.users:
        yield f'<div class="card">{title}: {number(len(found))}.{note}</div>'
        return
    rows = [
        [isolated(user.decode("utf-8", "backslashreplace")), number(count)]
        for user, count in found[:_LISTED]
    ]
    listed = table(title, ["user", "#addresses"], rows)
    yield f'<div class="card">{listed}{_more(len(found))}{note}</div>'


def _strangers(tally: Tally) -> Iterator[str]:
    found = tally.strangers.rows()
    if not found:
        return
    note = (
        "Lines that read as a login and were logged by another program or user than the server. "
        "They grant nothing."
    )
    counts = tally.forged.sorted()
    plot = Plot("forged", "Lines of strangers", "lines", counts, first=2, note=note)
    rows = [
        [
            isolated(who),
            _counted(row),
            text(row.main),
            format_time(row.first_us)[:-3],
            format_time(row.last_us)[:-3],
        ]
        for who, row in found[:_LISTED]
    ]
    heads = ["logged by", "#lines", "as", "@first", "@last"]
    listed = table("Who logged them", heads, rows, listed=True)
    yield f'{drawn(plot, tally.span)}<div class="card">{listed}{_more(len(found))}</div>'


def _counted(row: Row) -> str:
    """Return how many there were; some more where the row was not kept from the beginning."""
    return number(row.count) + ("+" if row.missed else "")


def _more(count: int) -> str:
    return f"<p>{number(count - _LISTED)} more.</p>" if count > _LISTED else ""
