"""The devices that call, as the gateway remembers them: keys, token and pace of each, loaded from the registry when needed.

Bounded: the least recently seen device is forgotten first and loaded again at its next call. What must survive is in the registry;
what is here besides (allowance, clock) may be lost.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable

from cryptography import x509

from eaves.controller.gateway.clock import DeviceClock
from eaves.controller.nodes import NodeIndex
from eaves.kit.rates import Bucket, Rate
from eaves.store.devices import DeviceRecord, DeviceRegistry, InfoMessage
from eaves.wire import certificates
from eaves.wire.identifiers import DeviceId

HELD_BYTES = 1 << 18
"""A device with a hundred apps has about as much to say; a fleet of hostile ones shall not fill the memory."""
_HELD_OVERHEAD = 512
"""What a message takes beside its payload, about."""


class Device:
    """One known device."""

    __slots__ = ("bucket", "cert_hash", "clock", "held", "id", "public_key", "record", "token_hash")

    def __init__(self, record: DeviceRecord, bucket: Bucket, clock: DeviceClock) -> None:
        self.id = DeviceId(record.device_id)
        self.cert_hash = record.cert_hash
        self.record = record
        self.token_hash = record.token_hash
        self.public_key = certificates.parse_public_key(x509.load_der_x509_certificate(record.cert_der))
        self.bucket = bucket
        self.clock = clock
        self.held = HeldMessages()

    def has_token(self, token: bytes) -> bool:
        """Whether ``token`` is the one that the last good attestation of this boot handed out."""
        return bool(self.token_hash) and hmac.compare_digest(hash_token(token), self.token_hash)


class HeldMessages:
    """Info messages that look older than what is known: the last one of each thing, no more than :data:`HELD_BYTES` of a device."""

    __slots__ = ("_bytes", "_messages")

    def __init__(self) -> None:
        self._messages: dict[tuple[int, str], InfoMessage] = {}
        self._bytes = 0

    def add(self, message: InfoMessage) -> None:
        """The oldest go when there are too many."""
        former = self._messages.pop((message.ztype, message.object_id), None)
        self._bytes += _size(message) - (_size(former) if former is not None else 0)
        self._messages[message.ztype, message.object_id] = message
        while self._bytes > HELD_BYTES:
            self._bytes -= _size(self._messages.pop(next(iter(self._messages))))

    def take(self) -> list[InfoMessage]:
        """All, in the order in which they came; none is held any more."""
        found = [*self._messages.values()]
        self.clear()
        return found

    def clear(self) -> None:
        self._messages.clear()
        self._bytes = 0


class Devices:
    """Finds devices by the hash of their certificate."""

    def __init__(
        self,
        registry: DeviceRegistry,
        nodes: NodeIndex,
        rate: Rate,
        now_s: Callable[[], float],
        max_cached: int = 50_000,
    ) -> None:
        self._registry = registry
        self._nodes = nodes
        self._rate = rate
        self._now_s = now_s
        self._max_cached = max_cached
        self._by_hash: OrderedDict[bytes, Device] = OrderedDict()
        nodes.call_when_gone(self._forget)

    def __len__(self) -> int:
        return len(self._by_hash)

    def cached(self, sender_cert_hash: bytes) -> Device | None:
        """The device if it is remembered and still has its EdgeNode."""
        device = self._by_hash.get(sender_cert_hash)
        if device is None or device.id not in self._nodes:
            return None
        self._by_hash.move_to_end(sender_cert_hash)
        return device

    async def find(self, sender_cert_hash: bytes) -> Device | None:
        """The device with this certificate hash, of 32 or 16 bytes; None for a stranger or one whose EdgeNode was deleted."""
        device = self.cached(sender_cert_hash)
        if device is not None:
            return device
        record = await self._registry.find_by_cert_hash(sender_cert_hash)
        if record is None or DeviceId(record.device_id) not in self._nodes:
            return None
        return self._remember(sender_cert_hash, record, await self._registry.find_newest_info(record.device_id))

    async def refresh(self, device: Device) -> None:
        """Take up what another process wrote: a token that it handed out."""
        record = await self._registry.find_by_cert_hash(device.cert_hash)
        if record is not None:
            self.update(device, record)

    def update(self, device: Device, record: DeviceRecord) -> None:
        """Take note of what was written to the registry."""
        device.record = record
        device.token_hash = record.token_hash

    def _remember(self, sender_cert_hash: bytes, record: DeviceRecord, newest_ns: int) -> Device:
        known = self._by_hash.get(record.cert_hash) or self._by_hash.get(record.cert_hash[:16])
        now_s = self._now_s()
        device = known or Device(record, Bucket(self._rate, now_s), DeviceClock(newest_ns, now_s))
        self._by_hash[sender_cert_hash] = device
        while len(self._by_hash) > self._max_cached:
            self._by_hash.popitem(last=False)
        return device

    def _forget(self, device_id: DeviceId, _name: str) -> None:
        # Rare, so a scan is cheaper than a second index on every request's path.
        for cert_hash in [key for key, device in self._by_hash.items() if device.id == device_id]:
            del self._by_hash[cert_hash]


def _size(message: InfoMessage) -> int:
    return len(message.payload) + _HELD_OVERHEAD


def hash_token(token: bytes) -> bytes:
    """What is stored of an integrity token."""
    return hashlib.sha256(token).digest()
