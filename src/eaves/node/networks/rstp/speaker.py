"""The spanning tree of one switch: carries what the protocol decides to the kernel and what happens there to the protocol.

In the run folder: ``config.json`` says which ports (written by the daemon, read again on SIGHUP), ``status.json`` what became of them.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Collection
from typing import Any

from eaves.node.networks.rstp import bpdu, protocol
from eaves.node.networks.rstp.kernel import PortSocket, RouteSocket
from eaves.node.networks.rstp.model import BEAT_S, Action, Bridge, Flush, Send, SetState, State

PRIORITY = 0xF000
"""The lowest: a box at the edge is the root of a network only where nobody else is one, so a site's frames do not go through it."""
_TICK_S = 1.0
_MOST_MESSAGES = 50
"""Of one port in a second: a flood shall not cost more than a little of a processor. Bridges send six."""


class Speaker:
    """Raises OSError, ValueError when the run folder does not say which ports."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._route = RouteSocket()
        self._news = RouteSocket(is_listening=True)
        self._sockets: dict[int, PortSocket] = {}
        self._names: dict[int, str] = {}
        self._budget: dict[int, int] = {}
        self._changes = 0
        self._changed_at = 0.0
        self._status = b""
        config = self._load("config.json")
        self._switch: str = config["bridge"]
        self._bridge = Bridge(PRIORITY << 48 | int(config["mac"].replace(":", ""), 16))
        shut = {name for name, port in self._load_former().items() if port.get("isShut")}
        self._take_config(config, shut)
        self._save_status()

    def reload(self) -> None:
        self._take_config(self._load("config.json"), ())
        self._save_status()

    def run(self, wake: int) -> None:
        """For ever. ``wake``: descriptor that becomes readable when the configuration is to be read again."""
        now = time.monotonic()
        next_tick, next_beat = now + _TICK_S, now
        while True:
            if not self._bridge.needs_beat:
                next_beat = now + BEAT_S
            limit = min(next_tick, next_beat if self._bridge.needs_beat else next_tick)
            for fd in self._wait(max(0.0, limit - now), wake):
                if fd == wake:
                    os.read(wake, 512)
                    self.reload()
            now = time.monotonic()
            if self._bridge.needs_beat and now >= next_beat:
                self._do(protocol.beat(self._bridge))
                next_beat = now + BEAT_S
            if now >= next_tick:
                # Time in which this process did not run counts for nobody: what neighbours sent meanwhile has just been read.
                next_tick = now + _TICK_S
                self._renew_budget()
                self._do(protocol.tick(self._bridge))
                # Once a second at most: the daemon looks at all its networks when this changes.
                self._save_status()

    def shut(self) -> None:
        """When this process must end against its will: all ports but one, with which no loop can be."""
        kept = self._bridge.root_port or next(iter(self._sockets), 0)
        for number, port in self._sockets.items():
            if number != kept:
                self._route.set_state(port.link_number, State.DISCARDING)

    def _wait(self, timeout_s: float, wake: int) -> list[int]:
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        poll.register(self._news, select.POLLIN)
        numbers = {port.fileno(): number for number, port in self._sockets.items() if self._budget.get(number, 1) > 0}
        for fd in numbers:
            poll.register(fd, select.POLLIN)
        found = [fd for fd, _ in poll.poll(timeout_s * 1000)]
        if self._news.fileno() in found:
            self._hear_of_links()
        for fd in found:
            if (number := numbers.get(fd)) is not None and (port := self._sockets.get(number)) is not None:
                self._receive(number, port)
        return found

    def _hear_of_links(self) -> None:
        fallen, is_lost = self._news.drain()
        for number, port in self._sockets.items():
            # A link that is back already has been down all the same: the kernel has set its state.
            if port.link_number in fallen:
                self._do(protocol.set_link(self._bridge, number, is_up=False))
            elif is_lost:
                self._route.set_state(port.link_number, self._bridge.ports[number].state)
        self._look()

    def _receive(self, number: int, port: PortSocket) -> None:
        """One message, so that those of all ports are taken in the order in which they come, about."""
        frame = port.receive()
        if frame is None:
            return
        self._budget[number] = self._budget.get(number, _MOST_MESSAGES) - 1
        try:
            message = bpdu.parse_frame(frame)
        except bpdu.BpduError:
            return
        self._do(protocol.receive(self._bridge, number, message))

    def _renew_budget(self) -> None:
        """What a flood has left is not taken: by then it is history."""
        for number, port in self._sockets.items():
            if self._budget.get(number, 1) <= 0:
                port.drain()
            self._budget[number] = _MOST_MESSAGES

    def _take_config(self, config: dict[str, Any], shut: Collection[str]) -> None:
        wanted: dict[str, dict[str, Any]] = config["ports"]
        for number, name in list(self._names.items()):
            has_guard = name in wanted and wanted[name]["guard"]
            if name not in wanted or self._bridge.ports[number].has_guard != has_guard:
                self._forget(number)
        for name in wanted:
            if name not in self._names.values():
                number = next(free for free in range(1, 4096) if free not in self._names)
                self._names[number] = name
                self._do(protocol.add_port(self._bridge, number, has_guard=wanted[name]["guard"]))
        self._look(shut)

    def _forget(self, number: int) -> None:
        del self._names[number]
        self._do(protocol.remove_port(self._bridge, number))
        if (port := self._sockets.pop(number, None)) is not None:
            port.close()

    def _look(self, shut: Collection[str] = ()) -> None:
        """Bring the protocol in line with the links as they are."""
        bridge = self._route.load_link(self._switch)
        for number, name in self._names.items():
            link = self._route.load_link(name)
            is_here = link is not None and bridge is not None and link.master == bridge.number
            known = self._sockets.get(number)
            if known is not None and (link is None or not is_here or known.link_number != link.number):
                known.close()
                del self._sockets[number]
                known = None
            if link is not None and is_here and known is None:
                try:
                    known = self._sockets[number] = PortSocket(link)
                except OSError:
                    known = None
                else:
                    # It is new to the bridge, and the kernel has opened it.
                    self._route.set_state(link.number, State.DISCARDING)
            self._set_link(number, known, is_up=link is not None and is_here and link.is_up, is_shut=name in shut)

    def _set_link(self, number: int, known: PortSocket | None, *, is_up: bool, is_shut: bool) -> None:
        port = self._bridge.ports[number]
        is_up = is_up and known is not None
        if is_up == port.has_link and not is_shut:
            return
        if known is not None and is_up:
            # With the link the kernel has set the state, though not the flags.
            self._route.set_state(known.link_number, State.DISCARDING)
        cost, is_point_to_point = known.load_speed() if known is not None else (port.path_cost, True)
        outcome = protocol.set_link(
            self._bridge,
            number,
            is_up=is_up,
            is_point_to_point=is_point_to_point,
            path_cost=cost,
            is_shut=is_shut,
        )
        self._do(outcome)

    def _do(self, outcome: protocol.Outcome) -> None:
        self._bridge = outcome.bridge
        for action in outcome.actions:
            port = self._sockets.get(action.port)
            if port is not None:
                self._carry_out(action, port)

    def _carry_out(self, action: Action, port: PortSocket) -> None:
        match action:
            case SetState():
                self._route.set_state(port.link_number, action.state)
            case Flush():
                self._route.flush(port.link_number)
                self._changes += 1
                self._changed_at = time.time()
            case Send():
                port.send(bpdu.encode_frame(action.message, port.mac))

    def _save_status(self) -> None:
        bridge = self._bridge
        ports = {
            self._names[number]: {
                "role": port.role.value,
                "state": port.state.name.capitalize(),
                "isShut": port.is_shut,
                "isLooped": port.looped_while > 0,
                "isEdge": port.oper_edge,
                "isRapid": port.send_rstp,
            }
            for number, port in bridge.ports.items()
        }
        status = {
            "root": f"{bridge.root_priority.root:016x}",
            "isRoot": bridge.root_port == 0,
            "changes": self._changes,
            "changedAt": self._changed_at,
            "ports": ports,
        }
        text = json.dumps(status).encode()
        if text == self._status:
            return
        self._status = text
        path = os.path.join(self._folder, "status.json")
        with open(f"{path}.new", "wb") as file:
            file.write(text)
        os.replace(f"{path}.new", path)

    def _load_former(self) -> dict[str, Any]:
        """What an earlier process knew: a port that its guard has shut is not opened because that one died."""
        try:
            ports: dict[str, Any] = self._load("status.json")["ports"]
        except (OSError, ValueError, KeyError):
            return {}
        return ports

    def _load(self, name: str) -> dict[str, Any]:
        with open(os.path.join(self._folder, name), "rb") as file:
            found: dict[str, Any] = json.loads(file.read())
        return found
