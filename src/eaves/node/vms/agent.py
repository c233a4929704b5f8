"""The QEMU guest agent as seen from the host: one JSON object a line over a socket that the guest may or may not answer on.

A guest is free to send what it likes: answers are bounded in size and time, and what is no answer counts as none.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from eaves.kit import streams
from eaves.node.observed_vm import GuestInterface
from eaves.node.vms.errors import AgentRefusalError, VmError

ANSWER_LIMIT_S = 3.0
FREEZE_LIMIT_S = 20.0
"""A guest writes all that it has in memory first."""
_ANSWER_BYTES = 1 << 20
_TEXT_LIMIT = 200


class GuestFacts(Struct, frozen=True):
    """What the agent tells of its guest."""

    os: str = ""
    hostname: str = ""
    interfaces: tuple[GuestInterface, ...] = ()


class _Address(Struct):
    address: str = msgspec.field(name="ip-address", default="")


class _Interface(Struct):
    name: str = ""
    mac: str = msgspec.field(name="hardware-address", default="")
    addresses: list[_Address] = msgspec.field(name="ip-addresses", default_factory=list)


class GuestAgent:
    """Use as a context. Raises VmError when the guest does not answer in time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def __aenter__(self) -> GuestAgent:
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                self._reader, self._writer = await asyncio.open_unix_connection(self._path, limit=_ANSWER_BYTES)
        except (OSError, TimeoutError) as error:
            raise VmError("the guest agent cannot be reached", element="guest agent") from error
        try:
            await self._synchronise()
        except BaseException:
            # Whoever waits may be cancelled, too: then nobody leaves the context that was not entered.
            self._writer.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await streams.close(self._writer)

    async def run(self, command: str, /, *, limit_s: float = ANSWER_LIMIT_S, **arguments: Any) -> Any:
        """The command's answer. Raises AgentRefusalError for a refusal, VmError for none."""
        await self.send(command, **arguments)
        answer = await self._receive(limit_s)
        if "return" not in answer:
            error = answer.get("error")
            reason = error.get("desc", "") if isinstance(error, dict) else ""
            raise AgentRefusalError(f"{command}: {str(reason)[:_TEXT_LIMIT]}", element="guest agent")
        return answer["return"]

    async def send(self, command: str, /, **arguments: Any) -> None:
        """Without waiting for an answer: a shutdown has none."""
        message = {"execute": command} | ({"arguments": arguments} if arguments else {})
        self._writer.write(msgspec.json.encode(message) + b"\n")
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise VmError("the guest agent takes no commands", element="guest agent") from error

    async def _synchronise(self) -> None:
        """Whatever an earlier client left in the channel ends with the byte 0xff before the answer to our own number."""
        number = secrets.randbelow(1 << 31)
        self._writer.write(b"\xff")
        await self.send("guest-sync-delimited", id=number)
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                while True:
                    await self._reader.readuntil(b"\xff")
                    answer = _decode(await self._reader.readuntil(b"\n"))
                    if answer.get("return") == number:
                        return
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
            raise VmError("the guest agent does not answer", element="guest agent") from error

    async def _receive(self, limit_s: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(limit_s):
                return _decode(await self._reader.readuntil(b"\n"))
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
            raise VmError("the guest agent does not answer", element="guest agent") from error


async def load_facts(path: Path) -> GuestFacts:
    """Ask the guest who it is. Raises VmError when there is no agent that answers."""
    async with GuestAgent(path) as agent:
        interfaces = parse_interfaces(await agent.run("guest-network-get-interfaces"))
        return GuestFacts(
            os=await _ask_text(agent, "guest-get-osinfo", "pretty-name"),
            hostname=await _ask_text(agent, "guest-get-host-name", "host-name"),
            interfaces=interfaces,
        )


async def shut_down(path: Path) -> None:
    """Tell the guest to power off. Raises VmError when there is no agent that answers."""
    async with GuestAgent(path) as agent:
        await agent.send("guest-shutdown", mode="powerdown")


async def freeze(path: Path) -> int:
    """Bring the guest's file systems to rest: all is written, and writers wait. Answers how many. Raises VmError."""
    async with GuestAgent(path) as agent:
        return int(await agent.run("guest-fsfreeze-freeze", limit_s=FREEZE_LIMIT_S))


async def thaw(path: Path) -> None:
    """Let writers go on, if they wait; an agent without the command has frozen nothing. Raises VmError."""
    async with GuestAgent(path) as agent:
        try:
            status = await agent.run("guest-fsfreeze-status")
        except AgentRefusalError:
            return
        if status == "frozen":
            await agent.run("guest-fsfreeze-thaw", limit_s=FREEZE_LIMIT_S)


async def set_clock(path: Path, time_ns: int) -> None:
    """Tell a guest that was away what time it is. Raises VmError."""
    async with GuestAgent(path) as agent:
        # Its clock is set before it is refused, as by guests that cannot write the one of their hardware, which needs no setting.
        with contextlib.suppress(AgentRefusalError):
            await agent.run("guest-set-time", time=time_ns)


def parse_interfaces(answer: object) -> tuple[GuestInterface, ...]:
    """Loopback and what makes no sense are left out."""
    try:
        found = msgspec.convert(answer, list[_Interface])
    except msgspec.ValidationError:
        return ()
    return tuple(
        GuestInterface(
            _clean(interface.name),
            interface.mac[:17],
            tuple(_clean(address.address) for address in interface.addresses[:32]),
        )
        for interface in found[:32]
        if interface.name != "lo"
    )


async def _ask_text(agent: GuestAgent, command: str, field: str) -> str:
    try:
        answer = await agent.run(command)
    except VmError:
        return ""
    return _clean(answer.get(field)) if isinstance(answer, dict) else ""


def _clean(text: object) -> str:
    return "".join(letter for letter in str(text)[:_TEXT_LIMIT] if letter.isprintable()) if text else ""


def _decode(raw: bytes) -> dict[str, Any]:
    try:
        answer = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}
