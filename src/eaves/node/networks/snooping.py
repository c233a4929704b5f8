"""Learns which addresses apps on switches use, from what passes their interfaces: ARP, DHCP answers, IPv6 neighbour discovery.

Addresses on a switch come from outside, so the node knows them only by listening. One packet socket an interface, with a filter in
the kernel (socket(7), SO_ATTACH_FILTER); a flood costs the kernel's filter and a bounded number of looks a second.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

MOST_ADDRESSES = 8
_BATCH = 64
_PAUSE_S = 0.5
_BUFFER_BYTES = 64 << 10
_SNAP_BYTES = 600
_ALL_PROTOCOLS = 0x0003
_ATTACH_FILTER = 26
_ARP, _IPV4, _IPV6 = 0x0806, 0x0800, 0x86DD
_UDP, _ICMPV6, _DHCP_CLIENT = 17, 58, 68
_SOLICIT, _ADVERT = 135, 136
_DHCP_COOKIE = b"\x63\x82\x53\x63"
_MESSAGE_TYPE, _ACK, _END, _PAD = 53, 5, 255, 0


class Sighting(Struct, frozen=True):
    """``address`` belongs to the interface; ``is_lease``: it was given by DHCP, so that it replaces former IPv4 addresses."""

    address: str
    is_lease: bool = False


class Snooper:
    """``on_change`` is called after the addresses of an interface changed. Use inside the loop."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._sockets: dict[str, tuple[int, str, socket.socket]] = {}
        self._learned: dict[str, tuple[str, ...]] = {}
        self._paused: dict[str, asyncio.TimerHandle] = {}

    def load(self, learned: Mapping[str, Iterable[str]]) -> None:
        """What an earlier daemon learned."""
        self._learned = {link: tuple(addresses) for link, addresses in learned.items()}

    def learned(self) -> dict[str, list[str]]:
        return {link: list(addresses) for link, addresses in self._learned.items()}

    def addresses(self, link: str) -> tuple[str, ...]:
        """Newest first."""
        return self._learned.get(link, ())

    def set_links(self, macs: Mapping[str, str]) -> None:
        """Listen on these interfaces of the host (link → hardware address of the app) and no others."""
        for link in [known for known in self._sockets if known not in macs]:
            self._close(link)
        self._learned = {link: found for link, found in self._learned.items() if link in macs}
        for link, mac in macs.items():
            with contextlib.suppress(OSError):
                index = socket.if_nametoindex(link)
                if self._sockets.get(link, (0, ""))[:2] != (index, mac):
                    self._close(link)
                    self._open(link, index, mac)

    def close(self) -> None:
        for link in list(self._sockets):
            self._close(link)

    def _open(self, link: str, index: int, mac: str) -> None:
        listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
        try:
            _attach_filter(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            listener.bind((link, _ALL_PROTOCOLS))
        except OSError:
            listener.close()
            raise
        self._sockets[link] = (index, mac, listener)
        asyncio.get_running_loop().add_reader(listener.fileno(), self._receive, link)

    def _close(self, link: str) -> None:
        if timer := self._paused.pop(link, None):
            timer.cancel()
        if found := self._sockets.pop(link, None):
            asyncio.get_running_loop().remove_reader(found[2].fileno())
            found[2].close()

    def _receive(self, link: str) -> None:
        _, mac, listener = self._sockets[link]
        before = self._learned.get(link, ())
        for _ in range(_BATCH):
            try:
                frame = listener.recv(_SNAP_BYTES)
            except OSError:
                break
            if sighting := parse_frame(frame, mac):
                self._learned[link] = note_sighting(self._learned.get(link, ()), sighting)
        else:
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener.fileno())
            self._paused[link] = loop.call_later(_PAUSE_S, self._resume, link)
        if self._learned.get(link, ()) != before:
            self._on_change()

    def _resume(self, link: str) -> None:
        self._paused.pop(link, None)
        if link in self._sockets:
            asyncio.get_running_loop().add_reader(self._sockets[link][2].fileno(), self._receive, link)


def note_sighting(known: tuple[str, ...], sighting: Sighting) -> tuple[str, ...]:
    """The addresses after it. A known one keeps its place, so that talk among known ones changes nothing. Pure."""
    if sighting.is_lease:
        known = tuple(address for address in known if ":" in address or address == sighting.address)
    if sighting.address in known:
        return known
    return (sighting.address, *known)[:MOST_ADDRESSES]


def parse_frame(frame: bytes, mac: str) -> Sighting | None:
    """What an Ethernet frame, without VLAN tag, tells about the interface with this hardware address. Pure."""
    hardware = bytes.fromhex(mac.replace(":", ""))
    if len(frame) < 42:
        return None
    kind = int.from_bytes(frame[12:14])
    if kind == _ARP:
        return _parse_arp(frame, hardware)
    if kind == _IPV4:
        return _parse_dhcp(frame, hardware)
    if kind == _IPV6:
        return _parse_neighbour(frame, hardware)
    return None


def _parse_arp(frame: bytes, hardware: bytes) -> Sighting | None:
    """RFC 826; a sender address of 0 is a probe (RFC 5227)."""
    if frame[6:12] != hardware or frame[22:28] != hardware:
        return None
    return _sight(frame[28:32])


def _parse_dhcp(frame: bytes, hardware: bytes) -> Sighting | None:
    """An ACK to this interface (RFC 2131)."""
    start = 14 + (frame[14] & 0x0F) * 4 + 8
    message = frame[start:]
    if len(message) < 240 or message[0] != 2 or message[28:34] != hardware or message[236:240] != _DHCP_COOKIE:
        return None
    options, position = message[240:], 0
    while position + 2 < len(options) and options[position] != _END:
        if options[position] == _PAD:
            position += 1
            continue
        if options[position] == _MESSAGE_TYPE:
            return _sight(message[16:20], is_lease=True) if options[position + 2] == _ACK else None
        position += 2 + options[position + 1]
    return None


def _parse_neighbour(frame: bytes, hardware: bytes) -> Sighting | None:
    """A solicitation or an advertisement from this interface (RFC 4861); one from :: asks for its own address (RFC 4862)."""
    if frame[6:12] != hardware or len(frame) < 78 or frame[54] not in (_SOLICIT, _ADVERT):
        return None
    source, target = frame[22:38], frame[62:78]
    return _sight(target if frame[54] == _ADVERT or not any(source) else source)


def _sight(packed: bytes, *, is_lease: bool = False) -> Sighting | None:
    address = ipaddress.ip_address(packed)
    if address.is_unspecified or address.is_link_local or address.is_multicast or address.is_loopback:
        return None
    return Sighting(str(address), is_lease)


_LOAD_HALF, _LOAD_BYTE, _LOAD_HALF_INDEXED, _LOAD_HEADER_LENGTH = 0x28, 0x30, 0x48, 0xB1
_IF_EQUAL, _IF_SET, _RETURN = 0x15, 0x45, 0x06
_PROGRAM = (
    (_LOAD_HALF, 0, 0, 12),
    (_IF_EQUAL, 14, 0, _ARP),
    (_IF_EQUAL, 0, 7, _IPV4),
    (_LOAD_BYTE, 0, 0, 23),
    (_IF_EQUAL, 0, 10, _UDP),
    (_LOAD_HALF, 0, 0, 20),
    (_IF_SET, 8, 0, 0x1FFF),
    (_LOAD_HEADER_LENGTH, 0, 0, 14),
    (_LOAD_HALF_INDEXED, 0, 0, 16),
    (_IF_EQUAL, 6, 5, _DHCP_CLIENT),
    (_IF_EQUAL, 0, 4, _IPV6),
    (_LOAD_BYTE, 0, 0, 20),
    (_IF_EQUAL, 0, 2, _ICMPV6),
    (_LOAD_BYTE, 0, 0, 54),
    (_IF_EQUAL, 1, 2, _SOLICIT),
    (_RETURN, 0, 0, 0),
    (_RETURN, 0, 0, _SNAP_BYTES),
    (_IF_EQUAL, 0, 1, _ADVERT),
    (_RETURN, 0, 0, _SNAP_BYTES),
    (_RETURN, 0, 0, 0),
)
"""Classic BPF: (operation, skip if true, skip if false, operand). ARP, UDP to port 68, neighbour solicitations and advertisements."""


def _attach_filter(listener: socket.socket) -> None:
    program = array.array("B", b"".join(struct.pack("HBBI", *line) for line in _PROGRAM))
    address, _ = program.buffer_info()
    listener.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HL", len(_PROGRAM), address))
