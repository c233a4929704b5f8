"""The daemon's part of one running machine: its QMP connection, what it says by events, and what its guest's agent tells.

Nothing of it is needed for the machine to run: a new daemon makes a new session and finds out anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from eaves.node.observed_vm import AgentState, VmStatus
from eaves.node.vms import agent, balloon
from eaves.node.vms.errors import QmpError, VmError
from eaves.node.vms.model import VmFolders, VmHost, VmSpec
from eaves.node.vms.qmp import Qmp
from eaves.node.vms.state import VmRecord, drop_resume

log = logging.getLogger(__name__)

_RETRY_S = 2.0
_AGENT_EVERY_S = 30.0
_AGENT_AT_FIRST_S = 3.0
_ROOM_EVERY_S = 3.0
_ROOM_BYTES = 64 << 20
"""A paused guest goes on when its disk's file system has this much again."""
DISK_FULL = "the node's disk is full"
_STOPS = {
    "paused": "it was paused",
    "suspended": "its guest sleeps",
    "io-error": "a disk of it cannot be read or written",
}
_BROKEN = ("internal-error", "guest-panicked")
_INTERRUPTED = ("paused", "postmigrate", "finish-migrate", "inmigrate", "prelaunch")
"""States that a machine is in on our orders alone, and only for as long as they take."""
_MIGRATING = ("setup", "active", "device", "pre-switchover", "cancelling")
_CANCEL_LIMIT_S = 30.0
_CANCEL_EVERY_S = 0.05


class Session:
    """``on_change`` is called when :attr:`status` differs from before; ``record`` is that of the machine that runs."""

    def __init__(self, folders: VmFolders, record: VmRecord, on_change: Callable[[], None]) -> None:
        self.folders = folders
        self.disks = record.disks
        self.digest = record.digest
        self.note = record.note
        self.spec: VmSpec | None = None
        self.host: VmHost | None = None
        self._on_change = on_change
        self._qmp: Qmp | None = None
        self.disk_access = asyncio.Lock()
        """Held by who changes a disk or has the machine stand still: QEMU aborts when a disk that it has handed over is written."""
        self._connecting = asyncio.Lock()
        self._agent_wake = asyncio.Event()
        self._facts: agent.GuestFacts | None = None
        self._paused_reason = ""
        self._held = 0
        self._agent_lock = asyncio.Lock()
        self._wants_clock = False
        self._is_checked = False
        """Whether it is known that no former daemon left the guest's file systems frozen."""
        self.broken_reason = ""
        """Why it was ended by us; empty = it was not."""

    @property
    def status(self) -> VmStatus | None:
        """None while nothing is known of how it was started, as right after the daemon's start."""
        spec, host, facts = self.spec, self.host, self._facts
        if spec is None or host is None:
            return None
        state = AgentState.CONNECTED if facts else AgentState.NOT_SEEN
        return VmStatus(
            accelerator=host.accelerator,
            firmware=spec.firmware,
            machine=spec.machine,
            has_vtpm=spec.has_vtpm,
            has_serial_console=spec.has_serial_console,
            has_vnc=spec.has_vnc,
            agent=state if spec.has_guest_agent else AgentState.DISABLED,
            guest_os=facts.os if facts else "",
            guest_hostname=facts.hostname if facts else "",
            guest_interfaces=facts.interfaces if facts else (),
            paused_reason=self._paused_reason,
            note="; ".join(filter(None, (self.note, host.note))),
        )

    @property
    def has_agent(self) -> bool:
        """Whether the guest's agent answered when it was last asked."""
        return self._facts is not None

    @property
    def paused_reason(self) -> str:
        return self._paused_reason

    def note_resumed(self) -> None:
        """The guest was away; its agent, if it has one, is told what time it is."""
        self._wants_clock = True
        self._agent_wake.set()

    def learn(self, spec: VmSpec | None, host: VmHost | None) -> None:
        """How the machine was started, once that is known again after a restart of the daemon."""
        if spec is not None and spec.digest == self.digest:
            self.spec = spec
        self.host = host or self.host

    async def run(self) -> None:
        """Follow the machine until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_events())
                group.create_task(self._follow_agent())
                group.create_task(self._follow_memory())
        finally:
            await self.close()

    async def command(self, name: str, /, **arguments: Any) -> Any:
        """A QMP command; connects if there is no connection. Raises QmpError."""
        return await (await self._connect()).run(name, **arguments)

    @contextlib.asynccontextmanager
    async def holding(self) -> AsyncIterator[None]:
        """Whether the guest stands still, and what its disks hold, is nobody's affair meanwhile but the caller's."""
        async with self.disk_access:
            self._held += 1
            try:
                yield
            finally:
                self._held -= 1

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """The guest stands still meanwhile; afterwards it goes on if it did before. Raises QmpError."""
        await (
            self._connect()
        )  # what a killed daemon left standing still is let go before it counts as the guest's own state
        async with self.holding():
            was_running = (await self.command("query-status"))["running"]
            try:
                if was_running:
                    await self.command("stop")
                yield
            finally:
                if was_running:
                    await self.command("cont")

    @contextlib.asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """The guest's agent is left alone meanwhile: while file systems are frozen it answers nothing else."""
        async with self._agent_lock:
            yield

    async def close(self) -> None:
        qmp = self._qmp
        if qmp is not None:
            # Forgotten only when it is closed: one that was cut off here is closed by who comes next.
            await qmp.close()
            if self._qmp is qmp:
                self._qmp = None

    async def _connect(self) -> Qmp:
        async with self._connecting:
            if self._qmp is None:
                qmp = await Qmp.open(self.folders.qmp)
                try:
                    await self._end_interrupted(qmp)
                except BaseException:
                    await qmp.close()
                    raise
                self._qmp = qmp
            return self._qmp

    async def _follow_events(self) -> None:
        while True:
            try:
                qmp = await self._connect()
                await self._note_status()
                async for event in qmp.events():
                    await self._take_event(event)
            except QmpError as error:
                log.debug("machine does not answer: app=%s error=%s", self.folders.run.name, error)
            await self.close()
            await asyncio.sleep(_RETRY_S)

    async def _take_event(self, event: dict[str, Any]) -> None:
        match event.get("event"):
            case "RESUME":
                # Its processors stood still for a while, and what it knows of the time with them.
                self.note_resumed()
                await self._note_status()
            case "STOP" | "GUEST_PANICKED" | "SUSPEND" | "WAKEUP":
                await self._note_status()
            case "VSERPORT_CHANGE":
                self._agent_wake.set()

    async def _note_status(self) -> None:
        """Ask how the machine stands; one that was stopped by a full disk is let go on when there is room."""
        await self._end_interrupted(await self._connect())
        status = (await self.command("query-status"))["status"]
        while status == "io-error" and await self._is_full():
            self._set_paused(DISK_FULL)
            await self._await_room()
            await self.command("cont")
            # What it could not write it tries again at once.
            status = (await self.command("query-status"))["status"]
        if status in _BROKEN:
            self.broken_reason = "InternalError" if status == "internal-error" else "GuestPanicked"
            log.warning("machine cannot go on and is ended: app=%s status=%s", self.folders.run.name, status)
            await self.command("quit")
            return
        self._set_paused("" if self._held else _STOPS.get(status, ""))

    async def _end_interrupted(self, qmp: Qmp) -> None:
        """Let a machine go on that a killed daemon left standing still.

        Before anybody gives it other orders, for once its state is saved its disks are handed over.
        """
        status = (await qmp.run("query-status"))["status"]
        if self._held or status not in _INTERRUPTED:
            return
        log.info("machine was left standing still: app=%s status=%s", self.folders.run.name, status)
        if status == "inmigrate":
            # What it was to go on from is still ordered, so its next start tries again.
            self.broken_reason = "ResumeInterrupted"
            await qmp.run("quit")
            return
        await qmp.run("migrate_cancel")
        await _await_cancelled(qmp)
        # It runs from here on, so that its memory of then must never be loaded again.
        await asyncio.to_thread(drop_resume, self.folders.keep)
        await qmp.run("cont")

    async def _is_full(self) -> bool:
        blocks = await self.command("query-block")
        return any(block.get("io-status") == "nospace" for block in blocks)

    async def _await_room(self) -> None:
        # Nobody tells when a disk has room again.
        while not await asyncio.to_thread(self._has_room):  # noqa: ASYNC110
            await asyncio.sleep(_ROOM_EVERY_S)

    def _has_room(self) -> bool:
        for folder in {Path(disk).parent for disk in self.disks}:
            with contextlib.suppress(OSError):
                if shutil.disk_usage(folder).free < _ROOM_BYTES:
                    return False
        return True

    def _set_paused(self, reason: str) -> None:
        if reason != self._paused_reason:
            self._paused_reason = reason
            self._on_change()

    async def _follow_agent(self) -> None:
        """Ask the guest's agent when it comes, and from time to time."""
        path = self.folders.agent
        pause_s = _AGENT_AT_FIRST_S
        while True:
            self._agent_wake.clear()
            if await asyncio.to_thread(path.exists):
                await self._ask_agent(path)
            pause_s = _AGENT_EVERY_S if self._facts else min(pause_s * 2, _AGENT_EVERY_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._agent_wake.wait()

    async def _ask_agent(self, path: Path) -> None:
        former = self._facts
        async with self._agent_lock:
            try:
                if not self._is_checked:
                    await agent.thaw(path)
                    self._is_checked = True
                if self._wants_clock:
                    self._wants_clock = False
                    await agent.set_clock(path, time.time_ns())
                self._facts = await agent.load_facts(path)
            except VmError:
                self._facts = None
        if self._facts != former:
            self._on_change()

    async def _follow_memory(self) -> None:
        """Take memory back while the node is short, as far as the machine lends it."""
        while True:
            if (spec := self.spec) is not None and spec.balloon_min_bytes:
                try:
                    await self._balance(spec)
                except (QmpError, OSError) as error:
                    log.debug("machine's memory is left as it is: app=%s error=%s", self.folders.run.name, error)
            await asyncio.sleep(balloon.EVERY_S)

    async def _balance(self, spec: VmSpec) -> None:
        node = await asyncio.to_thread(balloon.load_memory)
        actual = (await self.command("query-balloon"))["actual"]
        target = balloon.plan_balloon(node, actual, least_bytes=spec.balloon_min_bytes, most_bytes=spec.memory_bytes)
        if target is not None:
            await self.command("balloon", value=target)


async def _await_cancelled(qmp: Qmp) -> None:
    """Raises QmpError."""
    end = time.monotonic() + _CANCEL_LIMIT_S
    while (await qmp.run("query-migrate")).get("status") in _MIGRATING:
        if time.monotonic() > end:
            raise QmpError("the saving of the machine's memory does not end", element="qemu")
        await asyncio.sleep(_CANCEL_EVERY_S)
