"""Questions to netfilter over netlink and their answers. Blocking; for threads."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

from eaves.node.networks.netlink import NETLINK_NETFILTER, split_messages

REQUEST, ACK, DUMP = 0x01, 0x04, 0x300
_ERROR, _DONE = 2, 3
_READ_BYTES = 1 << 16
_TIMEOUT_S = 5.0


def open_socket() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    netlink.settimeout(_TIMEOUT_S)
    netlink.bind((0, 0))
    return netlink


def receive(netlink: socket.socket, what: str) -> Iterator[tuple[int, bytes]]:
    """(type, body) of the messages of one answer until its end. Raises OSError, which names ``what``, when the kernel refuses."""
    while True:
        for kind, body in split_messages(netlink.recv(_READ_BYTES)):
            if kind == _DONE:
                return
            if kind == _ERROR:
                error = -int.from_bytes(body[:4], sys.byteorder, signed=True)
                if error:
                    raise OSError(error, f"the kernel's {what} refused")
                return
            yield kind, body
