"""An EVE device, which knows nothing of Eaves' own fields, as a node of a whole controller: kubectl in, device API out."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from eaves.testing.daemons import wait_for
from eaves.testing.device import Device
from eaves.testing.eve_device import device_info, join_device, poll_until, send, without_eaves
from eaves.testing.system import ControllerHost
from eaves.wire.identifiers import AppId
from eaves.wire.newlog import LogRecord
from eaves.wire.paths import Endpoint
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.info import info_pb2

pytestmark = pytest.mark.system

SECRET = f"known-secret-{secrets.token_hex(8)}"
PASSWORD = f"known-password-{secrets.token_hex(8)}"

MANIFESTS: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web"}, "stringData": {"token": SECRET}},
    {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "registry"},
        "type": "kubernetes.io/basic-auth",
        "stringData": {"username": "shop", "password": PASSWORD},
    },
    {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "Datastore",
        "metadata": {"name": "registry"},
        "spec": {"type": "Registry", "url": "registry.example", "credentialsSecretRef": {"name": "registry"}},
    },
]


def want_app(node: str) -> dict[str, Any]:
    return {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "App",
        "metadata": {"name": "web"},
        "spec": {
            "nodeName": node,
            "image": "registry.example/shop/web:1.4",
            "datastoreRef": {"name": "registry"},
            "resources": {"cpus": 1, "memory": "256Mi"},
            "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "web", "key": "token"}}}],
            "volumes": [{"name": "data", "size": "1Gi", "mountPath": "/data"}],
            "networks": [{"name": "default", "ports": [{"port": 80, "nodePort": 8080}]}],
        },
    }


@pytest.fixture
async def device(own_controller: ControllerHost) -> AsyncIterator[Device]:
    await asyncio.to_thread(own_controller.start)
    async with join_device(own_controller, "eve-1") as device:
        yield device


async def test_kubectl_manages_a_device_that_knows_only_the_public_api(
    own_controller: ControllerHost, device: Device
) -> None:
    kubectl = own_controller.kubectl
    await send(device, device_info(device))
    await asyncio.to_thread(apply, own_controller, *MANIFESTS, want_app("eve-1"))
    said = await asyncio.to_thread(own_controller.eaves_kubectl, "why", "app/web")
    assert "kubectl eaves approve eve-1" in said, said
    assert device.config is not None
    assert list(device.config.apps) == []

    await asyncio.to_thread(own_controller.eaves_kubectl, "approve", "eve-1")
    sealed = await poll_until(device, lambda config: bool(config.apps))
    app = check_config_is_complete(without_eaves(device.config))
    for value in (SECRET, PASSWORD):
        assert value.encode() not in sealed
        assert base64.b64encode(value.encode()) not in sealed
    assert f"TOKEN={SECRET}".encode() in base64.b64decode(device.decrypt(app.cipherData).protectedUserData)
    assert device.decrypt(device.config.datastores[0].cipherData).dsPassword == PASSWORD

    await report_running(device, app)
    await asyncio.to_thread(kubectl.ok, "wait", "--for=condition=Ready", "app/web", "edgenode/eve-1", "--timeout=20s")
    app_id = AppId(app.uuidandversion.uuid)
    assert (await device.send_logs([LogRecord("served one", 1, 1_000_000_000)], app_id)).status == 201
    logs = await asyncio.to_thread(kubectl.ok, "logs", "web")
    assert logs.out == "served one\n"
    shown = await asyncio.to_thread(kubectl.ok, "get", "nodes,apps,pods", "-o", "wide")
    for text in ("192.0.2.7", "8080->80/tcp", "10.1.0.2"):
        assert text in shown.out
    assert "app/web is as asked" in await asyncio.to_thread(own_controller.eaves_kubectl, "why", "app/web")

    await asyncio.to_thread(kubectl.ok, "delete", "app/web", "--wait=false")
    await poll_until(device, lambda config: not config.apps)
    assert await asyncio.to_thread(own_controller.daemon.stop) == 0
    assert list(find_clear_text(own_controller)) == []


def check_config_is_complete(config: EdgeDevConfig) -> Any:
    """What an EVE device needs to run an app, from the fields of the public API alone; answers the app."""
    assert config.id.uuid
    [app] = config.apps
    assert app.uuidandversion.uuid
    assert app.uuidandversion.version
    assert app.displayname
    assert app.activate
    assert (app.fixedresources.memory, app.fixedresources.vcpus) == (256 * 1024, 1)
    volumes = {volume.uuid: volume for volume in config.volumes}
    trees = {tree.uuid: tree for tree in config.contentInfo}
    stores = {store.id: store for store in config.datastores}
    mounted = [volumes[reference.uuid] for reference in app.volumeRefList]
    assert len(mounted) == 2
    tree = trees[mounted[0].origin.downloadContentTreeID]
    assert tree.URL.endswith("shop/web:1.4")
    assert [stores[store].fqdn for store in tree.ds_ids_list] == ["docker://registry.example"]
    networks = {network.uuidandversion.uuid: network for network in config.networkInstances}
    [interface] = app.interfaces
    network = networks[interface.networkId]
    assert network.activate
    assert network.ip.subnet
    assert network.port.name
    assert network.disable_flowlog
    assert len(interface.acls) >= 2
    assert any(action.portmap and action.appPort == 80 for acl in interface.acls for action in acl.actions)
    return app


async def report_running(device: Device, app: Any) -> None:
    """What an EVE device says from the download to the running app, in the fields of the public API."""
    for state in (info_pb2.DOWNLOAD_STARTED, info_pb2.INSTALLED, info_pb2.RUNNING):
        message = device.app_info(app.uuidandversion.uuid, state)
        message.ainfo.AppName = app.displayname
        message.ainfo.appVersion = app.uuidandversion.version
        if state == info_pb2.RUNNING:
            message.ainfo.bootTime.GetCurrentTime()
            message.ainfo.network.add(devName=app.interfaces[0].name, IPAddrs=["10.1.0.2"])
        await send(device, message)
    assert (await device.post(Endpoint.METRICS, device.metrics())).status == 201


def apply(controller: ControllerHost, *manifests: dict[str, Any]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    controller.kubectl.ok("apply", "--server-side", "-f", "-", stdin=text)
    wait_for("the app", lambda: controller.operator.get("apps", "web"))


def find_clear_text(controller: ControllerHost) -> Iterator[str]:
    """Where a secret value is readable in what the stopped controller left, besides the Secret objects themselves."""
    values = [SECRET, PASSWORD]
    needles = [form for value in values for form in (value.encode(), base64.b64encode(value.encode()))]
    for path in controller.folder.rglob("*"):
        if path.suffix == ".db":
            yield from find_rows(path, needles)
        elif path.is_file() and not path.name.endswith(("-wal", "-shm")):
            content = path.read_bytes()
            yield from (str(path) for needle in needles if needle in content)


def find_rows(path: Path, needles: list[bytes]) -> Iterator[str]:
    """Rows of a database that hold a needle; versions of Secrets are where secrets are at home."""
    with sqlite3.connect(path) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert tables
        for table in tables:
            for row in database.execute(f"SELECT * FROM {table}"):
                text = b"\0".join(cell if isinstance(cell, bytes) else str(cell).encode() for cell in row)
                if any(needle in text for needle in needles) and b'"kind":"Secret"' not in text:
                    yield f"{path.name}: {table}"
    database.close()


async def test_describe_node_shows_pressure_as_it_comes_and_goes(
    own_controller: ControllerHost, device: Device
) -> None:
    kubectl = own_controller.kubectl
    await asyncio.to_thread(own_controller.eaves_kubectl, "approve", "eve-1")
    await send(device, device_info(device))
    message = device.metrics()
    message.dm.deviceMemory.memoryMB, message.dm.memory.usedMem = 4000, 1000
    disk = message.dm.disk.add(mountPath="/persist", total=10000, used=9500)
    assert (await device.post(Endpoint.METRICS, message)).status == 201
    wanted = "--for=condition=DiskPressure={}"
    await asyncio.to_thread(kubectl.ok, "wait", wanted.format("True"), "node/eve-1", "--timeout=60s")
    shown = (await asyncio.to_thread(kubectl.ok, "describe", "node", "eve-1")).out
    rows = {line.split()[0]: line for line in shown.splitlines() if line.strip()}
    assert rows["DiskPressure"].split()[1] == "True"
    assert "more than 90% of the node's storage is in use" in rows["DiskPressure"]
    assert rows["MemoryPressure"].split()[1] == "False"
    told = await asyncio.to_thread(kubectl.ok, "events", "--for", "edgenode/eve-1")
    assert "NodeHasDiskPressure" in told.out
    disk.used = 5000
    assert (await device.post(Endpoint.METRICS, message)).status == 201
    await asyncio.to_thread(kubectl.ok, "wait", wanted.format("False"), "node/eve-1", "--timeout=60s")


async def test_the_database_holds_hashes_of_tokens_only(own_controller: ControllerHost, device: Device) -> None:
    bearer = own_controller.operator._client.headers["Authorization"].removeprefix("Bearer ")
    assert await asyncio.to_thread(own_controller.daemon.stop) == 0
    files = [path for path in own_controller.data_dir.glob("*.db*") if path.is_file()]
    content = b"".join(path.read_bytes() for path in files)
    for token in (bearer.encode(), device.token):
        assert token
        assert token not in content
        assert hashlib.sha256(token).digest() in content or hashlib.sha256(token).hexdigest().encode() in content
