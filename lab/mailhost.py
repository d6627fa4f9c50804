"""A booted Debian mail server, its clients, and the road through it seen from outside."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lab import client, debian, room
from lab.box import Box
from lab.sendmail import Reply, Session
from lab.wait import wait_for

USER, PASSWORD = "anna", "a road of her own"
RECIPIENT = "friend@elsewhere.example"
LISTEN = (
    "DAEMON_OPTIONS(`Family=inet, Name=MTA-lab, Port=smtp, Addr=192.0.2.1')dnl\n"
    "DAEMON_OPTIONS(`Family=inet6, Name=MTA-lab6, Port=smtp, Addr=2001:db8::1')dnl\n"
)
CLEARTEXT = {"2.3": "disable_plaintext_auth = no\n", "2.4": "auth_allow_cleartext = yes\n"}
PORTS = {"pop3": 110, "pop3s": 995, "imap": 143, "imaps": 993}
MAP = "/var/lib/poprelayd/popip.db"
PATIENCE_S = 30.0


class MailHost(Box):
    """A box with Dovecot, sendmail and one user; poprelayd is not installed yet."""

    def __init__(self, recipe: debian.Recipe, name: str = "") -> None:
        super().__init__(recipe, name)

    def furnish(self) -> None:
        """Do what its administrator has done before poprelayd comes."""
        self.path("/etc/hosts").write_text(room.hosts())
        self.path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\n")  # refuses at once
        self.run(f"useradd --create-home {USER}; echo '{USER}:{PASSWORD}' | chpasswd")
        version = self.run("dovecot --version")[:3]
        self.path("/etc/dovecot/conf.d/99-lab.conf").write_text(CLEARTEXT[version])
        self.edit_mc("FEATURE(`greet_pause', `1000')", "dnl ")  # a second for every session
        self.edit_mc("MAILER_DEFINITIONS\n", f"{LISTEN}MAILER_DEFINITIONS\n")
        self.run("systemctl enable sendmail; systemctl restart dovecot")
        self.make_sendmail_cf()

    def edit_mc(self, old: str, new: str) -> None:
        """Replace a part of /etc/mail/sendmail.mc."""
        mc = self.path("/etc/mail/sendmail.mc")
        mc.write_text(mc.read_text().replace(old, new))

    def make_sendmail_cf(self) -> None:
        """Make sendmail.cf from sendmail.mc and start sendmail with it, as the manual says."""
        self.run("make -C /etc/mail sendmail.cf && systemctl restart sendmail")
        wait_for(lambda: self.session_opens("192.0.2.1"), "sendmail to answer", PATIENCE_S)

    def session_opens(self, address: str) -> bool:
        """Tell whether sendmail greets."""
        try:
            Session(self.from_address(_server(address), 25, address)).close()
        except OSError:
            return False
        return True

    def rcpt(self, address: str, recipient: str = RECIPIENT) -> Reply:
        """Return the mailer's answer to a recipient, asked from the client's ADDRESS."""
        session = Session(self.from_address(_server(address), 25, address))
        try:
            return session.rcpt(f"{USER}@mail.example.test", recipient)
        finally:
            session.close()

    def log_in(self, address: str, protocol: str = "pop3", *, tls: bool = False) -> float:
        """Log in by POP3 or IMAP from the client's ADDRESS, and out again; return when the server
        said yes (monotonic, s)."""
        port = PORTS[f"{protocol}s" if tls else protocol]
        connect = self.from_address(_server(address), port, address)
        if tls:
            connect = client.over_tls(connect)
        if protocol == "imap":
            imap = client.Imap(connect)
            imap.login(USER, PASSWORD)
            logged_in_s = time.monotonic()
            imap.logout()
            return logged_in_s
        pop3 = client.Pop3(connect)
        pop3.user(USER)
        pop3.pass_(PASSWORD)
        logged_in_s = time.monotonic()
        pop3.quit()
        return logged_in_s

    def granted(self) -> dict[str, int]:
        """Return what may relay now, by `journalrelay list --json`: address and expiry."""
        rows = json.loads(self.run("journalrelay list --json"))
        return {row["address"]: row["expiry"] for row in rows}

    def await_granted(self, addresses: Iterable[str], what: str) -> float:
        """Wait until all ADDRESSES may relay; return how long that took, in seconds."""
        began_s, wanted = time.monotonic(), set(addresses)
        try:
            wait_for(lambda: wanted <= set(self.granted()), what, PATIENCE_S)
        except TimeoutError as error:
            missing = sorted(wanted - set(self.granted()))
            raise TimeoutError(f"{error}: missing {', '.join(missing)}") from error
        return time.monotonic() - began_s

    def logged(self, *where: str) -> list[dict[str, Any]]:
        """Return what Dovecot has logged, oldest first, as journalctl tells it, which is told
        WHERE to look."""
        self.run("journalctl --sync")
        fields = "--output-fields=MESSAGE,_SYSTEMD_UNIT"
        told = self.run(
            f"journalctl -q -o json --all {fields} {' '.join(where)} _SYSTEMD_UNIT=dovecot.service"
        )
        return [json.loads(line) for line in told.splitlines()]

    def property(self, name: str, unit: str = "poprelayd.service") -> str:
        """Return one of systemd's properties of a unit."""
        return self.run(f"systemctl show --value -p {name} {unit}")

    def await_active(self, other_than: str = "") -> str:
        """Wait until the daemon is ready, as another process than OTHER_THAN; return its number."""

        def ready() -> str | None:
            pid = self.property("MainPID")
            active = self.property("ActiveState") == "active"
            return pid if active and pid not in ("0", other_than) else None

        return wait_for(ready, "poprelayd to be active", 150, 0.1)

    def in_map(self) -> dict[str, str]:
        """Return what stands in the map, expired or not, as sendmail's own tool dumps it."""
        dump = self.run(f"makemap -u hash {MAP.removesuffix('.db')}")
        return dict(line.split("\t", 1) for line in dump.splitlines())

    def copy_in(self, file: Path, to: str) -> None:
        """Put a file of this machine into the box, for all to read."""
        self.path(to).write_bytes(file.read_bytes())
        self.path(to).chmod(0o644)


def _server(address: str) -> str:
    return room.SERVER6 if ":" in address else room.SERVER
