"""Counts what is downloaded against the node's budget, over restarts."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from eaves.node.images import budget
from eaves.node.images.budget import Limits, Usage
from eaves.node.images.errors import BudgetError
from eaves.node.statefile import StateFile

log = logging.getLogger(__name__)

_SAVE_EVERY_BYTES = 8 << 20


class Meter:
    """Written by the event loop's thread only."""

    def __init__(self, path: Path) -> None:
        self._file = StateFile(path, Usage)
        self._usage = Usage()
        self._unsaved = 0
        self._saving: asyncio.Task[None] | None = None
        self.limits = Limits()

    async def open(self) -> None:
        self._usage = await self._file.load()

    def check(self, element: str) -> None:
        """Raises BudgetError when nothing may be downloaded now."""
        left_s = budget.wait_s(self._usage, self.limits, time.time())
        if left_s:
            error = BudgetError(
                "the node's download budget is used up",
                element=element,
                resolution="it goes on by itself in the next period; raise eaves.download.budget.day or .month for more",
            )
            error.retry_after_s = left_s
            raise error

    def count(self, received_bytes: int, element: str) -> None:
        """Raises BudgetError when these were the last."""
        self._usage = budget.add_usage(self._usage, received_bytes, time.time())
        self._unsaved += received_bytes
        if self._unsaved >= _SAVE_EVERY_BYTES and self._saving is None:
            self._saving = asyncio.create_task(self.save(), name="download budget")
            self._saving.add_done_callback(self._forget_saving)
        self.check(element)

    async def save(self) -> None:
        """Write down what was counted. On a full disk the count since the last time is lost at the next restart."""
        if not self._unsaved:
            return
        self._unsaved = 0
        try:
            await self._file.save(self._usage)
        except OSError as error:
            log.warning("use of the download budget is not saved: error=%s", error)

    def _forget_saving(self, _: asyncio.Task[None]) -> None:
        self._saving = None

    async def remove(self) -> None:
        await self._file.remove()
