"""A whole node daemon, except for its engine, against a controller that knows nothing of Eaves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eaves.node.bootstrap import Node
from eaves.node.desired.model import Secret
from eaves.node.settings import NodeSettings
from eaves.testing.device_configs import APP_ID, NETWORK_ID, TREE_ID, want_config
from eaves.testing.engine import PretendEngines
from eaves.testing.foreign_controller import ForeignController
from eaves.wire.pb.info import info_pb2

pytestmark = pytest.mark.contract

FAST = {"timer.config.interval": "5", "timer.metric.interval": "5", "newlog.allow.fastupload": "true"}


class Stage:
    """A controller, and a node that can be stopped and started on the same folders."""

    def __init__(self, controller: ForeignController, folder: Path) -> None:
        root, certificate, key = controller.want_join_files(folder)
        self.controller = controller
        self.engines = PretendEngines()
        self.settings = NodeSettings(
            server=controller.address,
            root_certificate_file=str(root),
            onboarding_certificate_file=str(certificate),
            onboarding_key_file=str(key),
            trust_system_certificates=False,
            name="store-17",
            serial="S-1",
            state_dir=str(folder / "state"),
            run_dir=str(folder / "run"),
        )

    @contextlib.asynccontextmanager
    async def node(self) -> AsyncIterator[Node]:
        node = await Node.open(self.settings, open_engine=self.engines.open)
        task = asyncio.create_task(node.run())
        try:
            yield node
        finally:
            node.stop()
            await task


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with ForeignController().running(tmp_path / "controller") as controller:
        yield Stage(controller, tmp_path)


async def test_node_onboards_and_reports_an_app_that_it_was_given(stage: Stage) -> None:
    controller = stage.controller
    async with stage.node() as node:
        await controller.wait_for(lambda: bool(controller.devices), "registration")
        device = controller.only_device()
        assert (device.serial, device.soft_serial) == ("S-1", "store-17")
        config_hash = controller.write_config(want_config(items=FAST))
        node.poller.wake()
        await controller.wait_for(
            lambda: any(info.ainfo.state == info_pb2.RUNNING for info in controller.infos), "the app's info"
        )
        app = next(info.ainfo for info in controller.infos if info.HasField("ainfo"))
        assert (app.AppID, app.AppName) == (APP_ID, "web")
        await controller.wait_for(
            lambda: any(info.dinfo.eaves.config_hash == config_hash for info in controller.infos), "device info"
        )
        kinds = {info.WhichOneof("InfoContent") for info in controller.infos}
        assert kinds == {"dinfo", "ainfo", "niinfo", "vinfo", "cinfo", "hwinfo"}
        assert {info.niinfo.networkID for info in controller.infos if info.HasField("niinfo")} == {NETWORK_ID}
        assert {info.cinfo.uuid for info in controller.infos if info.HasField("cinfo")} == {TREE_ID}
        await controller.wait_for(lambda: any(message.am for message in controller.metrics), "metrics of the app")
        assert stage.engines.last.applied[-1].apps[0].env == {"GREETING": Secret("hello")}
