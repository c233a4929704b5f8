"""How fast bytes may come: one pace for all requests of a helper process."""

from __future__ import annotations

import threading
import time

READ_BYTES = 1 << 20


class Pace:
    """A debt that grows with each byte and shrinks with time; who takes bytes waits while there is debt. 0 = no limit."""

    def __init__(self, bytes_per_s: int = 0) -> None:
        self._rate = bytes_per_s
        self._lock = threading.Lock()
        self._free_at = 0.0

    def set_rate(self, bytes_per_s: int) -> None:
        with self._lock:
            self._rate = bytes_per_s
            self._free_at = 0.0

    @property
    def read_bytes(self) -> int:
        """How much to read at once: at a low rate little, so that bytes come steadily."""
        return min(READ_BYTES, max(self._rate // 4, 4096)) if self._rate else READ_BYTES

    def wait(self, count: int) -> None:
        with self._lock:
            if not self._rate:
                return
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self._rate
            pause_s = self._free_at - now
        if pause_s > 0:
            time.sleep(pause_s)
