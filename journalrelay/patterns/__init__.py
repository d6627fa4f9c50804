"""The registry: one file a daemon, one line here."""

from journalrelay.patterns.dovecot import DOVECOT
from journalrelay.patterns.pattern import TRUSTED_FIELDS, Daemon, Pattern

REGISTRY: tuple[Daemon, ...] = (DOVECOT,)

__all__ = ["REGISTRY", "TRUSTED_FIELDS", "Daemon", "Pattern"]
