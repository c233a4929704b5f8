"""Bridges and cables in memory, with a clock that the test winds: what a spanning tree does is seen at every message.

Messages travel in order on each cable and for a random time, so cables race each other. A step at which a frame could go round raises
LoopFoundError.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterable

from eaves.node.networks.rstp import bpdu, protocol
from eaves.node.networks.rstp.model import BEAT_S, Action, Bridge, Flush, Message, Send, SetState, State
from eaves.testing.legacy_bridge import LegacyBridge

End = tuple[str, int]
"""Bridge and number of its port."""


class LoopFoundError(AssertionError):
    pass


class Segment:
    """What cables join: two ends are a cable, more a hub, one a port with nothing behind it. ``echoes``: it sends back what it gets."""

    def __init__(self, ends: tuple[End, ...], *, echoes: bool = False, is_shared: bool = False) -> None:
        self.ends = ends
        self.echoes = echoes
        self.is_shared = is_shared or len(ends) > 2
        self.is_cut = False


class Campus:
    """``loss``: share of the messages that get lost. ``travel_s``: the least and the most time that a message takes."""

    def __init__(self, seed: int = 0, *, loss: float = 0.0, travel_s: tuple[float, float] = (0.001, 0.002)) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.travel_s = travel_s
        self.now = 0.0
        self.seconds = 0
        self.bridges: dict[str, Bridge] = {}
        self.legacy: dict[str, LegacyBridge] = {}
        self.segments: list[Segment] = []
        self.states: dict[End, State] = {}
        self.flushes: list[End] = []
        self.sent = 0
        self._segment_of: dict[End, Segment] = {}
        self._travelling: list[tuple[float, int, Segment, End, Message]] = []
        self._arrivals: dict[End, float] = {}
        self._beats: dict[str, float] = {}
        self._ticks: dict[str, float] = {}

    def add_bridge(self, name: str, priority: int = 0x8000, *, is_legacy: bool = False) -> None:
        identifier = priority << 48 | 0x020000000000 + len(self.bridges) + len(self.legacy) + 1
        if is_legacy:
            self.legacy[name] = LegacyBridge(identifier)
        else:
            self.bridges[name] = Bridge(identifier)

    def connect(self, *names: str, echoes: bool = False, is_shared: bool = False) -> Segment:
        """A cable or hub between new ports of these bridges, and set it up."""
        ends: list[End] = []
        for name in names:
            ports = self.legacy[name].ports if name in self.legacy else self.bridges[name].ports
            end = (name, len(ports) + 1)
            ends.append(end)
            if name in self.legacy:
                self._do(name, self.legacy[name].add_port(end[1]))
            else:
                self._take(name, protocol.add_port(self.bridges[name], end[1]))
        segment = Segment(tuple(ends), echoes=echoes, is_shared=is_shared)
        self.segments.append(segment)
        self._segment_of |= dict.fromkeys(ends, segment)
        self._set_links(segment)
        return segment

    def cut(self, segment: Segment) -> None:
        segment.is_cut = True
        self._drop(lambda item: item[2] is segment)
        self._set_links(segment)

    def mend(self, segment: Segment) -> None:
        segment.is_cut = False
        self._set_links(segment)

    def kill(self, name: str) -> None:
        """The bridge is gone; neighbours on a cable lose their link, those on a hub hear nothing more."""
        self.bridges.pop(name, None)
        self.legacy.pop(name, None)
        self._drop(lambda item: item[3][0] == name)
        for segment in self.segments:
            if all(end[0] != name for end in segment.ends):
                continue
            segment.ends = tuple(end for end in segment.ends if end[0] != name)
            if not segment.is_shared and not segment.is_cut:
                self.cut(segment)

    def freeze(self, name: str) -> Bridge:
        """The protocol of the bridge stops; its ports stay as they are."""
        return self.bridges.pop(name)

    def run(self, seconds: int = 1) -> None:
        """The clock of each bridge ticks at a time of its own within each second, give or take a little."""
        for _ in range(seconds):
            names = [*self.bridges, *self.legacy]
            for when, name in sorted((self.seconds + self._tick_of(name), name) for name in names):
                self.deliver(until=when)
                self.now = when
                if name in self.legacy:
                    self._do(name, self.legacy[name].tick())
                elif name in self.bridges:
                    self._take(name, protocol.tick(self.bridges[name]))
            self.seconds += 1
            self.deliver(until=self.seconds)
            self.now = self.seconds

    def _tick_of(self, name: str) -> float:
        return self._ticks.setdefault(name, self.random.uniform(0, 0.95)) + self.random.uniform(0, 0.05)

    def deliver(self, *, until: float = math.inf, most: int = 200_000) -> None:
        """Until no message is on its way and none is held back, or ``most`` have come."""
        for _ in range(most):
            arrival = self._travelling[0][0] if self._travelling else math.inf
            when, name = min(((when, name) for name, when in self._beats.items()), default=(math.inf, ""))
            if min(arrival, when) > until or min(arrival, when) == math.inf:
                return
            if arrival <= when:
                self._deliver_one()
                continue
            self.now = max(self.now, when)
            del self._beats[name]
            if name in self.bridges:
                self._take(name, protocol.beat(self.bridges[name]))
        if most == 200_000:
            raise AssertionError("the bridges talk without end")

    def run_until_whole(self, limit_s: int) -> int:
        """Answers the seconds that it took until everything that cables join is joined by what forwards."""
        start = self.seconds
        while not self.is_whole():
            if self.seconds - start >= limit_s:
                raise AssertionError(f"not joined after {limit_s} s: {self.describe()}")
            self.run()
        return self.seconds - start

    def state(self, name: str, number: int) -> State:
        """What was last done to the port."""
        return self.states[name, number]

    def roles(self, name: str) -> list[str]:
        return [port.role.value for port in self.bridges[name].ports.values()]

    def root_of(self, name: str) -> int:
        return self.bridges[name].root_priority.root

    def describe(self) -> str:
        found = {name: list(bridge.ports.values()) for name, bridge in self.bridges.items()}
        return "; ".join(
            f"{name}: " + ", ".join(f"{port.role} {port.state.name}" for port in ports) for name, ports in found.items()
        )

    def is_whole(self) -> bool:
        return self._count_parts(forwarding_only=True) == self._count_parts(forwarding_only=False)

    def check_loops(self) -> None:
        """Raises LoopFoundError."""
        joined = _Joined()
        for segment, ends in self._live():
            open_ends = [end for end in ends if self.states.get(end) is State.FORWARDING]
            if segment.echoes and open_ends:
                raise LoopFoundError(f"{open_ends[0]} hears itself and forwards")
            for end in open_ends:
                if not joined.join(end[0], id(segment)):
                    raise LoopFoundError(f"a loop through {ends} after {self.seconds} s: {self.describe()}")

    def _live(self) -> Iterable[tuple[Segment, tuple[End, ...]]]:
        return [(segment, segment.ends) for segment in self.segments if not segment.is_cut]

    def _count_parts(self, *, forwarding_only: bool) -> int:
        """Bridges, and cables with two ends or more, in how many parts."""
        joined = _Joined()
        items: set[object] = {*self.bridges, *self.legacy}
        for segment, ends in self._live():
            if segment.echoes or len(ends) < 2:
                continue
            items.add(id(segment))
            for end in ends:
                if not forwarding_only or self.states.get(end) is State.FORWARDING:
                    joined.join(end[0], id(segment))
        return len({joined.find(item) for item in items})

    def _set_links(self, segment: Segment) -> None:
        for name, number in segment.ends:
            if name in self.legacy:
                self._do(name, self.legacy[name].set_link(number, is_up=not segment.is_cut))
            elif name in self.bridges:
                outcome = protocol.set_link(
                    self.bridges[name],
                    number,
                    is_up=not segment.is_cut,
                    is_point_to_point=not segment.is_shared,
                )
                self._take(name, outcome)

    def _deliver_one(self) -> None:
        when, _, segment, sender, message = heapq.heappop(self._travelling)
        self.now = max(self.now, when)
        for name, number in segment.ends:
            if (name, number) == sender and not segment.echoes:
                continue
            if self.loss and self.random.random() < self.loss:
                continue
            if name in self.legacy:
                self._do(name, self.legacy[name].receive(number, message))
            elif name in self.bridges:
                self._take(name, protocol.receive(self.bridges[name], number, message))

    def _drop(self, is_lost: Callable[[tuple[float, int, Segment, End, Message]], bool]) -> None:
        self._travelling = [item for item in self._travelling if not is_lost(item)]
        heapq.heapify(self._travelling)

    def _take(self, name: str, outcome: protocol.Outcome) -> None:
        self.bridges[name] = outcome.bridge
        if outcome.bridge.needs_beat:
            self._beats.setdefault(name, self.now + BEAT_S)
        self._do(name, outcome.actions)

    def _do(self, name: str, actions: Iterable[Action]) -> None:
        for action in actions:
            end = (name, action.port)
            match action:
                case SetState():
                    self.states[end] = action.state
                    if action.state is State.FORWARDING:
                        self.check_loops()
                case Flush():
                    self.flushes.append(end)
                case Send():
                    segment = self._segment_of[end]
                    if not segment.is_cut:
                        self._send(segment, end, action.message)

    def _send(self, segment: Segment, end: End, message: Message) -> None:
        """As bytes, so that what a message cannot carry does not arrive; and in order."""
        self.sent += 1
        try:
            message = bpdu.parse_frame(bpdu.encode_frame(message, b"\x02\0\0\0\0\x01"))
        except bpdu.BpduError:
            return
        when = max(self._arrivals.get(end, 0.0), self.now + self.random.uniform(*self.travel_s))
        self._arrivals[end] = when
        heapq.heappush(self._travelling, (when, self.sent, segment, end, message))


class _Joined:
    """Which things hang together."""

    def __init__(self) -> None:
        self._parents: dict[object, object] = {}

    def find(self, item: object) -> object:
        while (parent := self._parents.get(item, item)) != item:
            item = parent
        return item

    def join(self, one: object, other: object) -> bool:
        """Whether they did not hang together yet."""
        first, second = self.find(one), self.find(other)
        self._parents[first] = second
        return first != second
