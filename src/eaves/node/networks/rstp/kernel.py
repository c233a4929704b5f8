"""The ports of a bridge as the kernel has them: their links, their states, and the messages that come and go there. Blocking.

The kernel lets others set states while its own spanning tree is off. Then it opens every port of which the link comes up by itself
(br_port_carrier_check), and one that is set to *blocking* too (br_make_forwarding); *listening* it leaves alone. What shuts a port for good
are its flags: locked, it takes no frame from an address that it has not learnt, and it learns none; without flooding, none leaves. They
stay while links come and go and whoever set them dies. Kernels before 5.18 know no lock, there the state alone shuts a port.
"""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import os
import socket
import struct
from typing import NamedTuple

from eaves.node.networks.netlink import render_attribute, render_message, split_attributes, split_messages
from eaves.node.networks.rstp.bpdu import GROUP_ADDRESS
from eaves.node.networks.rstp.model import State

_LINK = struct.Struct("=BxHiII")
_ERROR, _NEW_LINK, _DEL_LINK, _GET_LINK, _SET_LINK = 2, 16, 17, 18, 19
_REQUEST, _ACK = 0x01, 0x04
_LINK_GROUP = 1
_AF_BRIDGE = 7
_NAME, _MASTER, _PORT, _NESTED = 3, 10, 12, 0x8000
_STATE, _LEARNING, _FLOOD, _FLUSH, _MULTICAST_FLOOD, _BROADCAST_FLOOD, _LOCKED = 1, 8, 9, 24, 27, 30, 39
"""IFLA_BRPORT_*"""
_LISTENING = 1
_KERNEL_STATES = {State.DISCARDING: _LISTENING, State.LEARNING: 2, State.FORWARDING: 3}
_LOWER_UP, _IFF_UP = 0x10000, 0x1
_PASSING = frozenset({errno.ENODEV, errno.ENETDOWN, errno.EINVAL, errno.EOPNOTSUPP, errno.ENXIO, errno.EBUSY})
"""A port that has just left its bridge or lost its link, and a bridge of which somebody has turned the kernel's own tree on."""

_ETHTOOL, _GET_SETTINGS = 0x8946, 1
_HALF_DUPLEX = 0
_COST_OF_1_MBIT = 20_000_000
_COSTS = (1, 200_000_000)
_USUAL_COST = 20_000

_ALL_PROTOCOLS = 3
_SOL_PACKET, _ADD_MEMBERSHIP, _IGNORE_OUTGOING, _MULTICAST = 263, 1, 23, 0
_ATTACH_FILTER = 26
_RECEIVE_BYTES = 64 << 10
_LONGEST_BYTES = 1600
_MOST_WAITING = 2000


class Link(NamedTuple):
    """``number``: the kernel's index of it; ``master``: that of the bridge that it is a port of, 0 = of none."""

    number: int
    name: str
    master: int
    is_up: bool


class RouteSocket:
    """Asks for links and sets ports; hears of links that change. One for each of both: answers and news do not mix."""

    def __init__(self, *, is_listening: bool = False) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, _LINK_GROUP if is_listening else 0))
        self._socket.setblocking(not is_listening)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def drain(self) -> tuple[set[int], bool]:
        """Numbers of links that were down, be it for a moment; and whether news was lost, so that others may have been too."""
        fallen: set[int] = set()
        try:
            while data := self._socket.recv(_RECEIVE_BYTES):
                for kind, body in split_messages(data):
                    if kind in (_NEW_LINK, _DEL_LINK) and body[0] != _AF_BRIDGE:
                        link = _parse_link(body)
                        if not link.is_up or kind == _DEL_LINK:
                            fallen.add(link.number)
        except BlockingIOError:
            return fallen, False
        except OSError:
            return fallen, True
        return fallen, False

    def load_link(self, name: str) -> Link | None:
        """None = there is none of that name."""
        try:
            wanted = render_attribute(_NAME, name.encode() + b"\0")
            answers = self._ask(_GET_LINK, _LINK.pack(0, 0, 0, 0, 0) + wanted, _REQUEST)
        except OSError:
            return None
        for kind, body in answers:
            if kind == _NEW_LINK:
                return _parse_link(body)
        return None

    def set_state(self, link: int, state: State) -> None:
        """What comes in between is no error: the links' news tells of it, and the daemon mends what somebody has changed."""
        is_open = state is State.FORWARDING
        flags = {
            _LEARNING: state is not State.DISCARDING,
            _LOCKED: state is State.DISCARDING,
            _FLOOD: is_open,
            _MULTICAST_FLOOD: is_open,
            _BROADCAST_FLOOD: is_open,
        }
        steps = [b"".join(render_attribute(kind, bytes([value])) for kind, value in flags.items())]
        steps.append(render_attribute(_STATE, bytes([_KERNEL_STATES[state]])))
        for step in steps if not is_open else reversed(steps):
            self._set(link, step)
        if state is State.DISCARDING:
            self.flush(link)

    def flush(self, link: int) -> None:
        """Forget the addresses that were learnt at the port."""
        self._set(link, render_attribute(_FLUSH, b""))

    def _set(self, link: int, attributes: bytes) -> None:
        try:
            self._ask(_SET_LINK, _LINK.pack(_AF_BRIDGE, 0, link, 0, 0) + render_attribute(_PORT | _NESTED, attributes))
        except OSError as error:
            if error.errno not in _PASSING:
                raise

    def _ask(self, kind: int, body: bytes, flags: int = _REQUEST | _ACK) -> list[tuple[int, bytes]]:
        """The messages of the answer. Raises OSError when the kernel refuses."""
        self._socket.send(render_message(kind, flags, body))
        answers = list(split_messages(self._socket.recv(_RECEIVE_BYTES)))
        for found, content in answers:
            if found == _ERROR and (code := -struct.unpack_from("=i", content)[0]):
                raise OSError(code, os.strerror(code))
        return answers


class PortSocket:
    """Frames to the bridge group address on one interface, whatever state the port has. Raises OSError when made."""

    def __init__(self, link: Link) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            # Before it is bound: no other frame must get in.
            self._attach_filter()
            self._socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
            self._socket.setblocking(False)
            self._socket.bind((link.name, _ALL_PROTOCOLS))
            member = struct.pack("=iHH8s", link.number, _MULTICAST, len(GROUP_ADDRESS), GROUP_ADDRESS)
            self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, member)
        except OSError:
            self._socket.close()
            raise
        self.link_number = link.number
        self.mac: bytes = self._socket.getsockname()[4]

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def receive(self) -> bytes | None:
        """None = there is nothing more."""
        try:
            return self._socket.recv(_LONGEST_BYTES)
        except OSError:
            return None

    def drain(self) -> None:
        """Pass over what waits, as far as it waits now."""
        for _ in range(_MOST_WAITING):
            if self.receive() is None:
                return

    def send(self, frame: bytes) -> None:
        """A frame that cannot be sent is as one that gets lost."""
        try:
            self._socket.send(frame)
        except OSError:
            return

    def load_speed(self) -> tuple[int, bool]:
        """(cost of its path, table 17-3 of the standard; whether it is point to point)."""
        command = array.array("B", struct.pack("=I", _GET_SETTINGS) + bytes(40))
        name: str = self._socket.getsockname()[0]
        request = struct.pack("16sP", name.encode(), command.buffer_info()[0])
        try:
            fcntl.ioctl(self._socket, _ETHTOOL, request)
        except OSError:
            return _USUAL_COST, True
        low, duplex = struct.unpack_from("=HB", command, 12)
        speed = low | struct.unpack_from("=H", command, 28)[0] << 16
        is_known = 0 < speed < 0xFFFFFFFF
        cost = min(max(_COST_OF_1_MBIT // speed, _COSTS[0]), _COSTS[1]) if is_known else _USUAL_COST
        return cost, duplex != _HALF_DUPLEX

    def _attach_filter(self) -> None:
        """Untagged frames to the group address with the link header of spanning trees; instructions of bpf(4)."""
        code = [
            (0x20, 0, 0, 0xFFFFF030),  # Whether there is a VLAN tag (SKF_AD_VLAN_TAG_PRESENT).
            (0x15, 0, 7, 0),
            (0x20, 0, 0, 0),
            (0x15, 0, 5, int.from_bytes(GROUP_ADDRESS[:4])),
            (0x28, 0, 0, 4),
            (0x15, 0, 3, int.from_bytes(GROUP_ADDRESS[4:])),
            (0x28, 0, 0, 14),
            (0x15, 0, 1, 0x4242),
            (0x06, 0, 0, _LONGEST_BYTES),
            (0x06, 0, 0, 0),
        ]
        text = b"".join(struct.pack("=HBBI", *step) for step in code)
        buffer = ctypes.create_string_buffer(text)
        program = struct.pack("HP", len(code), ctypes.addressof(buffer))
        self._socket.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)


def _parse_link(body: bytes) -> Link:
    _, _, number, flags, _ = _LINK.unpack_from(body)
    name, master = "", 0
    for kind, value in split_attributes(body[_LINK.size :]):
        if kind == _NAME:
            name = value.rstrip(b"\0").decode(errors="replace")
        elif kind == _MASTER:
            master = struct.unpack("=I", value)[0]
    return Link(number, name, master, bool(flags & _LOWER_UP and flags & _IFF_UP))
