"""The volumes that are there: seen at the start, after each action, and in between what somebody made or took away by hand."""

from __future__ import annotations

import asyncio
import logging
import math
import time

import msgspec

from eaves.node.mounts import load_sources
from eaves.node.volumes import apply, observe
from eaves.node.volumes.abc import VolumeVault
from eaves.node.volumes.jobs import TROUBLE, Jobs
from eaves.node.volumes.model import Form, Seen, StorageFacts, Use, VolumeKey
from eaves.node.volumes.observe import Found

log = logging.getLogger(__name__)

LOOK = "look"
"""The work of looking at a volume that was found."""


class Present:
    """``found``: all that is there; ``seen``: what was looked at; ``uses``: as last measured."""

    def __init__(self, vault: VolumeVault, jobs: Jobs, measure_every_s: float) -> None:
        self._vault = vault
        self._jobs = jobs
        self._measure_every_s = measure_every_s
        self._measured_at = -math.inf
        self.facts = StorageFacts()
        self.found: dict[VolumeKey, Found] = {}
        self.seen: dict[VolumeKey, Seen] = {}
        self.uses: dict[VolumeKey, Use] = {}

    async def open(self) -> None:
        """Put away what a crash left and look at what is there."""
        bases = self._vault.folders()
        await apply.remove_leftovers(bases)
        self.facts = await asyncio.to_thread(observe.observe_facts, bases[0])
        self.found = await asyncio.to_thread(observe.list_volumes, bases)
        for found in self.found.values():
            try:
                await self._look(found)
            except TROUBLE as error:
                log.warning("volume cannot be read: volume=%s error=%s", found.key.folder, error)

    async def list(self) -> None:
        """Notice what somebody made or took away by hand; a volume's inside is looked at once, and after each action."""
        self.found = await asyncio.to_thread(observe.list_volumes, self._vault.folders())
        mounted = await asyncio.to_thread(load_sources)
        for key, seen in list(self.seen.items()):
            if key not in self.found or self.found[key].form is not seen.form:
                del self.seen[key]
            elif seen.form is Form.EXT4 and not self._jobs.current(key):
                self.seen[key] = msgspec.structs.replace(seen, is_mounted=str(seen.path) in mounted)
        for key, found in self.found.items():
            if key not in self.seen and not self._jobs.current(key) and self._jobs.is_due(key, LOOK):
                self._jobs.start(key, LOOK, lambda found=found: self._look(found))  # type: ignore[misc]

    async def look_again(self, key: VolumeKey) -> None:
        """After something was done to it."""
        self.seen.pop(key, None)
        found = await asyncio.to_thread(observe.list_volumes, self._vault.folders())
        if key in found:
            await self._look(found[key])
            self.uses[key] = await asyncio.to_thread(observe.observe_use, self.seen[key])

    def forget(self, key: VolumeKey) -> None:
        """It was deleted."""
        for known in (self.seen, self.uses, self.found):
            known.pop(key, None)

    async def measure(self) -> float:
        """How much of each is used, when it is time; answers in how many seconds it is again."""
        if (due_in_s := self._measured_at + self._measure_every_s - time.monotonic()) > 0:
            return due_in_s
        self._measured_at = time.monotonic()
        for key, seen in list(self.seen.items()):
            try:
                self.uses[key] = use = await asyncio.to_thread(observe.observe_use, seen)
                if use.is_read_only != seen.is_read_only and key in self.seen:
                    self.seen[key] = msgspec.structs.replace(seen, is_read_only=use.is_read_only)
            except OSError as error:
                log.warning("volume is not measured: volume=%s error=%s", key.folder, error)
        return self._measure_every_s

    async def _look(self, found: Found) -> None:
        self.seen[found.key] = await observe.observe_volume(found)
