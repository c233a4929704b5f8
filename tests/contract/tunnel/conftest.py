"""A device side with its port open and one node that is meant for it; handlers are the test's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from eaves.controller.devicelistener import listen_for_devices
from eaves.controller.settings import GatewaySettings
from eaves.node.bootstrap import Node
from eaves.testing.deviceside import Rig, open_rig
from eaves.testing.node_stage import JoinFiles, NodeStage
from eaves.wire.identifiers import DeviceId


class TunnelStage:
    """The controller's end and how to start the node's."""

    def __init__(self, rig: Rig, folder: Path, port: int) -> None:
        self.rig = rig
        self.port = port
        root, certificate, key = folder / "root.pem", folder / "onboard.cert.pem", folder / "onboard.key.pem"
        root.write_bytes(rig.identity.current.root_pem)
        certificate.write_text(rig.onboarding.pem)
        key.write_bytes(
            rig.onboarding.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.files = JoinFiles(root, certificate, key)
        self.machine = NodeStage(f"localhost:{port}", self.files, folder)

    @contextlib.asynccontextmanager
    async def node(self) -> AsyncIterator[tuple[Node, DeviceId]]:
        """A node with its channel open, and its id."""
        async with self.machine.node() as node:
            await self.rig.until(lambda: node.notify.is_open, "the channel")
            assert node.controller.device_id is not None
            await self.rig.until(lambda: node.controller.device_id in self.rig.side.hub, "the channel's other end")
            yield node, node.controller.device_id


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[TunnelStage]:
    settings = GatewaySettings()
    async with open_rig(tmp_path / "controller", settings=settings) as rig:
        await rig.add_key()
        listener = listen_for_devices(rig.side, rig.identity.current.server_file, "127.0.0.1", 0, settings)
        serving = asyncio.create_task(listener.run())
        await rig.until(lambda: listener.is_started)
        try:
            yield TunnelStage(rig, tmp_path, listener.port)
        finally:
            listener.stop()
            await serving
