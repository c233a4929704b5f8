"""Follows the kernel's connection table and the firewall's log, and puts records on the board. Owned by ``manager``.

It listens only while a network asks for flow logs. The kernel drops messages when this falls behind; a look at the whole table each
round makes up for it. Other connections of the host are sorted out by their bytes before anything is parsed. Connections on switches
are counted by the firewall of bridges, which is read each round.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator

from eaves.node.flows import packets, switched
from eaves.node.flows.model import Packet
from eaves.node.flows.tracker import FlowTracker
from eaves.node.instance import Instance
from eaves.node.networks import conntrack, switch_counts
from eaves.node.networks.hostnames import HostNames
from eaves.node.networks.model import Layout
from eaves.node.networks.netlink import NETLINK_NETFILTER, split_messages
from eaves.node.observed import Observations

log = logging.getLogger(__name__)

ROUND_S = 30.0
_NEW_GROUP, _END_GROUP = 1 << 0, 1 << 2
_READ_BYTES = 1 << 16
_READS_AT_ONCE = 32
"""Then others get their turn on the loop."""
_NOTHING = re.compile(rb"(?!)")


class FlowLog:
    """``networks`` tells it the layout; :meth:`run` is one of the engine's tasks."""

    def __init__(self, instance: Instance, observations: Observations, *, round_s: float = ROUND_S) -> None:
        self._instance = instance
        self._observations = observations
        self._round_s = round_s
        self._tracker = FlowTracker()
        self._names = HostNames(instance)
        self._ours = _NOTHING
        self._changed = asyncio.Event()
        self._told_lost = 0
        self._full: set[str] = set()
        """Links whose counters have no room."""

    def set_layout(self, layout: Layout) -> None:
        """The layout whose table is in place."""
        self._tracker.set_layout(layout)
        packed = [re.escape(socket.inet_aton(address)) for address in sorted(self._tracker.addresses)]
        self._ours = re.compile(b"|".join(packed), re.DOTALL) if packed else _NOTHING
        self._changed.set()

    async def run(self) -> None:
        """For ever. Raises OSError when the kernel has no connection table to follow."""
        while True:
            self._changed.clear()
            if self._tracker.is_idle:
                await self._changed.wait()
                continue
            with _listen(_NEW_GROUP | _END_GROUP, self._take_event), _listen(0, self._take_packet) as logged:
                for message in packets.render_bindings(self._instance.log_group):
                    logged.send(message)
                while not self._tracker.is_idle:
                    await self._round()
                    await asyncio.sleep(self._round_s)

    async def _round(self) -> None:
        self._tracker.note_hosts(await self._names.load(self._tracker.hosts))
        asked_at = time.time()
        entries = await asyncio.to_thread(conntrack.list_entries, self._tracker.addresses)
        self._tracker.note_table(entries, asked_at, time.time())
        for link in self._tracker.switch_links:
            await self._look_at_switch(link)
        for batch in self._tracker.take(time.time()):
            self._observations.post_flows(batch)
        if self._tracker.lost > self._told_lost:
            log.warning("flow records were lost: count=%d", self._tracker.lost - self._told_lost)
            self._told_lost = self._tracker.lost

    async def _look_at_switch(self, link: str) -> None:
        counted, is_full = await asyncio.to_thread(switched.load_counted, self._instance.table, link)
        self._tracker.note_counted(link, counted, time.time())
        if is_full and link not in self._full:
            log.warning("an app has more connections than are counted: link=%s limit=%d", link, switch_counts.SIZE)
        (self._full.add if is_full else self._full.discard)(link)

    def _take_event(self, kind: int, body: bytes) -> None:
        if not self._ours.search(body):
            return
        entry = conntrack.parse_entry(body, self._tracker.addresses)
        if entry is None:
            return
        if kind == conntrack.END:
            self._tracker.note_end(entry, time.time())
        else:
            self._tracker.note_entry(entry, time.time())

    def _take_packet(self, kind: int, body: bytes) -> None:
        found = packets.parse_packet_message(body) if kind == packets.PACKET else None
        if found is None:
            return
        prefix, packet = found
        now = time.time()
        if prefix == "dns":
            self._take_answer(packet.destination, packet, now)
            return
        link, _, rest = prefix.partition(" ")
        direction, _, word = rest.partition(" ")
        is_inbound = direction == "in"
        if word.isdecimal():
            self._tracker.note_drop(link, int(word), packet, is_inbound=is_inbound, now=now)
        elif word == switch_counts.BEGIN:
            self._tracker.note_begin(link, packet, is_inbound=is_inbound, now=now)
        elif word == switch_counts.DNS:
            self._take_answer(link, packet, now)

    def _take_answer(self, party: str, packet: Packet, now: float) -> None:
        answer = packets.parse_dns_answer(packet.payload)
        if answer is not None:
            self._tracker.note_dns(party, *answer, now)


@contextlib.contextmanager
def _listen(groups: int, take: Callable[[int, bytes], None]) -> Iterator[socket.socket]:
    """A netlink socket in ``groups`` whose messages go to ``take``."""
    loop = asyncio.get_running_loop()
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)

    def read() -> None:
        # ENOBUFS says that messages were lost; the next round looks at the whole table.
        with contextlib.suppress(OSError):
            for _ in range(_READS_AT_ONCE):
                for kind, body in split_messages(netlink.recv(_READ_BYTES)):
                    take(kind, body)

    try:
        netlink.setblocking(False)
        netlink.bind((0, groups))
        loop.add_reader(netlink.fileno(), read)
        yield netlink
    finally:
        loop.remove_reader(netlink.fileno())
        netlink.close()
