"""A program on a terminal, for tests of what people type and see."""

from __future__ import annotations

import os
import pty
import signal
from collections.abc import Mapping, Sequence

SILENCE_LIMIT_S = 150


class Terminal:
    """A program on a terminal of 100 by 30."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._pid, self._descriptor = pty.fork()
        if self._pid == 0:
            os.execvpe("sh", ["sh", "-c", 'stty cols 100 rows 30; exec "$@"', "sh", *command], environment)
        self._seen = ""
        self.code: int | None = None

    def write(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def read_until(self, text: str) -> None:
        while text not in self._seen:
            assert self._read(), f"ended without {text!r}: {self._seen}"

    def read_end(self) -> str:
        """All that it said, after its end."""
        while self._read():
            pass
        os.close(self._descriptor)
        _, status = os.waitpid(self._pid, 0)
        self.code = os.waitstatus_to_exitcode(status)
        return self._seen

    def _read(self) -> bool:
        # A program that says nothing for ever is ended, so that the test fails and does not hang.
        def end(_number: int, _frame: object) -> None:
            os.kill(self._pid, signal.SIGKILL)

        before = signal.signal(signal.SIGALRM, end)
        signal.alarm(SILENCE_LIMIT_S)
        try:
            data = os.read(self._descriptor, 4096)
        except OSError:
            return False
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        self._seen += data.decode(errors="replace")
        return bool(data)
