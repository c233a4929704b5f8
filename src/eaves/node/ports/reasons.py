"""Why NetworkManager's devices fail, in words for people. Pure.

Numbers are those of ``NMDeviceStateReason`` in its D-Bus reference. Only what can come with a failure has words.
"""

from __future__ import annotations

from enum import IntEnum


class DeviceStateReason(IntEnum):
    """Named as NetworkManager names them."""

    CONFIG_FAILED = 4
    IP_CONFIG_UNAVAILABLE = 5
    IP_CONFIG_EXPIRED = 6
    NO_SECRETS = 7
    SUPPLICANT_DISCONNECT = 8
    SUPPLICANT_CONFIG_FAILED = 9
    SUPPLICANT_FAILED = 10
    SUPPLICANT_TIMEOUT = 11
    PPP_START_FAILED = 12
    PPP_DISCONNECT = 13
    PPP_FAILED = 14
    DHCP_START_FAILED = 15
    DHCP_ERROR = 16
    DHCP_FAILED = 17
    MODEM_BUSY = 23
    MODEM_NO_CARRIER = 25
    MODEM_DIAL_TIMEOUT = 26
    MODEM_DIAL_FAILED = 27
    MODEM_INIT_FAILED = 28
    GSM_APN_FAILED = 29
    GSM_REGISTRATION_NOT_SEARCHING = 30
    GSM_REGISTRATION_DENIED = 31
    GSM_REGISTRATION_TIMEOUT = 32
    GSM_REGISTRATION_FAILED = 33
    GSM_PIN_CHECK_FAILED = 34
    FIRMWARE_MISSING = 35
    REMOVED = 36
    USER_REQUESTED = 39
    CARRIER = 40
    MODEM_NOT_FOUND = 43
    GSM_SIM_NOT_INSERTED = 45
    GSM_SIM_PIN_REQUIRED = 46
    GSM_SIM_PUK_REQUIRED = 47
    GSM_SIM_WRONG = 48
    DEPENDENCY_FAILED = 50
    MODEM_MANAGER_UNAVAILABLE = 52
    SSID_NOT_FOUND = 53
    MODEM_FAILED = 57
    SIM_PIN_INCORRECT = 59
    PARENT_CHANGED = 61
    IP_ADDRESS_DUPLICATE = 64


_WORDS: dict[int, str] = {
    DeviceStateReason.CONFIG_FAILED: "the config cannot be applied",
    DeviceStateReason.IP_CONFIG_UNAVAILABLE: "no address was given, DHCP does not answer",
    DeviceStateReason.IP_CONFIG_EXPIRED: "the address ran out",
    DeviceStateReason.NO_SECRETS: "a password is missing or wrong",
    DeviceStateReason.SUPPLICANT_DISCONNECT: "the wireless network refuses it",
    DeviceStateReason.SUPPLICANT_CONFIG_FAILED: "wpa_supplicant refuses the settings of the wireless network",
    DeviceStateReason.SUPPLICANT_FAILED: "wpa_supplicant failed, or does not run",
    DeviceStateReason.SUPPLICANT_TIMEOUT: "the wireless network does not answer",
    DeviceStateReason.PPP_START_FAILED: "pppd cannot be started: the package ppp is missing, or the kernel lacks PPP",
    DeviceStateReason.PPP_DISCONNECT: "the mobile network ended the call: if always, check access point name, username and password",
    DeviceStateReason.PPP_FAILED: "the mobile network refuses the call: check access point name, username and password",
    DeviceStateReason.DHCP_START_FAILED: "DHCP cannot be started",
    DeviceStateReason.DHCP_ERROR: "DHCP failed",
    DeviceStateReason.DHCP_FAILED: "DHCP failed",
    DeviceStateReason.MODEM_BUSY: "the modem's line is busy",
    DeviceStateReason.MODEM_NO_CARRIER: "the modem gets no carrier",
    DeviceStateReason.MODEM_DIAL_TIMEOUT: "the modem's call is not answered",
    DeviceStateReason.MODEM_DIAL_FAILED: "the modem cannot dial",
    DeviceStateReason.MODEM_INIT_FAILED: "the modem cannot be initialised",
    DeviceStateReason.GSM_APN_FAILED: "the mobile network refuses the access point name",
    DeviceStateReason.GSM_REGISTRATION_NOT_SEARCHING: "the modem does not look for mobile networks",
    DeviceStateReason.GSM_REGISTRATION_DENIED: "the mobile network denies registration",
    DeviceStateReason.GSM_REGISTRATION_TIMEOUT: "the mobile network does not answer a registration",
    DeviceStateReason.GSM_REGISTRATION_FAILED: "registration with a mobile network failed",
    DeviceStateReason.GSM_PIN_CHECK_FAILED: "the PIN of the SIM card cannot be checked",
    DeviceStateReason.FIRMWARE_MISSING: "its firmware is missing",
    DeviceStateReason.REMOVED: "it was taken away",
    DeviceStateReason.USER_REQUESTED: "somebody else changed it",
    DeviceStateReason.CARRIER: "it has no link",
    DeviceStateReason.MODEM_NOT_FOUND: "there is no modem",
    DeviceStateReason.GSM_SIM_NOT_INSERTED: "the modem has no SIM card",
    DeviceStateReason.GSM_SIM_PIN_REQUIRED: "the SIM card asks for its PIN",
    DeviceStateReason.GSM_SIM_PUK_REQUIRED: "the SIM card asks for its PUK",
    DeviceStateReason.GSM_SIM_WRONG: "the SIM card is the wrong one",
    DeviceStateReason.DEPENDENCY_FAILED: "what it stands on failed",
    DeviceStateReason.MODEM_MANAGER_UNAVAILABLE: "ModemManager does not run",
    DeviceStateReason.SSID_NOT_FOUND: "the wireless network is out of reach",
    DeviceStateReason.MODEM_FAILED: "the modem failed",
    DeviceStateReason.SIM_PIN_INCORRECT: "the PIN of the SIM card is wrong",
    DeviceStateReason.PARENT_CHANGED: "what it stands on changed",
    DeviceStateReason.IP_ADDRESS_DUPLICATE: "somebody else has its address",
}


def describe_reason(number: int) -> str:
    """Empty when it tells nothing about a failure."""
    return _WORDS.get(number, "")
