"""Interface of the device registry: who a device is, what it proved, and the newest of what it said about each of its things.

The gateway registers devices, looks them up at each request, and puts info messages into the inbox; the observation reconciler takes
them out. Promises of every engine:

* What a method acknowledged is durable, except :meth:`DeviceRegistry.touch`.
* The inbox holds one message for each (device, type, object), the newest. It stays pending until it is marked as observed, so a process
  that dies between accepting a message and acting on it loses nothing; a message may be seen twice.
* A device holds a bounded number and size of messages; beyond that it loses its oldest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from eaves.store.abc import StoredObject, Write


class DeviceRecord(Struct, frozen=True):
    """A registered device. Certificates and keys are opaque encoded messages, as the device sent them."""

    device_id: str
    """UUID, lower case."""
    cert_der: bytes
    cert_hash: bytes
    """SHA-256 of ``cert_der``, 32 bytes."""
    onboarding_cert_hash: bytes
    serial: str
    soft_serial: str
    created_ns: int
    certs: tuple[bytes, ...] = ()
    keys: tuple[bytes, ...] = ()
    """Escrowed keys. Secrets: for their device alone."""
    token_hash: bytes = b""
    """SHA-256 of the integrity token of the current boot; empty = none."""
    token_issued_ns: int = 0
    has_tpm: bool = False
    """Whether it ever showed a TPM."""
    tenant: str = ""


class NewDevice(Struct, frozen=True):
    """What registers. ``device_id`` is a fresh UUID, taken only if the device is new."""

    device_id: str
    cert_der: bytes
    onboarding_cert_hash: bytes
    serial: str
    soft_serial: str
    tenant: str = ""


class Registration(Struct, frozen=True):
    record: DeviceRecord
    is_new: bool
    written: Sequence[StoredObject] = ()
    """What the ``writes`` gave, in order; empty for a device that was known."""


class InfoMessage(Struct, frozen=True):
    """A device's message about one of its things. ``object_id`` is empty for those about the device itself."""

    device_id: str
    ztype: int
    object_id: str
    at_ns: int
    """The device's own time of it, Unix nanoseconds."""
    payload: bytes


class PendingInfo(Struct, frozen=True):
    seq: int
    """Grows with each message accepted; names this message, not the thing that it is about."""
    message: InfoMessage


class DeviceRegistry(Protocol):
    """Methods raise :class:`~eaves.store.errors.StoreUnavailableError`; those that save raise DiskFullError, and
    UnknownDeviceError for a device that is not registered."""

    async def register(self, device: NewDevice, writes: Sequence[Write] = ()) -> Registration:
        """Register, together with ``writes`` to objects, in one commit; a certificate that is known answers its device and writes nothing.

        Raises DeviceConflictError when another certificate registered with the same onboarding certificate and serial (the soft
        serial when there is no serial) or with the same ``device_id``, ConflictError of ``writes``.
        """
        ...

    async def find_rival(self, device: NewDevice) -> DeviceRecord | None:
        """Who registered with the same onboarding certificate and serial: for whose sake :meth:`register` refuses another certificate."""
        ...

    async def find(self, device_id: str) -> DeviceRecord | None: ...

    async def find_by_cert_hash(self, cert_hash: bytes) -> DeviceRecord | None:
        """By the SHA-256 of the certificate's DER, whole (32 bytes) or its first 16 bytes."""
        ...

    async def list(self, *, limit: int, after: str = "", tenant: str = "") -> Sequence[DeviceRecord]:
        """In the order of device ids, those above ``after``."""
        ...

    async def save_certs(self, device_id: str, certs: Sequence[bytes]) -> DeviceRecord: ...

    async def save_keys(self, device_id: str, keys: Sequence[bytes]) -> DeviceRecord: ...

    async def save_token(self, device_id: str, token_hash: bytes, *, has_tpm: bool) -> DeviceRecord:
        """Note a token handed out now; an empty hash takes it back."""
        ...

    async def remove(self, device_id: str) -> bool:
        """Forget the device and all its info; False when it was not there."""
        ...

    def touch(self, device_id: str, seen_ns: int) -> None:
        """Note that the device called. Written half a minute later with those of other devices; a crash may lose it."""
        ...

    def last_seen_ns(self) -> Mapping[str, int]:
        """The latest :meth:`touch` of each device that ever called, also from before a restart. A view, not a copy."""
        ...

    async def save_info(self, message: InfoMessage, *, newest_ns: int | None = None) -> bool:
        """Put into the inbox; False when it is ignored: the same is there, or a newer one.

        ``newest_ns``: what is there from after that moment was made before the device's clock went back, and counts as older.
        """
        ...

    async def find_newest_info(self, device_id: str) -> int:
        """The newest time of the device's info messages, in nanoseconds since 1970; 0 when there are none."""
        ...

    async def pending(self, limit: int, *, after: int = 0) -> Sequence[PendingInfo]:
        """Messages not yet observed with a ``seq`` above ``after``, in the order of ``seq``."""
        ...

    async def mark_observed(self, seqs: Sequence[int], *, gone: Sequence[int] = ()) -> None:
        """These messages are dealt with. Those in ``gone`` told that their thing is deleted: they are forgotten.

        A thing about which a newer message came meanwhile stays pending.
        """
        ...

    async def load_info(self, device_id: str, ztype: int | None = None) -> Sequence[PendingInfo]:
        """The newest message about each thing of the device, observed or not, in the order of ``seq``."""
        ...

    async def close(self) -> None:
        """Write what :meth:`touch` noted."""
        ...
