"""The registry: one file a daemon, one line here."""

from journalrelay.patterns.dispatch import Dispatch
from journalrelay.patterns.dovecot import DOVECOT
from journalrelay.patterns.identity import TRUSTED_FIELDS
from journalrelay.patterns.pattern import Daemon, Pattern, Told

REGISTRY: tuple[Daemon, ...] = (DOVECOT,)

__all__ = ["REGISTRY", "TRUSTED_FIELDS", "Daemon", "Dispatch", "Pattern", "Told"]
