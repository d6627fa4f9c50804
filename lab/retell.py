"""Recorded entries logged once more, live, by processes that look as the recorded ones did."""

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from lab.journald import Journald, Sender

Entry = list[tuple[str, bytes]]
LIVE = ("syslog", "journal")  # standard error and journald's own are nobody's to imitate
NOWHERE = "init.scope"  # where journald no longer knew the unit


class Retelling:
    """Logs entries into JOURNALD, each by the process that its trusted fields name.

    Processes differ as the recorded ones did, by number, unit and name; they live until the context
    ends, so that journald can look at them. One keeps the program that it began with: what tcpd
    has started goes on as tcpd, as journald may see it, too.
    """

    def __init__(self, journald: Journald) -> None:
        self._journald = journald
        self._senders: dict[tuple[str, ...], Sender] = {}
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._journald.sync()
        self._held.close()

    def tell(self, entry: Entry) -> bool:
        """Log ENTRY; tell whether it is one that can be logged again."""
        fields = {name: value.decode("utf-8", "replace") for name, value in entry}
        if fields.get("_TRANSPORT") not in LIVE or fields.get("_PID") == "1":
            return False
        sender = self._sender(fields)
        raw = dict(entry).get("SYSLOG_RAW")
        if sender.transport == "journal":
            sender.send_fields([(name, value) for name, value in entry if not name.startswith("_")])
        elif raw is not None:
            sender.send_raw(raw)
        else:
            sender.send(dict(entry).get("MESSAGE", b""))
        return True

    def _sender(self, fields: dict[str, str]) -> Sender:
        uid = int(fields.get("_UID", "1000"))
        names = ("_BOOT_ID", "_PID", "_SYSTEMD_UNIT", "_TRANSPORT", "SYSLOG_IDENTIFIER")
        key = tuple(fields.get(name, "") for name in names)
        sender = self._senders.get(key)
        if sender is None or sender.uid not in (0, uid):  # there is no way back to root
            sender = self._senders[key] = self._held.enter_context(
                Sender(
                    unit=fields.get("_SYSTEMD_UNIT", NOWHERE),
                    uid=uid,
                    exe=fields.get("_EXE", "/usr/bin/logger"),
                    identifier=fields.get("SYSLOG_IDENTIFIER", "unknown"),
                    transport=fields["_TRANSPORT"],
                )
            )
        elif sender.uid != uid:  # a server has become the account that logged in
            self._journald.sync()
            sender.become(uid)
        return sender
