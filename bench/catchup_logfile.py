"""How fast a whole mail log is read, beside grep and a Perl one-liner, in the same run.

    python3 -m bench.catchup_logfile [MEGABYTES [LOGINS_PER_THOUSAND [DIRECTORY]]]

The log is made first, with real wordings of sendmail and Dovecot 2.4. Each is run three times, the
best counts. `grep -c` looks for Dovecot's logins; the Perl loop has the regular expression by which
the poprelayd of 1998 found a login of Qpopper. What is measured is `journalrelay replay --all
--dry-run`: start, reading, recognising, deciding; and the same with the map being written.
"""

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
_START = datetime(2026, 11, 20, tzinfo=UTC)
_GREP = ("grep", "-c", "-E", "dovecot: (pop3|imap)-login: Logged in: user=")
_PERL = r'$n++ if /POP login by user "([^"]*)" at \(.*\) ([0-9.]+)/; END { print $n // 0, "\n" }'
_SENDMAIL = (
    "sm-mta[{n}]: 6AMLfJHo{n:06d}: from=<a@example.org>, size=15, class=0, nrcpts=1, "
    "msgid=<202611222141.6AMLfJHo002220@mail>, proto=ESMTP, daemon=MTA-v4, "
    "relay=client.example.org [192.0.2.10]"
)
_LOGIN = (
    "dovecot: pop3-login: Logged in: user=<user{n}>, method=PLAIN, rip={address}, lip=192.0.2.1, "
    "mpid=722, TLS, session=<43fcEuRg/43AAAIK>"
)
_LOGOUT = (
    "dovecot: pop3(user{n})<722><43fcEuRg/43AAAIK>: Disconnected: Logged out top=0/0, retr=0/0, "
    "del=0/0, size=0"
)


def lines(per_thousand: int) -> Iterator[str]:
    """Yield lines of a busy mail host without end; each login has its logout."""
    at, chance, number = _START, random.Random(1), 0
    while True:
        at += timedelta(microseconds=chance.randrange(20_000))
        number += 1
        drawn = chance.randrange(1000)
        kind = _LOGIN if drawn < per_thousand else _SENDMAIL
        kind = _LOGOUT if per_thousand <= drawn < 2 * per_thousand else kind
        address = f"198.18.{number >> 8 & 255}.{number & 255}"
        text = kind.format(n=number % 30_000, address=address)
        yield f"{at.isoformat(timespec='microseconds')} mail {text}\n"


def make(path: Path, size: int, per_thousand: int) -> int:
    """Write a log of at least ``size`` bytes; return how many lines it has."""
    written = count = 0
    with path.open("w") as file:
        for line in lines(per_thousand):
            written, count = written + file.write(line), count + 1
            if written >= size:
                return count
    return count


def best(command: Sequence[str]) -> tuple[float, str]:
    """Return the shortest of three times in seconds, and what was printed."""
    times, told = [], ""
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, cwd=TOP, check=False)
        times.append(time.perf_counter() - began)
        told = (done.stdout or done.stderr).strip()
    return min(times), told


def main(arguments: Sequence[str]) -> None:
    """Make the log, measure, print."""
    megabytes, per_thousand = [int(word) for word in (*arguments[:2], *("1000", "50"))][:2]
    if len(arguments) == 1:
        per_thousand = 50
    where = arguments[2] if len(arguments) > 2 else "/var/tmp"
    with tempfile.TemporaryDirectory(dir=where) as name:
        place = Path(name)
        log = place / "mail.log"
        count = make(log, megabytes * 1_000_000, per_thousand)
        (place / "conf").write_text('[source]\nhosts = ["mail"]\n[relay]\nwindow = "100y"\n')
        relay = [sys.executable, "-m", "journalrelay", "-c", f"{place}/conf", "replay", "--all"]
        relay += ["--logfile", str(log), "--state", name, "--map", f"{place}/popip.db"]
        print(f"{megabytes} MB, {count} lines, {per_thousand} logins in 1000 lines")
        log.read_bytes()  # all find it in memory
        grep, found = best([*_GREP, str(log)])
        print(f"grep -c                  {grep:7.2f} s   1.00   {found} logins")
        for title, command in (
            ("perl, the ancestor's", ["perl", "-ne", _PERL, str(log)]),
            ("replay --dry-run", [*relay, "--dry-run"]),
            ("replay", relay),
        ):
            seconds, told = best(command)
            print(f"{title:24} {seconds:7.2f} s {seconds / grep:6.2f}   {told[-70:]}")


if __name__ == "__main__":
    main(sys.argv[1:])
