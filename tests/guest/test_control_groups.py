"""Containers under the one hierarchy of control groups (cgroup v2), as every current Debian has it."""

from __future__ import annotations

from pathlib import Path

from eaves.node.desired.model import RestartPolicy
from eaves.node.observed import AppState
from eaves.testing.engine_host import EngineHost
from eaves.testing.registry import Registry


def load_limits(instance: str) -> dict[str, str]:
    (group,) = Path("/sys/fs/cgroup").glob(f"**/{instance}*/app-shell/libpod-*/")
    return {name: (group / name).read_text().strip() for name in ("memory.max", "cpu.max")}


async def test_limits_are_those_of_the_app(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    await host.apply(images=(image,), apps=(host.app("shell", image, memory_bytes=48 << 20, cpu_millis=250),))
    await host.wait_app("shell")
    assert load_limits(host.instance.name) == {"memory.max": str(48 << 20), "cpu.max": "25000 100000"}
    assert host.manager is not None
    (usage,) = await host.manager.usages()
    assert usage.memory_bytes > 0
    assert usage.cpu_ns > 0


async def test_app_killed_for_memory_says_so(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    eater = host.app(
        "eater",
        image,
        memory_bytes=24 << 20,  # runc itself needs more than 8 MiB on Debian 13
        command=("/bin/sh", "-c"),
        args=("x=0123456789abcdef; while :; do x=$x$x; done",),
        restart_policy=RestartPolicy.NEVER,
    )
    await host.apply(images=(image,), apps=(eater,))
    status = await host.wait_app("eater", AppState.FAILED)
    assert status.last is not None
    assert (status.last.reason, status.last.exit_code) == ("OOMKilled", 137)
