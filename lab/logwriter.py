"""The writer of lab.torture: a mail log at full speed, with a numbered login now and then.

    logwriter.py LOG TRUTH EVERY SPLIT

Every EVERY-th line is a login, from the address whose number it has; TRUTH gets number and time of
each, when the writer ends. With SPLIT 1 some lines are written in two parts, as a buffer that is
full does it. SIGHUP makes it open LOG anew before the next line, SIGTERM ends it. It stands alone.
"""

import os
import signal
import sys
import time

asked: set[int] = set()


def ask(number: int, _frame: object) -> None:
    """Remember a signal until the line is whole."""
    asked.add(number)


def stamp(at_us: int) -> str:
    """Return a time as rsyslog writes it."""
    at = time.gmtime(at_us // 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', at)}.{at_us % 1_000_000:06d}+00:00"


def address(number: int) -> str:
    """Return the address of a number, in 10.0.0.0/8."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def line(number: int, at_us: int) -> bytes:
    """Return a line of Dovecot's."""
    told = (
        f"pop3-login: Login: user=<u{number}>, method=PLAIN, rip={address(number)}, "
        f"lip=192.0.2.1, mpid=42, session=<{number:016d}>"
    )
    return f"{stamp(at_us)} mail dovecot: {told}\n".encode()


def gap(at_us: int) -> bytes:
    """Return a line of sendmail's."""
    told = "6AMLfJHo002220: from=<a@example.org>, size=15, class=0, nrcpts=1, proto=ESMTP"
    return f"{stamp(at_us)} mail sm-mta[2220]: {told}, relay=[192.0.2.10]\n".encode()


def opened(path: str) -> int:
    """Open the log as a syslogd does."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)


def main(path: str, truth: str, every: int, split: bool) -> None:
    """Write until SIGTERM."""
    signal.signal(signal.SIGHUP, ask)
    signal.signal(signal.SIGTERM, ask)
    log, number, count, written = opened(path), 0, 0, []
    print("ready", flush=True)
    while signal.SIGTERM not in asked:
        if signal.SIGHUP in asked:
            asked.discard(signal.SIGHUP)
            os.close(log)
            log = opened(path)
        at_us = time.time_ns() // 1000
        count += 1
        if count % every:
            os.write(log, gap(at_us))
            continue
        text = line(number, at_us)
        cut = count % len(text) if split and number % 7 == 0 else 0
        if cut:
            os.write(log, text[:cut])
        os.write(log, text[cut:])
        written.append(f"{number} {at_us} {count}\n")
        number += 1
    with open(truth, "w") as file:
        file.writelines(written)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "1")
