"""The installed programs. They begin here, before anything else of the house is imported."""

import gc


def journalrelay() -> int:
    """Run ``journalrelay`` and return its exit code."""
    gc.disable()  # what is imported stays: cli._do() looks for garbage again
    from journalrelay.cli import main

    return main()


def poprelayd() -> int:
    """Run ``poprelayd`` and return its exit code."""
    gc.disable()
    from journalrelay.cli import poprelayd

    return poprelayd()
