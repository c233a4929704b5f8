"""Carries out a device config: timers, commands, certificates, and the desired state for the engine.

The config poller calls :meth:`Orders.apply` for each accepted config and for the saved one at start; everything that the config
asks for and this node cannot do stays in ``desired.problems`` for the reporter.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from msgspec.structs import replace

from eaves.kit import process
from eaves.kit.errors import EavesError
from eaves.node.counters import BootReason, Command, CounterFile, plan_command
from eaves.node.desired.model import ConfigProblem, DesiredNode
from eaves.node.desired.parse import parse_config
from eaves.node.desired.port_model import PortsSetup
from eaves.node.desired.port_setup import parse_contexts, parse_port_sections
from eaves.node.link.certs import CertificateKeeper
from eaves.node.link.checkpoint import Checkpoint
from eaves.node.link.decryption import CipherFigures, Decryptor
from eaves.node.link.identity import DeviceKeys
from eaves.node.properties import tell_statuses
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.timers import ItemStatus, Timers, parse_config_items

log = logging.getLogger(__name__)

REBOOT_GRACE_S = 5.0
"""Time for the last messages to go out before the machine goes down."""


class ApplyDesired(Protocol):
    """The engine's entrance: takes the desired state and returns at once."""

    async def apply(self, desired: DesiredNode) -> None: ...

    async def go_down(self) -> None: ...


class Orders:
    """What the controller has ordered, and its execution."""

    def __init__(
        self,
        engine: ApplyDesired,
        keys: DeviceKeys,
        certs: CertificateKeeper,
        counters: CounterFile,
        checkpoint: Checkpoint,
        *,
        reboot_command: tuple[str, ...],
        before_reboot: Callable[[], Awaitable[None]],
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._certs = certs
        self._counters = counters
        self._checkpoint = checkpoint
        self._reboot_command = reboot_command
        self._before_reboot = before_reboot
        self._lock = asyncio.Lock()
        self._last: tuple[EdgeDevConfig, str] | None = None
        self._reboot: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[], None]] = []
        self._lacks_certificate = False
        self._repeat = asyncio.Event()
        self.desired: DesiredNode | None = None
        self.timers = Timers()
        self.item_statuses: Mapping[str, ItemStatus] = {}
        self.ciphers = CipherFigures()
        self.is_of_eaves = False
        """The controller is one of ours, as far as one can tell."""
        self.is_rebooting = False
        self.command_problem = ""

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after each config that was carried out."""
        self._listeners.append(listener)

    @property
    def problems(self) -> tuple[ConfigProblem, ...]:
        return self.desired.problems if self.desired is not None else ()

    async def apply(self, config: EdgeDevConfig, config_hash: str) -> None:
        """Carry out ``config``; what is impossible is left out and noted."""
        async with self._lock:
            self._last = (config, config_hash)
            await self._apply(config, config_hash)
        for listener in self._listeners:
            listener()

    def note_certificates(self) -> None:
        """Other certificates of the controller are known; a config that lacked one is read again."""
        if self._lacks_certificate:
            self._repeat.set()

    async def parse_ports(self, sections: bytes) -> PortsSetup:
        """The port sections of this config or an earlier one, with their secrets opened."""
        decryptor = Decryptor(parse_contexts(sections), self._keys, self._certs, self.ciphers)
        setup = await asyncio.to_thread(parse_port_sections, sections, decryptor.decrypt)
        if decryptor.has_unknown_certificate:
            self._certs.request_fetch()
        return setup

    async def run(self) -> None:
        """Carry out the last config once more whenever that can help, for ever."""
        while True:
            await self._repeat.wait()
            self._repeat.clear()
            if self._last is not None:
                await self.apply(*self._last)

    async def _apply(self, config: EdgeDevConfig, config_hash: str) -> None:
        self._lacks_certificate = False
        desired = await self._parse(config, config_hash)
        self.timers, statuses = parse_config_items(desired.config_items.items(), self.timers)
        # A controller of Eaves knows the defaults, and may be at the other end of a metered link.
        self.is_of_eaves = config.HasField("eaves")
        self.item_statuses = tell_statuses(statuses, self.timers, knows_defaults=self.is_of_eaves)
        if self.desired is not None and desired.controller_certs_hash != self.desired.controller_certs_hash:
            self._certs.request_fetch()
        if await self._command_reboot(desired.reboot_counter):
            self.desired = desired
            return
        await self._command_shutdown(desired.shutdown_counter)
        if desired.maintenance_mode:
            desired = await self._with_normal_objects(desired)
        if desired.maintenance_mode or self._counters.record.is_shut_down:
            desired = _with_stopped_apps(desired)
        self.desired = desired
        await self._engine.apply(desired)

    async def _parse(self, config: EdgeDevConfig, config_hash: str) -> DesiredNode:
        decryptor = Decryptor(config.cipherContexts, self._keys, self._certs, self.ciphers)
        # Key agreement and large user data take milliseconds each; the loop has other things to do.
        desired = await asyncio.to_thread(parse_config, config, config_hash, decryptor.decrypt)
        for problem in desired.problems:
            log.warning(
                "config asks for what cannot be done: %s: code=%s %s", problem.element, problem.code, problem.message
            )
        self._lacks_certificate = self._lacks_certificate or decryptor.has_unknown_certificate
        if decryptor.has_unknown_certificate:
            self._certs.request_fetch()
        return desired

    async def _with_normal_objects(self, desired: DesiredNode) -> DesiredNode:
        """Maintenance hides the rest of the config; what existed before it goes on existing, so that no data is lost."""
        saved = await self._checkpoint.load_normal()
        if saved is None:
            return desired
        normal = await self._parse(saved.config, desired.config_hash)
        return replace(
            desired,
            apps=normal.apps,
            networks=normal.networks,
            volumes=normal.volumes,
            images=normal.images,
            cluster=normal.cluster,
            is_cluster_refused=normal.is_cluster_refused,
        )

    async def _command_reboot(self, wanted: int | None) -> bool:
        """Whether the machine goes down now."""
        record = self._counters.record
        command = plan_command(record.reboot_counter, wanted)
        if command is Command.NONE:
            return self.is_rebooting
        if command is Command.EXECUTE:
            record = replace(
                record, pending_reason=BootReason.REBOOT_CMD, pending_text=f"reboot command {wanted} of the controller"
            )
        is_saved = await self._counters.update(replace(record, reboot_counter=wanted))
        if command is not Command.EXECUTE:
            return False
        if not is_saved:
            # Without the note the machine would find the command anew after each boot.
            self.command_problem = "reboot is refused: the disk is full and the command cannot be noted"
            return False
        self.is_rebooting = True
        self._reboot = asyncio.create_task(self._go_down(), name="reboot")
        return True

    async def _command_shutdown(self, wanted: int | None) -> None:
        record = self._counters.record
        command = plan_command(record.shutdown_counter, wanted)
        if command is Command.NONE:
            return
        is_shut_down = record.is_shut_down or command is Command.EXECUTE
        if command is Command.EXECUTE:
            log.warning("shutdown command: apps are stopped until the next boot: counter=%s", wanted)
        await self._counters.update(replace(record, shutdown_counter=wanted, is_shut_down=is_shut_down))

    async def _go_down(self) -> None:
        log.warning("reboot command: the machine goes down now: command=%s", " ".join(self._reboot_command))
        try:
            async with asyncio.timeout(REBOOT_GRACE_S):
                await self._before_reboot()
        except TimeoutError:
            log.info("last messages did not go out in time")
        await self._engine.go_down()
        try:
            await process.run(self._reboot_command, timeout_s=60)
        except EavesError as error:
            self.is_rebooting = False
            self.command_problem = f"reboot failed: {error}"
            log.warning("reboot failed: error=%s details=%s at=%.0f", error, error.details, time.time())
            self._repeat.set()


def _with_stopped_apps(desired: DesiredNode) -> DesiredNode:
    return replace(desired, apps=tuple(replace(app, activate=False) for app in desired.apps))
