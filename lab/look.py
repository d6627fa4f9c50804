"""Look at a page of `journalrelay report` as a browser shows it: pictures made by Chromium.

    python3 -m lab.look [PAGE.html] [--to DIRECTORY]

Writes wide-light.png, wide-dark.png, phone-light.png, phone-dark.png, print.pdf, and top.png, which
is docs/report.png. Without PAGE it is that of the made-up week of lab/week.py, which is kept beside
them. Exit status 1 when the page says anything to the console, fetches anything, or is wider than
the window.

It needs Debian's package chromium, which `make test` does without: it is 290 MB installed.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from lab.browser import Browser
from lab.journalfile import make_journal
from lab.week import CONFIG, END_S, week

TOP = Path(__file__).resolve().parent.parent
WIDTHS = {"wide": 1200, "phone": 375}
SCHEMES = ("light", "dark")
_TOP, _TOP_HEIGHT = (1040, "light"), 650
_WIDTH = "document.documentElement.scrollWidth"


def main() -> int:
    """Take the pictures; return the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m lab.look")
    parser.add_argument("page", nargs="?", type=Path)
    parser.add_argument("--to", type=Path, default=Path("."))
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    page = options.page or sample(options.to)
    faults = look(page, options.to)
    for line in faults:
        print(f"lab.look: {page}: {line}", file=sys.stderr)
    return 1 if faults else 0


def sample(place: Path, logins: int = 20_000) -> Path:
    """Make the page of a made-up week in ``place``."""
    file, config, page = (place / name for name in ("week.journal", "week.conf", "report.html"))
    file.unlink(missing_ok=True)
    make_journal(week(END_S * 1_000_000, Path("/var/lib/poprelayd/popip.db"), logins), file)
    config.write_text(CONFIG)
    span = ["--since", f"@{END_S - 7 * 86400}", "--until", f"@{END_S}"]
    words = ["-c", str(config), "report", *span, "--file", str(file), "--output", str(page)]
    command = [sys.executable, "-m", "journalrelay", *words]
    subprocess.run(command, cwd=TOP, env={**os.environ, "TZ": "UTC"}, check=True)
    return page


def look(page: Path, to: Path) -> list[str]:
    """Take the pictures of ``page`` into ``to``; return what is wrong with it."""
    faults = []
    with Browser() as browser:
        for scheme in SCHEMES:
            for name, width in WIDTHS.items():
                browser.open(page, width, scheme)
                (to / f"{name}-{scheme}.png").write_bytes(browser.screenshot())
                wide = browser.evaluate(_WIDTH)
                if wide > width:
                    faults.append(f"{wide} px wide in a window of {width} px")
        browser.open(page, *_TOP)
        (to / "top.png").write_bytes(browser.screenshot(_TOP_HEIGHT))
        (to / "print.pdf").write_bytes(browser.printed())
        fetched = set(browser.fetched) - {page.resolve().as_uri()}
        return [*faults, *browser.said, *(f"fetches {url}" for url in fetched)]


if __name__ == "__main__":
    sys.exit(main())
