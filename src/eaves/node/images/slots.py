"""Who may download now: a few at once, those that apps wait for before those that are fetched ahead.

What is fetched ahead waits while anything more urgent downloads, and gives its place up when such a thing arrives: partial downloads are
kept, so nothing is lost by it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from types import TracebackType

from eaves.node.images.model import Priority


class PreemptedError(Exception):
    """Something more urgent took the place; try again."""


class Slots:
    def __init__(self, total: int, per_host: int) -> None:
        self._total = total
        self._per_host = per_host
        self._held: list[Slot] = []
        self._waiting: list[Slot] = []

    def want(self, host: str, priority: Priority) -> Slot:
        """A place, to be used as an async context manager."""
        return Slot(self, host, priority)

    async def take(self, slot: Slot) -> None:
        self._waiting.append(slot)
        self._waiting.sort(key=lambda waiting: waiting.priority)
        try:
            self._hand_out()
            await slot.granted.wait()
        except BaseException:
            if slot in self._held:
                self._held.remove(slot)
            else:
                self._waiting.remove(slot)
            self._hand_out()
            raise

    def give_back(self, slot: Slot) -> None:
        self._held.remove(slot)
        self._hand_out()

    def _hand_out(self) -> None:
        for slot in list(self._waiting):
            if self._fits(slot):
                self._waiting.remove(slot)
                self._held.append(slot)
                slot.granted.set()
        self._preempt()

    def _fits(self, slot: Slot) -> bool:
        hosts = Counter(held.host for held in self._held)
        is_quiet = slot.priority < Priority.AHEAD or all(held.priority >= Priority.AHEAD for held in self._held)
        return len(self._held) < self._total and hosts[slot.host] < self._per_host and is_quiet

    def _preempt(self) -> None:
        """Whoever fetches ahead ends as soon as something more urgent holds or wants a place."""
        urgent = [slot for slot in (*self._held, *self._waiting) if slot.priority < Priority.AHEAD]
        if urgent:
            for slot in self._held:
                if slot.priority is Priority.AHEAD:
                    slot.preempt()


class Slot:
    """A place to download in. Raises PreemptedError at its end when it was taken away meanwhile."""

    def __init__(self, slots: Slots, host: str, priority: Priority) -> None:
        self.host = host
        self.priority = priority
        self.granted = asyncio.Event()
        self._slots = slots
        self._task: asyncio.Task[object] | None = None
        self._is_preempted = False

    async def __aenter__(self) -> Slot:
        await self._slots.take(self)
        self._task = asyncio.current_task()
        if self._is_preempted:
            self._slots.give_back(self)
            raise PreemptedError
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slots.give_back(self)
        task, self._task = self._task, None
        # As asyncio.timeout does: our own cancellation is taken back, one from outside goes on.
        if self._is_preempted and task is not None and task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise PreemptedError from error

    def preempt(self) -> None:
        if not self._is_preempted:
            self._is_preempted = True
            if self._task is not None:
                self._task.cancel()
