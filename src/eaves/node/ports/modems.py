"""Keeps an eye on modems for :mod:`eaves.node.ports.service`, and opens their cards without ever locking one.

A card refuses for good after three wrong PINs. So a PIN is noted before it is sent, and one that a card did not take is never sent to
it again, not even after a restart; the last try is left to people.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from eaves.node.desired.port_model import Medium, PortSetup, PortsSetup
from eaves.node.ports.errors import CallError, ManagerMissingError, PortError
from eaves.node.ports.model import SeenLink, SeenManager
from eaves.node.ports.modem_model import Lock, Registration, SeenModem, Signal
from eaves.node.statefile import StateFile

log = logging.getLogger(__name__)

_KEY_BYTES = 32
_WRONG_PIN = ".IncorrectPassword"
_TRIES_FOR_PEOPLE = 1
_TRIES_UNSEEN = 1
"""Where a modem does not count, so many tries without a word about their end."""


class Manager(Protocol):
    """What :class:`eaves.node.ports.modemmanager.ModemManager` offers."""

    @property
    def is_open(self) -> bool: ...
    def close(self) -> None: ...
    async def observe(self) -> tuple[SeenModem, ...]: ...
    async def observe_signals(self) -> dict[str, Signal]: ...
    async def send_pin(self, modem: SeenModem, pin: str) -> None: ...


class PinTry(Struct, frozen=True):
    """The PIN that a card was given last. ``tries_left``: as the card counted before."""

    digest: str
    tries_left: int | None = None
    count: int = 0
    is_refused: bool = False


class PinRecord(Struct, frozen=True):
    """By the card's number. ``key``: a digest tells nothing about a PIN to who lacks it."""

    key: bytes = b""
    tries: dict[str, PinTry] = field(default_factory=dict)


class Modems:
    """Asks ModemManager only while a port is a modem."""

    def __init__(self, state_file: Path, open_manager: Callable[[], Awaitable[Manager]]) -> None:
        self._file = StateFile(state_file, PinRecord)
        self._open = open_manager
        self._manager: Manager | None = None
        self._problem = ""
        self._refused: dict[str, str] = {}
        """Card → why it stays closed."""
        self._denied: set[str] = set()
        """Modems whose network denied registration; ModemManager forgets it as soon as it gives up."""

    def close(self) -> None:
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    async def join(self, setup: PortsSetup, seen: SeenManager) -> SeenManager:
        """``seen`` with the modems, where ``setup`` has a port that is one."""
        if not any(port.medium is Medium.CELLULAR for port in setup.ports):
            self.close()
            return seen
        self._problem = ""
        modems: tuple[SeenModem, ...] = ()
        try:
            modems = tuple(map(self._remember, await (await self._want_manager()).observe()))
        except PortError as error:
            self._problem = _explain(error)
        return replace(seen, modems=modems, modem_problem=self._problem, modem_faults=dict(self._refused))

    def _remember(self, modem: SeenModem) -> SeenModem:
        if modem.registration is Registration.DENIED:
            self._denied.add(modem.path)
        elif modem.registration is Registration.IDLE and modem.path in self._denied:
            return replace(modem, registration=Registration.DENIED)
        else:
            self._denied.discard(modem.path)
        return modem

    async def load_signals(self, modems: Mapping[str, SeenModem]) -> dict[str, Signal]:
        """Label → signal, of the modems by label."""
        if not modems:
            return {}
        try:
            by_path = await (await self._want_manager()).observe_signals()
        except PortError as error:
            log.debug("signals of modems are not known: error=%s", error)
            return {}
        return {label: by_path[modem.path] for label, modem in modems.items() if modem.path in by_path}

    async def unlock(self, setup: PortsSetup, seen: SeenManager) -> bool:
        """Enter PINs that are asked for and may be entered; whether one was taken. Raises PortError: the note cannot be saved."""
        was_opened = False
        for port in setup.ports:
            modem = find_modem(port, seen)
            if modem is not None and modem.lock is Lock.SIM_PIN:
                was_opened = await self._unlock(port, modem) or was_opened
        return was_opened

    async def _unlock(self, port: PortSetup, modem: SeenModem) -> bool:
        pin = port.cellular.pin.reveal()
        if not pin:
            self._refused.pop(modem.card_id, None)
            return False
        record = await self._file.load()
        if not record.key:
            record = replace(record, key=secrets.token_bytes(_KEY_BYTES))
        digest = hmac.new(record.key, pin.encode(), hashlib.sha256).hexdigest()
        known = record.tries.get(modem.card_id)
        if refusal := explain_refusal(known, digest, modem.tries_left):
            self._refused[modem.card_id] = refusal
            return False
        count = known.count + 1 if known is not None and known.digest == digest else 1
        tried = PinTry(digest, modem.tries_left, count)
        # Noted first: a daemon that dies now must not send it again and again.
        await self._save(record, modem.card_id, tried)
        try:
            await (await self._want_manager()).send_pin(modem, pin)
        except ManagerMissingError:
            return False
        except PortError as error:
            log.warning("a SIM card does not take its PIN: port=%s error=%s", port.label, error)
            # Without an answer nobody knows whether the card heard it; how many tries are left will tell.
            tried = replace(tried, is_refused=isinstance(error, CallError) and error.name.endswith(_WRONG_PIN))
            await self._save(record, modem.card_id, tried)
            if tried.is_refused:
                self._refused[modem.card_id] = explain_refusal(tried, digest, None)
            return False
        log.info("a SIM card took its PIN: port=%s", port.label)
        await self._save(record, modem.card_id, None)
        self._refused.pop(modem.card_id, None)
        return True

    async def _save(self, record: PinRecord, card: str, tried: PinTry | None) -> None:
        tries = {known: entry for known, entry in record.tries.items() if known != card}
        if tried is not None:
            tries[card] = tried
        try:
            await self._file.save(PinRecord(record.key, tries))
        except OSError as error:
            raise PortError(
                f"the note of a PIN cannot be written: {error.strerror}",
                element="ports",
                resolution="make room on the disk",
            ) from error

    async def _want_manager(self) -> Manager:
        if self._manager is not None and not self._manager.is_open:
            self.close()
        if self._manager is None:
            self._manager = await self._open()
        return self._manager


def explain_refusal(known: PinTry | None, digest: str, tries_left: int | None) -> str:
    """Why a PIN is not sent to a card; empty = it may be. ``tries_left``: as the card counts now. Pure."""
    if known is not None and known.digest == digest:
        is_spent = tries_left is not None and known.tries_left is not None and tries_left < known.tries_left
        is_unseen = tries_left is None and known.count > _TRIES_UNSEEN
        if known.is_refused or is_spent or is_unseen:
            return "the PIN of the SIM card is wrong and is not sent again, so that the card does not lock: change the uplink's Secret"
    if tries_left is not None and tries_left <= _TRIES_FOR_PEOPLE:
        return f"tries for the PIN of the SIM card: {tries_left}, which is left to people; enter it at the machine"
    return ""


def find_modem(port: PortSetup, seen: SeenManager) -> SeenModem | None:
    """The one that ``port`` is: by the name of its interface or serial line, or the only one that there is. Pure."""
    if port.medium is not Medium.CELLULAR:
        return None
    named = next((modem for modem in seen.modems if port.interface in modem.ports), None)
    return named or (seen.modems[0] if len(seen.modems) == 1 else None)


def find_modem_link(modem: SeenModem, links: Mapping[str, SeenLink]) -> SeenLink | None:
    """Its device of NetworkManager. Pure."""
    return next((link for link in links.values() if link.modem == modem.path), None)


def place_modems(setup: PortsSetup, seen: SeenManager) -> PortsSetup:
    """``setup`` with the network interfaces that calls have made: a serial modem's is none of those that the config may name. Pure."""
    return replace(setup, ports=tuple(_place(port, seen) for port in setup.ports))


def _place(port: PortSetup, seen: SeenManager) -> PortSetup:
    modem = find_modem(port, seen)
    link = find_modem_link(modem, seen.links) if modem is not None else None
    return replace(port, interface=link.ip_interface) if link is not None and link.ip_interface else port


def list_modems(setup: PortsSetup, seen: SeenManager) -> dict[str, SeenModem]:
    """Label of a port → its modem. Pure."""
    return {port.label: modem for port in setup.ports if (modem := find_modem(port, seen)) is not None}


def _explain(error: PortError) -> str:
    return "ModemManager does not run" if isinstance(error, ManagerMissingError) else str(error)


async def open_modemmanager() -> Manager:
    """The real one. Raises ManagerMissingError."""
    from eaves.node.ports.modemmanager import ModemManager

    return await ModemManager.open()
