"""What runs workloads, whatever they are: the interface between an app's keeper and an engine.

``podman`` is the first engine; one conformance test-suite runs over all. A workload is known by its app's id alone, so an engine can
never hold two of one app.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from eaves.node.desired.model import FileToWrite, Secret


class WorkloadState(StrEnum):
    CREATED = "created"
    """Made but not running, and no end is known: it was never started, or the node lost power."""
    RUNNING = "running"
    ENDED = "ended"


class Mount(Struct, frozen=True):
    source: str
    target: str
    read_only: bool = False


class WorkloadSpec(Struct, frozen=True):
    """Everything an engine needs to make a workload. ``digest`` tells two specs apart without showing what is in them."""

    app_id: str
    name: str
    image: str
    """The engine's own id of the image, not a name that could move."""
    hostname: str
    netns: str
    log_path: str
    root: str
    """Identity of the root volume: another one means a fresh root."""
    interfaces: tuple[str, ...] = ()
    env: Mapping[str, Secret] = {}
    files: tuple[FileToWrite, ...] = ()
    mounts: tuple[Mount, ...] = ()
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    memory_bytes: int = 0
    cpu_millis: int = 0
    digest: str = ""


class Seen(Struct, frozen=True):
    """A workload as it is. Times are Unix seconds, 0 = unknown; ``exit_code`` counts only when ENDED.

    ``is_lost``: the engine's records say it runs but its processes are gone, as after a power cut; how it ended nobody knows.
    """

    app_id: str
    workload_id: str
    state: WorkloadState
    spec_digest: str = ""
    pid: int = 0
    monitor_pid: int = 0
    exit_code: int = 0
    is_oom: bool = False
    is_lost: bool = False
    started_at: float = 0.0
    finished_at: float = 0.0
    root_dir: str = ""
    """Where the workload's own changes to its root are kept on the host."""


class Usage(Struct, frozen=True):
    cpu_ns: int
    memory_bytes: int


class WorkloadEngine(ABC):
    """All methods raise ContainerError, ProcessError or OSError. Every one may be repeated after a crash at any point."""

    @abstractmethod
    async def observe(self) -> dict[str, Seen]:
        """All workloads of this node, by app id."""

    @abstractmethod
    async def observe_one(self, app_id: str) -> Seen | None: ...

    @abstractmethod
    async def create(self, spec: WorkloadSpec) -> Seen:
        """Make the workload and start it."""

    @abstractmethod
    async def start(self, seen: Seen) -> Seen:
        """Start a workload that exists and does not run; its root is kept."""

    @abstractmethod
    async def stop(self, app_id: str, grace_s: float) -> Seen | None:
        """Ask it to end, kill it after ``grace_s``."""

    @abstractmethod
    async def remove(self, app_id: str) -> None:
        """Remove it with its root; running or not, there or not."""

    @abstractmethod
    async def wait_end(self, seen: Seen) -> Seen | None:
        """Wait until a running workload has ended; answers how, None = it was removed by somebody."""

    @abstractmethod
    async def reopen_log(self, seen: Seen) -> bool:
        """Make the workload write to a new file at its log path; False = there was nobody to ask."""

    @abstractmethod
    async def usage(self, seen: Seen) -> Usage | None:
        """Counters since the workload started, None = it does not run."""

    @abstractmethod
    async def teardown(self) -> None:
        """Remove all workloads and all that the engine keeps on the host."""
