"""Ways in which an installation is broken, each done to a booted mail host as it happens to people.

:data:`AILMENTS` names what is done and what the doctor must say of it. What the doctor names as
the mend is then done to the letter.
"""

from typing import NamedTuple

_DIR = "/var/lib/poprelayd"
_MAP = f"{_DIR}/popip.db"
_MC = "/etc/mail/sendmail.mc"
_CF = "make -C /etc/mail sendmail.cf && systemctl restart sendmail"
_BTREE = "/etc/mail/poprelay.conf.d/btree.conf"
_OLD = "/usr/local/sbin/poprelayd"
_LIMIT = "/run/systemd/system/dovecot.service.d/limit.conf"


class Ailment(NamedTuple):
    """``breaking`` is done; the doctor must find a fault of ``part`` that says ``told``.
    ``after`` takes away what the mend leaves."""

    breaking: str
    part: str
    told: str
    after: str = ""


AILMENTS = (
    Ailment("systemctl stop poprelayd", "units", "poprelayd.service is inactive"),
    Ailment("systemctl disable poprelayd 2>&1", "units", "poprelayd.service is not enabled"),
    Ailment("systemctl stop poprelayd-expire.timer", "units", "timer does not run"),
    Ailment("systemctl mask --now poprelayd-expire.timer 2>&1", "units", "timer is masked"),
    Ailment("sleep 1; touch /lib/systemd/system/poprelayd.service", "units", "was changed on disk"),
    Ailment(f"chmod 600 {_MAP}", "map", "has mode 0600"),
    Ailment(f"chmod 666 {_MAP}", "map", "has mode 0666"),
    Ailment(f"chown root {_MAP}", "map", "does not belong to poprelayd"),
    Ailment(f"chmod 700 {_DIR}", "map", f"{_DIR} is not open to all"),
    Ailment(f"chmod 775 {_DIR}", "map", f"{_DIR} can be written by others"),
    Ailment(f"printf junk | dd of={_MAP} conv=notrunc bs=1 seek=12 2>&1", "map", "popip.db: "),
    Ailment(f"truncate -s 6000 {_MAP}", "map", "popip.db: "),
    Ailment(f"sed -i /poprelay/d {_MC} && {_CF}", "feature", "has no line FEATURE(`poprelay')"),
    Ailment(
        f"sed -i /poprelay/d {_MC} && {_CF} && "
        f'sed -i "s/^MAILER_DEFINITIONS/FEATURE(\\`poprelay\')dnl\\n&/" {_MC}',
        "feature",
        "was not made from",
    ),
    Ailment(f"sleep 1; touch {_MC}", "feature", "is older than"),
    Ailment("sleep 1; touch /etc/mail/sendmail.cf", "sendmail", "runs since before"),
    Ailment(
        f"sed -i \"s/^FEATURE(.poprelay.*/FEATURE(\\`poprelay', \\`hash /etc/mail/popip')dnl/;\" "
        f"{_MC} && {_CF}".replace("hash /etc/mail/popip", "hash \\/etc\\/mail\\/popip"),
        "feature",
        "sendmail asks hash /etc/mail/popip.db, and the daemon writes",
        f'sed -i "s/^FEATURE(.poprelay.*/FEATURE(\\`poprelay\')dnl/" {_MC} && {_CF}',
    ),
    Ailment(
        f"mkdir -p /etc/mail/poprelay.conf.d && printf '[map]\\ntype = \"btree\"\\n' >{_BTREE} && "
        "systemctl restart poprelayd",
        "feature",
        "and the daemon writes btree",
        f"rm {_BTREE} && systemctl restart poprelayd && "
        f'sed -i "s/^FEATURE(.poprelay.*/FEATURE(\\`poprelay\')dnl/" {_MC} && {_CF}',
    ),
    Ailment("systemctl stop sendmail", "sendmail", "does not accept connections"),
    Ailment(
        "echo '192.0.2 RELAY' >/etc/mail/localip",
        "localip",
        "was never made",
        "rm /etc/mail/localip*",
    ),
    Ailment(
        "cd /etc/mail && echo 'example.org RELAY' >relay && makemap hash relay <relay && sleep 1 "
        "&& echo 'example.net RELAY' >>relay",
        "relay",
        "is older than",
        "rm /etc/mail/relay*",
    ),
    Ailment(
        f"printf 'sleep 1000' >{_OLD} && "
        f"systemd-run --quiet --unit old-poprelayd perl {_OLD} -d && "
        "until pgrep -f 'perl.*poprelayd' >/dev/null; do :; done",
        "rivals",
        "poprelayd runs too",
        f"rm {_OLD}; systemctl reset-failed old-poprelayd || true",
    ),
    Ailment(
        "mkdir -p /etc/cron.d && cd /etc/cron.d && "
        "echo '* * * * * root makemap hash /etc/mail/popip </etc/mail/popip' >popip",
        "rivals",
        "makes the map anew",
        "rm /etc/cron.d/popip && rmdir --ignore-fail-on-non-empty /etc/cron.d",
    ),
    Ailment(
        "mv /var/log/journal /var/log/gone && systemctl restart systemd-journald && "
        "rm -r /var/log/gone && systemctl restart poprelayd dovecot",
        "source",
        "is kept in memory only",
    ),
    Ailment(
        f"mkdir -p $(dirname {_LIMIT}) && printf '[Service]\\nLogRateLimitIntervalSec=2s\\n"
        'LogRateLimitBurst=1\\nExecStartPost=/bin/sh -c "seq 500 | logger"\\n\' '
        f">{_LIMIT} && systemctl daemon-reload && systemctl restart dovecot && sleep 3 && "
        "systemctl restart dovecot",
        "servers",
        "journald has swallowed",
        f"rm -r {_LIMIT} /etc/systemd/system/dovecot.service.d && systemctl daemon-reload && "
        "systemctl restart dovecot && sleep 3 && journalctl --rotate && "
        "journalctl --vacuum-time=1s && systemctl reset-failed dovecot && "
        "systemctl restart dovecot",
    ),
)
