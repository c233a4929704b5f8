"""What the parts of ``ports`` tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from eaves.node.ports.modem_model import SeenModem

Value = str | int | bool | bytes | list[str] | list[dict[str, str | int]] | dict[str, str]
Settings = Mapping[str, Mapping[str, Value]]
"""Section → key → value, as NetworkManager calls them."""


class Profile(Struct, frozen=True):
    """A connection profile. Its ``uuid`` is made from what is in it, so a changed one is another one.

    ``interface`` empty = of whichever device of its type there is. ``settings`` hold secrets: they are never printed.
    """

    uuid: str
    name: str
    interface: str
    settings: Settings
    is_software: bool = False
    """NetworkManager makes the interface."""
    label: str = ""
    """Of the port that it is for; empty = others stand on it. A port with several is up with any of them."""

    @property
    def is_modem(self) -> bool:
        return self.settings["connection"]["type"] == "gsm"

    def __repr__(self) -> str:
        return f"Profile({self.name}, {self.interface}, {self.uuid})"


class LinkState(StrEnum):
    UP = "up"
    COMING = "coming"
    DOWN = "down"


class SeenLink(Struct, frozen=True):
    """A device of NetworkManager. ``profile``: UUID of what is active on it, or coming up."""

    interface: str
    state: LinkState
    profile: str = ""
    reason: str = ""
    """Why it is down, or why what was asked for is not what is up."""
    ip_interface: str = ""
    """The network interface, which of a modem is another one than the device."""
    modem: str = ""
    """Path by which ModemManager knows it; empty = it is none."""
    time_servers: tuple[str, ...] = ()
    """That DHCP told."""
    mac: str = ""


class SeenManager(Struct, frozen=True):
    """``profiles``: UUID → name of those that this node made."""

    version: str
    profiles: Mapping[str, str]
    links: Mapping[str, SeenLink]
    unconfirmed: frozenset[str] = frozenset()
    """UUIDs of those that were made for a trial."""
    modems: tuple[SeenModem, ...] = ()
    modem_problem: str = ""
    """Why nothing is known of modems."""
    modem_faults: Mapping[str, str] = {}
    """Card → why it stays closed."""


class Changes(Struct, frozen=True):
    """In this order: add, activate, confirm, delete (UUIDs)."""

    add: tuple[Profile, ...] = ()
    activate: tuple[Profile, ...] = ()
    confirm: tuple[Profile, ...] = ()
    delete: tuple[str, ...] = ()
