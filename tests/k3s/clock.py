"""The clock of the day, as this machine of a test has it: see :mod:`eaves.testing.movable_clock`."""

from __future__ import annotations

import datetime
import time

from eaves.testing import movable_clock


def seconds() -> float:
    """Since 1970."""
    return time.time() + movable_clock.load_shift()


def now() -> datetime.datetime:
    return read(time.time())


def read(kernel_s: float) -> datetime.datetime:
    """What this clock shows when the kernel's does ``kernel_s``, as of a file's time."""
    return datetime.datetime.fromtimestamp(kernel_s + movable_clock.load_shift(), datetime.UTC)
