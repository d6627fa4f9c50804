"""``doctor``: what is wrong with this installation, and how to mend it."""

import json
import os

from journalrelay.commands import NO
from journalrelay.doctor import examine
from journalrelay.errors import printable
from journalrelay.options import Options, Parser, add_json, add_map, add_state
from journalrelay.site import Site

HELP = "say what is wrong here, and what mends it"
EXAMPLE = "doctor"


def options(parser: Parser) -> None:
    """Add its options."""
    add_json(parser, "a JSON array")
    for add in (add_map, add_state):
        add(parser)


def act(site: Site, options: Options) -> int:
    """Print what is found, and below each fault what mends it: 0 when nothing is wrong, else 1."""
    found = list(dict.fromkeys(examine(site)))
    faults = sum(diagnosis.word == "wrong" for diagnosis in found)
    if options.json:
        print(json.dumps([diagnosis._asdict() for diagnosis in found]))
        return NO if faults else os.EX_OK
    for part, word, what, mend in found:
        print(f"{word:6} {part:9} {printable(what)}")
        if mend:
            print(f"       mend with {printable(mend)}")
    print(f"{faults} to be mended" if faults else "all is well")
    return NO if faults else os.EX_OK
