"""A bridge that speaks the spanning tree of IEEE 802.1D-1998 alone, with a clock that the test winds. It knows no RSTP message."""

from __future__ import annotations

from eaves.node.networks.rstp.model import Action, Flush, Kind, Message, Role, Send, SetState, State, Times, Vector

_PATH_COST = 20000


class _LegacyPort:
    def __init__(self, number: int) -> None:
        self.id = 0x8000 | number
        self.is_up = False
        self.told: Message | None = None
        self.age_left = 0
        self.role = Role.DISABLED
        self.state = State.DISCARDING
        self.wait = 0
        self.has_listened = False
        self.ack = False


class LegacyBridge:
    """Answers actions as :mod:`eaves.node.networks.rstp.protocol` does, and changes in place."""

    def __init__(self, identifier: int) -> None:
        self.id = identifier
        self.times = Times()
        self.ports: dict[int, _LegacyPort] = {}
        self.root = Vector(identifier, 0, identifier, 0)
        self.root_port = 0
        self.change_left = 0
        self.must_notify = False
        self._since_hello = 0

    def add_port(self, number: int) -> list[Action]:
        self.ports[number] = _LegacyPort(number)
        return [SetState(number, State.DISCARDING)]

    def set_link(self, number: int, *, is_up: bool) -> list[Action]:
        port = self.ports[number]
        port.is_up, port.told, port.state, port.wait = is_up, None, State.DISCARDING, 0
        return [SetState(number, State.DISCARDING), *self._decide(), *self._tell()]

    def tick(self) -> list[Action]:
        actions: list[Action] = []
        self.change_left = max(0, self.change_left - 1)
        for number, port in self.ports.items():
            if port.told is not None:
                port.age_left -= 1
                if port.age_left <= 0:
                    port.told = None
            actions += self._wait(number, port)
        actions += self._decide()
        self._since_hello += 1
        if self._since_hello >= self.times.hello:
            self._since_hello = 0
            if not self.root_port:
                actions += self._tell()
            elif self.must_notify:
                actions.append(Send(self.root_port, Message(Kind.TCN)))
        return actions

    def receive(self, number: int, message: Message) -> list[Action]:
        port = self.ports[number]
        if not port.is_up or message.kind is Kind.RST:
            return []
        if message.kind is Kind.TCN:
            return self._receive_tcn(number, port)
        own = self._want(port).priority
        if (message.priority.bridge, message.priority.port) == (self.id, port.id):
            return []
        known = port.told.priority if port.told is not None else own
        is_same = port.told is not None and message.priority[2:] == known[2:]
        if not (message.priority < known or is_same):
            return [Send(number, self._want(port))] if port.role is Role.DESIGNATED else []
        port.told = message
        port.age_left = message.times.max_age - message.times.message_age
        actions = self._decide()
        if number == self.root_port:
            if message.topology_change_ack:
                self.must_notify = False
            self.change_left = message.topology_change
            actions += self._tell()
        return actions

    def _receive_tcn(self, number: int, port: _LegacyPort) -> list[Action]:
        if port.role is not Role.DESIGNATED:
            return []
        port.ack = True
        actions: list[Action] = [Send(number, self._want(port))]
        port.ack = False
        return [*self._note_change(), *actions]

    def _wait(self, number: int, port: _LegacyPort) -> list[Action]:
        """Listening and learning take the forward delay each."""
        if not port.wait:
            return []
        port.wait -= 1
        if port.wait:
            return []
        port.state = State(port.state + 1)
        if port.state is State.LEARNING:
            port.wait = self._times.forward_delay
            return [SetState(number, port.state)]
        return [SetState(number, port.state), *self._note_change()]

    def _note_change(self) -> list[Action]:
        if self.root_port:
            self.must_notify = True
            return [Send(self.root_port, Message(Kind.TCN))]
        self.change_left = self.times.max_age + self.times.forward_delay
        return []

    @property
    def _times(self) -> Times:
        told = self.ports[self.root_port].told if self.root_port else None
        return told.times if told is not None else self.times

    def _decide(self) -> list[Action]:
        was_root = not self.root_port
        paths = [
            (port.told.priority._replace(cost=port.told.priority.cost + _PATH_COST), port.id, number)
            for number, port in self.ports.items()
            if port.told is not None and port.told.priority.bridge != self.id
        ]
        best = min([(Vector(self.id, 0, self.id, 0), 0, 0), *paths])
        self.root, self.root_port = best[0], best[2]
        actions: list[Action] = []
        for number, port in self.ports.items():
            port.role = self._choose(number, port)
            if port.role in (Role.ROOT, Role.DESIGNATED):
                if port.state is State.DISCARDING and not port.wait:
                    port.wait = self._times.forward_delay
            elif port.state is not State.DISCARDING or port.wait:
                has_forwarded = port.state is State.FORWARDING
                port.state, port.wait = State.DISCARDING, 0
                actions += [SetState(number, State.DISCARDING), Flush(number)]
                actions += self._note_change() if has_forwarded else []
        return actions + (self._tell() if not was_root and not self.root_port else [])

    def _choose(self, number: int, port: _LegacyPort) -> Role:
        if not port.is_up:
            return Role.DISABLED
        if number == self.root_port:
            return Role.ROOT
        if port.told is None or self._want(port).priority < port.told.priority:
            port.told = None
            return Role.DESIGNATED
        return Role.ALTERNATE

    def _want(self, port: _LegacyPort) -> Message:
        told = self.ports[self.root_port].told if self.root_port else None
        age = told.times.message_age + 1 if told is not None else 0
        return Message(
            Kind.CONFIG,
            self.root._replace(bridge=self.id, port=port.id),
            self._times._replace(message_age=age),
            topology_change=self.change_left > 0,
            topology_change_ack=port.ack,
        )

    def _tell(self) -> list[Action]:
        return [Send(number, self._want(port)) for number, port in self.ports.items() if port.role is Role.DESIGNATED]
