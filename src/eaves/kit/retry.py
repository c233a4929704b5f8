"""Back-off as data: how long to wait before the next attempt. Pure; the caller owns the clock."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Delays that double from ``first_s`` to ``limit_s`` with a share of random ``jitter`` (0.2 = ±20 %).

    ``next_s()`` gives the delay before the next attempt; ``reset()`` after a success.
    """

    def __init__(
        self,
        first_s: float,
        limit_s: float,
        *,
        factor: float = 2.0,
        jitter: float = 0.0,
        pick: Callable[[], float] = random.random,
    ) -> None:
        if not 0 < first_s <= limit_s:
            raise ValueError(f"a back-off needs 0 < first ({first_s}) <= limit ({limit_s})")
        self._first_s = first_s
        self._limit_s = limit_s
        self._factor = factor
        self._jitter = jitter
        self._pick = pick
        self._failures = 0

    @property
    def failures(self) -> int:
        """Delays given since the last success."""
        return self._failures

    def next_s(self) -> float:
        # The exponent is bounded, else a node that fails for years overflows a float.
        delay = min(self._limit_s, self._first_s * self._factor ** min(self._failures, 60))
        self._failures += 1
        return delay * (1 + self._jitter * (2 * self._pick() - 1))

    def reset(self) -> None:
        self._failures = 0
