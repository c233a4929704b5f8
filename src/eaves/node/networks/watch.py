"""Tells when links, addresses, forwarding or firewall tables of the host change, from the kernel's own multicast (rtnetlink(7), nfnetlink).

Of messages only the type is looked at: any but those about set elements means "look again". A burst becomes one call.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from eaves.node.networks.netlink import split_messages

_NETLINK_NETFILTER = 12
_LINK_GROUP = 1 << 0
_IPV4_ADDRESS_GROUP = 1 << 4
_IPV4_SETTINGS_GROUP = 1 << 23
_NFTABLES_GROUP = 1 << 6
_SET_CONTENTS = frozenset((10 << 8) | number for number in (12, 14, 15))
"""Elements of nftables sets that came or went, and the number of the change: DNS answers cause them all the time."""
_SETTLE_S = 1.0
"""Other software changes links in bursts, and a look costs a process or two."""


class KernelWatch:
    """Calls ``on_change`` soon after a change, at most once a second. Use as a context manager inside the loop."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._sockets: list[socket.socket] = []
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> KernelWatch:
        loop = asyncio.get_running_loop()
        groups = (
            (socket.NETLINK_ROUTE, _LINK_GROUP | _IPV4_ADDRESS_GROUP | _IPV4_SETTINGS_GROUP),
            (_NETLINK_NETFILTER, _NFTABLES_GROUP),
        )
        for family, group in groups:
            listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
            listener.setblocking(False)
            listener.bind((0, group))
            loop.add_reader(listener.fileno(), self._receive, listener)
            self._sockets.append(listener)
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for listener in self._sockets:
            loop.remove_reader(listener.fileno())
            listener.close()
        self._sockets.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _receive(self, listener: socket.socket) -> None:
        is_news = False
        try:
            while data := listener.recv(1 << 16):
                is_news = is_news or not {kind for kind, _ in split_messages(data)} <= _SET_CONTENTS
        except BlockingIOError:
            pass
        except OSError:
            is_news = True  # ENOBUFS says that messages were lost.
        if is_news and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SETTLE_S, self._tell)

    def _tell(self) -> None:
        self._timer = None
        self._on_change()
