"""An event loop in a thread, so that tests that wait for processes can use helpers that are coroutines."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from eaves.testing.fault_proxy import FaultProxy

T = TypeVar("T")

_LIMIT_S = 60.0


class LoopThread:
    """Use as a context manager; :meth:`call` runs a coroutine there and waits for it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loop")

    def __enter__(self) -> LoopThread:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_LIMIT_S)
        self._loop.close()

    def call(self, coroutine: Coroutine[Any, Any, T], limit_s: float = _LIMIT_S) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(limit_s)


@contextlib.contextmanager
def open_fault_proxy(target: str) -> Iterator[FaultProxy]:
    """A proxy in a thread; its ``faults`` may be changed from the test's."""
    with LoopThread() as loop:
        proxy = FaultProxy(target)
        loop.call(proxy.__aenter__())
        try:
            yield proxy
        finally:
            loop.call(proxy.__aexit__(None, None, None))
