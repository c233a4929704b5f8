"""How long images take to come here: a container image against ``podman pull``, a disk image against ``curl``, in turns.

``make bench BENCH=image_pull`` as root. Both sides ask the same server on loopback and start from nothing each time. The engine does
more: it checks the digest, keeps what it needs to go on after a cut, reports progress, and for the disk makes it ready for volumes.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from eaves.kit import process
from eaves.node.desired.model import DatastoreKind, DesiredDatastore, DesiredImage, ImageFormat
from eaves.node.observed import ImageState, ImageStatus
from eaves.testing.engine_host import EngineHost, find_port
from eaves.testing.registry import Registry
from tests.bench.results import Result, median_result

RUNS = 5
IMAGE_BYTES = 64 << 20
DISK_BYTES = 256 << 20


async def measure_engine(host: EngineHost, image: DesiredImage) -> float:
    started = time.perf_counter()
    await host.apply(images=(image,))
    await host.wait(ImageStatus, image.id, lambda status: status.state is ImageState.LOADED)
    took_s = time.perf_counter() - started
    await host.apply(images=())
    await host.wait_gone(ImageStatus, image.id)
    assert host.manager is not None
    await host.manager.podman.run("rmi", "--all", "--force", check=False)
    await host.manager.images.recheck()
    while any((host.instance.blobs_dir / "disks").iterdir()):  # noqa: ASYNC110 - removing has no event
        await asyncio.sleep(0.01)
    return took_s


async def measure_podman(host: EngineHost, name: str) -> float:
    assert host.manager is not None
    podman = host.manager.podman
    started = time.perf_counter()
    await podman.run("pull", "--quiet", "--tls-verify=false", f"--signature-policy={podman.policy}", name)
    took_s = time.perf_counter() - started
    await podman.run("rmi", "--all", "--force")
    return took_s


async def measure_curl(url: str, target: Path) -> float:
    started = time.perf_counter()
    await process.run(["curl", "--silent", "--fail", "--output", str(target), url])
    took_s = time.perf_counter() - started
    await asyncio.to_thread(target.unlink)
    return took_s


async def measure_containers(folder: Path) -> tuple[list[float], list[float]]:
    with Registry(folder / "registry") as registry:
        await asyncio.to_thread(registry.push, "shop/big:1", ("sleep", "1"), padding_bytes=IMAGE_BYTES)
        async with EngineHost(folder / "node") as host:
            image = host.image(registry.datastore(), "shop/big:1")
            ours, theirs = [], []
            for _ in range(RUNS + 1):
                theirs.append(await measure_podman(host, f"{registry.server}/shop/big:1"))
                ours.append(await measure_engine(host, image))
    return ours[1:], theirs[1:]


async def measure_disks(folder: Path) -> tuple[list[float], list[float]]:
    content = await asyncio.to_thread(os.urandom, DISK_BYTES)
    www = folder / "www"
    await asyncio.to_thread(www.mkdir)
    await asyncio.to_thread((www / "disk.raw").write_bytes, content)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    port = find_port()
    server = await asyncio.create_subprocess_exec(
        *("/bin/busybox", "httpd", "-f", "-p", f"127.0.0.1:{port}", "-h", str(www)), stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with EngineHost(folder / "disks") as host:
            store = DesiredDatastore("files", DatastoreKind.HTTP, url)
            image = host.image(store, "disk.raw", format=ImageFormat.RAW, digest=digest, id="disk")
            ours, theirs = [], []
            for _ in range(RUNS + 1):
                theirs.append(await measure_curl(f"{url}/disk.raw", folder / "curl.raw"))
                ours.append(await measure_engine(host, image))
    finally:
        server.kill()
        await server.wait()
    return ours[1:], theirs[1:]


def bench_image_pull() -> Sequence[Result]:
    folder = Path(tempfile.mkdtemp(prefix="eaves-bench-"))
    try:
        ours, theirs = asyncio.run(measure_containers(folder))
        disks, curl = asyncio.run(measure_disks(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [
        median_result("image_pull", "s", "lower", ours, peer="podman pull", peer_runs=theirs, note="64 MiB, loopback"),
        median_result(
            "image_pull_disk", "s", "lower", disks, peer="curl", peer_runs=curl, note="256 MiB raw, loopback"
        ),
    ]


BENCHMARKS = {"image_pull": bench_image_pull}
