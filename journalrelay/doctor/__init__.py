"""What is wrong with an installation, and the command that mends it.

Each room looks at one part and changes nothing. Other programs (sendmail, systemctl) are asked in
:mod:`journalrelay.doctor.host` alone: by fixed arguments, no shell between.
"""

from collections.abc import Iterator

from journalrelay.doctor import journal, mailer, mapstate, postfix, remote, rivals, units
from journalrelay.doctor.diagnosis import Diagnosis
from journalrelay.site import Site


def examine(site: Site) -> Iterator[Diagnosis]:
    """Yield what is found of each part, in the order of the road."""
    service, content = units.service(), mapstate.content(site)
    yield from journal.examine(site)
    yield from remote.examine(site, service)
    yield from units.examine(service)
    yield from mapstate.examine(site, content, service.get("User", ""))
    if site.config.rules.spelling == "postfix":
        yield from postfix.examine(site, content.sample, by_systemd=bool(service))
    else:
        yield from mailer.examine(site, content.sample)
    yield from rivals.examine(site)
