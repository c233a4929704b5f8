"""The metadata server, asked with curl from inside of apps: who is who, forged callers, floods, and what apps may post."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest
from msgspec.structs import replace

from eaves.kit import process
from eaves.node.desired.model import DesiredApp, Owner
from eaves.node.desired.patch_model import DesiredPatch, PatchFile
from eaves.node.desired.secret import SecretBytes
from eaves.node.metadata.listener import CALLER_LIMIT
from eaves.node.observed_patches import PatchState, PatchUse
from eaves.testing.engine_host import EngineHost
from eaves.testing.outside import Outside
from eaves.testing.registry import Registry

pytestmark = pytest.mark.contract

SERVER = "http://169.254.169.254"
JSON = ("-H", "content-type: application/json")


async def start(host: EngineHost, registry: Registry, *names: str) -> list[DesiredApp]:
    """Apps without a single rule on one network: metadata need none."""
    image, network = host.image(registry.datastore(), "shop/shell:1"), host.network()
    apps = [host.app(name, image, network, acls=()) for name in names]
    owner = Owner("shop", "project-1", "acme", "enterprise-1")
    await host.apply(images=(image,), networks=(network,), apps=tuple(apps), name="store-17", owner=owner)
    for name in names:
        await host.wait_app(name)
    return apps


async def curl(host: EngineHost, app: str, path: str, *options: str) -> tuple[int, str]:
    """(status, body); status 0 = no answer."""
    netns = host.instance.netns_dir / f"app-{app}"
    argv = ["curl", "-s", "-m", "10", "-w", "\n%{http_code}", *options, f"{SERVER}{path}"]
    done = await process.run(["nsenter", f"--net={netns}", *argv], timeout_s=60, check=False)
    body, _, status = done.stdout.decode(errors="replace").rpartition("\n")
    return int(status or 0), body


async def test_each_app_is_told_about_itself(host: EngineHost, registry: Registry) -> None:
    await start(host, registry, "one", "two")
    for name in ("one", "two"):
        status, body = await curl(host, name, "/eve/v1/network.json")
        found = json.loads(body)
        assert status == 200
        assert found["app-instance-uuid"] == f"app-{name}"
        assert found["device-name"] == "store-17"
        assert found["enterprise-name"] == "acme"
        assert await curl(host, name, "/eve/v1/hostname") == (200, f"app-{name}\n")
    assert await curl(host, "one", "/eve/v1/location.json") == (204, "")
    assert (await curl(host, "one", "/eve/v1/discover-network.json"))[0] == 403
    assert "interface eth0" in (await curl(host, "one", "/eve/v1/diag"))[1]
    counters = json.loads((await curl(host, "one", "/eve/v1/networks/metrics.json"))[1])
    assert counters[0]["IfName"] == "eth0"
    assert counters[0]["TxBytes"] > 0
    assert (await curl(host, "one", "/openstack/latest/user_data"))[0] == 404
    assert (await curl(host, "one", "/eve/v1/nonsense"))[0] == 404
    assert (await curl(host, "one", "/eve/v1/network.json", "-X", "POST"))[0] == 405


async def test_an_app_that_may_discover_is_told_of_the_others(host: EngineHost, registry: Registry) -> None:
    one, two = await start(host, registry, "one", "two")
    allowed = replace(one.interfaces[0], may_discover=True)
    await host.apply(apps=(replace(one, interfaces=(allowed,)), two))
    async with asyncio.timeout(30):
        while (await curl(host, "one", "/eve/v1/discover-network.json"))[0] != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    found = json.loads((await curl(host, "one", "/eve/v1/discover-network.json"))[1])
    assert found == {"two": [{"port": "default", "address": await address_in(host, "two")}]}


async def test_what_apps_post_is_reported_signed_or_refused(host: EngineHost, registry: Registry) -> None:
    await start(host, registry, "one")
    assert host.manager is not None
    host.manager.use_seal(lambda payload: b"sealed " + payload)
    assert (await curl(host, "one", "/eve/v1/app/appCustomStatus", *JSON, "-d", '{"a":1}'))[0] == 200
    assert (await curl(host, "one", "/eve/v1/kubeconfig", *JSON, "-d", '{"kind":"Config"}'))[0] == 200
    assert host.observations.app_data == {
        ("app-one", "customStatus"): b'{"a":1}',
        ("app-one", "kubeconfig"): b'{"kind":"Config"}',
    }
    assert (await curl(host, "one", "/eve/v1/app/appCustomStatus", "-d", '{"a":1}'))[0] == 415
    assert (await curl(host, "one", "/eve/v1/app/appCustomStatus", *JSON, "-d", "nonsense"))[0] == 400
    large = json.dumps("x" * (33 << 10))
    assert (await curl(host, "one", "/eve/v1/app/appCustomStatus", *JSON, "-d", large))[0] == 413
    status, refusal = await curl(host, "one", "/eve/v1/tpm/signer", "-d", "payload")
    assert (status, "eaves.app.signer" in refusal) == (403, True)
    await host.apply(config_items={"eaves.app.signer": "true"})
    async with asyncio.timeout(30):
        while (await curl(host, "one", "/eve/v1/tpm/signer", "-d", "payload"))[0] == 403:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert await curl(host, "one", "/eve/v1/tpm/signer", "-d", "payload") == (200, "sealed payload")
    assert (await curl(host, "one", "/eve/v1/tpm/signer", "-d", "x" * (65 << 10)))[0] == 413
    statuses = {(await curl(host, "one", "/metrics"))[0] for _ in range(3)}
    assert statuses == {200, 429}


async def test_a_forged_caller_and_the_outside_get_nothing(
    host: EngineHost, registry: Registry, outside: Outside
) -> None:
    await start(host, registry, "victim", "thief")
    netns = host.instance.netns_dir / "app-thief"
    address = await address_in(host, "victim")
    await process.run(["nsenter", f"--net={netns}", "ip", "addr", "add", f"{address}/32", "dev", "eth0"])
    assert await curl(host, "thief", "/eve/v1/network.json", "--interface", address, "-m", "3") == (0, "")
    gateway = address.rsplit(".", 1)[0] + ".1"
    ports = [port for port in await list_ports(gateway) if port]
    assert ports, "it listens on the gateway's address"
    ask = ["curl", "-s", "-m", "5"]
    for port in ports:
        url = f"http://{gateway}:{port}/eve/v1/hostname"
        from_outside = await process.run(["ip", "netns", "exec", outside.netns, *ask, url], timeout_s=60, check=False)
        assert from_outside.returncode == 7, "refused: nothing listens there for others"
        assert (await process.run([*ask, url], timeout_s=60, check=False)).stdout == b"", "the node itself is no app"
    _, body = await curl(host, "victim", "/eve/v1/hostname")
    assert body == "app-victim\n"


async def test_no_cloud_behind_the_node_answers_apps(host: EngineHost, registry: Registry) -> None:
    await start(host, registry, "one")
    listed = await process.run(["nft", "list", "chain", "inet", host.instance.table, "forwarding"])
    assert "ip daddr 169.254.0.0/16 drop" in listed.text
    netns = host.instance.netns_dir / "app-one"
    argv = ["nsenter", f"--net={netns}", "curl", "-s", "-m", "2", f"{SERVER}:8080/"]
    assert (await process.run(argv, timeout_s=60, check=False)).returncode != 0


async def test_a_flood_by_one_app_leaves_the_others_served(host: EngineHost, registry: Registry) -> None:
    await start(host, registry, "flood", "good")
    netns = host.instance.netns_dir / "app-flood"
    hold = f'for i in $(seq {CALLER_LIMIT * 4}); do eval "exec $((i + 10))<>/dev/tcp/169.254.169.254/80"; done; echo held; sleep 60'
    flood = await asyncio.create_subprocess_exec(
        "nsenter", f"--net={netns}", "bash", "-c", hold, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert flood.stdout is not None
        async with asyncio.timeout(30):
            assert await flood.stdout.readline() == b"held\n"
        assert await curl(host, "good", "/eve/v1/hostname") == (200, "app-good\n")
        assert (await curl(host, "flood", "/eve/v1/hostname"))[0] == 0, "it has all the connections that it may have"
    finally:
        flood.kill()
        await flood.wait()
    assert (await curl(host, "good", "/eve/v1/hostname", "-H", "x: " + "y" * (60 << 10)))[0] in (0, 431)
    assert await curl(host, "good", "/eve/v1/hostname") == (200, "app-good\n")


async def test_patch_envelopes_are_for_the_apps_that_they_name_once_active(
    host: EngineHost, registry: Registry
) -> None:
    await start(host, registry, "one", "two")
    content = b"threshold: 7\n"
    patch = DesiredPatch(
        "patch-1", "settings", "3", False, ("app-one",), (PatchFile("app.yaml", SecretBytes(content), metadata="m"),)
    )
    await host.apply(patches=(patch,))
    description = "/eve/v1/patch/description.json"
    assert await curl(host, "one", description) == (204, ""), "it is kept ready, not shown"
    await host.apply(patches=(replace(patch, is_active=True),))
    async with asyncio.timeout(30):
        while (await curl(host, "one", description))[0] != 200:  # noqa: ASYNC110 - each try waits for an answer
            await asyncio.sleep(0.1)
    shown = json.loads((await curl(host, "one", description))[1])
    assert shown[0]["PatchID"] == "patch-1"
    assert shown[0]["BinaryBlobs"][0]["fileSha"] == hashlib.sha256(content).hexdigest()
    path = shown[0]["BinaryBlobs"][0]["url"].removeprefix(SERVER)
    assert await curl(host, "one", path) == (200, content.decode())
    assert (await curl(host, "one", "/eve/v1/patch/download/patch-1", "-o", "/dev/null"))[0] == 200
    assert (await curl(host, "one", "/eve/v1/patch/download/patch-1/other"))[0] == 404
    assert (await curl(host, "two", path))[0] == 404
    assert await curl(host, "two", description) == (204, "")
    assert host.manager is not None
    used = {usage.id: usage.patches for usage in await host.manager.usages()}
    assert used == {"app-one": (PatchUse("patch-1", "3", 2, 2),), "app-two": ()}
    assert [(status.id, status.state) for status in host.observations.patches] == [("patch-1", PatchState.ACTIVE)]


async def address_in(host: EngineHost, app: str) -> str:
    netns = host.instance.netns_dir / f"app-{app}"
    shown = await process.run(["nsenter", f"--net={netns}", "ip", "-j", "-4", "addr", "show", "eth0"])
    return str(json.loads(shown.stdout)[0]["addr_info"][0]["local"])


async def list_ports(address: str) -> list[int]:
    """TCP ports that are listened on at ``address`` besides that of DNS."""
    shown = await process.run(["ss", "-Hltn", f"src {address}"])
    return [int(line.split()[3].rpartition(":")[2]) for line in shown.text.splitlines() if ":53 " not in line]


async def test_it_comes_back_with_the_bridge_and_with_the_daemon(host: EngineHost, registry: Registry) -> None:
    await start(host, registry, "one")
    assert await curl(host, "one", "/eve/v1/hostname") == (200, "app-one\n")
    await process.run(["ip", "link", "delete", f"{host.instance.bridge_prefix}0"])
    await wait_answer(host, "one")
    await host.stop()
    assert (await curl(host, "one", "/eve/v1/hostname"))[0] == 0
    await host.start()
    await host.apply()
    await wait_answer(host, "one")


async def wait_answer(host: EngineHost, app: str) -> None:
    async with asyncio.timeout(60):
        while await curl(host, app, "/eve/v1/hostname", "-m", "2") != (200, f"app-{app}\n"):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
