"""Finds out who signed a body, before anything in it is read. Every POST of a device except register passes here.

Order: envelope readable (400) → sender known (401) → signature good (401) → within its rate (429) → path is its own. A device's UUID
in the path that is not the signer's is refused by the endpoint's own rule, since devices act on the code:

* on ``config`` and ``attest`` 400, upon which a device asks ``/uuid`` for its real UUID and mends itself;
* elsewhere 403, upon which it keeps the message and sends it again later, by then with the right UUID.

A stranger gets 401 (which keeps queued messages, so that restoring a backup loses nothing) and 400 on ``/uuid``, as the API's text says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from msgspec import Struct

from eaves.controller.gateway.devices import Device, Devices
from eaves.controller.gateway.errors import MalformedError, TooManyError, UnauthenticatedError
from eaves.kit.rates import Buckets, Rate
from eaves.wire import envelope
from eaves.wire.envelope import Envelope
from eaves.wire.errors import EnvelopeError, MalformedEnvelopeError

K = TypeVar("K")

_MAX_SOURCES = 20_000


class Verified(Struct, frozen=True):
    """A payload and the device that signed it."""

    device: Device
    payload: bytes


class Verifier:
    """See the module's docstring. ``device_rate`` bounds good senders, ``fault_rate`` the refused requests of one source."""

    def __init__(self, devices: Devices, device_rate: Rate, fault_rate: Rate, now_s: Callable[[], float]) -> None:
        self._devices = devices
        self._device_rate = device_rate
        self._now_s = now_s
        self._strangers: Buckets[str] = Buckets(fault_rate, _MAX_SOURCES)
        self._forgers: Buckets[tuple[str, bytes]] = Buckets(fault_rate, _MAX_SOURCES)

    async def open(self, body: bytes, source: str, *, is_counted: bool = True) -> Verified:
        """The payload and its signer. ``source`` is the peer's address. Raises GatewayError.

        ``is_counted`` False: a message that the controller itself asked for does not use up the device's rate.
        """
        sealed = self._parse(body, source)
        device = self._devices.cached(sealed.sender_cert_hash) or await self._find(sealed, source)
        self._check_signature(sealed, device, source)
        if is_counted and not device.bucket.take(self._device_rate, self._now_s()):
            raise TooManyError("this device calls too often", device.bucket.wait_s(self._device_rate))
        return Verified(device, sealed.payload)

    def check_source(self, source: str) -> None:
        """Raise TooManyError for a source whose requests were refused too often. For calls that begin with a stranger."""
        _check(self._strangers, source, self._now_s())

    def charge_source(self, source: str) -> None:
        """Count one refused request."""
        self._strangers.take(source, self._now_s())

    def _parse(self, body: bytes, source: str) -> Envelope:
        try:
            return envelope.parse_envelope(body)
        except MalformedEnvelopeError as error:
            self.check_source(source)
            self.charge_source(source)
            raise MalformedError(error.message, code=error.code) from error

    async def _find(self, sealed: Envelope, source: str) -> Device:
        self.check_source(source)
        device = None
        if len(sealed.sender_cert_hash) in (16, 32):
            device = await self._devices.find(sealed.sender_cert_hash)
        if device is None:
            self.charge_source(source)
            raise UnauthenticatedError("signed by no device that is known", code="UnknownDevice")
        return device

    def _check_signature(self, sealed: Envelope, device: Device, source: str) -> None:
        forger = (source, device.cert_hash)
        _check(self._forgers, forger, self._now_s())
        try:
            envelope.check_sender_hash(sealed, device.cert_hash)
            envelope.check_signature(sealed, device.public_key, accept_der=True)
        except EnvelopeError as error:
            self._forgers.take(forger, self._now_s())
            raise UnauthenticatedError(error.message, code=error.code) from error


def _check(refused: Buckets[K], key: K, now_s: float) -> None:
    if wait_s := refused.wait_s(key, now_s):
        raise TooManyError("too many refused requests from this source", wait_s)
