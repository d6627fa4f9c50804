"""The page: what was counted, as one HTML file that needs nothing else and runs nothing.

Everything in it that came from a log goes through :func:`markup.text`; and were something
forgotten, the page forbids itself scripts, and whatever is elsewhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from journalrelay.reporting import style
from journalrelay.reporting.attacks import attacks, count_attacks
from journalrelay.reporting.chart import Plot, drawn, strip
from journalrelay.reporting.gaps import KINDS, LOST, Gap
from journalrelay.reporting.markup import about, bar, isolated, number, share, table, text
from journalrelay.reporting.reasons import meaning
from journalrelay.reporting.tally import BY_HAND, OPENED, REVOKED, RUN_OUT, Tally
from journalrelay.telling.message import Shown
from journalrelay.timespan import format_span, format_time

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_MAP = (OPENED, RUN_OUT, BY_HAND, REVOKED)
_TOP_USERS = 20
_MANY = 10**9
_BUCKETS = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 8), (9, 16), (17, 32), (33, 64), (65, _MANY))
_PARTS = {
    "logins": "Logins",
    "refusals": "Refusals",
    "map": "Grants and their end",
    "users": "Addresses per user",
    "attacks": "Attacks",
    "gaps": "Gaps and faults",
}


@dataclass(frozen=True)
class About:
    """What the page is about, and how it came to be. ``source`` says what was read and why,
    ``vouched`` whether that tells who logged a line; ``begins_us`` when it begins, if later than
    asked for; ``remarks`` are what an operator should know of it."""

    host: str
    version: str
    source: str
    zone: str
    made_us: int
    vouched: bool
    shown: Shown
    begins_us: int | None
    remarks: tuple[str, ...]


def page(tally: Tally, told: About) -> str:
    """Return the page."""
    tally.floods.close()
    gaps = tally.gaps.all(tally.span.until_us)
    title = f"Mail relay of {told.host}"
    empty = not (tally.logins or tally.map.total() or tally.forged.total() or gaps)
    body = _nothing() if empty else "\n".join(_parts(tally, told, gaps))
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{text(title)}, {_range(tally)}</title>",
            f"<style>{style.sheet()}</style></head><body>",
            f"<header><h1>{text(title)}</h1><p>{_range(tally)} ({text(told.zone)})</p>",
            "" if empty else _contents(),
            f"</header>\n<main>{body}</main>",
            f"<footer>{_how(told)}</footer></body></html>\n",
        ]
    )


def _range(tally: Tally) -> str:
    begin, end = (format_time(us)[:-3] for us in (tally.span.from_us, tally.span.until_us))
    return f"{begin} to {end}"


def _contents() -> str:
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title in _PARTS.items())
    return f'<nav aria-label="Parts of this page">{links}</nav>'


def _nothing() -> str:
    return (
        '<p class="card well">Nothing was logged in this time: no login at a server that is read, '
        "and nothing by the daemon. <code>journalrelay doctor</code> tells whether that is as it "
        "should be.</p>"
    )


def _how(told: About) -> str:
    left_out = [
        what
        for what, is_shown in (("users", told.shown.users), ("addresses", told.shown.addresses))
        if not is_shown
    ]
    hidden = f" By configuration (log) {' and '.join(left_out)} are left out." if left_out else ""
    remarks = "".join(f"<p>{text(remark)}.</p>" for remark in told.remarks)
    return (
        f"{remarks}<p>Made {format_time(told.made_us)} by journalrelay {text(told.version)} from "
        f"{text(told.source)}. Logins and refusals are counted anew from the servers' own "
        "entries, by today’s configuration, as <code>journalrelay replay --dry-run</code> does. "
        "What became of the map, and when the daemon did not run, is what the daemon itself has "
        f"logged.{hidden}</p>"
    )


def _parts(tally: Tally, told: About, gaps: list[Gap]) -> Iterator[str]:
    yield _tiles(tally, gaps)
    if told.begins_us:
        yield (
            f'<p class="card well">The journal begins at {format_time(told.begins_us)}: what was '
            "logged before is no longer there.</p>"
        )
    makers = (_logins(tally), _refusals(tally), _map(tally), _users(tally, told))
    bodies = [*makers, attacks(tally, told.shown, told.vouched), _gaps(tally, gaps)]
    for (name, title), body in zip(_PARTS.items(), bodies, strict=True):
        yield f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>{body}</section>'


def _tiles(tally: Tally, gaps: list[Gap]) -> str:
    logins, refused = tally.logins, tally.outcomes.total("refused")
    granted = tally.outcomes.total("granted")
    users, addresses = tally.users, tally.addresses
    found = count_attacks(tally)
    tiles = [
        (number(logins), "logins", False),
        (number(granted), f"granted ({share(granted, logins)})", False),
        (number(refused), f"refused ({share(refused, logins)})", False),
        (about(users.keys, users.one_in), "users", False),
        (about(addresses.keys, addresses.one_in), "addresses", False),
        (number(found), "signs of attack", found > 0),
        (number(len(gaps) + tally.gaps.unlisted), "gaps", bool(gaps)),
    ]
    rows = "".join(
        f"<li{' class=warn' if warn else ''}><b>{value}</b><span>{what}</span></li>"
        for value, what, warn in tiles
    )
    return f'<ul class="tiles" aria-label="In short">{rows}</ul>'


def _logins(tally: Tally) -> str:
    names = ("granted", "refused")
    none = [0] * tally.span.bins
    outcomes = {name: tally.outcomes.counts.get(name, none) for name in names}
    plots = (
        Plot("outcomes", "What came of the logins", "logins", outcomes),
        Plot("servers", "By server", "logins", tally.servers.sorted()),
    )
    if not tally.logins:
        return _none("No login was found.")
    return "".join(drawn(plot, tally.span) for plot in plots)


def _refusals(tally: Tally) -> str:
    total = tally.reasons.total()
    if not total:
        return _none("No login was refused.")
    note = (
        "Whoever was refused here had logged in at the server: wrong passwords are no logins, and "
        "are not counted."
    )
    counts = tally.reasons.sorted()
    plot = Plot("reasons", "Why logins were refused", "refused", counts, first=2, note=note)
    rows = [
        [
            text(reason),
            text(daemon),
            number(count),
            share(count, total),
            bar(count, total, 2),
            meaning(reason),
        ]
        for (daemon, reason), count in tally.matrix.most_common()
    ]
    heads = ["reason", "server", "#refused", "#share", "", "what it means"]
    listed = table("Refused, by reason and server", heads, rows, listed=True)
    return f'{drawn(plot, tally.span)}<div class="card">{listed}</div>'


def _map(tally: Tally) -> str:
    if not tally.map.total():
        return _none("The daemon has told of no grant and no expiry in this time.")
    note = (
        "As the daemon has logged it. That a grant goes on by a further login is not logged, and "
        "what is read on at a start is one line, not in here. “Run out” is when the timer tidied "
        "up: sendmail refuses from the second on at which the time is over."
    )
    counts = {name: tally.map.counts[name] for name in _MAP if name in tally.map.counts}
    title = "Addresses that came and went"
    plot = Plot("changes", title, "addresses", counts, below=(RUN_OUT, REVOKED), note=note)
    return drawn(plot, tally.span)


def _users(tally: Tally, told: About) -> str:
    counts = tally.users.counts()
    if not counts:
        return _none("No login named its user.")
    most = max(counts.values())
    one_in, rows = tally.users.one_in, []
    for low, high in _BUCKETS:
        users = sum(low <= count <= high for count in counts.values())
        if low <= most:
            name = str(low) if low == high else f"{low} to {high}"
            name = name if high < _MANY else f"{low} and more"
            part = bar(users, len(counts))
            rows.append([name, about(users * one_in, one_in), share(users, len(counts)), part])
    heads = ["addresses", "#users", "#share", ""]
    body = f'<div class="card">{table("How many addresses a user had", heads, rows)}'
    if one_in > 1:
        body += f'<p class="note">Of a sample: one user in {one_in}.</p>'
    return f"{body}</div>{_top_users(tally, told)}"


def _top_users(tally: Tally, told: About) -> str:
    if not told.shown.users:
        return ""
    top = tally.spread.rows()[:_TOP_USERS]
    rows = [
        [isolated(user.decode("utf-8", "backslashreplace")), number(count), bar(count, top[0][1])]
        for user, count in top
        if count > 1
    ]
    if not rows:
        return ""
    heads = ["user", "#addresses", ""]
    return f'<div class="card">{table("Users with the most addresses", heads, rows)}</div>'


def _gaps(tally: Tally, gaps: list[Gap]) -> str:
    return _listed_gaps(tally, gaps) + _faults(tally)


def _listed_gaps(tally: Tally, gaps: list[Gap]) -> str:
    if not gaps:
        return _none("No gap: nothing was suppressed, and no daemon was missing.")
    rows: dict[str, list[tuple[int, int, str]]] = {}
    for kind in KINDS:
        found = [(g.from_us, g.until_us, _gap(g)) for g in gaps if g.kind == kind]
        if found:
            rows[kind] = found
    cells = [
        [format_time(gap.from_us), text(gap.kind), _length(gap), text(_what(gap))] for gap in gaps
    ]
    heads = ["@from", "what", "#how long", "what is known"]
    listed = table("Gaps", heads, cells, listed=True)
    rest = f"<p>{number(tally.gaps.unlisted)} more.</p>" if tally.gaps.unlisted else ""
    return (
        f'<figure class="plot"><figcaption><h3>When something was missing</h3></figcaption>'
        f"{strip(rows, tally.span)}{listed}{rest}</figure>"
    )


def _gap(gap: Gap) -> str:
    return f"{gap.kind}, {format_time(gap.from_us)}: {_what(gap)}"


def _length(gap: Gap) -> str:
    """Return how long a gap was, nothing for what is told of a moment."""
    length_us = gap.until_us - gap.from_us
    return format_span(length_us) if length_us else ""


def _what(gap: Gap) -> str:
    return f"{gap.lines:,} lines of {gap.about}" if gap.kind == LOST else gap.what


def _faults(tally: Tally) -> str:
    if not tally.faults:
        return ""
    rows = [[format_time(time_us), text(what)] for time_us, what in reversed(tally.faults)]
    title = f"Faults that the daemon told: {number(tally.fault_count)}"
    if tally.fault_count > len(rows):
        title += f", the last {len(rows)}"
    return f'<div class="card">{table(title, ["@when", "what"], rows, listed=True)}</div>'


def _none(what: str) -> str:
    return f'<p class="card well">{what}</p>'
