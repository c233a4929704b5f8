"""What runs workloads, whatever they are: the interface between an app's keeper and an engine.

``podman`` and ``qemu`` are the engines; one conformance test-suite runs over all. A workload is known by its app's id alone, so an
engine can never hold two of one app. Each engine makes its own kind of spec from an app and what is ready for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Generic, TypeAlias, TypeVar

from msgspec import Struct

from eaves.node.desired.model import DesiredApp
from eaves.node.hardware.plan import Assignment
from eaves.node.networks.connection import Connection
from eaves.node.observed import Fault
from eaves.node.observed_vm import VmStatus
from eaves.node.workloads.sessions import Command, Session, SessionUnsupportedError


class EngineKind(StrEnum):
    """Which engine a workload belongs to."""

    CONTAINER = "container"
    VM = "vm"


class WorkloadState(StrEnum):
    CREATED = "created"
    """Made but not running, and no end is known: it was never started, or the node lost power."""
    RUNNING = "running"
    ENDED = "ended"


class Ready(Struct, frozen=True):
    """All that an app's workload needs from others. ``volumes``: (id, generation) → path.

    ``image`` is the engine's own id of a container image, not a name that could move; empty for an app whose root is a volume.
    """

    image: str
    image_digest: str
    connection: Connection
    volumes: Mapping[tuple[str, int], str]
    devices: Assignment = Assignment()


class WorkloadSpec(Struct, frozen=True, kw_only=True):
    """What every spec has. ``digest`` tells two specs apart without showing what is in them."""

    app_id: str
    engine: EngineKind
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
    engine: EngineKind = EngineKind.CONTAINER
    reason: str = ""
    """Why it ended, where the engine knows better than its exit code; one word."""


class Usage(Struct, frozen=True):
    cpu_ns: int
    memory_bytes: int


S = TypeVar("S", bound=WorkloadSpec)


class WorkloadEngine(ABC, Generic[S]):
    """All methods raise WorkloadError, ProcessError or OSError. Every one may be repeated after a crash at any point.

    ``on_change`` is called with an app's id when what :meth:`describe` or :meth:`fault` tell of it has changed.
    """

    on_change: Callable[[str], None] = staticmethod(lambda _: None)

    @abstractmethod
    def want_spec(self, app: DesiredApp, ready: Ready, *, log_path: str, key: bytes) -> S:
        """The spec of ``app``; pure. ``key`` makes digests useless to who guesses secrets.

        Raises SpecImpossibleError for what no workload of this engine can have.
        """

    @abstractmethod
    async def observe(self) -> dict[str, Seen]:
        """All workloads of this node, by app id."""

    @abstractmethod
    async def observe_one(self, app_id: str) -> Seen | None: ...

    @abstractmethod
    async def create(self, spec: S) -> Seen:
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

    async def run(self) -> None:
        """What the engine does while the daemon runs, until cancelled; workloads do not need it to go on."""

    def describe(self, app_id: str) -> VmStatus | None:
        """What is known of a virtual machine that runs."""
        return None

    def fault(self, app_id: str) -> Fault | None:
        """What keeps a running workload from doing its work."""
        return None

    async def exec(self, seen: Seen, command: Command) -> Session:
        """Run a command in a running workload. Raises SessionUnsupportedError where there is no way to do that."""
        raise SessionUnsupportedError(f"commands cannot be run in workloads of kind {seen.engine}")

    async def attach(self, seen: Seen, *, stdin: bool) -> Session:
        """The standard streams of a running workload. Raises SessionUnsupportedError."""
        raise SessionUnsupportedError(f"workloads of kind {seen.engine} cannot be attached to")

    @abstractmethod
    async def teardown(self) -> None:
        """Remove all workloads and all that the engine keeps on the host."""


AnyEngine: TypeAlias = WorkloadEngine[Any]
"""An engine of whatever kind of spec: who holds it hands specs only from its ``want_spec`` to its ``create``."""
