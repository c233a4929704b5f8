"""Which core serves and which one asks, so that a client never takes time from the server that it measures."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


def server_prefix() -> list[str]:
    """Goes before a server's command: the first core is its own."""
    return ["taskset", "-c", str(min(os.sched_getaffinity(0)))]


@contextlib.contextmanager
def client_core() -> Iterator[None]:
    """Keep this process, and threads that it starts, on the last core. Enter it after servers were started."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
