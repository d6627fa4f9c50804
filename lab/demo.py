"""The road on real parts: a POP or IMAP login opens sendmail's relay, and time closes it.

    make demo

Starts a journald, a Dovecot, a sendmail and the daemon in a room of their own, and shows what they
answer, a line a step. Exit status 1 when an answer is not the expected one.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from lab import room
from lab.dovecot import USERS, Dovecot
from lab.journald import Journald
from lab.poprelayd import NotReady, Poprelayd
from lab.sendmail import Reply, Sendmail
from lab.wait import wait_for

WINDOW_S = 5
SENDER, RECIPIENT = "anna@mail.example.test", "friend@elsewhere.example"
DENIED = "Relaying denied. Check your mail first."


class Unexpected(Exception):
    """A step did not show what it should."""

    def __init__(self, what: str, expected: object, seen: object) -> None:
        super().__init__(f"{what}\n  expected: {expected}\n  seen:     {seen}")


class Client(NamedTuple):
    """Someone who reads mail and then sends: where from, how, and under which key of the map."""

    address: str
    protocol: str
    key: str
    log_in: Callable[[], float]


class Stage:
    """The parts in play: sendmail and the daemon with its map."""

    def __init__(self, sendmail: Sendmail, daemon: Poprelayd) -> None:
        self.sendmail, self.daemon = sendmail, daemon

    def rcpt(self, client: Client) -> Reply:
        """Return sendmail's answer to a recipient elsewhere, asked from the client's address."""
        return self.sendmail.rcpt(client.address, SENDER, RECIPIENT)

    def expiry(self, client: Client) -> int | None:
        """Return the end of the client's grant as sendmail's own tool dumps it from the map; None
        when it is not there."""
        dump = ["makemap", "-u", "hash", str(self.daemon.map.with_suffix(""))]
        done = subprocess.run(dump, capture_output=True, text=True, check=False)
        found = dict(line.split("\t", 1) for line in done.stdout.splitlines())
        return int(found[client.key]) if client.key in found else None

    def written(self) -> tuple[int, int]:
        """Return the map file's inode and time of change: another pair after every commit."""
        status = self.daemon.map.stat()
        return status.st_ino, status.st_ctime_ns

    def expire(self) -> str:
        """Run `journalrelay expire`, as its timer does; return what it says."""
        done = self.daemon.run("expire")
        if done.returncode:
            raise Unexpected("journalrelay expire", "exit status 0", done.stderr.strip())
        return done.stdout.strip()


def main() -> int:
    """Play both rounds; return the exit status."""
    began = time.monotonic()
    place = room.scratch("demo-")
    daemon = Poprelayd(place, config=f'[relay]\nwindow = "{WINDOW_S}s"\n')
    try:
        with ExitStack() as parts:
            play(parts, daemon)
    except (Unexpected, NotReady, TimeoutError, room.RoomError) as error:
        print(f"demo: {error}", file=sys.stderr)
        if daemon.log.exists():
            print(f"the daemon said:\n{daemon.log.read_text()}", file=sys.stderr)
        return 1
    print(f"done in {time.monotonic() - began:.0f} s; everything started here is gone")
    return 0


def play(parts: ExitStack, daemon: Poprelayd) -> None:
    """Start the parts and show a round by POP3 and one by IMAP, TLS and IPv6."""
    parts.enter_context(Journald())
    dovecot = parts.enter_context(Dovecot())
    popip = daemon.map.with_suffix("")
    sendmail = parts.enter_context(Sendmail(room.scratch("sendmail-"), popip=popip))
    parts.enter_context(daemon)
    stage = Stage(sendmail, daemon)
    print(versions(dovecot, sendmail))
    four, six = "198.51.100.7", "2001:db8:1:2::7"
    show(stage, Client(four, "POP3", four, lambda: dovecot.pop3_login(four)))
    key = "ipv6:2001:db8:1:2:0:0:0:7"
    show(stage, Client(six, "IMAP with TLS", key, lambda: dovecot.imap_login(six, tls=True)))


def show(stage: Stage, client: Client) -> None:
    """Show one client's six steps."""
    line("refused", f"{client.address} sends: {refused(stage.rcpt(client))}")
    before = stage.written()
    logged_in = client.log_in()
    line("login", f"{client.address} reads its mail by {client.protocol} as {USERS[0]}")
    wait_for(lambda: stage.written() != before, "a commit to popip.db", step_s=0.0002)
    took = since_ms(logged_in)
    expiry = wait_for(lambda: stage.expiry(client), f"{client.key} in popip.db")
    end = time.strftime("%H:%M:%S", time.localtime(expiry))
    line("granted", f"{client.key} is in popip.db {took} after the login, until {end}")
    answer = accepted(stage.rcpt(client))
    line("accepted", f"{client.address} sends: {answer} ({since_ms(logged_in)} after the login)")
    wait_for(lambda: stage.rcpt(client).code != 250, "the window's end", WINDOW_S + 5)
    over_s = time.monotonic() - logged_in
    if stage.expiry(client) != expiry:
        raise Unexpected("the map after the window", expiry, stage.expiry(client))
    line(
        "over", f"{over_s:.1f} s after the login; popip.db still has the address: the rule decides"
    )
    line("refused", f"{client.address} sends: {refused(stage.rcpt(client))}")
    said = stage.expire()
    if stage.expiry(client) is not None:
        raise Unexpected("the map after expire", f"no {client.key}", stage.expiry(client))
    line("expired", f"{client.key} is removed by journalrelay expire{f': {said}' if said else ''}")


def line(step: str, text: str) -> None:
    """Print a step's line at once."""
    print(f"{step:<9} {text}", flush=True)


def refused(reply: Reply) -> str:
    """Return the reply that it is refused with; raise Unexpected when it is not."""
    if reply.code != 550 or DENIED not in reply.text:
        raise Unexpected("the relay is closed", f"550 … {DENIED}", f"{reply.code} {reply.text}")
    return f"{reply.code} {reply.text}"


def accepted(reply: Reply) -> str:
    """Return the reply that it is accepted with; raise Unexpected when it is not."""
    if reply.code != 250:
        raise Unexpected("the relay is open", "250 …", f"{reply.code} {reply.text}")
    return f"{reply.code} {reply.text}"


def since_ms(moment: float) -> str:
    """Return the time passed since MOMENT (monotonic, s) in words."""
    return f"{(time.monotonic() - moment) * 1000:.0f} ms"


def versions(dovecot: Dovecot, sendmail: Sendmail) -> str:
    """Say what takes part."""
    with sendmail.session("192.0.2.2") as session:
        greeting = session.greeting.text
    systemd = subprocess.run(["journalctl", "--version"], capture_output=True, text=True).stdout
    return (
        f"journald {systemd.split()[1]}, Dovecot {dovecot.version}, "
        f"sendmail {greeting.split()[3].split('/')[0].rstrip(';')}; a window of {WINDOW_S} s"
    )


if __name__ == "__main__":
    sys.exit(main())
