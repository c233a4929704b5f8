"""Properties that are words, and what a controller is told of all of them."""

from __future__ import annotations

import logging

import pytest

from eaves.node import properties
from eaves.wire.timers import ItemStatus, Timers, parse_config_items


def tell(items: dict[str, str], *, knows_defaults: bool = True) -> dict[str, ItemStatus]:
    timers, statuses = parse_config_items(items.items(), Timers())
    return properties.tell_statuses(statuses, timers, knows_defaults=knows_defaults)


@pytest.mark.parametrize(
    ("word", "asked", "expected"),
    [
        *(("none", asked, asked) for asked in (True, False)),
        *(("", asked, asked) for asked in (True, False)),
        *(("enabled", asked, True) for asked in (True, False)),
        *(("off", asked, False) for asked in (True, False)),
        ("maybe", True, True),
    ],
)
def test_the_property_overrides_the_maintenance_of_the_config(word: str, asked: bool, expected: bool) -> None:
    items = {properties.MAINTENANCE: word} if word else {}
    assert properties.is_maintenance(items, is_asked=asked) is expected


def test_levels_of_logs_have_the_names_of_eve() -> None:
    assert properties.find_remote_log_level({}) == logging.INFO
    assert properties.find_remote_log_level({properties.REMOTE_LOG_LEVEL: "warning"}) == logging.WARNING
    assert properties.find_remote_log_level({properties.REMOTE_LOG_LEVEL: "none"}) > logging.CRITICAL
    assert properties.find_log_level({}) is None
    assert properties.find_log_level({properties.LOG_LEVEL: "loud"}) is None
    assert properties.find_log_level({properties.LOG_LEVEL: "trace"}) == logging.DEBUG


def test_what_nothing_obeys_is_told_with_its_value() -> None:
    told = tell({"timer.reboot.no.network": "300", "debug.enable.console": "true", "timer.metric.interval": "30"})
    assert told["timer.reboot.no.network"] == ItemStatus("300", "timer.reboot.no.network has no effect on this node")
    assert "no effect" in told["debug.enable.console"].error
    assert told["timer.metric.interval"] == ItemStatus("30")


def test_a_value_out_of_bounds_is_told_as_such_first() -> None:
    assert "must be from 120" in tell({"timer.reboot.no.network": "1"})["timer.reboot.no.network"].error


@pytest.mark.parametrize(
    ("key", "value", "in_force"),
    [
        (properties.MAINTENANCE, "none", "; none is in force"),
        (properties.LOG_LEVEL, "", "; the level of this machine's settings is in force"),
        (properties.REMOTE_LOG_LEVEL, "info", "; info is in force"),
    ],
)
def test_words_that_are_not_known_are_told(key: str, value: str, in_force: str) -> None:
    status = tell({key: "loud"})[key]
    assert status.value == value
    assert "must be one of" in status.error
    assert status.error.endswith(in_force)
    assert tell({key: "none"})[key] == ItemStatus("none")


def test_a_foreign_controller_is_told_all_values_in_force() -> None:
    told = tell({"timer.config.interval": "20", "no.such": "1"}, knows_defaults=False)
    assert told["timer.config.interval"] == ItemStatus("20")
    assert told["timer.metric.interval"] == ItemStatus("60")
    assert told["maintenance.mode"] == ItemStatus("none")
    assert properties.LOG_LEVEL not in told, "the machine's settings say which, and they are its owner's"
    assert "timer.reboot.no.network" not in told
    assert not any(key.startswith("eaves.") for key in told)
    assert not told["no.such"].is_known
    assert tell({"timer.config.interval": "20"}).keys() == {"timer.config.interval"}
