"""Facts of the machine that the tests run on, as far as every machine has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from eaves.node.report import facts


def test_machine_is_described() -> None:
    machine = facts.load_machine()
    assert machine.architecture
    assert machine.cpus > 0
    assert machine.memory_bytes > 100 << 20
    assert machine.boot_time > 1_000_000_000


def test_folder_of_apps_is_on_one_of_the_mounts(tmp_path: Path) -> None:
    mounts = facts.load_mounts(tmp_path)
    assert all(mount.total_bytes >= mount.used_bytes for mount in mounts)
    assert len({mount.path for mount in mounts}) == len(mounts)


def test_what_is_mounted_for_apps_is_no_file_system_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("data", "state/volume", "merged"):
        (tmp_path / name).mkdir(parents=True)
    lines = [
        f"/dev/sda1 {tmp_path}/data ext4 rw 0 0",
        f"/dev/loop0 {tmp_path}/state/volume ext4 rw 0 0",
        f"overlay {tmp_path}/merged overlay rw 0 0",
    ]
    monkeypatch.setattr(facts, "_lines", lambda _: lines)
    assert [mount.path for mount in facts.load_mounts(tmp_path / "state")] == [f"{tmp_path}/data"]
    assert facts.load_mounts(tmp_path / "nowhere")[0].device == "/dev/sda1"


def test_load_is_plausible() -> None:
    load = facts.load_load()
    assert load.cpu_ns > 0
    assert 10 << 20 < load.own_rss_bytes < 10 << 30
    assert load.memory_used_bytes + load.memory_available_bytes == facts.load_machine().memory_bytes


async def test_ports_and_resolvers_are_there() -> None:
    assert all(port.name != "lo" for port in await facts.load_ports())
    servers, _ = await facts.load_resolvers()
    assert all(servers)


def test_disks_and_memory_errors_are_read_without_failing() -> None:
    assert all(disk.size_bytes >= 0 for disk in facts.load_disks())
    assert all(ecc.name.startswith("mc") for ecc in facts.load_eccs())
