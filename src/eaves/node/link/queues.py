"""The queue of messages that must arrive: the newest of each object, retried until the controller takes or refuses it.

``report`` puts info messages in. The queue lives in memory: after a restart every message is made again from what is observed.
Reactions to status codes follow the device API (1.0): what a retry cannot help is dropped, what it can is tried again after one
minute, doubling to fifteen. No answer at all ends a pass, since the rest would fail too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum

from eaves.kit.retry import Backoff
from eaves.node.link import pace
from eaves.node.link.calls import LINK_ERRORS, SUCCESS, Reply
from eaves.node.link.errors import UnreachableError
from eaves.wire.paths import Endpoint

log = logging.getLogger(__name__)

FIRST_RETRY_S, LIMIT_RETRY_S = 60.0, 900.0
NOISE_S = 60.0
RECONNECT_SPREAD_S = 10.0
"""After an outage the queue goes out within this time; the polls that notice its end are spread already."""

Send = Callable[[Endpoint, bytes], Awaitable[Reply]]


class Reaction(StrEnum):
    """What to do with a message after an answer."""

    DONE = "done"
    RETRY = "retry"
    DROP = "drop"


def plan_reaction(status: int) -> Reaction:
    """Reaction to a status code."""
    if status in SUCCESS:
        return Reaction.DONE
    is_about_message = 400 <= status < 500 and status not in (401, 403, 407, 408, 429)
    return Reaction.DROP if is_about_message else Reaction.RETRY


class _Item:
    def __init__(self, endpoint: Endpoint, payload: bytes, settled: Callable[[], None] | None) -> None:
        self.endpoint = endpoint
        self.payload = payload
        self.settled = settled
        self.backoff = Backoff(FIRST_RETRY_S, LIMIT_RETRY_S, jitter=0.1)
        self.due_at = 0.0


class EventQueue:
    """Messages by the object they are about."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._items: dict[str, _Item] = {}
        self._wake = asyncio.Event()
        self._pass_backoff = Backoff(FIRST_RETRY_S, LIMIT_RETRY_S)
        self._empty = asyncio.Event()
        self.dropped = 0
        self.last_error = ""

    def __len__(self) -> int:
        return len(self._items)

    def put(
        self,
        key: str,
        payload: bytes,
        endpoint: Endpoint = Endpoint.INFO,
        *,
        settled: Callable[[], None] | None = None,
    ) -> None:
        """Queue a message in place of an earlier one with the same key, and send at once if possible.

        ``settled`` is called once it was delivered or dropped, and not for one whose place a newer one took.
        """
        self._items[key] = _Item(endpoint, payload, settled)
        self._empty.clear()
        self._wake.set()

    async def wait_empty(self) -> None:
        """Until everything queued was delivered or dropped."""
        if self._items:
            await self._empty.wait()

    def note_reconnected(self) -> None:
        """The controller answers again: send within a short, random time."""
        if self._items:
            loop = asyncio.get_running_loop()
            loop.call_later(pace.pick_delay_s(RECONNECT_SPREAD_S, 0.0), self._kick)

    async def run(self) -> None:
        """Send what is due, for ever."""
        while True:
            self._wake.clear()
            delay_s = await self._pass()
            await pace.sleep_or_wake(delay_s, self._wake)

    def _kick(self) -> None:
        for item in self._items.values():
            item.due_at = 0.0
        self._wake.set()

    async def _pass(self) -> float:
        """Send all that is due; answers after how many seconds to look again."""
        now = asyncio.get_running_loop().time()
        for key, item in [(key, item) for key, item in self._items.items() if item.due_at <= now]:
            if self._items.get(key) is not item:
                continue
            try:
                await self._deliver(key, item)
            except UnreachableError as error:
                self.last_error = str(error)
                return self._pass_backoff.next_s() + pace.pick_delay_s(NOISE_S, 0.0)
        self._pass_backoff.reset()
        now = asyncio.get_running_loop().time()
        return max(0.0, min((item.due_at - now for item in self._items.values()), default=LIMIT_RETRY_S))

    async def _deliver(self, key: str, item: _Item) -> None:
        try:
            status = (await self._send(item.endpoint, item.payload)).status
        except UnreachableError:
            raise
        except LINK_ERRORS as error:
            # An answer with a foreign signature says nothing about the message; the next one may be the controller's.
            self.last_error = str(error)
            status = 401
        reaction = plan_reaction(status)
        if reaction is Reaction.RETRY:
            item.due_at = asyncio.get_running_loop().time() + item.backoff.next_s()
            self.last_error = self.last_error or f"answered {status}"
            return
        if reaction is Reaction.DROP:
            self.dropped += 1
            self.last_error = f"{key} was refused with {status}"
            log.warning("message refused and dropped: key=%s status=%d", key, status)
        else:
            self.last_error = ""
        # A newer message may have come meanwhile; it stays.
        if self._items.get(key) is item:
            del self._items[key]
            if item.settled is not None:
                item.settled()
        if not self._items:
            self._empty.set()
