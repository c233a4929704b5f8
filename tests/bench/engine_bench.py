"""From ``apply()`` to the first HTTP 200 against a bare ``podman run`` of the same image, in turns on the same machine.

``make bench BENCH=engine_apply_to_http`` as root. Both sides have the image in storage, publish a node port and are
asked until they answer. The engine's side makes its network anew each time in ``cold`` and has it in ``warm``.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from eaves.kit import process
from eaves.node.desired.model import DesiredApp, DesiredImage, DesiredNetwork
from eaves.node.observed import AppStatus, ImageState, ImageStatus, NetworkStatus
from eaves.testing.desired import ALLOW_ALL, map_port
from eaves.testing.engine_host import EngineHost, find_port
from eaves.testing.registry import Registry
from tests.bench.results import Result, median_result

HTTPD = ("/bin/httpd", "-f", "-p", "80", "-h", "/www")
GOAL_S = 0.5
RUNS = 9


async def wait_http(port: int) -> None:
    async with asyncio.timeout(60):
        while not await has_answer(port):  # noqa: ASYNC110 - what is measured is when it first answers
            await asyncio.sleep(0.002)


async def has_answer(port: int) -> bool:
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer.startswith((b"HTTP/1.0 200", b"HTTP/1.1 200"))
    return False


async def measure_engine(host: EngineHost, image: DesiredImage, network: DesiredNetwork, *, is_cold: bool) -> float:
    port = find_port()
    app: DesiredApp = host.app("web", image, network, acls=(map_port(port), ALLOW_ALL))
    started = time.perf_counter()
    await host.apply(apps=(app,), networks=(network,))
    await wait_http(port)
    took_s = time.perf_counter() - started
    await host.wait_app("web")
    await host.apply(apps=(), networks=() if is_cold else (network,))
    await host.wait_gone(AppStatus, app.id)
    if is_cold:
        await host.wait_gone(NetworkStatus, network.id)
    return took_s


async def measure_podman(host: EngineHost, image_id: str, index: int) -> float:
    """The same storage and runtime; the peer forwards its port with podman's own network, or without one on the host's."""
    assert host.manager is not None
    podman, name, port = host.manager.podman, f"bare{index}", find_port()
    started = time.perf_counter()
    args = ("run", "--detach", "--pull=never", f"--name={name}", "--memory=32m", "--network=host")
    await podman.run(*args, "--entrypoint=/bin/httpd", image_id, "-f", "-p", str(port), "-h", "/www")
    await wait_http(port)
    took_s = time.perf_counter() - started
    await podman.run("rm", "--force", "--time=0", name)
    return took_s


async def measure(runs: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"warm": [], "cold": [], "podman": []}
    folder = Path(tempfile.mkdtemp(prefix="eaves-bench-"))
    with Registry(folder / "registry") as registry:
        registry.push("shop/web:1", HTTPD)
        async with EngineHost(folder / "node") as host:
            image, network = host.image(registry.datastore(), "shop/web:1"), host.network()
            await host.apply(images=(image,))
            await host.wait(ImageStatus, image.id, lambda status: status.state is ImageState.LOADED)
            assert host.manager is not None
            listed = await host.manager.podman.run("images", "--quiet", "--no-trunc")
            image_id = listed.text.split()[0].removeprefix("sha256:")
            for index in range(runs + 1):
                found["podman"].append(await measure_podman(host, image_id, index))
                found["cold"].append(await measure_engine(host, image, network, is_cold=True))
                await measure_engine(host, image, network, is_cold=False)
                found["warm"].append(await measure_engine(host, image, network, is_cold=False))
                await host.apply(networks=())
                await host.wait_gone(NetworkStatus, network.id)
    await process.run(["rm", "-rf", str(folder)])
    # The first round warms caches.
    return {name: values[1:] for name, values in found.items()}


def bench_apply_to_http() -> Sequence[Result]:
    found = asyncio.run(measure(RUNS))
    extra = [cold - bare for cold, bare in zip(found["cold"], found["podman"], strict=True)]
    peer = "podman run --network=host"
    return [
        median_result("engine_apply_to_http_extra", "s", "lower", extra, goal=GOAL_S, note=f"above {peer}, in turns"),
        median_result("engine_apply_to_http", "s", "lower", found["cold"], peer=peer, peer_runs=found["podman"]),
        median_result("engine_apply_to_http_warm", "s", "lower", found["warm"], peer=peer, peer_runs=found["podman"]),
    ]


BENCHMARKS = {"engine_apply_to_http": bench_apply_to_http}
