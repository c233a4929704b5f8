"""Serves ``register``: a device with an onboarding key becomes an EdgeNode and a row of the registry, in one commit.

Whoever holds the private key of an OnboardingKey's certificate may register, within the terms of that object. Its uses are counted
before devices are admitted: a crash in between counts one too many, never one too few. Devices register again at every boot, so a
known device is answered without looking at the terms. Registrations by the same key that wait for each other are counted together.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import uuid
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from eaves.controller.events import EventSink
from eaves.controller.gateway.applicant import (
    Applicant,
    check_terms,
    count_uses,
    make_edgenode,
    names_for,
    parse_applicant,
)
from eaves.controller.gateway.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    GatewayError,
    UnprocessableError,
)
from eaves.controller.nodes import NodeIndex
from eaves.controller.objects import Objects, decode_stored, want_put
from eaves.controller.observe.model import EventNote, EventType
from eaves.controller.watching import Snapshot, follow
from eaves.kinds import onboardingkey
from eaves.kinds.onboardingkey import OnboardingKey
from eaves.kube.resource import Object
from eaves.store import errors as store_errors
from eaves.store.abc import ChangeType, StoredObject
from eaves.store.devices import DeviceRecord, DeviceRegistry, NewDevice
from eaves.wire.identifiers import DeviceId

log = logging.getLogger(__name__)

_KEYS = onboardingkey.RESOURCE.store_name
_MAX_COUNTED_TOGETHER = 64


class _Waiting(Struct):
    applicant: Applicant
    outcome: asyncio.Future[bool]


class KeyIndex:
    """Fingerprint of the certificate → name of the OnboardingKey, kept by a watch."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._names: dict[str, str] = {}
        self._prints: dict[str, str] = {}
        self._ready = asyncio.Event()

    def name_of(self, fingerprint: str) -> str | None:
        return self._names.get(fingerprint)

    async def wait_ready(self) -> None:
        await self._ready.wait()

    async def run(self) -> None:
        async for news in follow(self._objects.store, _KEYS):
            if isinstance(news, Snapshot):
                self._names.clear()
                self._prints.clear()
                for stored in news.objects:
                    self._put(stored)
                self._ready.set()
            elif news.type is ChangeType.DELETED:
                self._drop(news.object.key.name)
            else:
                self._put(news.object)

    def _put(self, stored: StoredObject) -> None:
        self._drop(stored.key.name)
        try:
            fingerprint = onboardingkey.fingerprint_of(decode_stored(stored)["spec"]["certificate"])
        except (KeyError, TypeError, ValueError):
            log.warning("onboarding key cannot be used: name=%s", stored.key.name)
            return
        self._names[fingerprint] = stored.key.name
        self._prints[stored.key.name] = fingerprint

    def _drop(self, name: str) -> None:
        if (fingerprint := self._prints.pop(name, None)) is not None and self._names.get(fingerprint) == name:
            del self._names[fingerprint]


class Registrar:
    """The endpoint."""

    def __init__(
        self,
        objects: Objects,
        registry: DeviceRegistry,
        nodes: NodeIndex,
        keys: KeyIndex,
        events: EventSink,
        now: Callable[[], float],
    ) -> None:
        self._objects = objects
        self._registry = registry
        self._nodes = nodes
        self._keys = keys
        self._events = events
        self._now = now
        self._waiting: dict[str, list[_Waiting]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def register(self, body: bytes) -> bool:
        """Whether the device is new (201) or was known (200). Raises GatewayError."""
        applicant = parse_applicant(body)
        cert_hash = hashlib.sha256(applicant.cert_der).digest()
        if self._keys.name_of(cert_hash.hex()) is not None:
            raise UnprocessableError("the device certificate is that of an onboarding key, which many devices have")
        known = await self._registry.find_by_cert_hash(cert_hash)
        name = self._keys.name_of(applicant.onboarding_hash.hex())
        if known is not None and DeviceId(known.device_id) in self._nodes:
            if name is None and known.onboarding_cert_hash != applicant.onboarding_hash:
                raise ForbiddenError("no onboarding key has this certificate", code="UnknownOnboardingKey")
            return False
        if known is not None:
            # Left by a crash, or its EdgeNode was deleted a moment ago: it starts anew.
            await self._registry.remove(known.device_id)
        if name is None:
            raise ForbiddenError("no onboarding key has this certificate", code="UnknownOnboardingKey")
        return await self._queue(name, applicant)

    async def _queue(self, name: str, applicant: Applicant) -> bool:
        """Wait for the turn of this key; whoever is first counts and admits all that wait by then."""
        waiting = _Waiting(applicant, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(name, []).append(waiting)
        lock = self._locks.setdefault(name, asyncio.Lock())
        try:
            async with lock:
                while not waiting.outcome.done():
                    group, self._waiting[name] = _split(self._waiting[name])
                    await self._admit_group(name, group)
        finally:
            if not self._waiting.get(name) and not lock.locked():
                self._waiting.pop(name, None)
                self._locks.pop(name, None)
        return await waiting.outcome

    async def _admit_group(self, name: str, group: list[_Waiting]) -> None:
        """Give every waiting one its outcome, whatever happens."""
        try:
            key, admitted = await self._count(name, await self._settle_known(group))
        except GatewayError as error:
            _fail(group, error)
            return
        except store_errors.StoreError as error:
            _fail(group, BusyError(error.message, code=error.code))
            return
        except asyncio.CancelledError:
            _fail(group, BusyError("registration was interrupted"))
            raise
        results = await asyncio.gather(
            *(self._admit(key, waiting.applicant) for waiting in admitted), return_exceptions=True
        )
        for waiting, result in zip(admitted, results, strict=True):
            if isinstance(result, BaseException):
                _fail([waiting], result)
            elif not waiting.outcome.done():
                waiting.outcome.set_result(result)

    async def _settle_known(self, group: list[_Waiting]) -> list[_Waiting]:
        """Answer those who use nothing of the key: registered a moment ago, or refused for another's sake. The others go on.

        A device that lost its key asks again and again; without this it would use the key up.
        """
        others: list[_Waiting] = []
        for waiting in group:
            if waiting.outcome.done():
                continue
            applicant = waiting.applicant
            known = await self._registry.find_by_cert_hash(hashlib.sha256(applicant.cert_der).digest())
            if known is not None and DeviceId(known.device_id) in self._nodes:
                waiting.outcome.set_result(False)
            elif (rival := await self._registry.find_rival(_new_device("", applicant))) is not None:
                error = f"this serial number is that of another device certificate, of the EdgeNode {rival.device_id}"
                _fail([waiting], ConflictError(error))
            else:
                others.append(waiting)
        return others

    async def _count(self, name: str, group: list[_Waiting]) -> tuple[OnboardingKey, list[_Waiting]]:
        """Check the terms for each and count those that pass; the others get their refusal."""
        while True:
            obj = await self._objects.get("OnboardingKey", "", name)
            if obj is None:
                raise ForbiddenError("the onboarding key was deleted", code="UnknownOnboardingKey")
            key = onboardingkey.decode(obj)
            admitted: list[_Waiting] = []
            refusals: list[tuple[_Waiting, ForbiddenError]] = []
            for waiting in group:
                try:
                    check_terms(key, waiting.applicant, len(admitted), self._now())
                except ForbiddenError as error:
                    refusals.append((waiting, error))
                else:
                    admitted.append(waiting)
            try:
                if admitted:
                    await self._objects.replace(count_uses(obj, key, len(admitted), self._now()))
                break
            except store_errors.ConflictError:
                # Somebody edited the key meanwhile: look at its terms again.
                continue
        for waiting, refusal in refusals:
            _fail([waiting], refusal)
            text = f"refused serial {waiting.applicant.known_as or 'unknown'}: {refusal.message}"
            await self._events.record(obj, EventNote(EventType.WARNING, refusal.code, text))
        return key, admitted

    async def _admit(self, key: OnboardingKey, applicant: Applicant) -> bool:
        expected = await self._find_expected(applicant)
        candidates = [expected["metadata"]["name"]] if expected is not None else names_for(applicant)
        device_id = expected["metadata"]["uid"] if expected is not None else str(uuid.uuid4())
        device = _new_device(device_id, applicant)
        for name in (*candidates, f"node-{device_id[:8]}"):
            obj = expected or make_edgenode(name, device_id, key, applicant, self._now())
            # An expected EdgeNode is there already, so there is nothing to write to it.
            writes = [] if expected is not None else [want_put(obj, 0)]
            try:
                registration = await self._registry.register(device, writes)
            except store_errors.DeviceConflictError as error:
                raise ConflictError(error.message) from error
            except store_errors.ConflictError:
                continue
            self._nodes.add(DeviceId(registration.record.device_id), name)
            await self._tell_admitted(key, obj, registration.record)
            return registration.is_new
        raise ConflictError("no name is free for the EdgeNode")

    async def _find_expected(self, applicant: Applicant) -> Object | None:
        """An EdgeNode that an operator made for this serial number before the device called."""
        for serial in (applicant.serial, applicant.soft_serial):
            if not serial:
                continue
            for obj in await self._objects.list("EdgeNode", fields={"spec.serial": serial}):
                if await self._registry.find(obj["metadata"]["uid"]) is None:
                    return obj
        return None

    async def _tell_admitted(self, key: OnboardingKey, edgenode: Object, record: DeviceRecord) -> None:
        serial = record.serial or record.soft_serial or "unknown"
        text = f"registered with onboarding key {key.metadata.name}, serial {serial}"
        await self._events.record(edgenode, EventNote(EventType.NORMAL, "Registered", text))
        log.info("device registered: node=%s id=%s", edgenode["metadata"]["name"], record.device_id)


def _split(waiting: Sequence[_Waiting]) -> tuple[list[_Waiting], list[_Waiting]]:
    """Whom to look at together, and the rest. Of those that claim the same, one after the other: only one of them is to be counted."""
    group: list[_Waiting] = []
    rest: list[_Waiting] = []
    claimed: set[tuple[str, bytes]] = set()
    for one in waiting:
        if len(group) < _MAX_COUNTED_TOGETHER and claimed.isdisjoint(one.applicant.claims):
            group.append(one)
            claimed |= one.applicant.claims
        else:
            rest.append(one)
    return group, rest


def _new_device(device_id: str, applicant: Applicant) -> NewDevice:
    return NewDevice(device_id, applicant.cert_der, applicant.onboarding_hash, applicant.serial, applicant.soft_serial)


def _fail(group: Iterable[_Waiting], error: BaseException) -> None:
    for waiting in group:
        if not waiting.outcome.done():
            waiting.outcome.set_exception(error)
