"""What is seen of a modem, and what that means for people. Pure.

Numbers are those of ModemManager's D-Bus reference (MMModemState, MMModemStateFailedReason, MMModemLock,
MMModem3gppRegistrationState).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from msgspec import Struct


class ModemState(IntEnum):
    FAILED = -1
    UNKNOWN = 0
    INITIALIZING = 1
    LOCKED = 2
    DISABLED = 3
    DISABLING = 4
    ENABLING = 5
    ENABLED = 6
    SEARCHING = 7
    REGISTERED = 8
    DISCONNECTING = 9
    CONNECTING = 10
    CONNECTED = 11


class FailedReason(IntEnum):
    NONE = 0
    UNKNOWN = 1
    SIM_MISSING = 2
    SIM_ERROR = 3
    UNKNOWN_CAPABILITIES = 4
    ESIM_WITHOUT_PROFILES = 5


class Lock(IntEnum):
    """The ones of the card; others are of the modem's maker or seller."""

    UNKNOWN = 0
    NONE = 1
    SIM_PIN = 2
    SIM_PIN2 = 3
    SIM_PUK = 4
    SIM_PUK2 = 5


class Registration(IntEnum):
    IDLE = 0
    HOME = 1
    SEARCHING = 2
    DENIED = 3
    UNKNOWN = 4
    ROAMING = 5


class Technology(StrEnum):
    GSM = "GSM"
    UMTS = "UMTS"
    LTE = "LTE"
    NR = "5GNR"


class Protocol(StrEnum):
    """How the modem is spoken to."""

    AT = "AT"
    QMI = "QMI"
    MBIM = "MBIM"


class SeenSim(Struct, frozen=True):
    """A card. ``name`` is the path by which ModemManager knows it; ``slot`` counts from 1."""

    name: str
    slot: int = 1
    is_active: bool = True
    iccid: str = ""
    imsi: str = ""
    is_esim: bool = False


class SeenBearer(Struct, frozen=True):
    """A way into the mobile network's own networks."""

    apn: str
    is_connected: bool = False
    error: str = ""
    has_ipv4: bool = True
    has_ipv6: bool = False


class SeenModem(Struct, frozen=True):
    """As ModemManager tells it; how strong its signal is changes all the time and is in :class:`Signal`."""

    path: str
    ports: tuple[str, ...] = ()
    """Linux names of its serial lines and network interfaces."""
    imei: str = ""
    manufacturer: str = ""
    model: str = ""
    revision: str = ""
    protocol: Protocol = Protocol.AT
    state: ModemState = ModemState.UNKNOWN
    failed: FailedReason = FailedReason.NONE
    lock: Lock = Lock.NONE
    tries_left: int | None = None
    """To enter what ``lock`` asks for; None = the modem does not tell."""
    registration: Registration = Registration.UNKNOWN
    plmn: str = ""
    operator: str = ""
    technologies: tuple[Technology, ...] = ()
    sims: tuple[SeenSim, ...] = ()
    bearers: tuple[SeenBearer, ...] = ()

    @property
    def card_id(self) -> str:
        """Of the card in use; of the modem while that is not readable."""
        return next((sim.iccid for sim in self.sims if sim.is_active and sim.iccid), self.imei or self.path)


class Signal(Struct, frozen=True):
    """dBm and dB; None = not known."""

    rssi: float | None = None
    rsrq: float | None = None
    rsrp: float | None = None
    snr: float | None = None


def explain_modem(modem: SeenModem, *, forbids_roaming: bool = False) -> str:
    """Why no call is made, as far as the modem itself tells; empty = it does not."""
    if modem.state is ModemState.FAILED:
        return _FAILURES.get(modem.failed, "the modem cannot be used")
    if modem.state is ModemState.LOCKED:
        return _explain_lock(modem)
    if modem.registration is Registration.DENIED:
        return "the mobile network denies registration"
    if modem.registration is Registration.ROAMING and forbids_roaming:
        return f"it is in the network of {modem.operator or 'another operator'}, and roaming is forbidden"
    if modem.state is ModemState.SEARCHING:
        return "no mobile network takes it in"
    return ""


def _explain_lock(modem: SeenModem) -> str:
    match modem.lock:
        case Lock.SIM_PIN:
            left = "" if modem.tries_left is None else f" ({modem.tries_left} tries left)"
            return f"the SIM card asks for its PIN{left}"
        case Lock.SIM_PUK:
            return "the SIM card is locked and asks for its PUK, which its operator knows"
        case Lock.UNKNOWN:
            return "the modem does not tell yet whether the SIM card asks for a PIN"
    return "the modem is locked by its maker or seller"


_FAILURES = {
    FailedReason.SIM_MISSING: "the modem has no SIM card",
    FailedReason.SIM_ERROR: "the SIM card cannot be read",
    FailedReason.UNKNOWN_CAPABILITIES: "the modem does not tell what it can do",
    FailedReason.ESIM_WITHOUT_PROFILES: "the modem's eSIM has no profile",
}
