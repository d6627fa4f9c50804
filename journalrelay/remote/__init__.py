"""Other hosts whose journals are received here, each a road of its own up to its logins."""
