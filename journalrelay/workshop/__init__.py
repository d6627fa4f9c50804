"""The operator's own patterns: how lines are tried on them, and why one is not taken."""
