"""The device registry on SQLite, in the file of the objects. Promises: :mod:`eaves.store.devices`."""

# Statements are put together from this module's own texts alone; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import asyncio
import collections
import hashlib
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from eaves.store.abc import Change, Write
from eaves.store.devices import DeviceRecord, InfoMessage, NewDevice, PendingInfo, Registration
from eaves.store.errors import DeviceConflictError, StoreError, UnknownDeviceError
from eaves.store.sqlite.inbox import Inbox
from eaves.store.sqlite.objects import SqliteStore

CACHE_DEVICES = 10_000
TOUCH_EVERY_S = 30.0
SHORT_HASH_BYTES = 16

_COLUMNS = ", ".join(DeviceRecord.__struct_fields__)
_SELECT = f"SELECT {_COLUMNS} FROM devices WHERE "
_INSERT = f"INSERT INTO devices ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

_UPSERT_CONTACTS = """
INSERT INTO device_contacts (device_id, seen_ns) SELECT key, value FROM json_each(?) WHERE key IN (SELECT device_id FROM devices)
ON CONFLICT (device_id) DO UPDATE SET seen_ns = excluded.seen_ns
"""

_decode_parts = msgspec.msgpack.Decoder(tuple[bytes, ...]).decode
_encode_parts = msgspec.msgpack.encode


class SqliteDeviceRegistry:
    """A :class:`~eaves.store.devices.DeviceRegistry` beside the objects of ``store``; close it before the store."""

    def __init__(
        self, store: SqliteStore, *, cache_devices: int = CACHE_DEVICES, touch_every_s: float = TOUCH_EVERY_S
    ) -> None:
        self._store = store
        self._database = store.database
        self._inbox = Inbox(store.database)
        self._cache: collections.OrderedDict[bytes, DeviceRecord] = collections.OrderedDict()
        self._cache_devices = cache_devices
        self._seen_ns: dict[str, int] = dict(store.database.read("SELECT device_id, seen_ns FROM device_contacts"))
        self._touched: set[str] = set()
        self._touch_every_s = touch_every_s
        self._timer: asyncio.TimerHandle | None = None

    async def register(self, device: NewDevice, writes: Sequence[Write] = ()) -> Registration:
        created_ns = time.time_ns()

        def run(connection: sqlite3.Connection) -> tuple[Registration, Sequence[Change]]:
            cert_hash = hashlib.sha256(device.cert_der).digest()
            known = _select(connection, "cert_hash = ?", cert_hash)
            if known is not None:
                return Registration(known, is_new=False), ()
            _check_claim(connection, device)
            changes = self._store.stage(connection, writes)
            record = DeviceRecord(
                device.device_id,
                device.cert_der,
                cert_hash,
                device.onboarding_cert_hash,
                device.serial,
                device.soft_serial,
                created_ns,
                tenant=device.tenant,
            )
            connection.execute(_INSERT, _encode(record))
            return Registration(record, is_new=True, written=[change.object for change in changes]), changes

        registration, _ = await self._database.writer.submit(run, lambda answer: self._store.publish(answer[1]))
        return registration

    async def find_rival(self, device: NewDevice) -> DeviceRecord | None:
        with self._database.snapshot() as connection:
            return _select_rival(connection, device)

    async def find(self, device_id: str) -> DeviceRecord | None:
        rows = self._database.read(_SELECT + "device_id = ?", (device_id,))
        return _decode(rows[0]) if rows else None

    async def find_by_cert_hash(self, cert_hash: bytes) -> DeviceRecord | None:
        record = self._cache.get(cert_hash)
        if record is not None:
            self._cache.move_to_end(cert_hash)
            return record
        if len(cert_hash) == SHORT_HASH_BYTES:
            bounds = (cert_hash, cert_hash + b"\xff" * SHORT_HASH_BYTES)
            rows = self._database.read(_SELECT + "cert_hash BETWEEN ? AND ? LIMIT 2", bounds)
        else:
            rows = self._database.read(_SELECT + "cert_hash = ?", (cert_hash,))
        if len(rows) != 1:
            return None
        record = self._cache[cert_hash] = _decode(rows[0])
        while len(self._cache) > self._cache_devices:
            self._cache.popitem(last=False)
        return record

    async def list(self, *, limit: int, after: str = "", tenant: str = "") -> Sequence[DeviceRecord]:
        statement = _SELECT + "tenant = ? AND device_id > ? ORDER BY device_id LIMIT ?"
        return [_decode(row) for row in self._database.read(statement, (tenant, after, limit))]

    async def save_certs(self, device_id: str, certs: Sequence[bytes]) -> DeviceRecord:
        return await self._save(device_id, certs=tuple(certs))

    async def save_keys(self, device_id: str, keys: Sequence[bytes]) -> DeviceRecord:
        return await self._save(device_id, keys=tuple(keys))

    async def save_token(self, device_id: str, token_hash: bytes, *, has_tpm: bool) -> DeviceRecord:
        issued_ns = time.time_ns() if token_hash else 0
        return await self._save(device_id, token_hash=token_hash, token_issued_ns=issued_ns, has_tpm=has_tpm)

    async def remove(self, device_id: str) -> bool:
        def run(connection: sqlite3.Connection) -> DeviceRecord | None:
            record = _select(connection, "device_id = ?", device_id)
            connection.execute("DELETE FROM devices WHERE device_id = ?", (device_id,))
            connection.execute("DELETE FROM device_info WHERE device_id = ?", (device_id,))
            connection.execute("DELETE FROM device_contacts WHERE device_id = ?", (device_id,))
            return record

        record = await self._database.writer.submit(run, self._forget)
        self._seen_ns.pop(device_id, None)
        self._touched.discard(device_id)
        return record is not None

    def touch(self, device_id: str, seen_ns: int) -> None:
        self._seen_ns[device_id] = seen_ns
        self._touched.add(device_id)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._touch_every_s, self._save_touched)

    def last_seen_ns(self) -> Mapping[str, int]:
        return self._seen_ns

    async def save_info(self, message: InfoMessage, *, newest_ns: int | None = None) -> bool:
        return await self._inbox.save(message, newest_ns)

    async def find_newest_info(self, device_id: str) -> int:
        return self._inbox.find_newest(device_id)

    async def pending(self, limit: int, *, after: int = 0) -> Sequence[PendingInfo]:
        return self._inbox.pending(limit, after)

    async def mark_observed(self, seqs: Sequence[int], *, gone: Sequence[int] = ()) -> None:
        await self._inbox.mark_observed(seqs, gone)

    async def load_info(self, device_id: str, ztype: int | None = None) -> Sequence[PendingInfo]:
        return self._inbox.load(device_id, ztype)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            await self._submit_touched()

    async def _save(self, device_id: str, **changes: Any) -> DeviceRecord:
        def run(connection: sqlite3.Connection) -> DeviceRecord:
            known = _select(connection, "device_id = ?", device_id)
            if known is None:
                raise UnknownDeviceError(device_id)
            record = msgspec.structs.replace(known, **changes)
            assignments = ", ".join(f"{column} = ?" for column in changes)
            values = [_encode_parts(value) if isinstance(value, tuple) else value for value in changes.values()]
            # The column names are those of the callers above.
            statement = f"UPDATE devices SET {assignments} WHERE device_id = ?"
            connection.execute(statement, (*values, device_id))
            return record

        return await self._database.writer.submit(run, self._forget)

    def _forget(self, record: DeviceRecord | None) -> None:
        """Drop what is cached of a record that changed."""
        if record is not None:
            self._cache.pop(record.cert_hash, None)
            self._cache.pop(record.cert_hash[:SHORT_HASH_BYTES], None)

    def _save_touched(self) -> None:
        self._timer = None
        self._submit_touched().add_done_callback(self._check_touched)

    def _submit_touched(self) -> asyncio.Future[None]:
        """Write the noted contacts by one statement, in the thread: there may be a hundred thousand."""
        touched, self._touched = self._touched, set()
        contacts = msgspec.json.encode({device_id: self._seen_ns[device_id] for device_id in touched}).decode()

        def run(connection: sqlite3.Connection) -> None:
            connection.execute(_UPSERT_CONTACTS, (contacts,))

        return self._database.writer.submit(run, long=True)

    def _check_touched(self, saving: asyncio.Future[None]) -> None:
        """What could not be written, on a full disk for example, is written with the device's next contact."""
        if (
            not saving.cancelled()
            and isinstance(error := saving.exception(), Exception)
            and not isinstance(error, StoreError)
        ):
            raise error


def _check_claim(connection: sqlite3.Connection, device: NewDevice) -> None:
    """Refuse what belongs to another certificate."""
    if _select(connection, "device_id = ?", device.device_id) is not None:
        raise DeviceConflictError(device.device_id, "the id is taken")
    if (rival := _select_rival(connection, device)) is not None:
        column, serial = _serial_of(device)
        raise DeviceConflictError(rival.device_id, f"{column} {serial} is registered with another certificate")


def _select_rival(connection: sqlite3.Connection, device: NewDevice) -> DeviceRecord | None:
    column, serial = _serial_of(device)
    if not serial:
        return None
    condition = f"onboarding_cert_hash = ? AND {column} = ? AND tenant = ?"
    return _select(connection, condition, device.onboarding_cert_hash, serial, device.tenant)


def _serial_of(device: NewDevice) -> tuple[str, str]:
    """Column and value of what no two certificates may have."""
    return ("serial", device.serial) if device.serial else ("soft_serial", device.soft_serial)


def _select(connection: sqlite3.Connection, condition: str, *parameters: Any) -> DeviceRecord | None:
    row = connection.execute(_SELECT + condition, parameters).fetchone()
    return None if row is None else _decode(row)


def _encode(record: DeviceRecord) -> tuple[Any, ...]:
    parts = {"certs": _encode_parts(record.certs), "keys": _encode_parts(record.keys)}
    return tuple({**msgspec.structs.asdict(record), **parts}.values())


def _decode(row: tuple[Any, ...]) -> DeviceRecord:
    values = dict(zip(DeviceRecord.__struct_fields__, row, strict=True))
    parts = {"certs": _decode_parts(values["certs"]), "keys": _decode_parts(values["keys"])}
    return DeviceRecord(**{**values, **parts, "has_tpm": bool(values["has_tpm"])})
