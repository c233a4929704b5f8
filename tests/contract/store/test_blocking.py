"""Nothing in the store blocks the loop, but for the short reads and writes that it makes there on purpose."""

from __future__ import annotations

from pathlib import Path

from eaves.store.abc import Put
from eaves.store.devices import NewDevice
from eaves.store.telemetry import LogLine, LogSource, RecordKind
from eaves.testing.blocking import nothing_blocks
from eaves.testing.stores import Stores, key_of, make_document, open_stores, take_changes

APPS = "apps.eaves.dev"


async def test_nothing_blocks_from_opening_to_closing(engine: str, tmp_path: Path) -> None:
    with nothing_blocks("eaves.store"):
        for round_ in range(2):
            stores = await open_stores(engine, tmp_path)
            await use_objects(stores, round_)
            await use_the_rest(stores)
            await stores.close()


async def use_objects(stores: Stores, round_: int) -> None:
    await stores.objects.commit(
        [Put(key_of(f"a{number:04d}"), make_document(labels={"n": str(number)}), None) for number in range(1000)]
    )
    revision = await stores.objects.revision()
    await stores.objects.commit([Put(key_of("b"), make_document(), None)])
    assert len((await stores.objects.list(APPS)).items) == 1001
    assert len((await stores.objects.list(APPS, revision=revision)).items) == 1000 + round_
    assert len((await stores.objects.list(APPS, limit=10, labels={"n": "7"})).items) == 1
    await take_changes(stores.objects.watch(APPS, after=revision - 1000), 1001)
    await stores.objects.compact(revision)
    assert await stores.objects.get(key_of("b"))


async def use_the_rest(stores: Stores) -> None:
    record = (await stores.devices.register(NewDevice("d", b"cert", b"onboarding", "s", ""))).record
    assert await stores.devices.find_by_cert_hash(record.cert_hash[:16]) == record
    stores.devices.touch("d", 1)
    assert await stores.settings.want_setting("a", b"1") == b"1"
    await stores.telemetry.append_logs("d", "", [LogLine(number, "info", "s", "text", number) for number in range(300)])
    assert len((await stores.telemetry.read_logs(LogSource("d"), tail=10)).lines) == 10
    assert await stores.telemetry.wait_logs(LogSource("d"), after=0, timeout_s=1)
    await stores.telemetry.append_record(RecordKind.METRICS, "d", 1, b"m")
    assert await stores.telemetry.latest(RecordKind.METRICS, "d")
