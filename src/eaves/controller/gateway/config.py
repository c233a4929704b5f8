"""Serves ``config`` from sealed bytes that are kept until the config changes.

An unchanged poll costs a signature check and a look-up. The config reconciler puts compiled configs into the :class:`ConfigShelf`;
what is not there (after a restart, or beyond the bound) is asked for and waited for.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from google.protobuf.message import DecodeError
from msgspec import Struct

from eaves.controller.gateway.devices import Device, Devices
from eaves.controller.gateway.errors import BusyError, ForbiddenError, UnprocessableError
from eaves.wire.identifiers import AppId, DeviceId
from eaves.wire.pb.config.devconfig_pb2 import ConfigRequest

WAIT_S = 20.0
"""For a config that is being compiled; devices give up after 120 s, other ports are tried before."""


_MAX_FORMER_APPS = 1024


class ServedConfig(Struct, frozen=True):
    """A config ready to go out. ``payload`` is the ConfigResponse."""

    hash: str
    payload: bytes
    app_ids: frozenset[str] = frozenset()


class _Entry(Struct):
    config: ServedConfig
    former_app_ids: frozenset[str]
    """Apps of the configs before: their last lines come when they are gone already, of several that go one after the other too."""
    sealed: bytes | None = None


class ConfigShelf:
    """Current configs by device, the most recently asked for, with their sealed form made once each.

    ``load`` gets the config of a device that is not here; it answers None for one that has none (yet).
    """

    def __init__(
        self,
        load: Callable[[DeviceId], Awaitable[ServedConfig | None]],
        seal: Callable[[bytes], bytes],
        max_configs: int,
    ) -> None:
        self._load = load
        self._seal = seal
        self._max_configs = max_configs
        self._entries: OrderedDict[DeviceId, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def hash_of(self, device_id: DeviceId) -> str | None:
        entry = self._entries.get(device_id)
        return None if entry is None else entry.config.hash

    def has_app(self, device_id: DeviceId, app_id: AppId) -> bool:
        """Whether the app is in the device's config, or was in one before."""
        entry = self._entries.get(device_id)
        return entry is not None and (app_id in entry.config.app_ids or app_id in entry.former_app_ids)

    def put(self, device_id: DeviceId, config: ServedConfig) -> None:
        """Replace the config of a device; the sealed form of the former one is dropped."""
        entry = self._entries.get(device_id)
        if entry is not None and entry.config == config:
            return
        self._entries[device_id] = _Entry(config, _former_apps(entry, config) if entry is not None else frozenset())
        self._entries.move_to_end(device_id)
        while len(self._entries) > self._max_configs:
            self._entries.popitem(last=False)

    def drop(self, device_id: DeviceId) -> None:
        self._entries.pop(device_id, None)

    def unseal_all(self) -> None:
        """After the signing key changed: every config is sealed anew when next asked for."""
        for entry in self._entries.values():
            entry.sealed = None

    async def want(self, device_id: DeviceId) -> ServedConfig:
        """The config of a device. Raises BusyError when it is not there within :data:`WAIT_S`."""
        entry = self._entries.get(device_id)
        if entry is not None:
            self._entries.move_to_end(device_id)
            return entry.config
        try:
            async with asyncio.timeout(WAIT_S):
                config = await self._load(device_id)
        except TimeoutError:
            config = None
        if config is None:
            raise BusyError("the config of this device is not made yet", code="ConfigNotReady")
        if device_id not in self._entries:
            self.put(device_id, config)
        return self._entries[device_id].config

    def sealed(self, device_id: DeviceId, config: ServedConfig) -> bytes:
        """The envelope around ``config``."""
        entry = self._entries.get(device_id)
        if entry is None or entry.config is not config:
            return self._seal(config.payload)
        if entry.sealed is None:
            entry.sealed = self._seal(config.payload)
        return entry.sealed


def _former_apps(entry: _Entry, config: ServedConfig) -> frozenset[str]:
    latest = entry.config.app_ids - config.app_ids
    known = (entry.former_app_ids | latest) - config.app_ids
    return known if len(known) <= _MAX_FORMER_APPS else latest


class ConfigService:
    """The endpoint."""

    def __init__(
        self,
        shelf: ConfigShelf,
        devices: Devices,
        polled: Callable[[DeviceId, str], None],
        is_outdated: Callable[[DeviceId, str, str], Awaitable[bool]],
    ) -> None:
        """``polled`` hears of each poll, with the hash of the config that the device has. ``is_outdated`` tells by that hash and the one
        to be served whether the latter is older."""
        self._shelf = shelf
        self._devices = devices
        self._polled = polled
        self._is_outdated = is_outdated

    async def serve(self, device: Device, payload: bytes) -> bytes | None:
        """The sealed ConfigResponse, or None when the device has it already (304).

        Raises ForbiddenError without the token of the device's last good attestation, upon which the device attests again.
        """
        try:
            request = ConfigRequest.FromString(payload)
        except DecodeError as error:
            raise UnprocessableError("payload is not a ConfigRequest") from error
        if not device.has_token(request.integrity_token):
            await self._devices.refresh(device)
            if not device.has_token(request.integrity_token):
                raise ForbiddenError("integrity token is missing or not the current one", code="AttestationNeeded")
        self._polled(device.id, request.configHash)
        config = await self._shelf.want(device.id)
        if request.configHash == config.hash:
            return None
        if await self._is_outdated(device.id, request.configHash, config.hash):
            raise BusyError("the config of this device is made anew, since it had a later one", code="ConfigOutdated")
        return self._shelf.sealed(device.id, config)
