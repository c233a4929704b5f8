"""NetworkManager by D-Bus: what it has, profiles, activation, checkpoints.

Interfaces and numbers are those of its D-Bus reference (org.freedesktop.NetworkManager, 1.42 and later). Profiles are kept in memory
alone (in /run, for root only): after a boot the daemon makes them again, and nothing of them is on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from eaves.node.ports.bus import Bus, CallError, unwrap
from eaves.node.ports.model import LinkState, Profile, SeenLink, SeenManager
from eaves.node.ports.reasons import describe_reason
from eaves.node.ports.render import OWNER_KEY
from eaves.node.ports.signatures import encode_settings

log = logging.getLogger(__name__)

SERVICE = "org.freedesktop.NetworkManager"
_ROOT = "/org/freedesktop/NetworkManager"
_SETTINGS = f"{_ROOT}/Settings"
_DEVICE, _ACTIVE, _PROFILE = f"{SERVICE}.Device", f"{SERVICE}.Connection.Active", f"{SERVICE}.Settings.Connection"
_OBJECTS = "org.freedesktop.DBus.ObjectManager"
_IN_MEMORY = 0x2
_NO_FLAGS = 0
"""Of checkpoints. To delete new profiles is tempting, and takes bridges down that others made meanwhile."""
_PROFILES = "/run/NetworkManager/system-connections"
_MODEM = 8
_UNMANAGED, _UNAVAILABLE, _DISCONNECTED, _ACTIVATED, _FAILED = 10, 20, 30, 100, 120


class NetworkManager:
    """Use :meth:`open`. ``instance`` tells our profiles from those of others."""

    def __init__(self, bus: Bus, instance: str) -> None:
        self._bus = bus
        self._instance = instance
        self._reasons: dict[str, str] = {}
        """Device → why it failed last."""
        self._asked: dict[str, str] = {}
        """Device → UUID of the profile that was brought up on it last."""
        self.changed = asyncio.Event()
        """Set whenever a device changes its state."""

    @classmethod
    async def open(cls, instance: str, address: str = "") -> NetworkManager:
        """Raises ManagerMissingError."""
        found = cls(await Bus.open(SERVICE, address), instance)
        try:
            await found._bus.listen(_DEVICE, "StateChanged", found._hear)
            await found.version()
        except BaseException:
            found.close()
            raise
        return found

    @property
    def is_open(self) -> bool:
        return self._bus.is_open

    def close(self) -> None:
        self._bus.close()

    async def version(self) -> str:
        """Raises ManagerMissingError when it does not run."""
        (found,) = await self._bus.call(_ROOT, "org.freedesktop.DBus.Properties", "Get", "ss", SERVICE, "Version")
        return str(unwrap(found))

    async def observe(self) -> SeenManager:
        """Devices, and our own profiles."""
        (raw,) = await self._bus.call("/org/freedesktop", _OBJECTS, "GetManagedObjects")
        objects: dict[str, dict[str, dict[str, Any]]] = unwrap(raw)
        actives = {path: known[_ACTIVE] for path, known in objects.items() if _ACTIVE in known}
        links = {}
        for path, known in objects.items():
            if _DEVICE in known:
                link = self._view_link(path, known[_DEVICE], actives, _list_time_servers(known[_DEVICE], objects))
                links[link.interface] = link
        profiles, unconfirmed = {}, set()
        for path, known in objects.items():
            if _PROFILE in known:
                connection = await self._load_own(path)
                if connection is not None:
                    profiles[str(connection["uuid"])] = str(connection["id"])
                    if connection.get("autoconnect") is False:
                        unconfirmed.add(str(connection["uuid"]))
        version = str(objects.get(_ROOT, {}).get(SERVICE, {}).get("Version", ""))
        return SeenManager(version, profiles, links, frozenset(unconfirmed))

    async def add(self, profile: Profile, *, is_trial: bool = False) -> None:
        """Make a profile; one of a trial never comes up by itself, so that nothing brings it back once it went. Raises PortError."""
        settings = encode_settings(profile.settings, {"autoconnect": False} if is_trial else {})
        await self._bus.call(
            _SETTINGS,
            f"{SERVICE}.Settings",
            "AddConnection2",
            "a{sa{sv}}ua{sv}",
            settings,
            _IN_MEMORY,
            {},
        )

    async def confirm(self, profile: Profile) -> None:
        """The trial is over: from now on it comes up by itself. Raises PortError."""
        path = await self._find_profile(profile.uuid)
        await self._bus.call(
            path, _PROFILE, "Update2", "a{sa{sv}}ua{sv}", encode_settings(profile.settings), _IN_MEMORY, {}
        )

    async def activate(self, profile: Profile) -> None:
        """Bring it up, or begin to. Raises PortError: its device is not there, or is not managed."""
        path = await self._find_profile(profile.uuid)
        device = "/" if profile.is_software else await self._find_device(profile.interface)
        self._reasons.pop(device, None)
        self._asked[device] = profile.uuid
        await self._bus.call(_ROOT, SERVICE, "ActivateConnection", "ooo", path, device, "/")

    async def delete(self, uuid: str) -> None:
        """Take it down and away; it may be gone already."""
        try:
            path = await self._find_profile(uuid)
            await self._bus.call(path, _PROFILE, "Delete")
        except CallError as error:
            log.debug("profile is gone already: uuid=%s error=%s", uuid, error)
        # NetworkManager writes a certificate into a file of its own and leaves that behind.
        await asyncio.to_thread(Path(_PROFILES, f"{uuid}-ca-cert.pem").unlink, missing_ok=True)

    async def make_checkpoint(self, interfaces: Collection[str], limit_s: float) -> str:
        """Remember what those devices have now; unless it is dropped, all goes back to it after ``limit_s``, by itself."""
        devices = [path for name in sorted(interfaces) if (path := await self._find_device_or_none(name)) is not None]
        (path,) = await self._bus.call(
            _ROOT, SERVICE, "CheckpointCreate", "aouu", devices, max(1, round(limit_s)), _NO_FLAGS
        )
        return str(path)

    async def drop_checkpoint(self, path: str) -> None:
        """What is now is to stay. Raises CallError when it went back meanwhile."""
        await self._bus.call(_ROOT, SERVICE, "CheckpointDestroy", "o", path)

    async def roll_back(self, path: str) -> None:
        """Go back now; it may have done so by itself."""
        try:
            await self._bus.call(_ROOT, SERVICE, "CheckpointRollback", "o", path)
        except CallError as error:
            log.info("checkpoint is gone already: error=%s", error)

    def _view_link(
        self, path: str, device: dict[str, Any], actives: dict[str, dict[str, Any]], time_servers: tuple[str, ...]
    ) -> SeenLink:
        state = int(device.get("State", 0))
        profile = str(actives.get(str(device.get("ActiveConnection", "")), {}).get("Uuid", ""))
        # After a failure NetworkManager may bring up another profile by itself: what was asked for has failed all the same.
        if state == _ACTIVATED and profile == self._asked.get(path, profile):
            self._reasons.pop(path, None)
        reason = self._reasons.get(path, "")
        if state == _ACTIVATED:
            shown = LinkState.UP
        elif _DISCONNECTED < state < _ACTIVATED:
            shown = LinkState.COMING
        else:
            shown = LinkState.DOWN
            reason = reason or _STATES.get(state, "")
        return SeenLink(
            interface=str(device.get("Interface", "")),
            state=shown,
            profile=profile,
            reason=reason,
            ip_interface=str(device.get("IpInterface", "")),
            modem=str(device.get("Udi", "")) if int(device.get("DeviceType", 0)) == _MODEM else "",
            time_servers=time_servers,
            mac=str(device.get("HwAddress", "")).lower(),
        )

    async def _load_own(self, path: str) -> dict[str, Any] | None:
        """The ``connection`` section of a profile that is ours. None for others, and for one that went away."""
        try:
            (raw,) = await self._bus.call(path, _PROFILE, "GetSettings")
        except CallError:
            return None
        settings: dict[str, dict[str, Any]] = unwrap(raw)
        if settings.get("user", {}).get("data", {}).get(OWNER_KEY) != self._instance:
            return None
        return settings["connection"]

    async def _find_profile(self, uuid: str) -> str:
        (path,) = await self._bus.call(_SETTINGS, f"{SERVICE}.Settings", "GetConnectionByUuid", "s", uuid)
        return str(path)

    async def _find_device(self, interface: str) -> str:
        if not interface:
            return "/"
        path = await self._find_device_or_none(interface)
        if path is None:
            raise CallError(
                f"{interface} does not exist, or NetworkManager does not know it",
                element=f"port {interface}",
                resolution="check the interface's name in the hardware model or the uplink",
            )
        return path

    async def _find_device_or_none(self, interface: str) -> str | None:
        try:
            (path,) = await self._bus.call(_ROOT, SERVICE, "GetDeviceByIpIface", "s", interface)
        except CallError:
            return None
        return str(path)

    def _hear(self, path: str, body: list[Any]) -> None:
        new, _old, reason = (int(value) for value in body)
        if new in (_FAILED, _UNAVAILABLE) and (words := describe_reason(reason)):
            self._reasons[path] = words
        self.changed.set()


def _list_time_servers(device: dict[str, Any], objects: dict[str, dict[str, dict[str, Any]]]) -> tuple[str, ...]:
    """What DHCP told; only addresses, since the text is a stranger's and ends up in a config file."""
    found: dict[str, None] = {}
    for version in (4, 6):
        config = objects.get(str(device.get(f"Dhcp{version}Config", "")), {}).get(f"{SERVICE}.DHCP{version}Config", {})
        options = config.get("Options", {})
        for name in ("ntp_servers", "dhcp6_ntp_servers", "dhcp6_sntp_servers"):
            for text in str(options.get(name, "")).split():
                with contextlib.suppress(ValueError):
                    found[str(ip_address(text))] = None
    return tuple(found)


_STATES = {
    _UNMANAGED: "NetworkManager is told not to manage it",
    _UNAVAILABLE: "it has no link, or is not ready",
}
