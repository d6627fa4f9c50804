"""The registry: one file a daemon, one line here."""

from journalrelay.patterns.courier import COURIER
from journalrelay.patterns.cucipop import CUCIPOP
from journalrelay.patterns.cyrus import CYRUS
from journalrelay.patterns.dispatch import Dispatch
from journalrelay.patterns.dovecot import DOVECOT
from journalrelay.patterns.gnu_pop3d import GNU_POP3D
from journalrelay.patterns.identity import TRUSTED_FIELDS
from journalrelay.patterns.mailutils import MAILUTILS
from journalrelay.patterns.mailutils_imap4d import MAILUTILS_IMAP4D
from journalrelay.patterns.pattern import Daemon, Pattern, Told
from journalrelay.patterns.perdition import PERDITION
from journalrelay.patterns.popa3d import POPA3D
from journalrelay.patterns.qpopper import QPOPPER
from journalrelay.patterns.solid_pop3d import SOLID_POP3D
from journalrelay.patterns.stalwart import STALWART
from journalrelay.patterns.teapop import TEAPOP
from journalrelay.patterns.tpop3d import TPOP3D
from journalrelay.patterns.uw import UW
from journalrelay.patterns.vchkpw import VCHKPW
from journalrelay.patterns.vm_pop3d import VM_POP3D
from journalrelay.patterns.vpop3d import VPOP3D

REGISTRY: tuple[Daemon, ...] = (
    COURIER,
    CUCIPOP,
    CYRUS,
    DOVECOT,
    GNU_POP3D,
    MAILUTILS,
    MAILUTILS_IMAP4D,
    PERDITION,
    POPA3D,
    QPOPPER,
    SOLID_POP3D,
    STALWART,
    TEAPOP,
    TPOP3D,
    UW,
    VCHKPW,
    VM_POP3D,
    VPOP3D,
)

__all__ = ["REGISTRY", "TRUSTED_FIELDS", "Daemon", "Dispatch", "Pattern", "Told"]
