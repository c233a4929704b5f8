"""The one door to the podman program, always on the engine's own storage.

Used by ``images`` (load, list, remove) and by ``containers.podman``. Calls are bounded in number: podman holds storage locks, and
a burst of a hundred starting apps must not become a hundred processes on a small box.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from eaves.kit import process
from eaves.node.instance import Instance

PARALLEL_CALLS = 4


class PodmanCli:
    """``run("ps", "-a")`` runs podman with the engine's configuration and storage."""

    def __init__(self, instance: Instance) -> None:
        host_dir = instance.host_dir
        self.environment = {
            "CONTAINERS_CONF": str(host_dir / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(host_dir / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(host_dir / "registries.conf"),
            "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
            "TMPDIR": str(instance.scratch_dir),
        }
        self.policy = str(host_dir / "policy.json")
        self._base = [
            "podman",
            f"--root={instance.storage_dir}",
            f"--runroot={instance.podman_run_dir / 'storage'}",
        ]
        # A container's monitor inherits the folder, and leaves a file named oom there when the kernel kills for memory.
        self._folder = str(instance.podman_run_dir)
        self._slots = asyncio.Semaphore(PARALLEL_CALLS)

    async def run(
        self,
        *args: str,
        stdin: bytes | None = None,
        timeout_s: float = 120.0,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        check: bool = True,
    ) -> process.Completed:
        """Run ``podman ARGS``. ``env`` is added to podman's own environment; errors are those of :func:`eaves.kit.process.run`."""
        merged = {**self.environment, **(env or {})}
        async with self._slots:
            argv = [*self._base, *args]
            return await process.run(
                argv, stdin=stdin, timeout_s=timeout_s, env=merged, cwd=cwd or self._folder, check=check
            )
