"""The kinds of entries that we write into the journal: the one place of their MESSAGE_IDs.

units/poprelayd.catalog explains each of them to ``journalctl -x``, and poprelayd(8) lists them.
"""

from typing import NamedTuple

WARNING, NOTICE, INFO = 4, 5, 6  # syslog(3)


class Kind(NamedTuple):
    """A kind of entry: the word for it (RELAY_EVENT), its MESSAGE_ID and its priority."""

    word: str
    id: str
    priority: int


# What the operator did by hand: the ledger, read back wherever logins are. No other kind is.
HAND_GRANT = Kind("granted by hand", "a9333ae4bd204ddeb75a480910f2daa9", NOTICE)
HAND_REVOCATION = Kind("revoked by hand", "925e911b4a5b454ca9c37e834d5c5b01", NOTICE)

# What became of the map. journald drops below NOTICE what the expiring unit says (LogLevelMax=).
GRANTED = Kind("granted", "88621e559e6144c8a0eacb7e5e980889", INFO)
REFUSED = Kind("refused", "701ce425e0d04069a175897b45b54d70", NOTICE)
REVOKED = Kind("revoked", "db6c099a43b54b5e9d81aa89240c0fc4", INFO)
EXPIRED = Kind("expired", "ad27117a489643ed8e2fff1c3bda7b66", NOTICE)
COUNTED = Kind("counted", "39985adafe014b71bddb192065af9f1a", NOTICE)

# How the daemon is.
READY = Kind("ready", "188a04697c6547439ef6ba427636eac8", NOTICE)
STOPPED = Kind("stopped", "d267d5ce24634799a7fb7ad962798509", NOTICE)
RELOAD_REFUSED = Kind("reload refused", "102914bebfcb44208d183f29e604fa3f", WARNING)
SOURCE_LOST = Kind("journal lost", "ce1191bf0fb44ec7a146a9286c6c6694", WARNING)
SOURCE_BACK = Kind("journal back", "7ecd7194166a49cd9fc3d33762e56f29", NOTICE)
MAP_LOST = Kind("map lost", "1f6b8f6bd0c94b1c8a4fbd9a62b6e0a4", WARNING)
MAP_BACK = Kind("map back", "c2b4d5f0a97e4f2f9d0e8a5c63d417be", NOTICE)
FORGEABLE = Kind("forgeable", "26e935a4025244ad9097a094ec0b5660", WARNING)
FAULT = Kind("fault", "aa1cb3a3afeb41ee8b37be4b44d79c42", WARNING)
FAILED = Kind("failed", "7c3c54e7ae5d47d0b4766e6b35c330b1", WARNING)


class Shown(NamedTuple):
    """What of a login may stand in the log (``[log]``). The ledger names addresses always."""

    users: bool = True
    addresses: bool = True
