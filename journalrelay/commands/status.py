"""``status``: how the daemon is."""

import json
import os

from journalrelay import clock
from journalrelay.commands import NO
from journalrelay.commands.facts import gather
from journalrelay.commands.screen import lines
from journalrelay.options import Options, Parser, add_json, add_map, add_state
from journalrelay.site import Site
from journalrelay.streams import takes_colour

HELP = "say how the daemon is"
EXAMPLE = "status"


def options(parser: Parser) -> None:
    """Add its options."""
    add_json(parser, "a JSON object")
    for add in (add_map, add_state):
        add(parser)


def act(site: Site, options: Options) -> int:
    """Print how the daemon is: 0 when it runs, 1 when not."""
    facts = gather(site)
    if options.json:
        print(json.dumps(facts))
    else:
        coloured = takes_colour()
        for line in lines(facts, str(site.map_path), clock.now_us()):
            print(line.drawn(coloured))
    return os.EX_OK if facts["running"] else NO
