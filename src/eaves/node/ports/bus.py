"""The system's message bus: calls and signals, errors of ours. The only user of dbus-fast, which costs 5 MB and is imported late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from dbus_fast import BusType, Message, MessageFlag, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusError

from eaves.node.ports.errors import CallError, ManagerMissingError

CALL_TIMEOUT_S = 30.0
_BUS = "org.freedesktop.DBus"
_BUS_PATH = "/org/freedesktop/DBus"
_GONE = (f"{_BUS}.Error.ServiceUnknown", f"{_BUS}.Error.NameHasNoOwner", f"{_BUS}.Error.NoReply")

__all__ = ["Bus", "CallError", "Variant", "unwrap"]


class Bus:
    """One connection. Use :meth:`open`; :meth:`close` it."""

    def __init__(self, bus: MessageBus, service: str) -> None:
        self._bus = bus
        self._service = service

    @classmethod
    async def open(cls, service: str, address: str = "") -> Bus:
        """``address`` empty = the system's bus. Raises ManagerMissingError."""
        try:
            bus = await MessageBus(bus_address=address or None, bus_type=BusType.SYSTEM).connect()
        except (OSError, DBusError, EOFError, ValueError) as error:
            raise ManagerMissingError(
                f"the system's message bus cannot be reached: {error}",
                element="NetworkManager",
                resolution="install and start dbus and network-manager, or set manage_ports = false",
            ) from error
        return cls(bus, service)

    @property
    def is_open(self) -> bool:
        return self._bus.connected

    def close(self) -> None:
        self._bus.disconnect()

    async def call(
        self, path: str, interface: str, member: str, signature: str = "", *body: Any, timeout_s: float = CALL_TIMEOUT_S
    ) -> list[Any]:
        """The answer's values. Raises CallError, ManagerMissingError."""
        message = Message(
            destination=self._service,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
            flags=MessageFlag.NONE,
        )
        answer = await self._send(message, timeout_s)
        if answer.message_type is MessageType.ERROR:
            text = str(answer.body[0]) if answer.body else str(answer.error_name)
            if answer.error_name in _GONE:
                raise ManagerMissingError(
                    "it does not run",
                    element=self._service.rpartition(".")[2],
                    details=text,
                    resolution="install and start network-manager, or set manage_ports = false",
                )
            refusal = CallError(text, element=member)
            refusal.name = str(answer.error_name)
            raise refusal
        return list(answer.body)

    async def listen(self, interface: str, member: str, heard: Callable[[str, list[Any]], None]) -> None:
        """Call ``heard`` with the path and the values of each such signal of the service."""
        rule = f"type='signal',sender='{self._service}',interface='{interface}',member='{member}'"
        add = Message(destination=_BUS, path=_BUS_PATH, interface=_BUS, member="AddMatch", signature="s", body=[rule])
        await self._send(add, CALL_TIMEOUT_S)

        def handle(message: Message) -> None:
            if message.message_type is MessageType.SIGNAL and (message.interface, message.member) == (
                interface,
                member,
            ):
                heard(message.path or "", list(message.body))

        self._bus.add_message_handler(handle)

    async def _send(self, message: Message, timeout_s: float) -> Message:
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._bus.call(message)
        except TimeoutError as error:
            raise CallError(f"no answer within {timeout_s:g} s", element=str(message.member)) from error
        except (OSError, EOFError, DBusError) as error:
            raise ManagerMissingError(f"the message bus is gone: {error}", element="NetworkManager") from error
        assert answer is not None
        return answer


def unwrap(value: Any) -> Any:
    """A value without its Variants, however deep."""
    if isinstance(value, Variant):
        return unwrap(value.value)
    if isinstance(value, dict):
        return {key: unwrap(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [unwrap(entry) for entry in value]
    return value
