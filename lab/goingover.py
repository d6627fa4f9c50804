"""From an older daemon to poprelayd, the system test's other steps: docs/migration.md is played on
a booted Debian, command by command, while clients look whether they may relay.

What stands for the older daemons is a few lines of Perl in their way: settings at the top, and a
map by DB_File from which what is over is taken. They follow no log.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from lab import room
from lab.mailhost import MAP, MailHost
from lab.stage import Packages, Stage, Unexpected, expect
from lab.wait import wait_for

DOC = room.TOP / "docs" / "migration.md"
FEATURE = "FEATURE(`poprelay')dnl\n"
SETTINGS = Path("/etc/mail/poprelay.conf.d/50-imported.conf")
OPENING = "#!/usr/bin/perl\n"
POPRELAYD = """\
my $logfile = "/var/log/mail.log";
my $pidfile = "/run/old-poprelayd.pid";
my $dbfile = "/etc/mail/popip.db";
my $timeout_minutes = 30;

sub scanaddr ($)
{
    my $line = $_[0];
    return $1 if $line =~ /pop3-login: Login: .*rip=([0-9.]+),/;
}

"""
BEFORE_SMTP = """\
$grace = 40*60;
$file_tail{'name'} = '/var/log/mail.log';
$pat = '^(... .. ..:..:..) \\S+ dovecot: (?:imap|pop3)-login: Login: .*rip=([0-9.]+),';
$dbfile = '/etc/mail/popauth';
$mynet_func = \\&mynet_here;
sub mynet_here
{
    '127.0.0.0/8 203.0.113.0/28';
}
1;
"""
SWEEP = """\
use DB_File; use Fcntl; use POSIX 'setsid';
exit if fork;
setsid();
while (1) {
    tie my %db, 'DB_File', 'FILE', O_CREAT|O_RDWR, 0644, $DB_HASH or die "$!";
    foreach (keys %db) { delete $db{$_} if $db{$_} =~ /^[0-9]+$/ && $db{$_} <= time; }
    untie %db;
    sleep 1;
}
"""
PUT = """\
use DB_File; use Fcntl;
my $file = shift;
tie my %db, 'DB_File', $file, O_CREAT|O_RDWR, 0644, $DB_HASH or die "$!";
%db = (%db, @ARGV);
"""
INIT = """\
#!/bin/sh
### BEGIN INIT INFO
# Provides:          NAME
# Required-Start:    $local_fs
# Required-Stop:     $local_fs
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: an older daemon
### END INIT INFO
case $1 in
start) PROGRAM -d ;;
stop) pkill -f 'perl PROGRAM' || true ;;
esac
"""
RULES = """\
LOCAL_CONFIG
Koldpop hash -a<OLD> MAP
LOCAL_RULESETS
SLocal_check_rcpt
R$*\t$: $(oldpop $&{client_addr} $: <NONE> $)
R$* <OLD>\t$# OK
"""


def commands(title: str) -> list[str]:
    """Return the commands of a section of docs/migration.md, in their order."""
    section = DOC.read_text("utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```console\n(.*?)^```$", section, re.M | re.S)
    return re.findall(r"^# (.*)$", "".join(blocks), re.M)


class GoingOver(Stage):
    """The steps: one for each daemon that was there before."""

    def __init__(self, host: MailHost, packages: Packages) -> None:
        super().__init__(host, packages)
        self._rules = ""
        self._stays: set[str] = set()

    def steps(self) -> tuple[Callable[[], str], ...]:
        """Return the steps; a step's name is its function's."""
        return (self.from_poprelayd, self.from_pop_before_smtp)

    def from_poprelayd(self) -> str:
        """Play the way from the Perl poprelayd."""
        self.host.furnish()
        old = "/etc/mail/popip.db"
        end_s = int(time.time()) + 1200
        script = OPENING + POPRELAYD + SWEEP.replace("FILE", old)
        self._begin("poprelayd", "/usr/local/sbin/poprelayd", script, old)
        held, late, over, new = (self.client() for _ in range(4))
        self._put(old, {held: end_s, over: end_s - 1195})
        said = self._play("From the Perl poprelayd", old, {late: end_s}, held, new)
        self._is_granted({held: end_s, late: end_s})
        self.refused(over)
        settings = self.host.path(str(SETTINGS)).read_text()
        expect("window", 'window = "30min"' in settings, True)
        expect("servers", 'enable = ["dovecot"]' in settings, True)
        expect("poprelayd -p", sorted(self._listed()), sorted({held, late, new}))
        expect("the old place", self.host.run("readlink /etc/mail/popip.db"), MAP)
        self._end(f"rm {old} /root/old-*")
        return said

    def from_pop_before_smtp(self) -> str:
        """Play the way from pop-before-smtp."""
        old = "/etc/mail/popauth.db"
        script = OPENING + SWEEP.replace("FILE", old)
        self.host.path("/etc/pop-before-smtp-conf.pl").write_text(BEFORE_SMTP)
        self._begin("pop-before-smtp", "/usr/local/sbin/pop-before-smtp", script, old)
        held, late, new = (self.client() for _ in range(3))
        self._put(old, {held: "ok"})
        said = self._play("From pop-before-smtp", old, {late: "ok"}, held, new)
        granted = self.host.granted()
        expect("for a window", all(granted[a] - time.time() <= 2400 for a in (held, late)), True)
        expect("networks", "203.0.113.0/28" in self.host.path(str(SETTINGS)).read_text(), True)
        unit = self.host.run("systemctl is-active pop-before-smtp", check=False)
        expect("the old daemon", unit.strip() != "active", True)
        self._end(f"rm {old} /etc/pop-before-smtp-conf.pl /etc/init.d/pop-before-smtp")
        return said

    def _begin(self, name: str, program: str, script: str, old: str) -> None:
        """Have the older daemon run, from its init script, and sendmail ask its map."""
        host = self.host
        host.path(program).write_text(script)
        init = INIT.replace("NAME", name).replace("PROGRAM", program)
        host.path(f"/etc/init.d/{name}").write_text(init)
        host.run(f"chmod 755 {program} /etc/init.d/{name}; systemctl daemon-reload")
        host.run(f"update-rc.d {name} defaults; systemctl start {name}; pgrep -f 'perl {program}'")
        wait_for(lambda: host.path(old).exists(), "the old map")
        self._rules = RULES.replace("MAP", old)
        host.edit_mc("\nFEATURE(`ratecontrol'", "\ndnl FEATURE(`ratecontrol'")  # they ask often
        host.path("/etc/mail/sendmail.mc").open("a").write(self._rules)
        host.make_sendmail_cf()

    def _put(self, old: str, ends: Mapping[str, int | str]) -> None:
        """Have the older daemon's map name some addresses."""
        words = " ".join(f"{address} {value}" for address, value in ends.items())
        self.host.path("/root/put.pl").write_text(PUT)
        self.host.run(f"perl /root/put.pl {old} {words}; rm /root/put.pl")

    def _play(
        self, title: str, old: str, late: Mapping[str, int | str], held: str, new: str
    ) -> str:
        """Run the commands; after each, who is in the old map may relay, and a stranger not. Some
        come into the old map LATE, and one logs in as NEW, before sendmail asks the new map."""
        stranger = self.client()
        self._stays = {held}
        played = commands(title)
        for command, following in zip(played, [*played[1:], ""], strict=True):
            if command.startswith("make "):
                self._put(old, late)
            self._run(command, following)
            if command == "systemctl restart poprelayd":
                self.host.await_active()
                self.host.log_in(new)
                self.host.await_granted([new], "a login beside the old daemon")
            if command == "systemctl restart sendmail":
                wait_for(lambda: self.host.session_opens("192.0.2.1"), "sendmail to answer", 30)
                self._stays |= {new, *late}
            try:
                for address in self._stays:
                    self.accepted(address)
                self.refused(stranger)
            except (Unexpected, OSError) as error:
                raise Unexpected(f"after {command!r}: {error}") from error
        return f"{len(played)} commands, {len(self._stays)} clients relay on, a stranger never"

    def _run(self, command: str, following: str) -> None:
        """Run a command of the page; what is done with an editor, and where the package lies, is
        the administrator's. What the doctor advises is the one FOLLOWING."""
        if command.startswith("editor "):
            self.host.edit_mc(self._rules, "")
        elif command.startswith("apt-get install"):
            self.apt("install", self.packages.first)
            self.host.await_active()
        elif command == "journalrelay doctor":
            found = json.loads(self.host.attempt(f"{command} --json").stdout)
            mends = [one["mend"] for one in found if one["part"] == "rivals"]
            expect("what ends other daemons", mends, [following] if "disable" in following else [])
        else:
            self.host.run(command)

    def _listed(self) -> list[str]:
        rows = self.host.run("poprelayd -p").splitlines()
        return [row.split(" ")[0] for row in rows]

    def _is_granted(self, ends: Mapping[str, int]) -> None:
        granted = self.host.granted()
        expect("ends", {address: granted.get(address) for address in ends}, dict(ends))

    def _end(self, command: str) -> None:
        """Leave the host as it was before."""
        self.host.edit_mc(FEATURE, "")
        self.apt("purge")
        self.host.run(f"{command}; rm -r {SETTINGS.parent}; systemctl daemon-reload")
        self.host.make_sendmail_cf()
