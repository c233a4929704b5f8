"""The node's ports with a real NetworkManager: a box with cables to networks, and a controller that is an address behind them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from eaves.kit import process
from eaves.node.desired.port_model import PortSetup, PortsSetup
from eaves.node.desired.port_setup import parse_port_sections
from eaves.node.ports.model import SeenManager
from eaves.node.ports.modem_model import SeenModem, Signal
from eaves.node.ports.modemmanager import ModemManager
from eaves.node.ports.networkmanager import NetworkManager
from eaves.node.ports.service import Manager, Ports, Times
from eaves.node.ports.timeservers import TimeService
from eaves.node.ports.view import PortsView
from eaves.testing.network_manager import ManagedHost
from eaves.testing.port_sections import CONTROLLER
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock

_CHANGES = ("make_checkpoint", "add", "activate", "confirm", "drop_checkpoint", "delete")
TIMES = Times(trial_s=8, margin_s=4, settle_s=3, retry_s=600, recheck_s=1)


class PortsStage:
    """Runs :class:`Ports` until :meth:`stop` or :meth:`kill`; made anew it is the daemon's next life."""

    def __init__(
        self,
        host: ManagedHost,
        folder: Path,
        *,
        times: Times = TIMES,
        controller: str = CONTROLLER,
        stops_after: int = 0,
    ) -> None:
        """``stops_after``: changes of NetworkManager after which nothing more is done, to be killed there; 0 = never."""
        self.host = host
        self._left = stops_after
        self.stopped = asyncio.Event()
        self._controller = controller
        self.ports = Ports(
            folder / "ports.json",
            instance="test",
            parse=_parse,
            probe=self._probe,
            open_manager=self.open_manager,
            open_modems=lambda: ModemManager.open(self.host.address),
            times=times,
        )
        (folder / "usr/sbin").mkdir(parents=True, exist_ok=True)
        (folder / "usr/sbin/chronyd").touch()
        self.ports.set_time_servers = TimeService("test", folder).apply
        self._changed = asyncio.Event()
        self.ports.changed = self._changed.set
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> PortsStage:
        self._task = asyncio.create_task(self.ports.run(), name="ports")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def kill(self) -> None:
        """As ``kill -9`` does: whatever was under way stays half done."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def open_manager(self, instance: str) -> Manager:
        found = await NetworkManager.open(instance, self.host.address)
        if self._left:
            for name in _CHANGES:
                setattr(found, name, self._count(getattr(found, name)))
        return found

    def _count(self, change: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def do(*args: Any, **options: Any) -> Any:
            answer = await change(*args, **options)
            self._left -= 1
            if self._left == 0:
                self.stopped.set()
                await asyncio.Event().wait()
            return answer

        return do

    async def observe(self) -> SeenManager:
        manager = await NetworkManager.open("test", self.host.address)
        try:
            return await manager.observe()
        finally:
            manager.close()

    async def applied(self, sections: bytes, limit_s: float = 60) -> PortsView:
        """Once the config is in force."""
        self.ports.take(sections)
        return await self.until(lambda view: _is_newest(view, sections) and view.index == 0, limit_s)

    async def failed(self, sections: bytes, limit_s: float = 60) -> PortsView:
        """Once the config was tried in vain."""
        self.ports.take(sections)
        return await self.until(lambda view: _is_newest(view, sections) and view.records[0].last_failed > 0, limit_s)

    async def until(self, is_there: Callable[[PortsView], bool], limit_s: float = 60) -> PortsView:
        """The view once it is as asked for. Fails with what was there instead."""
        assert self._task is not None
        try:
            async with asyncio.timeout(limit_s):
                while not self.ports.view.records or not is_there(self.ports.view):
                    if self._task.done():
                        self._task.result()
                    self._changed.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(1):
                            await self._changed.wait()
        except TimeoutError as error:
            raise AssertionError(f"it is {self.ports.view}\n{self.host.log()}") from error
        return self.ports.view

    async def signal(self, is_there: Callable[[Signal], bool], limit_s: float = 60) -> Signal:
        """Of the one modem, once it is as asked for."""
        manager = await ModemManager.open(self.host.address)
        seen = Signal()
        try:
            async with asyncio.timeout(limit_s):
                while not is_there(seen):
                    await asyncio.sleep(0.1)
                    (seen,) = (await manager.observe_signals()).values()
        except TimeoutError as error:
            raise AssertionError(f"it is {seen}") from error
        finally:
            manager.close()
        return seen

    async def modem(self, is_there: Callable[[SeenModem], bool], limit_s: float = 60) -> SeenModem:
        """The one modem of ModemManager, once it is as asked for."""
        manager = await ModemManager.open(self.host.address)
        seen: tuple[SeenModem, ...] = ()
        try:
            async with asyncio.timeout(limit_s):
                while not (seen and is_there(seen[0])):
                    await asyncio.sleep(0.1)
                    seen = await manager.observe()
        except TimeoutError as error:
            raise AssertionError(f"it is {seen}\n{self.host.log()}") from error
        finally:
            manager.close()
        return seen[0]

    async def _probe(self, port: PortSetup) -> str:
        argv = self.host.namespace.argv("busybox", "ping", "-c", "1", "-W", "1", "-I", port.interface, self._controller)
        done = await process.run(argv, check=False, timeout_s=20)
        return "" if done.returncode == 0 else "the controller does not answer"


def _is_newest(view: PortsView, sections: bytes) -> bool:
    return view.records[0].sections == sections and view.records[0].is_tried and not view.is_trying


async def _parse(sections: bytes) -> PortsSetup:
    return parse_port_sections(sections, _decrypt)


def _decrypt(block: CipherBlock) -> bytes:
    return block.cipherData
