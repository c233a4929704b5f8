"""ModemManager by D-Bus: what its modems are like, and PINs for their cards.

Interfaces and numbers are those of its D-Bus reference (org.freedesktop.ModemManager1, 1.20 and later). NetworkManager makes the calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, TypeVar

from eaves.node.ports.bus import Bus, CallError, unwrap
from eaves.node.ports.modem_model import (
    FailedReason,
    Lock,
    ModemState,
    Protocol,
    Registration,
    SeenBearer,
    SeenModem,
    SeenSim,
    Signal,
    Technology,
)

SERVICE = "org.freedesktop.ModemManager1"
_ROOT = "/org/freedesktop/ModemManager1"
_MODEM, _MODEM_3GPP = f"{SERVICE}.Modem", f"{SERVICE}.Modem.Modem3gpp"
_SIGNAL, _SIM, _BEARER = f"{_MODEM}.Signal", f"{SERVICE}.Sim", f"{SERVICE}.Bearer"
_NOWHERE = "/"
_QMI, _MBIM = 6, 7
"""Of MMModemPortType."""
_IPV4, _IPV6, _BOTH = 1, 2, 4
"""Of MMBearerIpFamily."""
_ESIM = 2
_SIGNAL_EVERY_S = 30
_TECHNOLOGIES = ((0x1E, Technology.GSM), (0x3E0, Technology.UMTS), (0x4000, Technology.LTE), (0x8000, Technology.NR))
"""Of MMModemAccessTechnology, a mask."""
_QUALITY_LOWEST_DBM, _QUALITY_SPAN_DB = -113, 62
"""A quality of 0 and 100 per cent is -113 and -51 dBm (3GPP TS 27.007, +CSQ)."""

_Objects = dict[str, dict[str, dict[str, Any]]]
_Number = TypeVar("_Number", bound=IntEnum)


class ModemManager:
    """Use :meth:`open`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._watched: set[str] = set()
        """Modems that were asked to measure their signal."""

    @classmethod
    async def open(cls, address: str = "") -> ModemManager:
        """Raises ManagerMissingError."""
        return cls(await Bus.open(SERVICE, address))

    @property
    def is_open(self) -> bool:
        return self._bus.is_open

    def close(self) -> None:
        self._bus.close()

    async def observe(self) -> tuple[SeenModem, ...]:
        """Raises ManagerMissingError, CallError."""
        objects = await self._load()
        return tuple([await self._view(path, known) for path, known in sorted(objects.items()) if _MODEM in known])

    async def observe_signals(self) -> dict[str, Signal]:
        """By the modem's path. Raises ManagerMissingError, CallError."""
        objects = await self._load()
        for path in set(objects) - self._watched:
            self._watched.add(path)
            if _SIGNAL in objects[path]:
                try:
                    await self._bus.call(path, _SIGNAL, "Setup", "u", _SIGNAL_EVERY_S)
                except CallError:
                    # Some cannot; what they say of their own accord is all that is known.
                    continue
        return {path: _view_signal(known) for path, known in objects.items() if _MODEM in known}

    async def send_pin(self, modem: SeenModem, pin: str) -> None:
        """For its active card. Raises CallError when it is not taken."""
        sim = next((sim.name for sim in modem.sims if sim.is_active), "")
        await self._bus.call(sim, _SIM, "SendPin", "s", pin)

    async def _load(self) -> _Objects:
        (raw,) = await self._bus.call(_ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
        objects: _Objects = unwrap(raw)
        return objects

    async def _view(self, path: str, known: Mapping[str, Mapping[str, Any]]) -> SeenModem:
        modem, network = known[_MODEM], known.get(_MODEM_3GPP, {})
        lock = _number(Lock, modem.get("UnlockRequired", 0), Lock.UNKNOWN)
        kinds = {int(kind) for _, kind in modem.get("Ports", ())}
        mask = int(modem.get("AccessTechnologies", 0))
        tries = modem.get("UnlockRetries", {}).get(int(lock))
        return SeenModem(
            path=path,
            ports=tuple(str(name) for name, _ in modem.get("Ports", ())),
            imei=str(network.get("Imei") or modem.get("EquipmentIdentifier", "")),
            manufacturer=str(modem.get("Manufacturer", "")),
            model=str(modem.get("Model", "")),
            revision=str(modem.get("Revision", "")),
            protocol=Protocol.MBIM if _MBIM in kinds else Protocol.QMI if _QMI in kinds else Protocol.AT,
            state=_number(ModemState, modem.get("State", 0), ModemState.UNKNOWN),
            failed=_number(FailedReason, modem.get("StateFailedReason", 0), FailedReason.UNKNOWN),
            lock=lock,
            tries_left=None if tries is None else int(tries),
            registration=_number(Registration, network.get("RegistrationState", 4), Registration.UNKNOWN),
            plmn=str(network.get("OperatorCode", "")),
            operator=str(network.get("OperatorName", "")),
            technologies=tuple(technology for bits, technology in _TECHNOLOGIES if mask & bits),
            sims=await self._load_sims(modem),
            bearers=await self._load_bearers(modem),
        )

    async def _load_sims(self, modem: Mapping[str, Any]) -> tuple[SeenSim, ...]:
        active = str(modem.get("Sim", _NOWHERE))
        slots = [str(path) for path in modem.get("SimSlots", ())] or [active]
        found = []
        for number, path in enumerate(slots, 1):
            if path != _NOWHERE and (sim := await self._load_object(path, _SIM)) is not None:
                found.append(
                    SeenSim(
                        name=path,
                        slot=number,
                        is_active=path == active,
                        iccid=str(sim.get("SimIdentifier", "")),
                        imsi=str(sim.get("Imsi", "")),
                        is_esim=int(sim.get("SimType", 0)) == _ESIM,
                    )
                )
        return tuple(found)

    async def _load_bearers(self, modem: Mapping[str, Any]) -> tuple[SeenBearer, ...]:
        found = []
        for path in modem.get("Bearers", ()):
            bearer = await self._load_object(str(path), _BEARER)
            if bearer is None:
                continue
            asked = bearer.get("Properties", {})
            families = int(asked.get("ip-type", _IPV4))
            _, error = bearer.get("ConnectionError") or ("", "")
            found.append(
                SeenBearer(
                    apn=str(asked.get("apn", "")),
                    is_connected=bool(bearer.get("Connected", False)),
                    error=str(error),
                    has_ipv4=bool(families & (_IPV4 | _BOTH)),
                    has_ipv6=bool(families & (_IPV6 | _BOTH)),
                )
            )
        return tuple(found)

    async def _load_object(self, path: str, interface: str) -> dict[str, Any] | None:
        """Its properties; None when it went away meanwhile."""
        try:
            (raw,) = await self._bus.call(path, "org.freedesktop.DBus.Properties", "GetAll", "s", interface)
        except CallError:
            return None
        found: dict[str, Any] = unwrap(raw)
        return found


def _number(kind: type[_Number], value: Any, otherwise: _Number) -> _Number:
    """A newer ModemManager may know more."""
    try:
        return kind(int(value))
    except ValueError:
        return otherwise


def _view_signal(known: Mapping[str, Mapping[str, Any]]) -> Signal:
    """What was measured in the newest technology; else what is made of the quality that every modem tells."""
    for technology in ("Nr5g", "Lte", "Umts", "Gsm"):
        measured = known.get(_SIGNAL, {}).get(technology)
        if measured:
            return Signal(*(_measured(measured.get(name)) for name in ("rssi", "rsrq", "rsrp", "snr")))
    quality, is_recent = known[_MODEM].get("SignalQuality") or (0, False)
    if not quality and not is_recent:
        return Signal()
    return Signal(rssi=_QUALITY_LOWEST_DBM + _QUALITY_SPAN_DB * int(quality) / 100)


_UNKNOWN_BELOW = -32000.0
"""ModemManager says -32767 for what it does not know."""


def _measured(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and value > _UNKNOWN_BELOW else None
