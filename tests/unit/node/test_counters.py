"""Commands by counter, reasons of boots, and the record that survives."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from eaves.node.counters import BootReason, Command, CounterFile, Record, plan_command, plan_start

COUNTERS = st.none() | st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("stored", "wanted", "command"),
    [
        (None, None, Command.NONE),
        (None, 5, Command.RECORD),
        (5, 5, Command.NONE),
        (5, 6, Command.EXECUTE),
        (5, 4, Command.EXECUTE),
        (5, None, Command.RECORD),
        (None, 0, Command.RECORD),
        (0, 1, Command.EXECUTE),
    ],
)
def test_a_counter_acts_only_against_a_stored_one(stored: int | None, wanted: int | None, command: Command) -> None:
    assert plan_command(stored, wanted) is command


@given(st.lists(COUNTERS, max_size=20))
def test_a_config_seen_twice_never_acts_twice(counters: list[int | None]) -> None:
    stored: int | None = None
    for wanted in counters:
        stored = wanted
        assert plan_command(stored, wanted) is Command.NONE


def test_first_start_is_told_from_later_boots() -> None:
    first = plan_start(Record(), "boot-1", 100.0)
    assert (first.boot_reason, first.restart_counter) == (BootReason.FIRST, 0)
    again = plan_start(first, "boot-1", 200.0)
    assert (again.boot_reason, again.restart_counter) == (BootReason.FIRST, 0)
    second = plan_start(again, "boot-2", 300.0)
    assert (second.boot_reason, second.restart_counter, second.last_reboot_time) == (BootReason.POWER_FAIL, 1, 300.0)


def test_reboot_on_command_and_in_order_are_told_from_a_power_cut() -> None:
    record = plan_start(Record(), "boot-1", 100.0)
    commanded = replace(record, pending_reason=BootReason.REBOOT_CMD, pending_text="why")
    after = plan_start(commanded, "boot-2", 200.0)
    assert (after.boot_reason, after.boot_text, after.pending_reason) == (BootReason.REBOOT_CMD, "why", None)
    assert plan_start(replace(record, is_clean=True), "boot-2", 200.0).boot_reason is BootReason.UNKNOWN


def test_shutdown_ends_with_the_next_boot() -> None:
    record = replace(plan_start(Record(), "boot-1", 100.0), is_shut_down=True)
    assert plan_start(record, "boot-1", 150.0).is_shut_down
    assert not plan_start(record, "boot-2", 200.0).is_shut_down


async def test_record_survives_a_restart_of_the_daemon(tmp_path: Path) -> None:
    counters = CounterFile(tmp_path / "boot.json")
    await counters.start("boot-1", 100.0)
    await counters.update(replace(counters.record, reboot_counter=7))
    later = CounterFile(tmp_path / "boot.json")
    await later.start("boot-1", 200.0)
    assert later.record.reboot_counter == 7


async def test_unreadable_record_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "boot.json").write_bytes(b"\0\0\0")
    counters = CounterFile(tmp_path / "boot.json")
    await counters.start("boot-1", 100.0)
    assert counters.record.boot_reason is BootReason.FIRST


async def test_full_disk_is_told_to_the_caller(tmp_path: Path) -> None:
    counters = CounterFile(Path("/proc/nowhere/boot.json"))
    assert not await counters.update(replace(counters.record, reboot_counter=1))
    assert counters.record.reboot_counter == 1
