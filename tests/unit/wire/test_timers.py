"""Device properties: defaults, bounds and what happens to values that cannot be taken."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.wire import timers
from eaves.wire.timers import ItemStatus, Timers

# key, default, lowest, highest (None = no bound besides 32 bits), written down from the device API's table of timers.
TABLE: list[tuple[str, int, int, int | None]] = [
    ("timer.config.interval", 60, 5, 86400),
    ("timer.metric.interval", 60, 5, 3600),
    ("timer.cert.interval", 86400, 60, None),
    ("timer.deviceinfo.interval", 600, 30, None),
    ("timer.hardwarehealth.interval", 43200, 21600, None),
    ("timer.location.cloud.interval", 3600, 300, None),
    ("timer.location.app.interval", 20, 5, 3600),
    ("timer.ntpsources.interval", 600, 60, None),
    ("timer.metric.diskscan.interval", 300, 5, 3600),
    ("timer.appcontainer.stats.interval", 300, 1, None),
    ("timer.send.timeout", 120, 0, 3600),
    ("timer.dial.timeout", 10, 0, 3600),
    ("timer.reboot.no.network", 604800, 120, None),
    ("timer.update.fallback.no.network", 300, 60, None),
    ("timer.test.baseimage.update", 600, 30, 3600),
    ("timer.download.retry", 600, 60, None),
    ("timer.download.stalled", 600, 20, None),
    ("timer.boot.retry", 600, 10, None),
    ("timer.gc.vdisk", 3600, 60, None),
    ("timer.defer.content.delete", 0, 0, 86400),
    ("timer.vault.ready.cutoff", 300, 60, None),
    ("timer.port.testduration", 30, 10, None),
    ("timer.port.testinterval", 300, 300, None),
    ("timer.port.timeout", 15, 0, None),
    ("timer.port.testbetterinterval", 600, 0, None),
    ("timer.lps.profile.interval", 60, 3, 3600),
    ("timer.lps.appinfo.interval", 60, 3, 3600),
    ("timer.lps.devinfo.interval", 60, 3, 3600),
    ("timer.lps.network.interval", 60, 3, 3600),
    ("timer.lps.appbootinfo.interval", 60, 3, 3600),
    ("timer.lps.radio.interval", 5, 3, 3600),
]


def value_of(key: str, values: Timers) -> int:
    value = getattr(values, timers.NUMBERS[key].field)
    assert isinstance(value, int)
    return value


def read(*items: tuple[str, str], previous: Timers | None = None) -> tuple[Timers, dict[str, ItemStatus]]:
    return timers.parse_config_items(items, previous or Timers())


def test_every_timer_of_the_table_is_known() -> None:
    assert {key for key in timers.NUMBERS if key.startswith("timer.")} == {row[0] for row in TABLE}


@pytest.mark.parametrize(("key", "default", "lowest", "highest"), TABLE)
def test_default_and_bounds_are_as_the_table_says(key: str, default: int, lowest: int, highest: int | None) -> None:
    assert value_of(key, Timers()) == default
    top = 2**32 - 1 if highest is None else highest
    for good in (lowest, top):
        values, statuses = read((key, str(good)))
        assert value_of(key, values) == good
        assert statuses == {key: ItemStatus(str(good))}
    for bad in (lowest - 1, top + 1):
        values, statuses = read((key, str(bad)))
        assert value_of(key, values) == default
        assert statuses[key].error


def test_value_out_of_bounds_leaves_the_former_one_and_says_so() -> None:
    previous, _ = read(("timer.config.interval", "10"))
    values, statuses = read(("timer.config.interval", "2"), ("timer.metric.interval", "30"), previous=previous)
    assert (values.config_interval_s, values.metric_interval_s) == (10, 30)
    assert statuses["timer.config.interval"] == ItemStatus(
        "10", "timer.config.interval must be from 5 to 86400, not 2; 10 stays in force"
    )
    assert statuses["timer.metric.interval"] == ItemStatus("30")


@pytest.mark.parametrize("text", ["", " 10", "10 ", "1e2", "0x10", "+10", "ten", "1_0", "10.0", "٣٠", "9" * 400])
def test_text_that_is_no_plain_number_is_refused(text: str) -> None:
    values, statuses = read(("timer.config.interval", text), previous=Timers(config_interval_s=33))
    assert values.config_interval_s == 33
    assert "whole number" in statuses["timer.config.interval"].error
    assert len(statuses["timer.config.interval"].error) < 300


def test_item_that_is_no_longer_there_goes_back_to_its_default() -> None:
    values, statuses = read(previous=Timers(config_interval_s=10, newlog_allow_fastupload=True))
    assert (values.config_interval_s, values.newlog_allow_fastupload) == (60, False)
    assert statuses == {}


def test_local_access_is_on_before_the_first_config_and_off_in_one_that_does_not_name_it() -> None:
    assert (Timers().debug_enable_usb, Timers().debug_enable_vga, Timers().debug_enable_console) == (True, True, True)
    values, _ = read(("debug.enable.usb", "true"))
    assert (values.debug_enable_usb, values.debug_enable_vga, values.debug_enable_console) == (True, False, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("true", True), ("1", True), ("T", True), ("enabled", True), ("false", False), ("0", False), ("disabled", False)],
)
def test_switches_take_every_common_word(text: str, expected: bool) -> None:
    values, statuses = read(("newlog.allow.fastupload", text))
    assert values.newlog_allow_fastupload is expected
    assert statuses == {"newlog.allow.fastupload": ItemStatus(str(expected).lower())}


def test_switch_that_is_no_switch_keeps_the_former_value() -> None:
    values, statuses = read(("debug.enable.vga", "maybe"), previous=Timers(debug_enable_vga=True))
    assert values.debug_enable_vga is True
    assert "must be true or false, not 'maybe'; true stays" in statuses["debug.enable.vga"].error


def test_unknown_key_is_reported_and_does_no_harm() -> None:
    values, statuses = read(("no.such.key", "5"), ("timer.config.interval", "5"))
    assert values.config_interval_s == 5
    assert statuses["no.such.key"] == ItemStatus("", "no.such.key is not a property of this node", is_known=False)


@pytest.mark.parametrize(
    "key",
    ["debug.kernel.loglevel", "app.allow.vnc", "agent.zedagent.debug.remote.loglevel", "gogc.memory.limit.bytes"],
)
def test_property_of_eve_comes_back_with_the_word_that_it_has_no_effect(key: str) -> None:
    _, statuses = read((key, "x"))
    assert statuses[key] == ItemStatus("x", f"{key} is a property of EVE that has no effect on this node")


def test_properties_that_others_read_are_no_errors() -> None:
    _, statuses = read(("process.cloud-init.multipart", "true"), ("k3s.version", "v1.34.2+k3s1"))
    assert statuses == {
        "process.cloud-init.multipart": ItemStatus("true"),
        "k3s.version": ItemStatus("v1.34.2+k3s1"),
    }


def test_last_of_two_values_counts() -> None:
    values, statuses = read(("timer.config.interval", "7"), ("timer.config.interval", "8"))
    assert values.config_interval_s == 8
    assert len(statuses) == 1


@given(st.data())
def test_rendered_items_put_the_same_values_in_force(data: st.DataObject) -> None:
    chosen = {
        bounds.field: data.draw(st.integers(bounds.lowest, bounds.highest)) for bounds in timers.NUMBERS.values()
    } | {field: data.draw(st.booleans()) for field in timers.SWITCHES.values()}
    wanted = msgspec.structs.replace(Timers(), **chosen)
    items = timers.render_config_items(wanted)
    values, statuses = timers.parse_config_items(items, Timers())
    assert values == wanted
    assert not any(status.error for status in statuses.values())


def test_defaults_of_a_controller_need_no_items() -> None:
    assert timers.render_config_items(read()[0]) == []


@given(st.lists(st.tuples(st.sampled_from([*timers.NUMBERS, *timers.SWITCHES, "x"]), st.text(max_size=12))))
def test_any_items_give_values_within_bounds(items: list[tuple[str, str]]) -> None:
    values, statuses = timers.parse_config_items(items, Timers())
    assert statuses.keys() == dict(items).keys()
    for bounds in timers.NUMBERS.values():
        assert bounds.lowest <= getattr(values, bounds.field) <= bounds.highest
