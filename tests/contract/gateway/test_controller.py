"""``eaves controller`` as a process: start, stop, faults in one line, access for the admin, keys rotated while it runs."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import ssl
import stat
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
import yaml

from eaves.controller.epoch import StoreEpoch
from eaves.controller.objects import Objects, encode_document, key_of
from eaves.store.abc import Remove
from eaves.store.sqlite.credentials import SqliteCredentials
from eaves.store.sqlite.objects import SqliteStore
from eaves.testing.device import Device, make_onboarding_pair
from eaves.testing.device_transport import TlsTransport
from eaves.testing.deviceside import make_onboarding_key
from eaves.wire import controller_certs
from eaves.wire.envelope import parse_envelope
from eaves.wire.paths import Endpoint
from eaves.wire.pb.config.devconfig_pb2 import ConfigRequest

pytestmark = pytest.mark.contract

WAIT_S = 60.0
EAVES = Path(sys.executable).with_name("eaves")
READY = re.compile(rb"is ready: api=(\S+) gateway-port=(\d+) kubeconfig=(\S+)")


class Controller:
    """One data folder and the processes over it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubeconfig = folder / "admin.kubeconfig"
        self.api = ""
        self.gateway_port = 0
        self._process: asyncio.subprocess.Process | None = None

    async def command(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        settings = {
            "EAVES_CONTROLLER_DATA_DIR": str(self.folder),
            "EAVES_CONTROLLER_API__LISTEN": "127.0.0.1:0",
            "EAVES_CONTROLLER_GATEWAY__LISTEN": "127.0.0.1:0",
        }
        return await asyncio.create_subprocess_exec(
            str(EAVES),
            "controller",
            *arguments,
            env={"PATH": "/usr/bin:/bin", **settings, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def start(self, **environment: str) -> None:
        self._process = await self.command("run", **environment)
        assert self._process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            line = await self._process.stdout.readline()
        match = READY.search(line)
        assert match, (line, await self._process.communicate())
        self.api, self.gateway_port = match[1].decode(), int(match[2])

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self._process is not None
        process, self._process = self._process, None
        process.send_signal(number)
        async with asyncio.timeout(WAIT_S):
            _, errors = await process.communicate()
        assert b"Traceback" not in errors, errors.decode()
        return process.returncode if process.returncode is not None else -1

    async def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            await self._process.communicate()

    def admin(self) -> httpx2.AsyncClient:
        document = yaml.safe_load(self.kubeconfig.read_text())
        headers = {"Authorization": f"Bearer {document['users'][0]['user']['token']}"}
        return httpx2.AsyncClient(base_url=self.api, verify=self.context(), headers=headers)

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.root_pem().decode())

    def root_pem(self) -> bytes:
        import base64

        document = yaml.safe_load(self.kubeconfig.read_text())
        return base64.b64decode(document["clusters"][0]["cluster"]["certificate-authority-data"])


@pytest.fixture
async def controller(tmp_path: Path) -> AsyncIterator[Controller]:
    controller = Controller(tmp_path / "data")
    yield controller
    await controller.close()


async def fails(process: asyncio.subprocess.Process) -> str:
    """What a command says that cannot go on."""
    async with asyncio.timeout(WAIT_S):
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"Traceback" not in errors
    return errors.decode()


async def test_the_admin_gets_in_and_strangers_do_not(controller: Controller) -> None:
    await controller.start()
    assert stat.S_IMODE(controller.kubeconfig.stat().st_mode) == 0o600
    async with controller.admin() as admin:
        namespaces = (await admin.get("/api/v1/namespaces")).json()
        announcement = (await admin.get("/api/v1/namespaces/kube-public/configmaps/eaves-gateway")).json()
        metrics = (await admin.get("/metrics")).text
    assert {item["metadata"]["name"] for item in namespaces["items"]} >= {"default", "kube-system", "kube-public"}
    assert announcement["data"]["server"] == f"127.0.0.1:{controller.gateway_port}"
    assert announcement["data"]["root-certificate.pem"].encode() == controller.root_pem()
    assert "eaves_edgenodes 0.0" in metrics
    async with httpx2.AsyncClient(base_url=controller.api, verify=controller.context()) as stranger:
        assert (await stranger.get("/api/v1/namespaces")).status_code == 403
        assert (await stranger.get("/readyz")).status_code == 200


async def test_each_namespace_has_an_account_and_the_authorities_to_trust(controller: Controller) -> None:
    """Also namespaces of a store that an earlier release left without them."""
    await controller.start()
    root = controller.root_pem().decode()
    assert await controller.stop() == 0
    store = await SqliteStore.open(controller.folder / "objects.db")
    objects = Objects(store)
    for kind, name in (("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")):
        for obj in await objects.list(kind):
            if obj["metadata"]["name"] == name:
                await store.commit(
                    [Remove(key_of(kind, obj["metadata"]["namespace"], name), encode_document(obj), None)]
                )
        assert name not in {obj["metadata"]["name"] for obj in await objects.list(kind)}
    await store.close()
    await controller.start()
    async with controller.admin() as admin:
        for space in ("default", "kube-system", "kube-public", "kube-node-lease"):
            there = f"/api/v1/namespaces/{space}"
            # They are there in a moment, as in Kubernetes, and not before the controller is ready.
            deadline = time.monotonic() + WAIT_S
            while (found := await admin.get(f"{there}/configmaps/kube-root-ca.crt")).status_code == 404:
                assert time.monotonic() < deadline, f"{space} gets no authorities"
            assert found.json()["data"] == {"ca.crt": root}
            asked = await admin.post(f"{there}/serviceaccounts/default/token", json={})
            assert asked.status_code == 201, asked.text
        token = asked.json()["status"]["token"]
        assert (await admin.get("/apis", headers={"Authorization": f"Bearer {token}"})).status_code == 200


async def test_a_restart_keeps_the_admins_token_and_a_removed_file_renews_it(controller: Controller) -> None:
    await controller.start()
    before = yaml.safe_load(controller.kubeconfig.read_text())["users"][0]["user"]["token"]
    assert await controller.stop() == 0
    await controller.start()
    document = yaml.safe_load(controller.kubeconfig.read_text())
    assert document["users"][0]["user"]["token"] == before
    assert document["clusters"][0]["cluster"]["server"] == controller.api
    assert await controller.stop(signal.SIGINT) == 0
    controller.kubeconfig.unlink()
    await controller.start()
    async with controller.admin() as admin:
        assert (await admin.get("/api/v1/namespaces")).status_code == 200
        old = {"Authorization": f"Bearer {before}"}
        assert (await admin.get("/api/v1/namespaces", headers=old)).status_code == 401


async def test_no_secret_is_in_the_database_in_clear(controller: Controller) -> None:
    await controller.start()
    token = yaml.safe_load(controller.kubeconfig.read_text())["users"][0]["user"]["token"]
    assert await controller.stop() == 0
    for path in controller.folder.glob("*.db*"):
        assert token.encode() not in path.read_bytes()


async def test_a_second_controller_over_the_same_data_is_refused(controller: Controller) -> None:
    await controller.start()
    said = await fails(await controller.command("run"))
    assert "another process uses the file" in said
    assert "to do: stop the other" in said


async def test_a_port_in_use_is_named_with_what_to_do(controller: Controller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = await controller.command("run", EAVES_CONTROLLER_GATEWAY__LISTEN=f"127.0.0.1:{port}")
        said = await fails(process)
    assert f"address 127.0.0.1:{port}: is in use by another program" in said


async def test_a_data_folder_that_cannot_be_made_is_named(controller: Controller, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    said = await fails(await controller.command("run", EAVES_CONTROLLER_DATA_DIR=str(file / "data")))
    assert str(file / "data") in said
    assert "data_dir" in said


async def test_wrong_settings_are_named(controller: Controller) -> None:
    assert "unknown variable" in await fails(await controller.command("run", EAVES_CONTROLLER_SPEED="9"))
    process = await controller.command("check-settings", EAVES_CONTROLLER_HOSTS="ctl.example,192.0.2.1")
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert b"ctl.example, 192.0.2.1" in out


async def test_systemd_is_told(controller: Controller, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = str(tmp_path / "notify")
        manager.bind(address)
        manager.setblocking(False)
        await controller.start(NOTIFY_SOCKET=address)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(WAIT_S):
            assert (await loop.sock_recv(manager, 1000)).startswith(b"READY=1\n")
            assert await controller.stop() == 0
            assert await loop.sock_recv(manager, 1000) == b"STOPPING=1"


async def test_rotated_keys_are_taken_up_while_devices_are_served(controller: Controller) -> None:
    await controller.start()
    pair = make_onboarding_pair()
    async with controller.admin() as admin:
        key = {**make_onboarding_key("lab", pair), "metadata": {"name": "lab"}}
        created = await admin.post("/apis/eaves.dev/v1alpha1/onboardingkeys", json=key)
        assert created.status_code == 201, created.text
    device = Device(TlsTransport("127.0.0.1", controller.gateway_port, controller.context()), pair, serial="A1")
    async with asyncio.timeout(WAIT_S):
        while True:
            if (await device.register()).status == 201:
                break
            await asyncio.sleep(0.05)
    await device.onboard(controller.root_pem())
    assert device.certs is not None
    before, former_ecdh = device.certs, device.certs.ecdh[0].cert_hash

    process = await controller.command("rotate-certs")
    assert await process.wait() == 0
    request = ConfigRequest(configHash="", integrity_token=device.token)
    async with asyncio.timeout(WAIT_S):
        while True:
            reply = await device.post(Endpoint.CONFIG, request)
            assert reply.status == 200
            if parse_envelope(reply.body).sender_cert_hash != before.signing_sha256:
                break
            await asyncio.sleep(0.1)
    after: controller_certs.ControllerCerts = await device.fetch_certs(controller.root_pem())
    assert former_ecdh in {cert.cert_hash for cert in after.ecdh}
    assert len(after.ecdh) == 2
    assert (await device.poll()).status in (200, 304)
    assert isinstance(device.transport, TlsTransport)
    await device.transport.close()


async def test_everything_is_asked_for_anew_on_demand(controller: Controller) -> None:
    """The command takes a store that is there and that nobody uses."""
    assert "there is no objects.db" in await fails(await controller.command("new-epoch"))
    await controller.start()
    assert "another process uses the file" in await fails(await controller.command("new-epoch"))
    assert await controller.stop() == 0

    async def read_epoch() -> int:
        store = await SqliteStore.open(controller.folder / "objects.db")
        try:
            return await StoreEpoch(SqliteCredentials(store), time.time).want()
        finally:
            await store.close()

    before = await read_epoch()
    process = await controller.command("new-epoch")
    assert await process.wait() == 0
    assert await read_epoch() > before
