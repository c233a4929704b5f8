"""Who is in contact: by the monotonic clock, with patience after a start of our own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eaves.controller.deviceside import Clocks
from eaves.controller.nodes import NodeIndex
from eaves.controller.reconcile.contact import DEFAULT_LIMIT_S, ContactKeeper
from eaves.store.sqlite.devices import SqliteDeviceRegistry
from eaves.store.sqlite.objects import SqliteStore
from eaves.testing.deviceside import open_rig
from eaves.wire.identifiers import DeviceId

A, B = DeviceId("a"), DeviceId("b")


class Bench:
    def __init__(self, registry: SqliteDeviceRegistry, nodes: NodeIndex) -> None:
        self.now_s = 1000.0
        self.time_ns = 5 * 10**18
        self.told: list[DeviceId] = []
        self.keeper = ContactKeeper(registry, nodes, lambda: self.now_s, lambda: self.time_ns, self.told.append)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store = await SqliteStore.open(tmp_path / "objects.db")
    registry = SqliteDeviceRegistry(store)
    yield Bench(registry, NodeIndex(store))
    await registry.close()
    await store.close()


async def test_a_device_is_told_once_when_it_comes_and_once_when_it_is_lost(bench: Bench) -> None:
    for _ in range(3):
        bench.keeper.hear(A)
    assert bench.told == [A]
    bench.now_s += DEFAULT_LIMIT_S
    bench.keeper.check()
    assert bench.keeper.is_in_contact(A)
    bench.now_s += 1
    bench.keeper.check()
    bench.keeper.check()
    assert not bench.keeper.is_in_contact(A)
    assert bench.told == [A, A]
    assert bench.keeper.last_seen_s(A) == 5e9
    assert bench.keeper.last_seen_s(B) == 0


async def test_a_device_that_polls_rarely_has_longer(bench: Bench) -> None:
    bench.keeper.hear(A)
    bench.keeper.limit(A, 3600)
    bench.now_s += 3599
    bench.keeper.check()
    assert bench.keeper.is_in_contact(A)
    bench.keeper.limit(A, DEFAULT_LIMIT_S)
    bench.keeper.check()
    assert not bench.keeper.is_in_contact(A)


async def test_a_wall_clock_that_jumps_loses_nobody(bench: Bench) -> None:
    bench.keeper.hear(A)
    bench.time_ns += 10**17
    bench.keeper.check()
    assert bench.keeper.is_in_contact(A)


async def test_a_lost_device_is_not_connected_and_comes_back(tmp_path: Path) -> None:
    now_s = [1000.0]
    async with open_rig(tmp_path, clocks=Clocks(monotonic_s=lambda: now_s[0])) as rig:
        await rig.add_key()
        device = await rig.onboarded(serial="A1")

        async def connected(status: str) -> bool:
            return (await rig.condition(device, "Connected")).get("status") == status

        await rig.until(lambda: connected("True"))
        now_s[0] += DEFAULT_LIMIT_S + 1
        rig.side.contact.check()
        await rig.until(lambda: connected("False"))
        assert (await device.poll()).status == 304
        await rig.until(lambda: connected("True"))


async def test_a_restart_of_the_controller_loses_nobody(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.add_key()
        device = await rig.onboarded(serial="A1")
        # Long ago, as after a controller that was away for days.
        rig.registry.touch(device.id, 10**9)
    now_s = [1000.0]
    async with open_rig(tmp_path, clocks=Clocks(monotonic_s=lambda: now_s[0])) as rig:
        await rig.until(lambda: rig.side.contact.is_in_contact(device.id))
        now_s[0] += DEFAULT_LIMIT_S - 1
        rig.side.contact.check()
        assert rig.side.contact.is_in_contact(device.id)
        now_s[0] += 2
        rig.side.contact.check()
        assert not rig.side.contact.is_in_contact(device.id)
