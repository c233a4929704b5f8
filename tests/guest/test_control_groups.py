"""Containers under the one hierarchy of control groups (cgroup v2), as every current Debian has it."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from pathlib import Path

import pytest

from eaves.node.clusters import cgroups
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


MIB = 1 << 20


def read_within(group: Path, file: Path) -> None:
    """As a process of the group, whose memory the file's content then is."""
    subprocess.run(["sh", "-c", f"echo $$ >{group}/cgroup.procs && exec cat {file} >/dev/null"], check=True)


def make_file(folder: Path, name: str, mib: int) -> Path:
    path = folder / name
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(secrets.token_bytes(MIB))
    return path


def drop_caches() -> None:
    subprocess.run(["sync"], check=True)
    Path("/proc/sys/vm/drop_caches").write_text("3")


@pytest.mark.soak
def test_what_is_kept_for_a_cluster_is_not_taken_by_greedy_apps(disk: Path) -> None:
    box = Path("/sys/fs/cgroup") / f"eaves-t{secrets.token_hex(4)}"
    path = f"/{box.name}/eaves/k3s"
    own, greedy = make_file(disk, "own", 48), make_file(disk, "greedy", 256)
    try:
        (service,) = map(Path, cgroups.make(path, 64 * MIB, 500))
        app = box / "eaves" / "app-greedy"
        app.mkdir()
        (box / "memory.max").write_text(str(128 * MIB))
        kept = []
        for _ in range(2):
            drop_caches()
            read_within(service, own)
            assert int((service / "memory.current").read_text()) > 40 * MIB
            read_within(app, greedy)
            kept.append(int((service / "memory.current").read_text()) > 40 * MIB)
            # As it would be if the groups above had none of it.
            (box / "eaves" / "memory.low").write_text("0")
        assert kept == [True, False]
        assert (service.parent / "cpu.weight").read_text().strip() == "50"
        cgroups.make(path, 64 * MIB, 500)
        cgroups.remove(path)
        assert (box / "eaves" / "memory.low").read_text().strip() == "0"
    finally:
        cgroups.remove(f"/{box.name}")
        with contextlib.suppress(OSError):
            box.rmdir()
