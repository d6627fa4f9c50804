"""The registry: one file a daemon, one line here."""

from journalrelay.patterns.courier import COURIER
from journalrelay.patterns.dispatch import Dispatch
from journalrelay.patterns.dovecot import DOVECOT
from journalrelay.patterns.identity import TRUSTED_FIELDS
from journalrelay.patterns.pattern import Daemon, Pattern, Told
from journalrelay.patterns.popa3d import POPA3D

REGISTRY: tuple[Daemon, ...] = (DOVECOT, COURIER, POPA3D)

__all__ = ["REGISTRY", "TRUSTED_FIELDS", "Daemon", "Dispatch", "Pattern", "Told"]
