"""One installation: its configuration and the files it works on, options of the command line
included. What a part needs is imported when it is made: most verbs need the map alone."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from journalrelay.config import Config
from journalrelay.map.popmap import PopMap
from journalrelay.owner import become_owner

if TYPE_CHECKING:
    from journalrelay.relay import Parts
    from journalrelay.remote.hosts import Hosts
    from journalrelay.sources.openjournal import Where
    from journalrelay.telling.ledger import Journal
    from journalrelay.telling.log import Log

STATE = Path("/var/lib/poprelayd")
RUNTIME = Path("/run/poprelayd")


class Site(NamedTuple):
    """Where a relay reads, writes and remembers."""

    config: Config
    state: Path = STATE
    files: tuple[Path, ...] = ()

    @property
    def map_path(self) -> Path:
        """Return the map's file."""
        return self.config.map_path

    def popmap(self, careful: bool = True) -> PopMap:
        """Return the map, not yet opened; see :class:`PopMap` for ``careful``."""
        config = self.config
        return PopMap(config.map_path, config.map_type, careful, spelling=config.rules.spelling)

    def popmap_for_good(self) -> PopMap:
        """Return the map for a command that needs root no more: Berkeley DB, which trusts what it
        reads, is let at a file of another user's only as that user."""
        become_owner(self.map_path.parent)
        return self.popmap()

    def where(self) -> "Where":
        """Return which journal is read: ``--file`` before what is configured."""
        from journalrelay.sources.openjournal import Where

        if self.files:
            return Where(files=self.files)
        return Where(directory=self.config.directory, namespace=self.config.namespace)

    def journal(self) -> "Journal":
        """Return the journal into which this installation writes."""
        from journalrelay.telling.ledger import Journal

        return Journal(self.config.namespace)

    def log(self) -> "Log":
        """Return what tells people of this installation's work."""
        from journalrelay.telling.log import open_log

        return open_log(self.journal(), self.map_path)

    def parts(self) -> "Parts":
        """Return what its pipeline is made of, with the source open."""
        from journalrelay.cursor import CursorFile
        from journalrelay.recognition.names import Names
        from journalrelay.recognition.resolve import Resolver
        from journalrelay.relay import Parts
        from journalrelay.sources.choice import choose
        from journalrelay.telling import ledger

        chosen = choose(
            self.config, self.where(), ledger.matches(self.map_path), self.journal().exists()
        )
        return Parts(
            source=chosen.source,
            known=self.config.known,
            daemons=chosen.daemons,
            rules=self.config.rules,
            popmap=self.popmap(careful=False),
            kept=CursorFile(self.state, chosen.source.name),
            names=Names(Resolver(), self.config.resolve_us or 0),
            hosts=self.hosts() if self.config.remotes else None,
            why=chosen.why,
        )

    def hosts(self) -> "Hosts":
        """Return the other hosts whose journals are received here."""
        from journalrelay.remote.host import Ways
        from journalrelay.remote.hosts import Hosts
        from journalrelay.sources.received import Received

        rules = self.config.rules
        ways = Ways(
            self.config.known,
            self.config.daemons,
            rules.ipv6_prefix,
            rules.skew_us,
            rules.look_back_us,
        )
        return Hosts(Received(self.config.remote), self.config.remotes, self.state, ways)

    def found(self) -> list[str]:
        """Return which of the daemons that are read this host has, as far as can be seen."""
        daemons = self.config.daemons
        return [d.name for d in daemons if any(map(os.path.exists, d.programs))]

    @property
    def status_file(self) -> Path:
        """Return the daemon's report: in /run, beside the state when that is not the usual one."""
        return (RUNTIME if self.state == STATE else self.state) / "status.json"
