"""``import``: take over from the Perl poprelayd or pop-before-smtp."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from journalrelay import clock
from journalrelay.commands.byhand import ledger_of, need_root
from journalrelay.commands.live import in_words
from journalrelay.errors import ConfigError, DataError, UsageError, printable, translate
from journalrelay.grant import Network, map_key, spell
from journalrelay.map.changes import Changes
from journalrelay.migration import dropin, oldmap, perl
from journalrelay.migration.heirs import WANTED, Heirs, heirs
from journalrelay.options import Options, Parser, a_file, add_dry_run, add_map, site_of
from journalrelay.owner import as_owner, open_plain
from journalrelay.site import Site
from journalrelay.telling import ledger

HELP = "take over from an older daemon"
EXAMPLE = "import --dry-run popip.db"
OUTPUT = Path("/etc/mail/poprelay.conf.d/50-imported.conf")
_LARGEST = 1 << 26  # bytes; a map of a hundred thousand addresses has a tenth of it
_LARGEST_TEXT = 1 << 20
_MANY = 10_000  # entries that journald takes within 30 s (RateLimitBurst, journald.conf(5))


class Found(NamedTuple):
    """What the files hold: maps and configurations, each with its file."""

    maps: list[tuple[Path, oldmap.OldMap]]
    configurations: list[tuple[Path, Heirs]]
    required: list[str]


def options(parser: Parser) -> None:
    """Add its options."""
    parser.add_argument(
        "files", metavar="FILE", nargs="+", type=a_file, help="its configuration, script or map"
    )
    parser.add_argument(
        "--output", metavar="FILE", type=a_file, default=OUTPUT, help="the drop-in that is written"
    )
    for add in (add_dry_run, add_map):
        add(parser)


def act(_site: Site, options: Options) -> int:
    """Say what old files become, and make it so."""
    if not options.dry_run:
        need_root("import")
    if options.output.suffix != ".conf":
        raise UsageError("--output: a drop-in is read when its name ends with .conf")
    found = _read(options.files)
    settings = _settings(found)
    site = site_of(options, [(name, value, options.output) for name, value in settings.items()])
    now_s = clock.now_us() // 1_000_000
    grants = [oldmap.granted(old, site.config.rules, now_s) for _, old in found.maps]
    expiries = dict(oldmap.merged(grants))
    _tell(found, grants)
    content = dropin.text(settings) if settings else ""
    new = bool(content) and not dropin.is_there(options.output, content)
    _tell_plan(options, content if new else "", expiries, now_s)
    if not options.dry_run:
        if new:
            _write(options.output, content)
        _grant(site, expiries, now_s)
        print("done.")
    _tell_rest(found, site)
    return os.EX_OK


# Reading


def _read(files: Sequence[Path]) -> Found:
    """Return what the files hold; ConfigError with all that is not understood."""
    found = Found([], [], [])
    faults: list[str] = []
    for path in files:
        content, changed_s = _content(path)
        try:
            old = oldmap.read(content, changed_s)
        except ValueError as error:
            raise DataError(
                f"{path}: {error} (nothing was done; import a dump of what is left of it)"
            ) from None
        if old:
            found.maps.append((path, old))
        else:
            _read_configuration(path, content, found, faults)
    if faults:
        raise ConfigError("\n".join(faults))
    return found


def _read_configuration(path: Path, content: bytes, found: Found, faults: list[str]) -> None:
    if b"\0" in content or not content.strip() or len(content) > _LARGEST_TEXT:
        raise DataError(
            f"{path}: it is neither a map nor a Perl configuration (name popip.db, its dump, or "
            "the file with the settings)"
        )
    script = perl.read(content.decode("utf-8", "replace"), WANTED)
    became = heirs(script)
    wrong = sorted([(fault.line, fault.text) for fault in script.faults] + became.faults)
    faults += [
        f"{path}:{line}: {printable(text)}" + ("" if "(" in text else _MEND) for line, text in wrong
    ]
    if not wrong and not script.assignments and "scanaddr" not in script.subs:
        raise DataError(
            f"{path}: it holds no setting of poprelayd or pop-before-smtp (name the file that "
            "sets $logfile, $dbfile, $pat or the like)"
        )
    known = {str(path), *(str(one) for one, _ in found.configurations)}
    found.required.extend(name for name, _ in script.required if name not in known)
    found.configurations.append((path, became))


_MEND = " (take it out of a copy, or write it as a plain assignment there, and import the copy)"


def _content(path: Path) -> tuple[bytes, int]:
    """Return a file's content and its last change, in s since the epoch."""
    try:
        with as_owner(path.parent), open(open_plain(path, os.O_RDONLY), "rb") as file:
            content = file.read(_LARGEST + 1)
            changed_s = int(os.fstat(file.fileno()).st_mtime)
    except OSError as error:
        mend = "name a file that the owner of its directory can read, or a copy of it"
        raise translate(error, str(path), mend) from error
    if len(content) > _LARGEST:
        raise DataError(f"{path}: it is larger than {_LARGEST >> 20} MiB (no map of addresses is)")
    return content, changed_s


def _settings(found: Found) -> dict[str, Any]:
    """Return the settings of all files together; a later file's replaces an earlier one's."""
    settings: dict[str, Any] = {}
    for _, became in found.configurations:
        settings |= became.settings
    return settings


# Saying


def _tell(found: Found, grants: Sequence[oldmap.Granted]) -> None:
    for path, _ in found.configurations:
        print(f"{printable(str(path))}: read as Perl, not run")
    for (path, old), granted in zip(found.maps, grants, strict=True):
        print(
            f"{printable(str(path))}: {old.name}, {len(old.pairs)} keys: "
            f"{len(granted.expiries)} taken over, {granted.over} over, "
            f"{len(granted.refused)} refused"
        )
        for text in granted.refused:
            print(f"    {printable(text)}")
        if granted.undated:
            print(f"    {granted.undated} without a time: a window from the file's last change")
        if granted.bounded:
            print(f"    {granted.bounded} cut down to relay.max_grant")


def _tell_plan(options: Options, content: str, expiries: dict[Network, int], now_s: int) -> None:
    would = "would be " if options.dry_run else ""
    if content:
        print(f"{would}written, {printable(str(options.output))}:")
        print("".join(f"    {line}\n" if line else "\n" for line in content.splitlines()), end="")
    if expiries:
        print(f"{would}granted, by hand:")
    for network, expiry_s in sorted(expiries.items(), key=lambda item: item[1]):
        print(f"    {spell(network)} for {in_words(expiry_s - now_s)}")
    if not content and not expiries:
        print("there is nothing to do.")


def _tell_rest(found: Found, site: Site) -> None:
    """Say what has no heir, and what only the operator can do."""
    gone = [text for _, became in found.configurations for text in became.gone]
    notes = [text for _, became in found.configurations for text in became.notes]
    notes += [f"{name} is read by it too: import it as well" for name in found.required]
    for title, texts in (("without an heir:", gone), ("to be known:", notes)):
        if texts:
            print(title)
        for text in dict.fromkeys(texts):
            print(f"    {printable(text)}")
    print("still to do, by hand (poprelayd(8), From the ancestor):")
    for text in (
        "end the old daemon and its line in cron or rc (journalrelay doctor finds them)",
        "take the old rules out of sendmail.mc, put FEATURE(`poprelay')dnl in, and make it",
        "systemctl enable --now poprelayd; systemctl restart sendmail",
        f"where others read the old map: ln -s {site.map_path} in its place",
    ):
        print(f"    {text}")


# Doing


def _write(path: Path, content: str) -> None:
    try:
        dropin.write(path, content)
    except OSError as error:
        mend = "its directory must be there, and no symbolic link"
        raise translate(error, str(path), mend) from error


def _grant(site: Site, expiries: dict[Network, int], now_s: int) -> None:
    """Make the grants as ``grant`` does: entries in the journal, then changes of the map."""
    if not expiries:
        return
    journal = ledger_of(site)
    if journal and len(expiries) > _MANY:
        print(
            f"journalrelay: more than {_MANY} at once: journald may drop some, which then hold "
            "until the map is made anew",
            file=sys.stderr,
        )
    changes = Changes()
    for network, expiry_s in expiries.items():
        if journal:
            ledger.log_grant(journal, network, expiry_s, site.map_path)
        changes.grant(map_key(network), expiry_s)
    popmap = site.popmap_for_good()
    popmap.create()
    popmap.commit(changes, now_s)
