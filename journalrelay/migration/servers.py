"""Which POP or IMAP server an old pattern was written for.

The ancestor's scanaddr and pop-before-smtp's ``$pat`` are regular expressions, edited at many
sites. They are told apart by the words that the server's line has and no other's; the expressions
themselves are not used: what is granted is decided by our own patterns, which are stricter.
Words: the lines of these servers, as each pattern's own file shows them.
"""

import re

# In this order: the first that fits is it.
_MARKS = (
    ("vm-pop3d", r"vm-pop3d"),
    ("gnu-pop3d", r"gnu-pop3d"),
    ("solid-pop3d", r"spop3d|solid-?pop3d"),
    ("teapop", r"teapop"),
    ("tpop3d", r"tpop3d"),
    ("vpop3d", r"vpop3d"),
    ("cucipop", r"cucipop"),
    ("popa3d", r"popa3d|Authentication passed for"),
    ("perdition", r"perdition"),
    ("vchkpw", r"vchkpw|vpopmail"),
    ("mailutils", r"mailutils|POP3 login: user"),
    ("qpopper", r"POP login by user|Stats:|q\)?\??popper|popper\b"),
    ("courier", r"LOGIN, user=|courier"),
    ("dovecot", r"dovecot|(?:imap|pop3)[^\n]{0,3}-login: [^\n]{0,20}Login"),
    ("cyrus", r"cyrus|badlogin|login: (?:\\S|\[\^|\.)"),
    ("uw", r"ipop[23]|imaps?\??d|(?:Login|Authenticated|Auth|APOP)[^\n]*user="),
)


def server_of(pattern: str) -> str | None:
    """Return the name of the server for whose lines a pattern was written, or None."""
    for name, mark in _MARKS:
        if re.search(mark, pattern):
            return name
    return None
