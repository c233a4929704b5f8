"""How often somebody may do something: token buckets, one or many by key.

Pure bookkeeping with the time passed in. Every table is bounded, the oldest key is forgotten first: a forgotten one starts with a full
allowance, which costs less than unbounded memory.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from msgspec import Struct

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
    """Allowances by key, such as the addresses of strangers."""

    def __init__(self, rate: Rate, max_keys: int) -> None:
        self._rate = rate
        self._max_keys = max_keys
        self._buckets: OrderedDict[K, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: K, now_s: float) -> bool:
        """Use one of ``key``'s allowance, if there is one."""
        return self._want(key, now_s).take(self._rate, now_s)

    def wait_s(self, key: K, now_s: float) -> int:
        """Whole seconds until ``key`` has one again, 0 when it has; uses none."""
        bucket = self._buckets.get(key)
        return bucket.wait_s(self._rate) if bucket is not None and bucket.is_empty(self._rate, now_s) else 0

    def _want(self, key: K, now_s: float) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._max_keys:
                self._buckets.popitem(last=False)
            bucket = self._buckets[key] = Bucket(self._rate, now_s)
        else:
            self._buckets.move_to_end(key)
        return bucket
