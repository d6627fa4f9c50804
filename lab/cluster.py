"""Two POP hosts and two relay hosts, booted, with a link between each of the one and each of the
other kind.

    with Cluster({"pop1": 12, "pop2": 13, "relay1": 12, "relay2": 13}, package) as cluster:
        cluster.cut("pop1", "relay2")

Every host is a whole mail server (:class:`lab.mailhost.MailHost`); a POP host's journal goes to
both relay hosts by the units of units/several-hosts, as docs/journal-transport.md says.
"""

import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import debian, room
from lab.certificates import Authority
from lab.mailhost import MailHost

UNITS = room.TOP / "units/several-hosts"
TRANSPORT = "/etc/journal-transport"


class Cluster:
    """The hosts by name, each of a release of Debian: those called pop… and those called relay…"""

    def __init__(self, releases: Mapping[str, int]) -> None:
        self.hosts = {
            name: MailHost(debian.several(release), name) for name, release in releases.items()
        }
        self.pops = [name for name in releases if name.startswith("pop")]
        self.relays = [name for name in releases if name.startswith("relay")]
        self._held = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as held:
            # its threads stay: a box ends with the thread that has booted it, prctl(2)
            self._pool = held.enter_context(ThreadPoolExecutor(len(self.hosts)))
            place = Path(held.enter_context(tempfile.TemporaryDirectory()))
            self.authority = Authority(place)
            self.each(lambda name: held.enter_context(self.hosts[name]))
            for pop in self.pops:
                for relay in self.relays:
                    self._join(pop, relay)
            self.each(self._furnish)
            self._held = held.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.close()

    def each(self, do: Callable[[str], object], names: Sequence[str] = ()) -> None:
        """Do something for every host, or those of NAMES, at once; raise what one has raised."""
        list(self._pool.map(do, names or self.hosts))

    def cut(self, pop: str, relay: str) -> None:
        """Have the link swallow every packet: no end is told."""
        self.hosts[relay].run(f"ip link set {pop} down")

    def heal(self, pop: str, relay: str) -> None:
        """Mend the link."""
        self.hosts[relay].run(f"ip link set {pop} up")

    def _join(self, pop: str, relay: str) -> None:
        """Lay a cable between two hosts; at each end it is called by the other's name."""
        ends = [self.hosts[name].leader for name in (pop, relay)]
        _ip(f"link add {relay} netns {ends[0]} type veth peer name {pop} netns {ends[1]}")
        for name, other in ((pop, relay), (relay, pop)):
            address = self.address(name, other)
            self.hosts[name].run(f"ip addr add {address}/30 dev {other}; ip link set {other} up")

    def address(self, name: str, other: str) -> str:
        """Return the address of a host on its cable to another one."""
        pop, relay = (name, other) if name in self.pops else (other, name)
        network = 4 * (self.pops.index(pop) * len(self.relays) + self.relays.index(relay))
        return f"10.25.0.{network + (1 if name == pop else 2)}"

    def _furnish(self, name: str) -> None:
        """Make a host what docs/journal-transport.md makes it."""
        host = self.hosts[name]
        host.furnish()
        others = self.relays if name in self.pops else self.pops
        with host.path("/etc/hosts").open("a") as hosts:
            hosts.writelines(f"{self.address(other, name)} {other}.example\n" for other in others)
        host.run(f"{debian.APT} install {debian.CARRIER}")
        self.certify(name, self.authority)
        for unit in (*UNITS.glob("*.service"), *UNITS.glob("*.socket")):
            host.copy_in(unit, f"/etc/systemd/system/{unit.name}")
        host.run("systemctl daemon-reload")
        if name in self.pops:
            host.run("systemctl disable --now nginx sendmail")
            one_file = host.path("/etc/systemd/journald.conf.d/poprelay.conf")
            one_file.parent.mkdir(exist_ok=True)
            one_file.write_text("[Journal]\nSplitMode=none\n")
            host.run("systemctl restart systemd-journald")
            host.run(f"systemctl enable --now {_instances('journal-upload@{}.example', others)}")
            return
        host.copy_in(UNITS / "journal-receive.nginx", "/etc/nginx/conf.d/journal-receive.conf")
        host.run("rm /etc/nginx/sites-enabled/default")
        receivers = _instances("journal-receive@{}.example.socket", others)
        host.run(f"systemctl enable --now {receivers}; systemctl restart nginx")

    def certify(self, name: str, authority: Authority) -> None:
        """Give a host a key and a certificate of the authority's, and that one to trust."""
        host = self.hosts[name]
        key, certificate = authority.issue(f"{name}.example")
        host.run(f"install -d -m 700 {TRANSPORT}")
        for file, to in (
            (key, "key"),
            (certificate, "certificate"),
            (authority.trusted, "authority"),
        ):
            host.path(f"{TRANSPORT}/{to}.pem").write_bytes(file.read_bytes())


def _instances(unit: str, hosts: Sequence[str]) -> str:
    return " ".join(unit.format(host) for host in hosts)


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True)
