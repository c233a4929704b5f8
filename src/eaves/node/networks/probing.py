"""Asks the gateways and hosts by which uplinks are judged, each through its own interface. Owned by the networks' service.

Only ports that have an alternative are asked, so a lone metered link carries nothing for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Callable, Iterable, Mapping

from eaves.node.networks.health import Health, note_check
from eaves.node.networks.model import ProbeTarget

log = logging.getLogger(__name__)

PROBE_EVERY_S = 5.0
_ANSWER_LIMIT_S = 2.0
_ECHO_REQUEST, _ECHO_REPLY = 8, 0
_HEADER = struct.Struct("!BBHHH")
_IPV4_HEADER_LEAST = 20


class Prober:
    """``on_change`` is called when a target starts or ceases to fail."""

    def __init__(self, on_change: Callable[[], None], *, every_s: float = PROBE_EVERY_S) -> None:
        self._on_change = on_change
        self._every_s = every_s
        self._health: dict[ProbeTarget, Health] = {}
        self._links: Mapping[str, str] = {}
        self._marks: Mapping[str, int] = {}
        self._has_targets = asyncio.Event()

    def set_targets(self, targets: Iterable[ProbeTarget], links: Mapping[str, str], marks: Mapping[str, int]) -> None:
        """``links``: interface → why nothing can leave by it; ``marks``: interface → mark that routes packets by it.

        A link that is gone counts at once; one that is back must prove itself like any other.
        """
        self._health = {target: self._health.get(target, Health()) for target in targets}
        self._links, self._marks = links, marks
        for target, health in self._health.items():
            if (fault := links.get(target.interface, "")) and not health.fault:
                self._note(target, fault, is_certain=True)
        if self._health:
            self._has_targets.set()
        else:
            self._has_targets.clear()

    def faults(self) -> dict[ProbeTarget, str]:
        """Targets that fail now, and why."""
        return {target: health.fault for target, health in self._health.items() if health.fault}

    async def run(self) -> None:
        while True:
            await self._has_targets.wait()
            await self._probe_all()
            await asyncio.sleep(self._every_s)

    async def _probe_all(self) -> None:
        targets = list(self._health)
        answers = await asyncio.gather(*(self._probe(target) for target in targets))
        has_changed = False
        for target, fault in zip(targets, answers, strict=True):
            if target in self._health:
                has_changed |= self._note(target, fault, is_certain=target.interface in self._links)
        if has_changed:
            self._on_change()

    def _note(self, target: ProbeTarget, fault: str, *, is_certain: bool) -> bool:
        before = self._health[target]
        after = note_check(before, fault, is_certain=is_certain)
        self._health[target] = after
        if bool(before.fault) == bool(after.fault):
            return False
        log.warning("uplink changed: interface=%s fault=%s", target.interface, after.fault or "none")
        return True

    async def _probe(self, target: ProbeTarget) -> str:
        """Why it fails; empty = it answers."""
        if fault := self._links.get(target.interface):
            return fault
        mark = self._marks.get(target.interface, 0)
        if target.is_pinged and not await _ping(target.gateway, target.interface, mark):
            return f"gateway {target.gateway} of {target.interface} does not answer"
        if not target.host:
            return ""
        if target.port:
            is_there = await _connect(target.host, target.port, target.interface, mark)
            return "" if is_there else f"{target.host}:{target.port} does not answer by {target.interface}"
        is_there = await _ping(target.host, target.interface, mark)
        return "" if is_there else f"{target.host} does not answer by {target.interface}"


async def _connect(host: str, port: int, interface: str, mark: int) -> bool:
    """Whether a TCP connection comes about."""
    try:
        async with asyncio.timeout(_ANSWER_LIMIT_S):
            address = await _resolve(host)
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as stream:
                _bind(stream, interface, mark)
                await asyncio.get_running_loop().sock_connect(stream, (address, port))
    except (OSError, TimeoutError):
        return False
    return True


async def _ping(host: str, interface: str, mark: int) -> bool:
    """Whether an ICMP echo comes back (RFC 792)."""
    try:
        async with asyncio.timeout(_ANSWER_LIMIT_S):
            address = await _resolve(host)
            kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
            with socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP) as echo:
                _bind(echo, interface, mark)
                token = os.urandom(4)
                loop = asyncio.get_running_loop()
                await loop.sock_sendto(echo, render_echo(token), (address, 0))
                while not is_answer(await loop.sock_recv(echo, 1500), token):
                    pass
    except (OSError, TimeoutError):
        return False
    return True


def render_echo(token: bytes) -> bytes:
    """An echo request; ``token``, 4 bytes, is its identifier and sequence number."""
    identifier, sequence = struct.unpack("!HH", token)
    checksum = _checksum(_HEADER.pack(_ECHO_REQUEST, 0, 0, identifier, sequence))
    return _HEADER.pack(_ECHO_REQUEST, 0, checksum, identifier, sequence)


def is_answer(packet: bytes, token: bytes) -> bool:
    """Whether this IPv4 packet is the reply to the echo request with ``token``."""
    if len(packet) < _IPV4_HEADER_LEAST:
        return False
    start = (packet[0] & 0x0F) * 4
    return packet[start : start + 1] == bytes((_ECHO_REPLY,)) and packet[start + 4 : start + 8] == token


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _bind(opened: socket.socket, interface: str, mark: int) -> None:
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    if mark:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)


async def _resolve(host: str) -> str:
    """The first IPv4 address. Raises OSError."""
    with contextlib.suppress(OSError):
        socket.inet_pton(socket.AF_INET, host)
        return host
    found = await asyncio.get_running_loop().getaddrinfo(host, None, family=socket.AF_INET)
    return str(found[0][4][0])
