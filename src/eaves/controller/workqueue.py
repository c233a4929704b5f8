"""A queue of keys to reconcile: each key at most once waiting and once under way, failures throttled per key.

Level-based: a key says *look at this again*, never what happened to it. A key that is added while it is worked on is worked on again
afterwards. This is the per-object throttle of the reconcilers, hence the one place beside the supervisor that catches every error.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from eaves.kit.errors import EavesError
from eaves.kit.retry import Backoff

K = TypeVar("K")

log = logging.getLogger(__name__)

FAIR_EVERY = 4
"""One turn in so many goes to a key that is not urgent, so that none waits for ever."""
FIRST_RETRY_S = 0.2
LIMIT_RETRY_S = 60.0


class WorkQueue(Generic[K]):
    """Run :meth:`run` under the supervisor; :meth:`add` from anywhere on the loop."""

    def __init__(self, name: str, handle: Callable[[K], Awaitable[None]], *, workers: int) -> None:
        self._name = name
        self._handle = handle
        self._workers = workers
        self._waiting: OrderedDict[K, None] = OrderedDict()
        self._urgent: OrderedDict[K, None] = OrderedDict()
        self._turns = 0
        self._busy: set[K] = set()
        self._again: dict[K, bool] = {}
        """Keys to handle again after their turn, with whether that is urgent."""
        self._backoffs: dict[K, Backoff] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._available = asyncio.Semaphore(0)
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._urgent) + len(self._busy)

    def add(self, key: K, *, is_urgent: bool = False) -> None:
        """Ask for ``key`` to be handled; ``is_urgent`` puts it before those that only wait to be looked at some time."""
        if key in self._busy:
            self._again[key] = self._again.get(key, False) or is_urgent
            return
        if key in self._urgent:
            return
        if key not in self._waiting:
            self._idle.clear()
            self._available.release()
        elif is_urgent:
            del self._waiting[key]
        (self._urgent if is_urgent else self._waiting)[key] = None

    async def wait_idle(self) -> None:
        """Returns when nothing waits or is under way (keys in their back-off do not count)."""
        await self._idle.wait()

    async def run(self) -> None:
        """Handle keys until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._workers):
                    group.create_task(self._work(), name=f"{self._name}-{number}")
        finally:
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    async def _work(self) -> None:
        while True:
            await self._available.acquire()
            key = self._take()
            self._busy.add(key)
            try:
                await self._handle_guarded(key)
            finally:
                self._finish(key)

    def _take(self) -> K:
        self._turns += 1
        is_fair_turn = self._turns % FAIR_EVERY == 0 and self._waiting
        key, _ = (self._urgent if self._urgent and not is_fair_turn else self._waiting).popitem(last=False)
        return key

    async def _handle_guarded(self, key: K) -> None:
        try:
            await self._handle(key)
        except Exception as error:  # noqa: BLE001 - the throttle: one bad object must not stop the others
            self._retry_later(key, error)
        else:
            self._backoffs.pop(key, None)

    def _retry_later(self, key: K, error: Exception) -> None:
        backoff = self._backoffs.get(key)
        if backoff is None:
            backoff = self._backoffs[key] = Backoff(FIRST_RETRY_S, LIMIT_RETRY_S, jitter=0.2)
        delay_s = backoff.next_s()
        if isinstance(error, EavesError):
            log.warning("reconciling failed: queue=%s key=%s error=%s retry_s=%.1f", self._name, key, error, delay_s)
        else:
            log.error("reconciling failed: queue=%s key=%s retry_s=%.1f", self._name, key, delay_s, exc_info=error)
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        self._timers[key] = asyncio.get_running_loop().call_later(delay_s, self._retry, key)

    def _retry(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _finish(self, key: K) -> None:
        self._busy.discard(key)
        if (is_urgent := self._again.pop(key, None)) is not None:
            self.add(key, is_urgent=is_urgent)
        if not len(self):
            self._idle.set()
