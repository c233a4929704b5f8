"""Sets the node's ports up as the controller asks, and tries a new config before it stays.

The daemon hands each config's port sections in by :meth:`Ports.take` and runs :meth:`Ports.run`. The history file says what was
tried and with what result; NetworkManager's checkpoint takes everything back when this daemon does not live to do so.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from eaves.kit.errors import EavesError
from eaves.node.desired.port_model import PortSetup, PortsSetup
from eaves.node.ports import history as ports_history
from eaves.node.ports.errors import ManagerMissingError, PortError
from eaves.node.ports.history import History, Record, Step
from eaves.node.ports.model import Profile, SeenManager
from eaves.node.ports.modem_model import SeenModem, Signal
from eaves.node.ports.modems import Manager as ModemManager
from eaves.node.ports.modems import Modems, list_modems, open_modemmanager, place_modems
from eaves.node.ports.plan import find_faults, is_modem_ready, plan_changes
from eaves.node.ports.render import render_profiles
from eaves.node.ports.timeservers import want_time_servers
from eaves.node.ports.view import PortsView
from eaves.node.statefile import StateFile

log = logging.getLogger(__name__)

RECHECK_S = 30.0
_POLL_S = 2.0
_RETURN_S, _RETURN_LOOK_S = 60.0, 2.0
"""So long after a failed trial the ports are looked at so often."""
_KEY_BYTES = 32
MODEMS_FILE = "modems.json"
"""Beside the history."""
NO_PORT = "no port of it leads to the controller"


class Times(Struct, frozen=True):
    """``trial_s``: how long a new config has to reach the controller; the checkpoint lasts ``margin_s`` longer.

    ``settle_s``: how long further ports have to come up once it is reached.
    """

    trial_s: float = 120.0
    margin_s: float = 30.0
    settle_s: float = 20.0
    retry_s: float = ports_history.RETRY_AFTER_S
    recheck_s: float = RECHECK_S


class Manager(Protocol):
    """What :class:`eaves.node.ports.networkmanager.NetworkManager` offers."""

    changed: asyncio.Event

    @property
    def is_open(self) -> bool: ...
    def close(self) -> None: ...
    async def observe(self) -> SeenManager: ...
    async def add(self, profile: Profile, *, is_trial: bool = False) -> None: ...
    async def confirm(self, profile: Profile) -> None: ...
    async def activate(self, profile: Profile) -> None: ...
    async def delete(self, uuid: str) -> None: ...
    async def make_checkpoint(self, interfaces: Sequence[str], limit_s: float) -> str: ...
    async def drop_checkpoint(self, path: str) -> None: ...
    async def roll_back(self, path: str) -> None: ...


Probe = Callable[[PortSetup], Awaitable[str]]
"""Why the controller does not answer by a port; empty = it does."""


class Ports:
    """See the module. ``parse`` understands sections, ``probe`` asks the controller by one port."""

    def __init__(
        self,
        state_file: Path,
        *,
        instance: str,
        parse: Callable[[bytes], Awaitable[PortsSetup]],
        probe: Probe,
        open_manager: Callable[[str], Awaitable[Manager]],
        open_modems: Callable[[], Awaitable[ModemManager]] = open_modemmanager,
        times: Times | None = None,
    ) -> None:
        self._file = StateFile(state_file, History)
        self._instance = instance
        self._parse = parse
        self._probe = probe
        self._open = open_manager
        self._modems = Modems(state_file.with_name(MODEMS_FILE), open_modems)
        self._times = times or Times()
        self._manager: Manager | None = None
        self._history = History()
        self._sections: bytes | None = None
        self._wake = asyncio.Event()
        self.view = PortsView()
        self.changed: Callable[[], None] = lambda: None
        """Called when the view changed."""
        self.setup = PortsSetup()
        """What is in force."""
        self.use: Callable[[PortsSetup], Awaitable[None]] = _ignore
        """Told what is in force, or being tried, whenever that changes."""
        self.set_time_servers: Callable[[Mapping[str, Sequence[str]]], Awaitable[None]] = _ignore
        """Told of those of each port in force. Raises EavesError."""
        self.moved: Callable[[], None] = lambda: None
        """Called when addresses may have changed: connections from before may lead nowhere."""

    def take(self, sections: bytes) -> None:
        """The controller's newest word; empty = it leaves the ports alone."""
        if sections != self._sections:
            self._sections = sections
            self._wake.set()

    async def load_signals(self) -> dict[str, Signal]:
        """Label of a port that is a modem → how well it hears the network."""
        return await self._modems.load_signals(self.view.modems)

    async def run(self) -> None:
        """Until cancelled. A missing NetworkManager is tried again by the supervisor."""
        try:
            await self._load()
            while True:
                self._wake.clear()
                await self._work()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause_s()):
                        await self._wake.wait()
        except EavesError as error:
            await self._show(problem=f"{error}; {error.resolution}" if error.resolution else str(error))
            raise
        finally:
            if self._manager is not None:
                self._manager.close()
                self._manager = None
            self._modems.close()

    async def _load(self) -> None:
        self._history = await self._file.load()
        if not self._history.key:
            await self._save(replace(self._history, key=secrets.token_bytes(_KEY_BYTES)))
        self._manager = await self._open(self._instance)
        if self._history.trial:
            await self._manager.roll_back(self._history.checkpoint)
            error = "the node daemon ended before the controller had answered"
            await self._save(ports_history.end_trial(self._history, time.time(), error))

    async def _work(self) -> None:
        now = time.time()
        if self._sections is not None:
            await self._save(ports_history.take_sections(self._history, self._sections, now))
        if ports_history.next_step(self._history, now, self._times.retry_s) is Step.TRY:
            await self._try_newest()
        await self._hold()

    def _pause_s(self) -> float:
        if ports_history.next_step(self._history, time.time(), self._times.retry_s) is Step.TRY:
            return 0.0
        now, newest = time.time(), self._history.records[0]
        due = ports_history.retry_at(self._history, self._times.retry_s) - now
        if 0 <= now - newest.last_failed < _RETURN_S:
            # NetworkManager is on its way back to what was, and may need help.
            return max(0.1, min(_RETURN_LOOK_S, self._times.recheck_s, due))
        waits = newest.id != self._history.used
        return max(0.1, min(self._times.recheck_s, due)) if waits else self._times.recheck_s

    async def _try_newest(self) -> None:
        """One trial, to its end: committed, or everything as it was."""
        manager = self._want_manager()
        newest = self._history.records[0]
        setup = await self._parse(newest.sections)
        seen = await self._observe(setup)
        wanted = self._render(setup, seen)
        interfaces = _find_interfaces(wanted, seen)
        checkpoint = await manager.make_checkpoint(interfaces, self._times.trial_s + self._times.margin_s)
        await self._save(ports_history.begin_trial(self._history, checkpoint))
        log.info("ports: a new config is tried: id=%s checkpoint=%s", newest.id, checkpoint)
        await self._show(setup)
        error, note = await self._judge(setup, wanted)
        if not error:
            try:
                await manager.drop_checkpoint(checkpoint)
            except PortError as failure:
                error = f"it went back before it was accepted: {failure}"
        if error:
            log.warning(
                "ports: the new config does not work, the former one comes back: id=%s error=%s", newest.id, error
            )
            await manager.roll_back(checkpoint)
        await self._save(ports_history.end_trial(self._history, time.time(), error, note))
        self.moved()

    async def _judge(self, setup: PortsSetup, wanted: Sequence[Profile]) -> tuple[str, str]:
        """Why the config does not work (empty = it does), and what of it does not."""
        if not any(port.is_management for port in setup.ports):
            return "; ".join(f"{problem.element}: {problem.message}" for problem in setup.problems) or NO_PORT, ""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._times.trial_s
        refused = await self._apply(setup, wanted, is_trial=True)
        late = [profile for profile in wanted if profile.is_modem]
        while True:
            late = await self._apply_late(setup, late, refused)
            faults = await self._find_faults(setup, wanted, refused)
            is_reached = any(port.is_management and port.label not in faults for port in setup.ports)
            if is_reached:
                ends_at = min(ends_at, loop.time() + self._times.settle_s)
            said = "; ".join(f"{label}: {fault}" for label, fault in faults.items())
            if (is_reached and not faults) or loop.time() >= ends_at:
                return ("", said) if is_reached else (said, "")
            await self._wait_change()

    async def _find_faults(
        self, setup: PortsSetup, wanted: Sequence[Profile], refused: dict[str, str]
    ) -> dict[str, str]:
        """Label → why the port is not up, or why the controller is not reached by it."""
        seen = await self._observe(setup)
        down = {label: refused.get(label) or fault for label, fault in find_faults(wanted, seen).items()}
        asked = [port for port in place_modems(setup, seen).ports if port.is_management and port.label not in down]
        answers = await asyncio.gather(*(self._probe(port) for port in asked))
        return down | {port.label: answer for port, answer in zip(asked, answers, strict=True) if answer}

    async def _apply_late(
        self, setup: PortsSetup, waiting: Sequence[Profile], refused: dict[str, str]
    ) -> list[Profile]:
        """Modems are found, opened and ready in their own time. Answers those that still are not; adds to ``refused``."""
        if not waiting:
            return []
        seen = await self._observe(setup)
        await self._modems.unlock(setup, seen)
        ready = [profile for profile in waiting if is_modem_ready(profile, seen)]
        if ready:
            refused |= await self._apply(setup, ready, is_trial=True)
        return [profile for profile in waiting if profile not in ready]

    async def _observe(self, setup: PortsSetup) -> SeenManager:
        return await self._modems.join(setup, await self._want_manager().observe())

    async def _wait_change(self) -> None:
        manager = self._want_manager()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_POLL_S):
                await manager.changed.wait()
        manager.changed.clear()

    async def _apply(self, setup: PortsSetup, wanted: Sequence[Profile], *, is_trial: bool = False) -> dict[str, str]:
        """Add and bring up; answers the label of each port that was refused, and why. What is not wanted stays, to go back to."""
        manager = self._want_manager()
        changes = plan_changes(wanted, await self._observe(setup))
        refused: dict[str, str] = {}
        add = functools.partial(manager.add, is_trial=is_trial)
        confirm = () if is_trial else changes.confirm
        for act, profiles in ((add, changes.add), (manager.activate, changes.activate), (manager.confirm, confirm)):
            for profile in profiles:
                try:
                    await act(profile)
                except ManagerMissingError:
                    raise
                except PortError as error:
                    refused.setdefault(profile.label or profile.name, str(error))
        return refused

    async def _hold(self) -> None:
        """Let NetworkManager have what is in force, and nothing else of ours."""
        manager = self._want_manager()
        used = self._history.find(self._history.used) or Record()
        self.setup = await self._parse(used.sections) if used.sections else PortsSetup()
        seen = await self._observe(self.setup)
        if await self._modems.unlock(self.setup, seen):
            seen = await self._observe(self.setup)
        wanted = self._render(self.setup, seen)
        changes = plan_changes(wanted, seen)
        if changes.add or changes.activate:
            log.info("ports: what is in force is set up: add=%d up=%d", len(changes.add), len(changes.activate))
            self.moved()
        refused = await self._apply(self.setup, wanted)
        for uuid in plan_changes(wanted, await manager.observe()).delete:
            await manager.delete(uuid)
        seen = await self._observe(self.setup)
        placed = place_modems(self.setup, seen)
        time_servers = want_time_servers(self.setup, seen)
        try:
            await self.set_time_servers(time_servers)
        except EavesError as error:
            log.warning("ports: time servers are not used: error=%s remedy=%s", error, error.resolution)
        faults = {**find_faults(wanted, seen), **refused}
        await self._show(placed, faults=faults, time_servers=time_servers, modems=list_modems(self.setup, seen))

    def _render(self, setup: PortsSetup, seen: SeenManager) -> tuple[Profile, ...]:
        macs = {link.interface: link.mac for link in seen.links.values()}
        return render_profiles(setup, self._instance, self._history.key, macs)

    async def _show(
        self,
        setup: PortsSetup | None = None,
        *,
        faults: dict[str, str] | None = None,
        time_servers: dict[str, tuple[str, ...]] | None = None,
        modems: dict[str, SeenModem] | None = None,
        problem: str = "",
    ) -> None:
        if setup is not None:
            await self.use(setup)
        setups = [
            await self._parse(record.sections) if record.sections else PortsSetup() for record in self._history.records
        ]
        if modems:
            # As calls have placed it.
            setups[self._history.index] = setup or self.setup
        view = PortsView(
            records=self._history.records,
            index=self._history.index,
            setups=tuple(setups),
            is_trying=bool(self._history.trial),
            faults=faults or {},
            time_servers=time_servers or {},
            modems=modems or {},
            problem=problem,
        )
        if view != self.view:
            self.view = view
            self.changed()

    async def _save(self, history: History) -> None:
        self._history = history
        try:
            await self._file.save(history)
        except OSError as error:
            raise PortError(
                f"the history of the ports cannot be written: {error.strerror}",
                element="ports",
                resolution="make room on the disk",
            ) from error

    def _want_manager(self) -> Manager:
        assert self._manager is not None, "run() opens it"
        return self._manager


async def _ignore(_: object) -> None:
    """Nobody wants to know."""


def _find_interfaces(wanted: Sequence[Profile], seen: SeenManager) -> list[str]:
    """Those that a trial may change: what is there already and gets another profile, or has one of ours."""
    own = {link.interface for link in seen.links.values() if link.profile in seen.profiles}
    modems = {link.interface for link in seen.links.values() if link.modem}
    touched = {profile.interface for profile in wanted if profile.interface in seen.links}
    return sorted(own | touched | (modems if any(not profile.interface for profile in wanted) else set()))


async def open_networkmanager(instance: str) -> Manager:
    """The real one. Raises ManagerMissingError."""
    from eaves.node.ports.networkmanager import NetworkManager

    return await NetworkManager.open(instance)


async def remove_profiles(
    instance: str, open_manager: Callable[[str], Awaitable[Manager]] = open_networkmanager
) -> None:
    """Take every profile of this instance away; nothing to do where there is no NetworkManager. Raises PortError."""
    try:
        manager = await open_manager(instance)
    except ManagerMissingError:
        return
    try:
        for uuid in (await manager.observe()).profiles:
            await manager.delete(uuid)
    finally:
        manager.close()
