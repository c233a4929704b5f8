"""Random delays, so that nodes that started together do not call together."""

from __future__ import annotations

import asyncio
import random

_LEAST_S = 0.001
"""Less is lost in the sum with the clock: the wait would be over before its time, and whoever waits would look again without end."""


def pick_delay_s(interval_s: float, lowest: float = 0.3, highest: float = 1.0) -> float:
    """A delay between ``lowest`` and ``highest`` times ``interval_s``; the shares are those of polls in the device API."""
    return interval_s * (lowest + (highest - lowest) * random.random())  # noqa: S311 - jitter, not a secret


async def sleep_or_wake(delay_s: float, wake: asyncio.Event) -> bool:
    """Wait for ``wake`` at most ``delay_s``, at least a millisecond; true when it woke. The event is cleared."""
    try:
        async with asyncio.timeout(max(delay_s, _LEAST_S)):
            await wake.wait()
    except TimeoutError:
        return False
    wake.clear()
    return True
