"""The node daemon against Eaves's own device side: the real gateway over TLS, with the notify channel."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from msgspec.structs import replace

from eaves.controller.devicelistener import listen_for_devices
from eaves.controller.settings import GatewaySettings
from eaves.node.bootstrap import Node
from eaves.store.telemetry import LogSource
from eaves.testing.deviceside import Rig, open_rig
from eaves.testing.node_stage import JoinFiles, NodeStage
from eaves.testing.objects import make_app, make_network, make_secret, uid_of

pytestmark = pytest.mark.contract

APP_ID = uid_of("App", "web")


class Stage:
    """A device side with its port open, and one node that is meant for it."""

    def __init__(self, rig: Rig, folder: Path, port: int) -> None:
        self.rig = rig
        root, certificate, key = folder / "root.pem", folder / "onboard.cert.pem", folder / "onboard.key.pem"
        root.write_bytes(rig.identity.current.root_pem)
        certificate.write_text(rig.onboarding.pem)
        key.write_bytes(
            rig.onboarding.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.machine = NodeStage(f"localhost:{port}", JoinFiles(root, certificate, key), folder)

    @contextlib.asynccontextmanager
    async def node(self) -> AsyncIterator[Node]:
        """A node with its channel open."""
        async with self.machine.node() as node:
            await self.rig.until(lambda: node.notify.is_open and bool(node.poller.applied_hash), "the channel")
            yield node

    async def app(self) -> dict[str, Any]:
        found = await self.rig.objects.get("App", "default", "web")
        return dict(found or {})


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    settings = GatewaySettings()
    async with open_rig(tmp_path / "controller", settings=settings) as rig:
        await rig.add_key()
        await rig.put(make_network())
        listener = listen_for_devices(rig.side, rig.identity.current.server_file, "127.0.0.1", 0, settings)
        serving = asyncio.create_task(listener.run())
        await rig.until(lambda: listener.is_started)
        try:
            yield Stage(rig, tmp_path, listener.port)
        finally:
            listener.stop()
            await serving


async def test_node_becomes_an_attested_edgenode_of_its_name(stage: Stage) -> None:
    async with stage.node() as node:

        async def is_ready() -> bool:
            obj = await stage.rig.objects.get("EdgeNode", "", "store-17") or {}
            conditions = {found["type"]: found["status"] for found in obj.get("status", {}).get("conditions", [])}
            return conditions.get("Ready") == conditions.get("Attested") == conditions.get("ConfigApplied") == "True"

        await stage.rig.until(is_ready, "the node to be ready")
        obj = await stage.rig.objects.get("EdgeNode", "", "store-17")
        assert obj is not None
        assert obj["metadata"]["uid"] == node.controller.device_id
        assert obj["status"]["inventory"]["serial"] == "S-1"


async def test_applied_app_reaches_the_engine_at_once(stage: Stage) -> None:
    async with stage.node():
        engine = await stage.machine.engines.wait_opened(1)
        started = time.monotonic()
        await stage.rig.put(make_app())
        await stage.rig.until(lambda: bool(engine.applied and engine.applied[-1].apps), "the app")
        # Polls are 18 s apart at least; the channel is what makes it this fast.
        assert time.monotonic() - started < 3

        async def is_running() -> bool:
            return bool((await stage.app()).get("status", {}).get("phase") == "Running")

        await stage.rig.until(is_running, "the status")


async def test_secret_reaches_the_app_and_no_disk_in_clear(stage: Stage, tmp_path: Path) -> None:
    await stage.rig.put(make_secret("web", token="s3cret-value"))
    reference = {"secretKeyRef": {"name": "web", "key": "token"}}
    async with stage.node():
        engine = await stage.machine.engines.wait_opened(1)
        await stage.rig.put(make_app(env=[{"name": "TOKEN", "valueFrom": reference}]))
        await stage.rig.until(lambda: bool(engine.applied and engine.applied[-1].apps), "the app")
        assert engine.applied[-1].apps[0].env["TOKEN"].reveal() == "s3cret-value"
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"s3cret-value" in path.read_bytes()]


async def test_read_logs_come_within_seconds(stage: Stage) -> None:
    async with stage.node() as node:
        engine = await stage.machine.engines.wait_opened(1)
        await stage.rig.put(make_app())
        await stage.rig.until(lambda: bool(engine.applied and engine.applied[-1].apps), "the app")
        assert node.controller.device_id is not None
        assert await stage.rig.side.hub.want_logs(node.controller.device_id, APP_ID, 60)
        started = time.monotonic()
        await engine.write_log(APP_ID, "one", "two")

        async def texts() -> list[str]:
            source = LogSource(node.controller.device_id or "", APP_ID)
            return [line.text for line in (await stage.rig.telemetry.read_logs(source)).lines]

        await stage.rig.until(lambda: texts(), "the lines")
        assert await texts() == ["one", "two"]
        assert time.monotonic() - started < 5


async def test_channel_comes_back_after_the_controller_did(stage: Stage) -> None:
    async with stage.node() as node:
        assert node.controller.device_id is not None
        stage.rig.side.hub.drop(node.controller.device_id)
        await stage.rig.until(lambda: not node.notify.is_open, "the end of the channel")
        await stage.rig.until(lambda: node.notify.is_open, "the channel")


async def test_channel_that_is_switched_off_is_not_opened(stage: Stage) -> None:
    stage.machine.settings = replace(stage.machine.settings, notify=False)
    async with stage.machine.node() as node:
        await stage.rig.until(lambda: bool(node.poller.applied_hash), "a config")
        assert len(stage.rig.side.hub) == 0
