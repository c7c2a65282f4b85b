"""Put on PYTHONPATH by tests of watchdogs: signals that make a process hang, as bugs would."""

import re
import signal
import time


def _block(*_: object) -> None:
    """The event loop waits, and other threads go on."""
    time.sleep(600)


def _hold(*_: object) -> None:
    """No thread of Python's goes on."""
    re.match(r"(a|a)+$", "a" * 60 + "b")


signal.signal(signal.SIGUSR1, _block)
signal.signal(signal.SIGUSR2, _hold)
