"""What the reasons of refusals mean to an operator; one that is not here speaks for itself."""

_MEANINGS = {
    "never granted": "An address that no client of another host has: this host’s own web mail?",
    "relay.never": "A network that the configuration keeps out.",
    "relay.never_users": "A user whose logins grant nothing, by configuration.",
    "relay.only_users": "A user who is not among those whose logins grant.",
    "the server's own address": "A login from the server itself: web mail, a monitor.",
    "revoked": "Granted in its time, and revoked by hand since.",
    "from the future": "Its time is ahead of the clock.",
    "logged while the clock was ahead": "Its time is wrong: the clock was set back since.",
    "relay.max_addresses_per_user": "The user had as many addresses as one may have at once.",
    "relay.max_addresses": "As many addresses as may relay at once did so.",
}
# By these a host refuses itself and its neighbours.
OWN = ("never granted", "the server's own address")
_OF_A_DAEMON = "As many addresses of this server as may relay at once did so."


def meaning(reason: str) -> str:
    """Return what a reason means, empty when that is not known."""
    if reason.startswith("daemons.") and reason.endswith(".max_addresses"):
        return _OF_A_DAEMON
    return _MEANINGS.get(reason, "")
