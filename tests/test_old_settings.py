"""Perl assignments of older daemons: what is read, what becomes of it, what is refused."""

import random
import string

import pytest

from journalrelay.migration import perl, perlvalue
from journalrelay.migration.dropin import text as toml
from journalrelay.migration.heirs import WANTED, Heirs, heirs
from journalrelay.migration.servers import server_of
from journalrelay.patterns import REGISTRY

POPRELAYD = """\
#!/usr/bin/perl -w
use DB_File;

my $logfile = "/var/log/maillog";   # where the POP server logs
my $pidfile = "/var/run/poprelayd.pid";
my $dbfile = "/etc/mail/popip.db";
my $dbtype = $DB_HASH;
my $timeout_minutes = 20;

sub scanaddr ($)
{
    my $line = shift;
    # if ($line =~ /cucipop/) { return $1; }
    if ($line =~ /POP login by user ".*" at \\(.*\\) ([0-9.]+)/) {
        return $1;
    }
    return $1 if $line =~ /imapd.*Authenticated user=.*\\[([0-9.]+)\\]/;
}

getopts('dpa:r:f');
while (1) {
    $timeout_minutes = 5;
    $other = whatever();
}
"""

BEFORE_SMTP = """\
use strict;
use vars qw(
    $pat $grace
    %file_tail
);
$grace = 45*60;
$file_tail{'name'} = '/var/log/mail.log';
$file_tail{'interval'} = 1;
if (!-f $file_tail{'name'}) {
    foreach (qw( /var/log/messages )) {
        if (-f $_) {
            $file_tail{'name'} = $_;
        }
    }
}
=cut #== a section that is off
$dbfile = '/etc/courier/smtpaccess';
sub custom_match { ( ); }
=cut #== its end
$pat = '^(... .. ..:..:..) \\S+ spop3d\\[\\d+\\]: ' .
    'user \\S+ authenticated - ([0-9.]+)';
$dbfile = '/etc/mail/popauth'; # of sendmail
$mynet_func = \\&mynet_here;
$tie_func = \\&tie_here;
$sync_func = sub { };
my $handle;
sub mynet_here
{
    # what may relay anyhow
    '127.0.0.0/8 10.1.2.3/24, 2001:db8::/64';
}
sub tie_here
{
    $handle = tie %db, 'DB_File', "$dbfile.db" or die "no: $!\\n";
}
1;
"""


def became(text: str) -> Heirs:
    return heirs(perl.read(text, WANTED))


def faults(text: str) -> list[tuple[int, str]]:
    script = perl.read(text, WANTED)
    said = [(fault.line, fault.text) for fault in script.faults]
    return sorted(said + heirs(script).faults)


def test_the_ancestors_settings_have_their_heirs() -> None:
    found = became(POPRELAYD)
    assert faults(POPRELAYD) == []
    assert found.settings == {
        "source.logfile": ["/var/log/maillog"],
        "relay.window": "20min",
        "daemons.enable": ["qpopper", "uw"],
    }
    assert [text.partition(":")[0] for text in found.gone] == ["pidfile", "dbfile"]
    assert any("/var/log/maillog" in note for note in found.notes)


def test_pop_before_smtps_settings_have_their_heirs() -> None:
    found = became(BEFORE_SMTP)
    assert faults(BEFORE_SMTP) == []
    assert found.settings == {
        "relay.window": "45min",
        "source.logfile": ["/var/log/mail.log"],
        "relay.never": ["10.1.2.0/24", "2001:db8::/64"],
        "daemons.enable": ["solid-pop3d"],
    }
    gone = [text.partition(":")[0] for text in found.gone]
    assert gone == ["file_tail.interval", "dbfile", "tie_func", "sync_func"]
    assert "/etc/mail/popauth.db" in " ".join(found.gone)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'/a/b';", "/a/b"),
        ('"/a/b";', "/a/b"),
        (r"'it\'s \d \\';", r"it's \d " + "\\"),
        ("30 * 60 + 1;", 1801),
        ("1_800;", 1800),
        ("'a' . 'b' .\n  # why\n  'c';", "abc"),
        ("qr/^a\\/b/;", "^a\\/b"),
        ("qw( a b\nc );", ["a", "b", "c"]),
        ("('a', 'b');", ["a", "b"]),
        ("\\&it;", "\\&it"),
        ("$DB_BTREE;", "$DB_BTREE"),
    ],
)
def test_values_are_read_as_perl_reads_them(text: str, value: perlvalue.Value) -> None:
    script = perl.read(f"$dbfile = {text}", WANTED)
    assert script.faults == []
    assert [(a.name, a.value) for a in script.assignments] == [("dbfile", value)]


def test_earlier_scalars_are_known() -> None:
    text = "my $top = '/var';\n$logfile = \"$top/log/${top}.x\";\n$dbfile = $top . '/db';\n"
    script = perl.read(text, WANTED)
    assert [a.value for a in script.assignments] == ["/var/log//var.x", "/var/db"]


def test_several_settings_on_a_line_are_read() -> None:
    text = "$logfile = '/a'; $timeout_minutes = 5; # both\n$dbfile = '/b'; undef $x;\n"
    script = perl.read(f"#!/usr/bin/perl\n{text}", WANTED)
    assert [a.value for a in script.assignments] == ["/a", 5, "/b"]
    assert script.faults == []


def test_a_whole_hash_is_its_elements() -> None:
    text = "%file_tail = (name => '/var/log/x', interval => 5,);\n"
    assert became(text).settings == {"source.logfile": ["/var/log/x"]}


def test_a_file_that_is_required_is_named() -> None:
    assert perl.read('require "/etc/mail/poprelay.pl";\n', WANTED).required == [
        ("/etc/mail/poprelay.pl", 1)
    ]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("\n$logfile = $ENV{LOG};", 2, "logfile"),
        ("$logfile = `ls`;", 1, "logfile"),
        ("$logfile = 'relative';", 1, "absolute path"),
        ('$logfile = "/a\\nb";', 1, "absolute path"),
        ("$timeout_minutes = 0;", 1, "from 1 on"),
        ("$timeout_minutes = -5;", 1, "timeout_minutes"),
        ("$grace = 99999999999;", 1, "from 1 on"),
        ("$grace = '1h';", 1, "from 1 on"),
        ("$dbtype = $DB_RECNO;", 1, "neither $DB_HASH nor $DB_BTREE"),
        ("$mynets = 'nonsense';", 1, "is no network"),
        ("$mynet_func = \\&f;\nsub f\n{\n    `postconf`;\n}\n", 1, "plain list"),
        ("$pat = 'something else';", 1, "daemons.enable"),
        ("sub scanaddr {\n  return $1 if /other/ && $x =~ /odd/;\n}\n", 1, "daemons.enable"),
        ("sub custom_match\n{\n    ( );\n}\n", 1, "sub custom_match"),
        ("$unheard_of = 5;", 1, "no setting that is known"),
        ("print 'hello';", 1, "no assignment"),
        ("if ($x) {\n    $grace = 60;\n}\n", 2, "inside a block"),
        ("  $grace = 60;", 1, "inside a block"),
        ("$dbfile = 'no end", 1, "dbfile"),
        ("sub f {\n", 1, "closing brace"),
        ("#!/usr/bin/perl\n$timeout_minutes *= 2;", 2, "'*=' is not read"),
        ("#!/usr/bin/perl\n$logfile = '/a' if -f '/a';", 2, "'if' is not read"),
        ("#!/usr/bin/perl\nmy ($logfile, $x) = ('/a', 5);", 2, "several settings"),
        ("#!/usr/bin/perl\n$logfile = $0 . '.log';", 2, "is not known here"),
        ("$pat = " + "(" * 5000 + "1" + ")" * 5000 + ";", 1, "too deep"),
        ("$grace = " + "9" * 5000 + ";", 1, "grace"),
    ],
)
def test_what_is_not_understood_is_a_fault_with_its_line(text: str, line: int, said: str) -> None:
    assert any(at == line and said in why for at, why in faults(text)), faults(text)


def test_nothing_of_what_is_read_is_run(tmp_path: object) -> None:
    """What Perl would run is a fault or no setting, and no setting has what it would give."""
    text = 'BEGIN { system("touch /tmp/owned"); }\n$dbfile = "@{[ system q(id) ]}";\n'
    assert became(text).settings == {}
    assert [line for line, _ in faults(text)] == [2]


def test_any_text_is_read_or_refused() -> None:
    chance = random.Random(8)
    pieces = [
        *string.printable,
        "\n$pat = ",
        "\nsub f {\n",
        "\n}",
        "\n=cut\n",
        "qw(",
        "'",
        '"',
        "\\",
    ]
    for _ in range(3000):
        text = "".join(chance.choices(pieces, k=chance.randrange(80)))
        heirs(perl.read(text, WANTED))
    lines = (POPRELAYD + BEFORE_SMTP).splitlines(keepends=True)
    for _ in range(1000):
        heirs(perl.read("".join(chance.sample(lines, len(lines) // 2)), WANTED))


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (r"ipop3s?d\[\d+\]: Login user=\S+ host=", "uw"),
        (r"(?:in\.)?qpopper.*POP login by user", "qpopper"),
        (r"popper\[\d+\]: Stats: (\S+)", "qpopper"),
        (r"pop3d\[\d+\]: login: \S+\[(.*)\] \S+ plaintext", "cyrus"),
        (r"imapd-ssl: LOGIN, user=\S+, ip=\[(.*)\]", "courier"),
        (r"(?:imap|pop3)-login: (?:Info: )?Login: user=.*rip=(\S+),", "dovecot"),
        (r"vpopmail\[\d+\]: vchkpw-pop3: .*login success", "vchkpw"),
        (r"vm-pop3d\[\d+\]: User '.*' logged in from", "vm-pop3d"),
        (r"gnu-pop3d\[\d+\]: User .* logged in with mailbox", "gnu-pop3d"),
        (r"popa3d\[\d+\]: Authentication passed for", "popa3d"),
        (r"perdition.*Auth: .*status=.ok", "perdition"),
        (r"teapop\[\d+\]: Successful login", "teapop"),
        (r"sshd.*Failed password", None),
        (r'IMAP User ".*" log on successful from', None),
    ],
)
def test_a_server_is_known_by_the_words_of_its_line(pattern: str, name: str | None) -> None:
    assert server_of(pattern) == name
    assert name is None or name in {daemon.name for daemon in REGISTRY}


def test_every_server_that_can_be_named_is_read() -> None:
    from journalrelay.migration.servers import _MARKS

    assert {name for name, _ in _MARKS} <= {daemon.name for daemon in REGISTRY}


def test_settings_are_written_as_toml() -> None:
    assert toml({"relay.window": "20min", "source.logfile": ['/a"b'], "relay.never": []}) == (
        "# Written by: journalrelay import\n"
        '\n[relay]\nwindow = "20min"\nnever = []\n'
        '\n[source]\nlogfile = ["/a\\"b"]\n'
    )
