"""``status``: how the daemon is."""

import json
import os

from journalrelay import __version__, clock
from journalrelay.commands import NO
from journalrelay.commands.facts import gather
from journalrelay.options import Options, Parser, add_json, add_map, add_state
from journalrelay.site import Site

HELP = "say how the daemon is"
EXAMPLE = "status"


def options(parser: Parser) -> None:
    """Add its options."""
    form = parser.add_mutually_exclusive_group()
    add_json(form, "a JSON object")
    form.add_argument("--prometheus", action="store_true", help="print metrics for node exporter")
    form.add_argument("--openmetrics", action="store_true", help="print metrics as OpenMetrics")
    for add in (add_map, add_state):
        add(parser)


def act(site: Site, options: Options) -> int:
    """Print how the daemon is: 0 when it runs, 1 when not."""
    facts = gather(site)
    if options.json:
        print(json.dumps(facts))
    elif options.prometheus or options.openmetrics:
        from journalrelay.telling.metrics import metrics, openmetrics, prometheus

        text = openmetrics if options.openmetrics else prometheus
        print(text(metrics(facts, __version__)), end="")
    else:
        from journalrelay.commands.screen import lines
        from journalrelay.streams import takes_colour

        coloured = takes_colour()
        for line in lines(facts, str(site.map_path), clock.now_us()):
            print(line.drawn(coloured))
    return os.EX_OK if facts["running"] else NO
