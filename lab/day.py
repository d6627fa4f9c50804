"""A whole day of an installed poprelayd, from apt's installation to the purge: the system test's
steps. Each is played on a booted Debian and raises Unexpected when it does not see what it should.
"""

import json
import re
from collections.abc import Callable

from lab import changeover, room, scraping, syslogd
from lab.ailments import AILMENTS
from lab.mailhost import MAP, MailHost
from lab.probe import BY_NOBODY, MAY, TRIES
from lab.stage import CONF, FOUR, SIX, Packages, Stage, Unexpected, expect
from lab.wait import wait_for

ROAD = room.TOP / "packaging/debian/tests/road"
EXPOSURE = 0.3  # systemd-analyze security: the most that either service may score
LIE = "203.0.113.66"
FORGED = (
    f"pop3-login: Login: user=<anna>, method=PLAIN, rip={LIE}, lip=192.0.2.1, mpid=7, session=<x>"
)
PROBING = (  # the unit, with the probe in the daemon's place
    ("^ExecStart=.*", "ExecStart=/usr/bin/python3 -I /usr/local/lib/probe.py"),
    ("^Type=.*", "Type=oneshot"),
    ("^RuntimeDirectory=.*", "RuntimeDirectory=probe"),
    ("^(Restart|Watchdog|Wants|Exec[^S]).*", ""),
)
FEATURE = "FEATURE(`poprelay')dnl\n"
COMPLETION = (
    "source /usr/share/bash-completion/bash_completion; "
    "_completion_loader journalrelay || [ $? = 124 ]; complete -p journalrelay"
)
SERVICE, EXPIRE, TIMER = "poprelayd.service", "poprelayd-expire.service", "poprelayd-expire.timer"
# Everything but what other packages and the kernel keep there.
SNAPSHOT = (
    "find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/log "
    "-o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/lib/systemd "
    "-o -path /var/tmp -o -path /var/mail -o -path /home \\) -prune -o -print | sort"
)
OWNED = "dpkg-query -L $(dpkg-query -W -f '${Package} ') | xargs realpath -s -m | sort -u"
PYTHONS_OWN = "python|libreadline|libhistory|inputrc"  # stays with it, and is in no package's list


class Day(Stage):
    """The steps, in their order; each returns in a few words what it saw."""

    def __init__(self, host: MailHost, packages: Packages) -> None:
        super().__init__(host, packages)
        self._before: set[str] = set()

    def steps(self) -> tuple[Callable[[], str], ...]:
        """Return the steps; a step's name is its function's."""
        return (
            self.installation,
            self.sandbox,
            self.reach,
            self.feature,
            self.logins,
            self.forgery,
            self.replay,
            self.expiry,
            self.restart_and_reload,
            self.disable_and_enable,
            self.watchdog,
            self.journald,
            self.log_file,
            self.metrics,
            self.needrestart,
            self.upgrade,
            self.reboot,
            self.doctor,
            self.removal,
            self.reinstallation,
            self.purge,
            self.btree,
            self.autopkgtest,
            self.postfix,
        )

    # Coming

    def installation(self) -> str:
        """Install with apt; look at user, files, modes, units, pages and what it says."""
        host = self.host
        host.furnish()
        mc = host.path("/etc/mail/sendmail.mc").read_bytes()
        self._before = set(host.run(SNAPSHOT).splitlines())
        said = self.apt("install", self.packages.first)
        expect("the line to add", FEATURE.strip() in said, True)
        expect("sendmail.mc", host.path("/etc/mail/sendmail.mc").read_bytes(), mc)
        kept = host.run(f"stat -c '%a %U:%G' /var/lib/poprelayd {MAP} {CONF}").splitlines()
        expect(
            "modes", kept, ["755 poprelayd:poprelayd", "644 poprelayd:poprelayd", "644 root:root"]
        )
        expect("popip.db", host.in_map(), {})
        for unit in (SERVICE, TIMER):
            self.unit_is(unit, "enabled", "active")
        self.unit_is(scraping.TIMER, "disabled", "inactive")
        expect("conffiles", host.run("dpkg-query -W -f '${Conffiles}' poprelayd").split()[0], CONF)
        self._papers()
        size = host.run("dpkg-query -W -f '${Installed-Size}' poprelayd")
        return f"enabled and active, {size} KiB installed, says the line for sendmail.mc"

    def sandbox(self) -> str:
        """Have systemd judge both services."""
        scores = []
        for unit in (SERVICE, EXPIRE):
            told = self.host.run(f"systemd-analyze security --no-pager {unit} | tail -n 1")
            score = float(told.split("level for")[1].split(":")[1].split()[0])
            expect(f"{unit}: exposure {score} is low", score <= EXPOSURE, True)
            scores.append(f"{unit} {score}")
        expect("user", self.host.property("User"), "poprelayd")
        caps = self.host.run(
            "grep CapEff /proc/$(systemctl show --value -p MainPID poprelayd)/status"
        )
        expect("capabilities", int(caps.split()[1], 16), 0)
        return ", ".join(scores)

    def reach(self) -> str:
        """Have code in the daemon's sandbox try what it should not be able to do."""
        host = self.host
        host.copy_in(room.TOP / "lab/probe.py", "/usr/local/lib/probe.py")
        unit = host.run(f"cat /lib/systemd/system/{SERVICE}")
        for pattern, instead in PROBING:
            unit = re.sub(pattern, instead, unit, flags=re.M)
        host.path("/etc/systemd/system/probe.service").write_text(unit)
        host.run("systemctl daemon-reload && systemctl start probe")
        host.run("journalctl --sync")
        told = json.loads(host.run("journalctl -q -o cat -u probe _TRANSPORT=stdout"))
        roots = set(json.loads(host.run("python3 -I /usr/local/lib/probe.py")))
        expect("what nobody could do here", set(TRIES) - roots - BY_NOBODY, set())
        host.run("rm /etc/systemd/system/probe.service /usr/local/lib/probe.py")
        host.run("systemctl daemon-reload")
        expect("what the sandbox allows", set(told), MAY)
        return f"{len(TRIES) - len(told)} of {len(TRIES)} tries fail; it can {', '.join(told)}"

    def feature(self) -> str:
        """Add the one line to sendmail.mc; a window that outlasts this day."""
        self.configure("1h")
        self.host.edit_mc("MAILER_DEFINITIONS\n", f"{FEATURE}MAILER_DEFINITIONS\n")
        self.host.make_sendmail_cf()
        return self.refused(self.client())

    # The road

    def logins(self) -> str:
        """Refused, a login, accepted: POP3 and IMAP, IPv4 and IPv6, plain and TLS."""
        slowest_s = 0.0
        for protocol in ("pop3", "imap"):
            for tls in (False, True):
                for six in (False, True):
                    address = self.client(SIX if six else FOUR)
                    self.refused(address)
                    self.host.log_in(address, protocol, tls=tls)
                    took_s = self.host.await_granted([address], f"{protocol} from {address}")
                    slowest_s = max(slowest_s, took_s)
                    self.accepted(address)
        return f"8 of 8, at most {slowest_s * 1000:.0f} ms until `journalrelay list` has it"

    def forgery(self) -> str:
        """A local user writes Dovecot's line with logger, and from a service of his own name."""
        host = self.host
        host.run("useradd mallory")
        host.run(f"logger -t dovecot -p mail.info '{FORGED}'", user="mallory")
        fields = f"MESSAGE={FORGED}\\nSYSLOG_IDENTIFIER=dovecot\\n_SYSTEMD_UNIT=dovecot.service"
        host.run(f"printf '{fields}' | logger --journald", user="mallory")
        host.run(
            "systemd-run --quiet --wait --uid mallory --unit forged.service "
            f"logger -t dovecot -p mail.info '{FORGED}'"
        )
        there = host.run(f"journalctl -q -o cat -t dovecot --grep 'rip={LIE}' | wc -l")
        expect("forged lines in the journal", there, "3")
        self.login_counts()
        expect("the lie is granted", LIE in host.granted(), False)
        found = host.run(f"journalrelay replay --all --dry-run --json | grep -c {LIE} || true")
        expect("replay finds the lie", found, "0")
        return f"3 forged lines in the journal, {LIE}: {self.refused(LIE)}"

    def replay(self) -> str:
        """The map is lost; the journal has it all."""
        host = self.host
        before = host.granted()
        rows = host.run("journalrelay replay --all --dry-run --json").splitlines()
        first = json.loads(rows[0])["cursor"]
        host.run(f"systemctl stop poprelayd {TIMER}; rm {MAP}")
        said = host.run(f"journalrelay replay --cursor '{first}'")
        expect("grants after the replay", host.granted(), before)
        host.run(f"systemctl start poprelayd {TIMER}")
        expect("grants after the start", host.granted(), before)
        host.run(f"rm {MAP}")
        wait_for(lambda: host.path(MAP).exists(), "the running daemon to make it anew", 30)
        host.await_granted(before, "all grants once more")
        return said

    def expiry(self) -> str:
        """The rule refuses at the end of a window, and the timer takes the entry away."""
        host, address = self.host, self.client()
        self.configure("8s")
        host.log_in(address)
        host.await_granted([address], "the short grant")
        self.accepted(address)
        wait_for(lambda: host.rcpt(address).code == 550, "the window's end", 30, 1.0)
        stayed = "still in the map" if address in host.in_map() else "gone from the map"
        wait_for(lambda: address not in host.in_map(), "the timer's expire", 90, 0.2)
        self.configure("1h")
        self.login_counts()
        return f"refused while {stayed}, then removed by {TIMER}"

    # Life

    def restart_and_reload(self) -> str:
        """No login is lost while the daemon reloads, restarts, or is down."""
        host = self.host
        with self.stream() as logged_in:
            for _ in range(3):
                host.run("systemctl reload poprelayd")
                host.run("systemctl restart poprelayd")
            host.run("systemctl kill --signal=KILL poprelayd")
            host.run("systemctl stop poprelayd")
            self.await_more(logged_in)
            host.run("systemctl start poprelayd")
        host.await_granted(logged_in, "all logins of the stream")
        return f"3 reloads, 3 restarts, a kill, a stop: {len(logged_in)} logins, all granted"

    def disable_and_enable(self) -> str:
        """`systemctl disable` and `enable poprelayd` take the timer with them.

        Until the next boot the timer goes on to take away what has expired.
        """
        self.host.run("systemctl disable --now poprelayd")
        self.unit_is(SERVICE, "disabled", "inactive")
        self.unit_is(TIMER, "disabled", "active")
        self.host.run("systemctl enable --now poprelayd")
        for unit in (SERVICE, TIMER):
            self.unit_is(unit, "enabled", "active")
        self.login_counts()
        return "both units follow"

    def watchdog(self) -> str:
        """Stop the daemon's process as it is: systemd must notice, kill it and start another."""
        host, address = self.host, self.client()
        pid = host.await_active()
        host.run(f"kill -STOP {pid}")
        host.log_in(address)
        expect("granted by a stopped daemon", address in host.granted(), False)
        host.await_active(other_than=pid)
        host.await_granted([address], "the login that came during the stall")
        said = host.run(f"journalctl -q -o cat -u {SERVICE} --grep 'Watchdog timeout' | wc -l")
        expect("watchdog timeouts", said, "1")
        return f"{self.accepted(address)} for who logged in meanwhile"

    def journald(self) -> str:
        """Restart, rotate, vacuum and kill journald under a stream of logins."""
        host = self.host
        restarts = host.property("NRestarts")
        with self.stream() as logged_in:
            for command in (
                "systemctl restart systemd-journald",
                "journalctl -q --rotate",
                "journalctl -q --rotate --vacuum-time=1s",
                "systemctl kill --signal=KILL systemd-journald",
            ):
                host.run(command)
                self.await_more(logged_in)
        host.await_granted(logged_in, "all logins of the stream")
        expect("restarts of the daemon", host.property("NRestarts"), restarts)
        return f"{len(logged_in)} logins, all granted, the daemon never restarted"

    def log_file(self) -> str:
        """Read the file that rsyslog writes, through logrotate, instead of the journal."""
        return syslogd.follow_a_file(self)

    def metrics(self) -> str:
        """Have Debian's Prometheus see how the daemon is, and say when it does not run."""
        return scraping.scrape(self)

    def needrestart(self) -> str:
        """A library is replaced under the daemon; needrestart restarts it."""
        host = self.host
        before = host.await_active()
        host.run("apt-get -qq -y install --reinstall libsystemd0")
        with self.stream(interrupted=True) as logged_in:  # Dovecot is restarted too
            host.run("needrestart -q -r a -l")
            host.await_active(other_than=before)
        host.await_granted(logged_in, "all logins of the stream")
        return f"restarted by needrestart, {len(logged_in)} logins, all granted"

    def upgrade(self) -> str:
        """A later version is installed under a stream of logins."""
        host = self.host
        grants, conf = host.granted(), host.path(CONF).read_bytes()
        before = host.await_active()
        began = host.run("date +%s")
        with self.stream() as logged_in:
            self.apt("install", self.packages.later)
            host.await_active(other_than=before)
        host.await_granted([*logged_in, *grants], "all logins of the stream, and all before")
        warned = host.run(f"journalctl -q -o cat -p warning -u {SERVICE} --since @{began}")
        expect("warnings: the kept place is good", warned, "")
        expect("the changed conffile", host.path(CONF).read_bytes(), conf)
        version = host.run("journalrelay --version").split()[-1]
        expect("version", version, self.packages.later.name.split("_")[1])
        return f"{version}, {len(logged_in)} logins meanwhile, {len(grants)} before: all granted"

    def reboot(self) -> str:
        """A login just before a reboot, and one while the daemon is down for it."""
        host, address, late = self.host, self.client(), self.client()
        grants = host.granted()
        host.log_in(address)
        host.run("systemctl stop poprelayd")
        host.log_in(late)
        host.reboot()
        host.await_active()
        host.await_granted([address, late, *grants], "what was granted before the reboot")
        for unit in (SERVICE, TIMER):
            self.unit_is(unit, "enabled", "active")
        self.accepted(address)
        return f"{self.accepted(late)} for a login that no running daemon had seen"

    def doctor(self) -> str:
        """Break the installation in many ways; have the doctor find each, and do what it says."""
        self._wait_for_health("as it was installed")
        for ailment in AILMENTS:
            self.host.run(ailment.breaking)
            found = self._complaints()
            told = [what for part, _, what, _ in found if part == ailment.part]
            expect(f"{ailment.breaking}: {told}", any(ailment.told in what for what in told), True)
            self._mend(found)
            self._wait_for_health(f"the mend of: {ailment.breaking}")
            if ailment.after:
                self.host.run(ailment.after)
                self._wait_for_health(f"the end of: {ailment.breaking}")
        self.login_counts()
        return f"{len(AILMENTS)} ailments, each found, and mended as was said"

    def _complaints(self) -> list[list[str]]:
        """Return what the doctor finds wrong: part, word, what and mend."""
        found = json.loads(self.host.attempt("journalrelay doctor --json").stdout)
        return [list(one.values()) for one in found if one["word"] == "wrong"]

    def _mend(self, found: list[list[str]]) -> None:
        """Do what mends each fault; what comes to light then is mended too."""
        while found:
            for _, _, what, mend in found:
                done = self.host.attempt(mend)
                expect(f"{what}: {mend}: {done.stdout}{done.stderr}", done.returncode, 0)
            found = self._complaints()

    def _wait_for_health(self, what: str) -> None:
        """Wait until the doctor finds nothing: a restarted daemon is not ready at once."""
        try:
            wait_for(lambda: not self._complaints(), what, 20, 0.2)
        except TimeoutError as error:
            raise Unexpected(f"{error}: {self._complaints()}") from error

    # Going

    def removal(self) -> str:
        """Remove the package: nobody relays any more."""
        host, address = self.host, self.client()
        host.log_in(address)
        host.await_granted([address], "a grant to lose")
        self.accepted(address)
        self.apt("remove")
        answer = self.refused(address)
        expect("process", host.run("pgrep -c -u poprelayd || true"), "0")
        expect("configuration stays", host.path(CONF).exists(), True)
        return answer

    def reinstallation(self) -> str:
        """Install it again: old grants do not come back, new logins count."""
        before = self.host.run("cat /etc/mail/poprelay.conf")
        self.apt("install", self.packages.later)
        self.host.await_active()
        expect("grants", self.host.granted(), {})
        expect("configuration", self.host.run("cat /etc/mail/poprelay.conf"), before)
        self.login_counts()
        return "no old grant, a new login counts"

    def purge(self) -> str:
        """Purge it: every file is gone, and the user."""
        host = self.host
        host.edit_mc(FEATURE, "")
        host.make_sendmail_cf()
        self.apt("autopurge")
        left = set(host.run(SNAPSHOT).splitlines()) - self._before
        left -= set(host.run(OWNED).splitlines())  # what came with it is another package's
        ours = [name for name in left if "relay" in name or not re.search(PYTHONS_OWN, name)]
        expect("files left", ours, [])
        expect("user", host.attempt("getent passwd poprelayd").returncode, 2)
        return f"nothing left; {self.refused(self.client())}"

    def btree(self) -> str:
        """Install it where the administrator has chosen a btree map, and purge it once more."""
        drop_in = self.host.path("/etc/mail/poprelay.conf.d/btree.conf")
        drop_in.parent.mkdir()
        drop_in.write_text('[map]\ntype = "btree"\n')
        self.apt("install", self.packages.later)
        expect("popip.db", self.host.run(f"makemap -u btree {MAP.removesuffix('.db')}"), "")
        self.login_counts()
        self.apt("purge")
        expect("the administrator's file", drop_in.exists(), True)
        drop_in.unlink()
        return "an empty btree map, a login in it, and the administrator's file stays"

    def autopkgtest(self) -> str:
        """Play the package's own test on the package."""
        self.apt("install", self.packages.later)
        self.host.copy_in(ROAD, "/var/tmp/road")
        return self.host.run("python3 /var/tmp/road").splitlines()[-1]

    def postfix(self) -> str:
        """Let Postfix take sendmail's place."""
        return changeover.change_to_postfix(self)

    def _papers(self) -> None:
        """Open every page that the units name, and look for catalog and completions."""
        host = self.host
        for unit in (SERVICE, EXPIRE, TIMER):
            pages = re.findall(r"man:([\w.-]+)\((\d)\)", host.property("Documentation", unit))
            expect(f"{unit} names a page", bool(pages), True)
            for name, section in pages:
                host.run(f"man -w {section} {name}")
        explained = host.run(f"journalctl -q -x -o short -u {SERVICE} -n 5")
        expect("journalctl -x explains", "Defined-By: poprelayd" in explained, True)
        host.run(COMPLETION)
        host.run("ls /usr/share/zsh/vendor-completions/_journalrelay")
        host.run("ls /usr/share/fish/vendor_completions.d/journalrelay.fish")
