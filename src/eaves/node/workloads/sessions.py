"""A person's or a program's session with a workload: a command run in it, or its own standard streams. Engines make them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from enum import IntEnum

from msgspec import Struct

from eaves.node.workloads.errors import WorkloadError


class Output(IntEnum):
    """Which of its two outputs something was written to; the numbers of the file descriptors."""

    STDOUT = 1
    STDERR = 2


Take = Callable[[Output, bytes], Awaitable[None]]
"""Takes output; nothing more is read until it returns."""


class Command(Struct, frozen=True):
    """What to run in a workload. With ``tty`` all output is one."""

    argv: tuple[str, ...]
    stdin: bool = False
    tty: bool = False


class SessionError(WorkloadError):
    """A session could not be opened; ``message`` says why."""

    code = "SessionFailed"


class SessionUnsupportedError(SessionError):
    """This kind of workload has no such session."""

    code = "SessionUnsupported"
    retryable = False


class Session(ABC):
    """An open session; whoever opened it closes it."""

    @abstractmethod
    async def pump(self, take: Take) -> int:
        """Hand on all output until the end; answers the exit code, 128 + number for a signal. Raises SessionError when nothing ran."""

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Input; waits while nobody reads it. After the end it goes nowhere."""

    @abstractmethod
    async def close_input(self) -> None:
        """No more input comes."""

    @abstractmethod
    async def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size; without a terminal nothing happens."""

    @abstractmethod
    async def close(self) -> None:
        """End the session. A command that still runs is killed with all that it started in its session of the operating system."""
