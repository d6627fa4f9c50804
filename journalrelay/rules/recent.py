"""What is remembered of recent logins: the places that they hold, the sessions that go on.

It is in memory only, and bounded: by the limits, and by the number of sessions. Whoever reads from
some place on first shows the logins before it, as far back as ``relay.window``, with
``relay.while_connected`` as far as that.
"""

from journalrelay.event import Login, Logout, Revocation
from journalrelay.grant import map_key
from journalrelay.rules.limits import Known, Limits
from journalrelay.rules.policy import Revocations, Rules, Verdict, decide, revoked_keys
from journalrelay.rules.sessions import Session, Sessions


class Recent:
    """Weigh logins in the light of those before them."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._limits = Limits(rules)
        self._sessions = Sessions(rules)
        self._due: dict[bytes, int] = {}

    def forget(self) -> None:
        """Remember nothing."""
        self._limits.forget()
        self._sessions.forget()
        self._due.clear()

    def weigh(self, login: Login, revocations: Revocations, now_us: int) -> Verdict:
        """Return what a login is worth at ``now_us``, and remember it."""
        verdict = decide(login, revocations, now_us, self._rules)
        return self._admit(login, verdict, revocations, now_us)

    def recall(
        self, login: Login, revocations: Revocations, now_us: int, known: Known | None
    ) -> None:
        """Remember a login that has been weighed before. ``known`` is the map that came of it,
        which says whether it was granted; None when there is none to be believed."""
        verdict = decide(login, revocations, now_us, self._rules)
        if known is None or verdict.word != "granted" or known.covers(verdict):
            self._admit(login, verdict, revocations, now_us)

    def end(self, logout: Logout, revocations: Revocations, now_us: int) -> None:
        """Let the session that a logout has ended hold its address for one more window."""
        self._sessions.see(logout.boot)
        self._pass_to(logout.logged_at_us, revocations, now_us)
        session = self._sessions.end(logout)
        if session:
            at_us = min(logout.logged_at_us, now_us)
            expiry_s = self._sessions.last_expiry_s(session, at_us)
            self._prolong(session, expiry_s, at_us, revocations)

    def end_before(self, time_us: int) -> None:
        """Know that sessions that began until then have ended, without a line that says so."""
        self._sessions.end_before(time_us)

    def due(self, revocations: Revocations, now_us: int) -> dict[bytes, int]:
        """Return what sessions are granted since this was asked last: key and expiry (s)."""
        self._pass_to(now_us, revocations, now_us)
        due, self._due = self._due, {}
        return {key: expiry_s for key, expiry_s in due.items() if expiry_s * 1_000_000 > now_us}

    def withdraw(self, revocation: Revocation) -> None:
        """Free the places of what was revoked; its sessions hold it no more."""
        network = revocation.network
        keys = revoked_keys(network) if network else ()
        around = map_key(network) + b":" if network and network.prefixlen == 64 else b""
        for key in list(self._due):
            if network is None or key in keys or (around and key.startswith(around)):
                del self._due[key]
        self._limits.withdraw(network, keys)

    def _admit(
        self, login: Login, verdict: Verdict, revocations: Revocations, now_us: int
    ) -> Verdict:
        if self._rules.while_connected_us and not login.remote:
            self._sessions.see(login.boot)
            self._pass_to(login.logged_at_us, revocations, now_us)
        verdict = self._limits.admit(login, verdict, now_us)
        if login.session and verdict.expiry_s is not None:
            self._sessions.begin(login, verdict.key)
        return verdict

    def _pass_to(self, time_us: int, revocations: Revocations, now_us: int) -> None:
        """Let the sessions that go on hold their addresses until then."""
        if self._sessions:
            at_us = min(time_us, now_us)
            for session, expiry_s in self._sessions.due(at_us):
                self._prolong(session, expiry_s, at_us, revocations)

    def _prolong(
        self, session: Session, expiry_s: int, at_us: int, revocations: Revocations
    ) -> None:
        if revocations.last(session.address) < session.since_us:
            self._limits.hold(session.place, expiry_s, at_us)
            self._due[session.key] = max(expiry_s, self._due.get(session.key, 0))
