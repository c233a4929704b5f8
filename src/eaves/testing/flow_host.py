"""A node's networks with the flow log on, whose records are collected. Use inside a running loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from eaves.kit import process
from eaves.node.desired.model import AclRule, DesiredNetwork, NetworkKind
from eaves.node.flows.model import DnsRecord, FlowRecord
from eaves.node.flows.service import FlowLog
from eaves.node.networks import observe, setdump, switch_counts
from eaves.node.networks.model import Layout
from eaves.testing.network_host import WAIT_LIMIT_S, NetworkHost

ADDRESSES = {"a": ("10.9.9.1", "fd09::1"), "b": ("10.9.9.2", "fd09::2"), "c": ("10.9.9.3", "fd09::3")}


class FlowHost(NetworkHost):
    """Enter it, then :meth:`logging`. Apps on its switch are called as in :data:`ADDRESSES`."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, on_layout=self._take_layout, **options)
        self.seen: dict[str, list[FlowRecord]] = {}
        self.dns: list[DnsRecord] = []
        self._log: FlowLog | None = None
        self._layout = Layout((), ())

    def _take_layout(self, layout: Layout) -> None:
        self._layout = layout
        if self._log is not None:
            self._log.set_layout(layout)

    @contextlib.asynccontextmanager
    async def logging(self) -> AsyncIterator[None]:
        """The flow log of the board that :meth:`start` made."""
        self._log = FlowLog(self.instance, self.observations, round_s=0.3)
        self._log.set_layout(self._layout)
        run = asyncio.create_task(self._log.run())
        try:
            yield
        finally:
            assert not run.done(), run.exception()
            run.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await run

    def switch(self, *, flow_log: bool, **changes: Any) -> DesiredNetwork:
        values: dict[str, Any] = {"kind": NetworkKind.SWITCH, "subnet": "", "port_label": "", "flow_log": flow_log}
        return self.network("floor", **(values | changes))

    async def join(self, network: DesiredNetwork, **rules: tuple[AclRule, ...]) -> None:
        """Put apps there, with their addresses."""
        self.apply(networks=(network,), apps=tuple(self.app(name, network, acls=acls) for name, acls in rules.items()))
        for name in rules:
            four, six = ADDRESSES[name]
            inside = (await self.connection(name)).netns
            for line in (f"addr add {four}/24 dev eth0", f"addr add {six}/64 dev eth0 nodad"):
                await process.run(["nsenter", f"--net={inside}", "ip", *line.split()])

    def list_ended(self, name: str, protocol: int, far_port: int) -> list[FlowRecord]:
        """Records of an app's connections that are over."""
        records = self.seen.get(name, [])
        return [r for r in records if r.ended_at and (r.protocol, r.far_port) == (protocol, far_port)]

    async def wait(self, accept: Callable[[], bool]) -> None:
        """Take records until they are enough."""
        try:
            async with asyncio.timeout(WAIT_LIMIT_S):
                while not accept():
                    batch = await self.observations.take_flows()
                    self.seen.setdefault(batch.scope.app_id.removeprefix("app-"), []).extend(batch.flows)
                    self.dns += batch.dns
        except TimeoutError:
            raise AssertionError(f"not seen: {self.seen}") from None

    async def say(self, name: str, address: str, port: int, text: str = "hello", *, limit_s: int = 60) -> bool:
        talk = f"exec 3<>/dev/tcp/{address}/{port} && echo {text} >&3 && read -u 3 a && echo got $a"
        _, output = await self.exec(name, "timeout", str(limit_s), "bash", "-c", talk)
        return f"got {text}" in output

    def sizes(self, link: str) -> dict[str, int]:
        """Elements in each set that counts. Blocking."""
        table = self.instance.table
        return {
            name: len(list(setdump.list_elements(setdump.BRIDGE, table, name)))
            for name in switch_counts.render_sets(link)
        }

    async def shown(self) -> str:
        return await observe.observe_table(self.instance.table, "bridge")

    async def wait_shown(self, accept: Callable[[str], bool]) -> None:
        async with asyncio.timeout(WAIT_LIMIT_S):
            while not accept(await self.shown()):
                await self.turn()
