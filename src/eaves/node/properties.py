"""Properties (``configItems``) as this node obeys them: those that are words, and what it tells its controller of all. Pure.

Numbers and switches are read by :mod:`eaves.wire.timers`, which both sides share; some of them govern things that EVE does and a node does
not, and a controller is told so rather than left to wait for their effect.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from eaves.wire.timers import NUMBERS, SWITCHES, ItemStatus, Timers, render_value

MAINTENANCE = "maintenance.mode"
LOG_LEVEL = "debug.default.loglevel"
REMOTE_LOG_LEVEL = "debug.default.remote.loglevel"

_WORDS: Mapping[str, Mapping[str, bool | None]] = {
    MAINTENANCE: {
        "none": None,
        **dict.fromkeys(("enabled", "enable", "on"), True),
        **dict.fromkeys(("disabled", "disable", "off"), False),
    }
}
_NOTHING = logging.CRITICAL + 1
_LEVELS: Mapping[str, int] = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "panic": logging.CRITICAL,
    "none": _NOTHING,
}
"""EVE's names of levels."""
_DEFAULTS: Mapping[str, str] = {MAINTENANCE: "none", REMOTE_LOG_LEVEL: "info"}
"""The level of what is written at all has none here: it is that of the machine's settings."""
_IDLE = frozenset(
    {
        "debug.enable.console",
        "debug.enable.usb",
        "debug.enable.vga",
        "timer.appcontainer.stats.interval",
        "timer.boot.retry",
        "timer.location.app.interval",
        "timer.location.cloud.interval",
        "timer.lps.appbootinfo.interval",
        "timer.lps.appinfo.interval",
        "timer.lps.devinfo.interval",
        "timer.lps.network.interval",
        "timer.lps.profile.interval",
        "timer.lps.radio.interval",
        "timer.metric.diskscan.interval",
        "timer.port.testbetterinterval",
        "timer.port.testduration",
        "timer.port.testinterval",
        "timer.port.timeout",
        "timer.reboot.no.network",
        "timer.test.baseimage.update",
        "timer.update.fallback.no.network",
        "timer.vault.ready.cutoff",
    }
)
"""The machine, its screen and its system are its owner's; a start that failed is repeated by back-off; the rest is of parts of EVE's."""


def is_maintenance(items: Mapping[str, str], *, is_asked: bool) -> bool:
    """Whether the node is in maintenance: the property's word counts before the config's own field (``is_asked``)."""
    word = _WORDS[MAINTENANCE].get(items.get(MAINTENANCE, "none"))
    return is_asked if word is None else word


def find_log_level(items: Mapping[str, str]) -> int | None:
    """From which level on lines are written at all; None = as the settings of this machine say."""
    return _LEVELS.get(items.get(LOG_LEVEL, ""))


def find_remote_log_level(items: Mapping[str, str]) -> int:
    """From which level on lines are sent to the controller."""
    return _LEVELS.get(items.get(REMOTE_LOG_LEVEL, ""), logging.INFO)


def tell_statuses(statuses: Mapping[str, ItemStatus], timers: Timers, *, knows_defaults: bool) -> dict[str, ItemStatus]:
    """What became of the properties that a config names, and what is in force of others unless its controller ``knows_defaults``."""
    told = {} if knows_defaults else _want_defaults(timers)
    for key, status in statuses.items():
        told[key] = _judge(key, status)
    return told


def _judge(key: str, status: ItemStatus) -> ItemStatus:
    if status.error:
        return status
    if key in _IDLE:
        return ItemStatus(status.value, f"{key} has no effect on this node")
    allowed = _WORDS.get(key) or (_LEVELS if key in (LOG_LEVEL, REMOTE_LOG_LEVEL) else None)
    if allowed is not None and status.value not in allowed:
        told = f"{key} must be one of {', '.join(allowed)}"
        if key == LOG_LEVEL:
            return ItemStatus("", f"{told}; the level of this machine's settings is in force")
        default = _DEFAULTS[key]
        return ItemStatus(default, f"{told}; {default} is in force")
    return status


def _want_defaults(timers: Timers) -> dict[str, ItemStatus]:
    fields = {key: bounds.field for key, bounds in NUMBERS.items()} | dict(SWITCHES)
    found = {
        key: ItemStatus(render_value(getattr(timers, field)))
        for key, field in fields.items()
        if key not in _IDLE and not key.startswith("eaves.")
    }
    return found | {key: ItemStatus(word) for key, word in _DEFAULTS.items()}
