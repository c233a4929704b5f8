"""Serves ``register``: a device with an onboarding key becomes an EdgeNode and a row of the registry, in one commit.

Whoever holds the private key of an OnboardingKey's certificate may register, within the terms of that object. Its uses are counted
before devices are admitted: a crash in between counts one too many, never one too few. Devices register again at every boot, so a
known device is answered without looking at the terms. Registrations by the same key that wait for each other are counted together.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.message import DecodeError
from msgspec import Struct

from eaves.controller.events import EventSink
from eaves.controller.gateway.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    GatewayError,
    MalformedError,
    UnauthenticatedError,
    UnprocessableError,
)
from eaves.controller.nodes import NodeIndex
from eaves.controller.objects import Objects, decode_stored, want_put
from eaves.controller.observe.model import EventNote, EventType
from eaves.controller.watching import Snapshot, follow
from eaves.kinds import onboardingkey
from eaves.kinds.onboardingkey import Approval, OnboardingKey
from eaves.kinds.times import parse_time, render_time
from eaves.kube import names
from eaves.kube.resource import Object
from eaves.store import errors as store_errors
from eaves.store.abc import ChangeType, StoredObject
from eaves.store.devices import DeviceRecord, DeviceRegistry, NewDevice
from eaves.wire import certificates, envelope
from eaves.wire.errors import CertificateError, EnvelopeError, MalformedEnvelopeError
from eaves.wire.identifiers import DeviceId
from eaves.wire.pb.register.register_pb2 import ZRegisterMsg

log = logging.getLogger(__name__)

_KEYS = onboardingkey.RESOURCE.store_name
_MAX_SERIAL_CHARS = 256
_MAX_CERT_BYTES = 10_240
_SOFT_SERIAL = re.compile(r"[A-Za-z0-9_-]*")
_CURVES = ("secp256r1", "secp384r1")
_MAX_COUNTED_TOGETHER = 64


class Applicant(Struct, frozen=True):
    """A device that asks to be admitted, its envelope verified."""

    cert_der: bytes
    onboarding_hash: bytes
    """SHA-256 of the onboarding certificate's DER."""
    serial: str
    soft_serial: str


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
        known = await self._registry.find_by_cert_hash(hashlib.sha256(applicant.cert_der).digest())
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
                if not waiting.outcome.done():
                    group = self._waiting.pop(name)
                    self._waiting[name] = group[_MAX_COUNTED_TOGETHER:]
                    await self._admit_group(name, group[:_MAX_COUNTED_TOGETHER])
        finally:
            if not self._waiting.get(name) and not lock.locked():
                self._waiting.pop(name, None)
                self._locks.pop(name, None)
        return await waiting.outcome

    async def _admit_group(self, name: str, group: list[_Waiting]) -> None:
        """Give every waiting one its outcome, whatever happens."""
        try:
            key, admitted = await self._count(name, group)
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
                    await self._objects.replace(_with_uses(obj, key, len(admitted), self._now()))
                break
            except store_errors.ConflictError:
                # Somebody edited the key meanwhile: look at its terms again.
                continue
        for waiting, refusal in refusals:
            _fail([waiting], refusal)
            text = f"refused serial {_serial_of(waiting.applicant) or 'unknown'}: {refusal.message}"
            await self._events.record(obj, EventNote(EventType.WARNING, refusal.code, text))
        return key, admitted

    async def _admit(self, key: OnboardingKey, applicant: Applicant) -> bool:
        expected = await self._find_expected(applicant)
        candidates = [expected["metadata"]["name"]] if expected is not None else _names_for(applicant)
        device_id = expected["metadata"]["uid"] if expected is not None else str(uuid.uuid4())
        device = NewDevice(
            device_id, applicant.cert_der, applicant.onboarding_hash, applicant.serial, applicant.soft_serial
        )
        for name in (*candidates, f"node-{device_id[:8]}"):
            obj = expected or _new_edgenode(name, device_id, key, applicant, self._now())
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


def parse_applicant(body: bytes) -> Applicant:
    """Verify a register envelope and read what is in it. Raises MalformedError, UnauthenticatedError, UnprocessableError."""
    try:
        sealed = envelope.parse_envelope(body)
        onboarding = envelope.parse_sender_certificate(sealed)
        envelope.check_signature(sealed, certificates.parse_public_key(onboarding), accept_der=True)
    except (MalformedEnvelopeError, CertificateError) as error:
        raise MalformedError(error.message, code=error.code) from error
    except EnvelopeError as error:
        raise UnauthenticatedError(error.message, code=error.code) from error
    try:
        message = ZRegisterMsg.FromString(sealed.payload)
    except DecodeError as error:
        raise UnprocessableError("payload is not a ZRegisterMsg") from error
    serial, soft_serial = message.serial.strip(), message.softSerial.strip()
    if len(serial) > _MAX_SERIAL_CHARS or len(soft_serial) > _MAX_SERIAL_CHARS or not serial.isprintable():
        raise UnprocessableError("serial number is too long or not printable")
    if not _SOFT_SERIAL.fullmatch(soft_serial):
        raise UnprocessableError("soft serial has characters besides letters, digits, _ and -")
    return Applicant(
        _parse_device_cert(message.pemCert),
        hashlib.sha256(onboarding.public_bytes(Encoding.DER)).digest(),
        serial,
        soft_serial,
    )


def _parse_device_cert(text: bytes) -> bytes:
    if len(text) > _MAX_CERT_BYTES:
        raise UnprocessableError(f"device certificate of {len(text)} bytes, at most {_MAX_CERT_BYTES} are allowed")
    try:
        certificate: x509.Certificate = certificates.parse_certificate_base64(text, "device certificate")
    except CertificateError as error:
        raise UnprocessableError(error.message, code=error.code) from error
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise UnprocessableError("device key is neither P-256 nor P-384")
    return certificate.public_bytes(Encoding.DER)


def check_terms(key: OnboardingKey, applicant: Applicant, counted: int, now: float) -> None:
    """Raise ForbiddenError unless the key admits the applicant, when ``counted`` others are admitted at the same time."""
    spec = key.spec
    if spec.revoked:
        raise ForbiddenError("the onboarding key is revoked", code="KeyRevoked")
    if key.metadata.deletion_timestamp:
        raise ForbiddenError("the onboarding key is being deleted", code="KeyRevoked")
    if spec.expiration_timestamp is not None and parse_time(spec.expiration_timestamp) <= now:
        raise ForbiddenError(f"the onboarding key expired at {spec.expiration_timestamp}", code="KeyExpired")
    if spec.allowed_serials and not {applicant.serial, applicant.soft_serial}.intersection(spec.allowed_serials):
        raise ForbiddenError("the serial number is not among spec.allowedSerials", code="SerialNotAllowed")
    if spec.max_uses is not None and key.status.uses + counted >= spec.max_uses:
        raise ForbiddenError(f"all {spec.max_uses} uses of the onboarding key are used up", code="KeyUsedUp")


def _with_uses(obj: Object, key: OnboardingKey, count: int, now: float) -> Object:
    status: dict[str, Any] = dict(obj.get("status") or {})
    status["uses"] = key.status.uses + count
    status["lastUsed"] = render_time(now)
    status["fingerprint"] = onboardingkey.fingerprint_of(key.spec.certificate)
    if key.spec.max_uses is not None:
        status["remaining"] = max(0, key.spec.max_uses - status["uses"])
    else:
        status.pop("remaining", None)
    return {**obj, "status": status}


def _fail(group: Iterable[_Waiting], error: BaseException) -> None:
    for waiting in group:
        if not waiting.outcome.done():
            waiting.outcome.set_exception(error)


def _serial_of(applicant: Applicant) -> str:
    return applicant.serial or applicant.soft_serial


def _names_for(applicant: Applicant) -> list[str]:
    """Names to try, from what people know the device by; those that Kubernetes does not take are left out."""
    candidates = [text.lower().replace("_", "-") for text in (applicant.soft_serial, applicant.serial) if text]
    return [name for name in dict.fromkeys(candidates) if not names.check_subdomain(name)]


def _new_edgenode(name: str, device_id: str, key: OnboardingKey, applicant: Applicant, now: float) -> Object:
    meta: dict[str, Any] = {
        "name": name,
        "uid": device_id,
        "generation": 1,
        "creationTimestamp": render_time(now),
        "annotations": {"eaves.dev/onboarding-key": key.metadata.name},
    }
    if key.spec.node_labels:
        meta["labels"] = dict(key.spec.node_labels)
    spec: dict[str, Any] = {"approved": key.spec.approval is Approval.AUTOMATIC}
    if serial := _serial_of(applicant):
        spec["serial"] = serial
    return {"apiVersion": "eaves.dev/v1alpha1", "kind": "EdgeNode", "metadata": meta, "spec": spec}
