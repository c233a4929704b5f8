"""Keeps the devices of apps handed over as the config asks. Owned by ``manager``; asked by the apps' keepers for what an app gets."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence

from msgspec import Struct
from msgspec.structs import replace

from eaves.kit.errors import EavesError
from eaves.node.desired.model import DesiredApp, DesiredNode
from eaves.node.errors import as_fault
from eaves.node.hardware import apply, plan
from eaves.node.hardware.hostuse import observe_host_use
from eaves.node.hardware.inventory import load_inventory
from eaves.node.hardware.plan import Assignment, Hardware
from eaves.node.instance import Instance
from eaves.node.observed import Fault
from eaves.node.statefile import StateFile

log = logging.getLogger(__name__)

LOOK_EVERY_S = 30.0
"""Devices are plugged in and out, and machines end: only looked for while an app wants one, or one is to be given back."""


class HandedOver(Struct):
    """What this node took from its drivers, or lets an app take, and must give back: PCI addresses and USB sockets.

    ``handed``: label → what apps have, see ``Hardware``.
    """

    pci: list[str] = []
    usb: list[str] = []
    handed: dict[str, str] = {}


class Devices:
    def __init__(self, instance: Instance, *, on_change: Callable[[], None], uplinks: Sequence[str] = ()) -> None:
        """``uplinks``: interfaces that the node's own settings name; others come with the config."""
        self._on_change = on_change
        self._uplinks = tuple(uplinks)
        self._file = StateFile(instance.state_dir / "devices.json", HandedOver)
        self._state = HandedOver()
        self._desired: DesiredNode | None = None
        self._answers: dict[str, Assignment | Fault] = {}
        self._is_releasing = False
        """Whether something could not be given back yet."""
        self._wake = asyncio.Event()

    async def open(self) -> None:
        self._state = await self._file.load()

    def set_desired(self, desired: DesiredNode) -> None:
        self._desired = desired
        self._wake.set()

    def assignment(self, app: DesiredApp) -> Assignment | Fault:
        """What the app gets, or why it must wait."""
        if not app.devices:
            return Assignment()
        waiting = Fault("DevicePending", f"{', '.join(app.devices)}: being handed over")
        return self._answers.get(app.id, waiting)

    async def run(self) -> None:
        while True:
            self._wake.clear()
            desired = self._desired
            if desired is not None:
                await self._reconcile(desired)
            is_watching = self._is_releasing or (desired is not None and any(app.devices for app in desired.apps))
            try:
                async with asyncio.timeout(LOOK_EVERY_S if is_watching else None):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def teardown(self) -> None:
        """Give everything back."""
        self._state = await self._file.load()
        await self._release(pci=(), usb=())
        await self._file.remove()

    async def _reconcile(self, desired: DesiredNode) -> None:
        wishes = [app for app in desired.apps if app.devices]
        if not wishes and not self._state.pci and not self._state.usb:
            self._answers, self._state.handed = {}, {}
            return
        uplinks = (port.interface for port in desired.ports if port.is_uplink)
        hardware = Hardware(
            model=desired.hardware,
            inventory=await asyncio.to_thread(load_inventory),
            host=await asyncio.to_thread(observe_host_use, [*self._uplinks, *uplinks]),
            handed=self._state.handed,
        )
        owners = plan.want_owners(desired.apps, desired.hardware)
        names = {app.id: app.name for app in desired.apps}
        answers = {app.id: plan.plan_assignment(app, hardware, owners, names) for app in wishes}
        wanted = {
            address: app_id
            for app_id, answer in answers.items()
            if isinstance(answer, Assignment)
            for address in answer.pci
        }
        usb = {port for answer in answers.values() if isinstance(answer, Assignment) for port in answer.usb}
        await self._release(pci=wanted, usb=usb)
        await self._remember(answers, usb)
        for address, app_id in wanted.items():
            if (fault := await self._hand_over(address)) is not None:
                answers[app_id] = fault
        self._note(answers)

    async def _remember(self, answers: dict[str, Assignment | Fault], usb: Collection[str]) -> None:
        handed = dict(pair for answer in answers.values() if isinstance(answer, Assignment) for pair in answer.handed)
        new_usb = sorted({*self._state.usb, *usb})
        if (handed, new_usb) != (self._state.handed, self._state.usb):
            self._state.handed, self._state.usb = handed, new_usb
            await self._file.save(self._state)

    async def _hand_over(self, address: str) -> Fault | None:
        try:
            if address not in self._state.pci:
                # Before the deed: what is noted is given back, even after a power cut in between.
                self._state.pci.append(address)
                await self._file.save(self._state)
            await apply.load_vfio()
            await asyncio.to_thread(apply.bind_vfio, address)
        except (EavesError, OSError) as error:
            return as_fault(error, since=time.time())
        return None

    async def _release(self, *, pci: Collection[str], usb: Collection[str]) -> None:
        """Give back all but these; what cannot be given back yet is tried again later."""
        self._is_releasing = False
        for held, kept, give_back in (
            (self._state.pci, pci, apply.release_vfio),
            (self._state.usb, usb, apply.release_usb),
        ):
            for address in [address for address in held if address not in kept]:
                try:
                    await asyncio.to_thread(give_back, address)
                except EavesError as error:
                    log.warning("device is not given back: address=%s error=%s", address, error)
                    self._is_releasing = True
                    continue
                held.remove(address)
                await self._file.save(self._state)

    def _note(self, answers: dict[str, Assignment | Fault]) -> None:
        """A fault keeps the moment when it came."""
        for app_id, answer in answers.items():
            if isinstance(answer, Fault):
                known = self._answers.get(app_id)
                is_same = isinstance(known, Fault) and known.code == answer.code
                since = known.since if isinstance(known, Fault) and is_same else time.time()
                answers[app_id] = replace(answer, since=since)
        is_changed = answers != self._answers
        self._answers = answers
        if is_changed:
            self._on_change()
