"""What the steps of a day are made of: clients, what sendmail answers them, apt, and a stream of
logins."""

import itertools
import poplib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from lab.mailhost import MailHost
from lab.wait import wait_for

FOUR, SIX, STREAM = "198.51.100.{}", "2001:db8:1:2::{:x}", "2001:db8:5::{:x}"
CONF = "/etc/mail/poprelay.conf"


class Unexpected(Exception):
    """A step saw something else than it should."""


class Packages(NamedTuple):
    """The package as it is, and the same with a later version."""

    first: Path
    later: Path


def expect(what: str, got: object, wanted: object) -> None:
    """Raise Unexpected when what was seen is not what should be."""
    if got != wanted:
        raise Unexpected(f"{what}: seen {got!r}, expected {wanted!r}")


class Stage:
    """A mail host, and clients none of which comes twice."""

    def __init__(self, host: MailHost, packages: Packages) -> None:
        self.host, self.packages = host, packages
        self._numbers = {network: itertools.count(1) for network in (FOUR, SIX, STREAM)}

    def client(self, network: str = FOUR) -> str:
        """Return a client's address that no step has had before."""
        return network.format(next(self._numbers[network]))

    def accepted(self, address: str) -> str:
        reply = self.host.rcpt(address)
        expect(f"{address} sends", reply.code, 250)
        return f"{reply.code} {reply.text}"

    def refused(self, address: str) -> str:
        reply = self.host.rcpt(address)
        expect(f"{address} sends", reply.code, 550)
        return f"{reply.code} {reply.text}"

    def login_counts(self) -> None:
        """See that a login is granted by who runs now."""
        address = self.client()
        self.host.log_in(address)
        self.host.await_granted([address], "a login after all this")

    def unit_is(self, unit: str, enabled: str, active: str) -> None:
        asked = self.host.run(
            f"systemctl is-enabled {unit}; systemctl is-active {unit}", check=False
        )
        expect(unit, asked.split(), [enabled, active])

    def configure(self, window: str) -> None:
        """Change the installed configuration, and have it read."""
        self.host.path(CONF).write_text(
            f'[relay]\nwindow = "{window}"  # the administrator\'s\n'
            "max_addresses_per_user = 0  # one user comes from everywhere here\n"
        )
        self.host.run("systemctl reload poprelayd")

    def apt(self, verb: str, package: Path | None = None) -> str:
        """Have apt install a package file, or remove what is there."""
        what = "poprelayd"
        if package:
            what = f"/var/tmp/{package.name}"
            self.host.copy_in(package, what)
        return self.host.run(f"apt-get -q -y -o Dpkg::Use-Pty=0 {verb} {what} 2>&1")

    @contextmanager
    def stream(self, *, interrupted: bool = False) -> Iterator[list[str]]:
        """Log in from one address after the other while the context is held; give the list.

        Every login must succeed, unless Dovecot is INTERRUPTED meanwhile.
        """
        logged_in: list[str] = []
        failed: list[Exception] = []
        over = threading.Event()

        def go_on() -> None:
            while not over.is_set():
                address = self.client(STREAM)
                try:
                    self.host.log_in(address)
                except (OSError, poplib.error_proto) as error:
                    failed.append(error)
                else:
                    logged_in.append(address)

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield logged_in
        finally:
            over.set()
            thread.join()
        if failed and not interrupted:
            raise Unexpected(f"a login of the stream failed: {failed[0]}")

    def await_more(self, logged_in: list[str]) -> None:
        """Wait until five more logins have been made."""
        enough = len(logged_in) + 5
        wait_for(lambda: len(logged_in) >= enough, "more logins", 60)
