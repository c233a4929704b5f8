"""Bounds that keep a flood from costing anybody but its source: memory for bodies under way, and requests at a time.

Rates are in ``eaves.kit.rates``.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
from typing import Generic, TypeVar

from eaves.controller.gateway.errors import BusyError, TooManyError

K = TypeVar("K")


class Budget:
    """Bytes that bodies under way may hold, all together and those of one source. A body reserves its size before it is read."""

    def __init__(self, limit_bytes: int, source_limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._source_limit_bytes = source_limit_bytes
        self._used_bytes = 0
        self._by_source: dict[str, int] = {}

    @property
    def used_bytes(self) -> int:
        return self._used_bytes

    def reserve(self, source: str, size_bytes: int) -> None:
        """Raises TooManyError when the source uses up its share, BusyError when the memory for bodies is used up."""
        of_source = self._by_source.get(source, 0) + size_bytes
        if of_source > self._source_limit_bytes:
            raise TooManyError("this source has too many bytes under way", 1)
        if self._used_bytes + size_bytes > self._limit_bytes:
            raise BusyError("memory for requests under way is used up")
        self._used_bytes += size_bytes
        self._by_source[source] = of_source

    def release(self, source: str, size_bytes: int) -> None:
        self._used_bytes -= size_bytes
        of_source = self._by_source[source] - size_bytes
        if of_source:
            self._by_source[source] = of_source
        else:
            self._by_source.pop(source)


@functools.lru_cache(maxsize=4096)
def source_of(address: str) -> str:
    """Whom to count an address to: an IPv6 subscriber has a whole /64 to call from, so its addresses count as one."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))


class Slots(Generic[K]):
    """How many requests of one key may be under way at the same time; the next ones are refused, not queued."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._used)

    def is_full(self, key: K) -> bool:
        return self._used.get(key, 0) >= self._limit

    def enter(self, key: K) -> None:
        """Raises TooManyError when ``limit`` are under way."""
        used = self._used.get(key, 0)
        if used >= self._limit:
            raise TooManyError(f"{used} requests of this source are under way", 1)
        self._used[key] = used + 1

    def leave(self, key: K) -> None:
        used = self._used.get(key, 0) - 1
        if used > 0:
            self._used[key] = used
        else:
            self._used.pop(key, None)


class Gate:
    """Bounds how many pieces of heavy work (log files) run at the same time; the rest waits its turn for a bounded time."""

    def __init__(self, limit: int, wait_s: float) -> None:
        self._semaphore = asyncio.Semaphore(limit)
        self._wait_s = wait_s

    async def __aenter__(self) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                await self._semaphore.acquire()
        except TimeoutError:
            raise BusyError("too much heavy work is waiting") from None

    async def __aexit__(self, *_: object) -> None:
        self._semaphore.release()
