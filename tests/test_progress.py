"""On a terminal a long replay shows how far it is; elsewhere it shows nothing."""

import os
import pty
import re
import subprocess
from pathlib import Path

from lab.journald import login_line
from lab.journalfile import entry, make_journal
from lab.poprelayd import COMMAND, TOP
from tests.support import address

COUNT = 40_000
BASE_US = 1_700_000_000_000_000


def test_a_terminal_shows_entries_and_rate_and_is_left_clean(place: Path) -> None:
    entries = (entry(login_line(address(n)), BASE_US + n) for n in range(COUNT))
    file = make_journal(entries, place / "x.journal")
    files = ["--file", str(file), "--map", str(place / "popip.db"), "--state", str(place)]
    screen, terminal = pty.openpty()
    command = [*COMMAND, "replay", "--all", *files]
    running = subprocess.Popen(command, cwd=TOP, stderr=terminal, stdout=subprocess.PIPE)
    os.close(terminal)
    shown = b""
    while True:
        try:
            shown += os.read(screen, 4096)
        except OSError:  # EIO: the other end is closed
            break
    os.close(screen)
    output = running.communicate()[0]
    assert running.returncode == 0
    assert output == b"%d entries read, %d logins: %d expired\n" % ((COUNT,) * 3)
    assert re.search(rb"\r\[#+\.*\] [0-9]+ entries, [0-9,]+/s", shown)
    assert shown.endswith(b"\r\x1b[K")
