"""Bounds that keep a flood from costing anybody but its source: rates by sender, and memory for bodies under way.

Pure bookkeeping with the time passed in; the verifier and the body reader call it. Every table here is bounded, the oldest sender
is forgotten first: a forgotten sender starts with a full allowance, which costs less than unbounded memory.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
from collections import OrderedDict
from typing import Generic, TypeVar

from msgspec import Struct

from eaves.controller.gateway.errors import BusyError, TooManyError

K = TypeVar("K")


class Rate(Struct, frozen=True):
    """So many a second in the long run, so many at once."""

    per_s: float
    burst: float


class Bucket:
    """The allowance of one sender; starts full."""

    __slots__ = ("_stamp_s", "_tokens")

    def __init__(self, rate: Rate, now_s: float) -> None:
        self._tokens = rate.burst
        self._stamp_s = now_s

    def take(self, rate: Rate, now_s: float, amount: float = 1.0) -> bool:
        """Take ``amount`` if there is that much."""
        self._fill(rate, now_s)
        if self._tokens < amount:
            return False
        self._tokens -= amount
        return True

    def is_empty(self, rate: Rate, now_s: float) -> bool:
        self._fill(rate, now_s)
        return self._tokens < 1

    def wait_s(self, rate: Rate) -> int:
        """Whole seconds until one more is allowed, at least 1."""
        return int(max(0.0, 1 - self._tokens) / rate.per_s) + 1

    def _fill(self, rate: Rate, now_s: float) -> None:
        self._tokens = min(rate.burst, self._tokens + (now_s - self._stamp_s) * rate.per_s)
        self._stamp_s = now_s


class Buckets(Generic[K]):
    """Allowances by key, for senders that are not known otherwise: addresses, and hashes of unknown certificates."""

    def __init__(self, rate: Rate, max_keys: int) -> None:
        self._rate = rate
        self._max_keys = max_keys
        self._buckets: OrderedDict[K, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: K, now_s: float) -> None:
        """Use one of ``key``'s allowance. Raises TooManyError when none is left."""
        bucket = self._want(key, now_s)
        if not bucket.take(self._rate, now_s):
            raise TooManyError("too many requests from this source", bucket.wait_s(self._rate))

    def check(self, key: K, now_s: float) -> None:
        """Raise TooManyError when ``key`` has nothing left, using none of it."""
        bucket = self._buckets.get(key)
        if bucket is not None and bucket.is_empty(self._rate, now_s):
            raise TooManyError("too many refused requests from this source", bucket.wait_s(self._rate))

    def charge(self, key: K, now_s: float) -> None:
        """Use one of ``key``'s allowance as far as there is any; for faults, which are counted after the fact."""
        self._want(key, now_s).take(self._rate, now_s)

    def _want(self, key: K, now_s: float) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._max_keys:
                self._buckets.popitem(last=False)
            bucket = self._buckets[key] = Bucket(self._rate, now_s)
        else:
            self._buckets.move_to_end(key)
        return bucket


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
