"""When an uplink counts as failed and when as good again. Pure.

Three failures in a row make it fail, at once when the link itself is gone. It is good again after three good checks in a row; each
failure soon after that doubles the number, so that a flapping uplink does not drag the apps' connections to and fro.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

FAILURES = 3
SUCCESSES = 3
MOST_SUCCESSES = 48
STEADY = 120
"""So many good checks in a row and former failures are forgotten."""


class Health(Struct, frozen=True):
    """``fault`` is why the uplink counts as failed, empty while it counts as good. ``good``, ``bad``: checks in a row."""

    fault: str = ""
    good: int = 0
    bad: int = 0
    needed: int = SUCCESSES


def note_check(health: Health, fault: str, *, is_certain: bool = False) -> Health:
    """After one check; ``fault`` empty = good, ``is_certain``: no second look is needed."""
    if fault:
        return _note_failure(health, fault, is_certain=is_certain)
    good = health.good + 1
    if health.fault:
        return replace(health, good=good, bad=0, fault="" if good >= health.needed else health.fault)
    return replace(health, good=good, bad=0, needed=SUCCESSES if good >= STEADY else health.needed)


def _note_failure(health: Health, fault: str, *, is_certain: bool) -> Health:
    bad = health.bad + 1
    if health.fault:
        return replace(health, fault=fault, good=0, bad=bad)
    if bad < FAILURES and not is_certain:
        return replace(health, good=0, bad=bad)
    return Health(fault, 0, bad, min(health.needed * 2, MOST_SUCCESSES))
