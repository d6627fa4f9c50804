"""What each verb of the command line does: it prints what was asked for, returns the exit code."""

NO = 1
"""The exit code of a negative answer."""
