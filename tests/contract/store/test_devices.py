"""The device registry and its inbox."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from eaves.store.abc import Put
from eaves.store.devices import InfoMessage, NewDevice, PendingInfo
from eaves.store.errors import ConflictError, DeviceConflictError, UnknownDeviceError
from eaves.store.sqlite import inbox
from eaves.testing.stores import Stores, key_of, make_document, open_stores, take_changes


def device(number: int, *, serial: str | None = None, cert: bytes | None = None, soft_serial: str = "") -> NewDevice:
    name = f"00000000-0000-4000-8000-{number:012d}"
    serial = f"serial-{number}" if serial is None else serial
    return NewDevice(name, cert or f"certificate {number}".encode(), b"onboarding", serial, soft_serial)


def info(number: int, payload: bytes = b"p", *, ztype: int = 1, object_id: str = "", at_ns: int = 100) -> InfoMessage:
    return InfoMessage(device(number).device_id, ztype, object_id, at_ns, payload)


async def test_a_registered_device_is_found_by_id_and_by_both_hash_forms(stores: Stores) -> None:
    for number in range(5):
        await stores.devices.register(device(number))
    wanted = device(3)
    cert_hash = hashlib.sha256(wanted.cert_der).digest()
    record = await stores.devices.find_by_cert_hash(cert_hash)
    assert record is not None
    assert (record.device_id, record.cert_der, record.serial) == (wanted.device_id, wanted.cert_der, "serial-3")
    assert record.cert_hash == cert_hash
    assert await stores.devices.find_by_cert_hash(cert_hash[:16]) == record
    assert await stores.devices.find(wanted.device_id) == record
    assert await stores.devices.find_by_cert_hash(cert_hash[:15]) is None
    assert await stores.devices.find_by_cert_hash(b"\xff" * 16) is None
    assert await stores.devices.find_by_cert_hash(b"") is None


async def test_registering_the_same_certificate_again_answers_the_same_device(stores: Stores) -> None:
    first = await stores.devices.register(device(1))
    again = await stores.devices.register(device(2, cert=device(1).cert_der))
    assert first.is_new
    assert not again.is_new
    assert again.record == first.record
    assert await stores.devices.find(device(2).device_id) is None


async def test_a_serial_belongs_to_one_certificate(stores: Stores) -> None:
    await stores.devices.register(device(1))
    with pytest.raises(DeviceConflictError) as caught:
        await stores.devices.register(device(2, serial="serial-1"))
    assert caught.value.device_id == device(1).device_id
    await stores.devices.register(device(3, serial="", soft_serial="soft"))
    with pytest.raises(DeviceConflictError, match="soft_serial soft"):
        await stores.devices.register(device(4, serial="", soft_serial="soft"))
    for number in (5, 6):
        assert (await stores.devices.register(device(number, serial=""))).is_new
    with pytest.raises(DeviceConflictError, match="id is taken"):
        await stores.devices.register(device(1, serial="x", cert=b"other"))


async def test_a_rival_is_whoever_has_the_same_serial_of_the_same_onboarding_certificate(stores: Stores) -> None:
    await stores.devices.register(device(1))
    await stores.devices.register(device(2, serial="", soft_serial="soft"))
    rivals = [
        await stores.devices.find_rival(other)
        for other in (
            device(3, serial="serial-1"),
            device(3, serial="", soft_serial="soft"),
            device(3),
            device(3, serial=""),
            device(3, soft_serial="soft"),
        )
    ]
    assert [rival and rival.device_id for rival in rivals] == [
        device(1).device_id,
        device(2).device_id,
        None,
        None,
        None,
    ]


async def test_of_devices_that_claim_one_serial_at_once_one_wins(stores: Stores) -> None:
    answers = await asyncio.gather(
        *(stores.devices.register(device(number, serial="same")) for number in range(8)), return_exceptions=True
    )
    assert sum(isinstance(answer, DeviceConflictError) for answer in answers) == 7
    answers = await asyncio.gather(*(stores.devices.register(device(n, cert=b"one")) for n in range(10, 18)))
    assert len({answer.record.device_id for answer in answers if not isinstance(answer, BaseException)}) == 1


async def test_objects_are_written_with_the_registration_or_not_at_all(stores: Stores) -> None:
    write = Put(key_of("node-1", "", "edgenodes.eaves.dev"), make_document(), 0)
    first = await stores.devices.register(device(1), [write])
    assert [stored.key.name for stored in first.written] == ["node-1"]
    assert len(await take_changes(stores.objects.watch("edgenodes.eaves.dev", after=0), 1)) == 1
    with pytest.raises(ConflictError):
        await stores.devices.register(device(2), [write])
    assert await stores.devices.find(device(2).device_id) is None
    again = await stores.devices.register(device(1), [write])
    assert again.written == ()


async def test_what_a_device_proved_is_kept_and_found_at_once(engine: str, tmp_path: Path) -> None:
    stores = await open_stores(engine, tmp_path)
    cert_hash = (await stores.devices.register(device(1))).record.cert_hash
    assert await stores.devices.find_by_cert_hash(cert_hash)
    device_id = device(1).device_id
    await stores.devices.save_certs(device_id, [b"cert a", b"", b"cert b"])
    await stores.devices.save_keys(device_id, [b"key"])
    saved = await stores.devices.save_token(device_id, b"hash", has_tpm=True)
    assert (saved.certs, saved.keys, saved.token_hash, saved.has_tpm) == (
        (b"cert a", b"", b"cert b"),
        (b"key",),
        b"hash",
        True,
    )
    assert saved.token_issued_ns > 0
    assert await stores.devices.find_by_cert_hash(cert_hash) == saved
    await stores.close()
    stores = await open_stores(engine, tmp_path)
    assert await stores.devices.find_by_cert_hash(cert_hash[:16]) == saved
    taken_back = await stores.devices.save_token(device_id, b"", has_tpm=True)
    assert (taken_back.token_hash, taken_back.token_issued_ns) == (b"", 0)
    await stores.close()


async def test_a_device_that_is_not_registered_cannot_be_saved_to(stores: Stores) -> None:
    with pytest.raises(UnknownDeviceError):
        await stores.devices.save_keys("nobody", [b"key"])


async def test_a_removed_device_is_forgotten_and_may_register_again(stores: Stores) -> None:
    record = (await stores.devices.register(device(1))).record
    await stores.devices.find_by_cert_hash(record.cert_hash)
    await stores.devices.save_info(info(1))
    stores.devices.touch(record.device_id, 5)
    assert await stores.devices.remove(record.device_id)
    assert not await stores.devices.remove(record.device_id)
    assert await stores.devices.find_by_cert_hash(record.cert_hash) is None
    assert await stores.devices.pending(10) == []
    assert record.device_id not in stores.devices.last_seen_ns()
    assert (await stores.devices.register(device(1))).is_new


async def test_devices_are_listed_in_pages_by_id(stores: Stores) -> None:
    for number in (3, 1, 2):
        await stores.devices.register(device(number))
    first = await stores.devices.list(limit=2)
    assert [record.device_id for record in first] == [device(1).device_id, device(2).device_id]
    rest = await stores.devices.list(limit=2, after=first[-1].device_id)
    assert [record.device_id for record in rest] == [device(3).device_id]


async def test_contacts_are_written_when_closing_and_by_and_by(engine: str, tmp_path: Path) -> None:
    stores = await open_stores(engine, tmp_path, touch_every_s=0.01)
    for number in (1, 2):
        await stores.devices.register(device(number))
        stores.devices.touch(device(number).device_id, number)
    stores.devices.touch("unknown", 7)
    await asyncio.sleep(0.02)
    stores.devices.touch(device(2).device_id, 22)
    await stores.close()
    stores = await open_stores(engine, tmp_path)
    assert stores.devices.last_seen_ns() == {device(1).device_id: 1, device(2).device_id: 22}
    await stores.close()


async def test_the_inbox_holds_the_newest_message_about_each_thing_until_it_is_observed(stores: Stores) -> None:
    devices = stores.devices
    assert await devices.save_info(info(1, b"old"))
    assert await devices.save_info(info(1, b"app", ztype=2, object_id="a"))
    assert await devices.save_info(info(1, b"new", at_ns=200))
    pending = await devices.pending(10)
    assert [entry.message.payload for entry in pending] == [b"app", b"new"]
    assert [entry.message.payload for entry in await devices.pending(1)] == [b"app"]
    assert [entry.message.payload for entry in await devices.pending(1, after=pending[0].seq)] == [b"new"]
    await devices.mark_observed([entry.seq for entry in pending])
    assert await devices.pending(10) == []
    assert await devices.load_info(device(1).device_id) == pending
    assert await devices.load_info(device(1).device_id, 2) == pending[:1]


async def test_a_message_that_came_while_its_predecessor_was_observed_stays_pending(stores: Stores) -> None:
    await stores.devices.save_info(info(1, b"old"))
    (old,) = await stores.devices.pending(10)
    await stores.devices.save_info(info(1, b"new"))
    await stores.devices.mark_observed([old.seq], gone=[old.seq])
    assert [entry.message.payload for entry in await stores.devices.pending(10)] == [b"new"]


async def test_repeated_and_older_messages_are_ignored_unless_the_clock_went_back(stores: Stores) -> None:
    devices = stores.devices
    assert await devices.save_info(info(1, b"a", at_ns=100))
    await devices.mark_observed([entry.seq for entry in await devices.pending(10)])
    assert not await devices.save_info(info(1, b"a", at_ns=100))
    assert not await devices.save_info(info(1, b"b", at_ns=99))
    assert await devices.pending(10) == []
    assert not await devices.save_info(info(1, b"b", at_ns=99), newest_ns=100)
    assert await devices.find_newest_info(info(1).device_id) == 100
    assert await devices.find_newest_info(info(2).device_id) == 0
    assert await devices.save_info(info(1, b"b", at_ns=98), newest_ns=99)
    assert await devices.save_info(info(1, b"c", at_ns=99))
    assert [entry.message.payload for entry in await devices.pending(10)] == [b"c"]


async def test_a_device_that_makes_things_up_loses_its_own_oldest(stores: Stores) -> None:
    await stores.devices.save_info(info(2, b"of another"))
    large = bytes(1 << 20)
    for number in range(inbox.BYTES_OF_DEVICE >> 20):
        await stores.devices.save_info(info(1, large, object_id=f"thing-{number}"))
    await stores.devices.save_info(info(1, b"one more", object_id="new"))
    # What is said anew of a thing is no more than before.
    await stores.devices.save_info(info(1, b"less", object_id="thing-1", at_ns=101))
    kept = [pending.message.object_id for pending in await stores.devices.load_info(info(1).device_id)]
    assert kept == [*(f"thing-{number}" for number in range(2, inbox.BYTES_OF_DEVICE >> 20)), "new", "thing-1"]
    assert len(await stores.devices.load_info(info(2).device_id)) == 1


async def test_the_things_of_a_device_are_counted_too(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "THINGS_OF_DEVICE", 10)
    for number in range(25):
        await stores.devices.save_info(info(1, object_id=f"thing-{number}"))
    kept = [pending.message.object_id for pending in await stores.devices.load_info(info(1).device_id)]
    assert kept == [f"thing-{number}" for number in range(15, 25)]


async def test_a_thing_that_is_gone_is_forgotten(stores: Stores) -> None:
    await stores.devices.save_info(info(1, b"bye", ztype=2, object_id="a"))
    (entry,) = await stores.devices.pending(10)
    await stores.devices.mark_observed([], gone=[entry.seq])
    assert await stores.devices.load_info(device(1).device_id) == []


async def test_pending_messages_survive_a_restart_and_numbers_go_on(engine: str, tmp_path: Path) -> None:
    stores = await open_stores(engine, tmp_path)
    await asyncio.gather(*(stores.devices.save_info(info(number)) for number in range(50)))
    before = await stores.devices.pending(100)
    assert len(before) == 50
    await stores.devices.mark_observed([entry.seq for entry in before[:10]])
    await stores.close()
    stores = await open_stores(engine, tmp_path)
    assert await stores.devices.pending(100) == before[10:]
    await stores.devices.save_info(info(99))
    (last,) = await stores.devices.pending(1, after=before[-1].seq)
    assert isinstance(last, PendingInfo)
    await stores.close()
