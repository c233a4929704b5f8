"""A whole node daemon, except for its engine, against a controller that knows nothing of Eaves."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from eaves.kit.errors import EavesError
from eaves.node.desired.model import Secret
from eaves.node.status import render_snapshot
from eaves.testing.authority import DAY, Authority
from eaves.testing.blocking import nothing_blocks
from eaves.testing.device_configs import APP_ID, NETWORK_ID, TREE_ID, want_app, want_config
from eaves.testing.foreign_controller import ForeignController
from eaves.testing.node_stage import JoinFiles, NodeStage
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.evecommon.acipherinfo_pb2 import EncryptionBlock
from eaves.wire.pb.info import info_pb2

pytestmark = pytest.mark.contract

FAST = {"timer.config.interval": "5", "timer.metric.interval": "5", "newlog.allow.fastupload": "true"}


class Stage(NodeStage):
    """A controller, and a node that can be stopped and started on the same folders."""

    def __init__(self, controller: ForeignController, folder: Path) -> None:
        super().__init__(controller.address, JoinFiles(*controller.want_join_files(folder)), folder)
        self.controller = controller


@pytest.fixture(autouse=True)
def nothing_in_the_node_blocks() -> Iterator[None]:
    """A blocking call on the loop fails the test that made it."""
    with nothing_blocks("eaves.node"):
        yield


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
        # The inventory stands in the queue behind the device info, of which a newer one takes the place.
        await controller.wait_for(lambda: any(info.HasField("hwinfo") for info in controller.infos), "the inventory")
        kinds = {info.WhichOneof("InfoContent") for info in controller.infos} - {"ntp_sources"}
        assert kinds == {"dinfo", "ainfo", "niinfo", "vinfo", "cinfo", "hwinfo"}
        assert {info.niinfo.networkID for info in controller.infos if info.HasField("niinfo")} == {NETWORK_ID}
        assert {info.cinfo.uuid for info in controller.infos if info.HasField("cinfo")} == {TREE_ID}
        await controller.wait_for(lambda: any(message.am for message in controller.metrics), "metrics of the app")
        assert stage.engines.last.applied[-1].apps[0].env == {"GREETING": Secret("hello")}


async def onboarded(stage: Stage, config: EdgeDevConfig) -> str:
    """Register the node of ``stage`` and give it a first config; answers the hash."""
    controller = stage.controller
    async with stage.node() as node:
        await controller.wait_for(lambda: bool(controller.devices), "registration")
        hash_ = controller.write_config(config)
        node.poller.wake()
        await controller.wait_for(
            lambda: any(info.dinfo.eaves.config_hash == hash_ for info in controller.infos), "the config"
        )
    return hash_


async def test_config_comes_back_after_a_restart_without_a_controller(stage: Stage) -> None:
    hash_ = await onboarded(stage, want_config(items=FAST))
    await stage.controller.stop()
    async with stage.node() as node:
        assert node.poller.applied_hash == hash_
        desired = node.orders.desired
        assert desired is not None
        assert [app.name for app in desired.apps] == ["web"]
    assert len(stage.engines.opened) == 2


async def test_second_start_of_the_same_boot_neither_registers_nor_attests(stage: Stage) -> None:
    await onboarded(stage, want_config(items=FAST))
    controller = stage.controller
    controller.requests.clear()
    async with stage.node():
        await controller.wait_for(lambda: controller.count("config") > 0, "a config request")
    assert (controller.count("register"), controller.count("attest")) == (0, 0)


async def test_restart_of_the_controller_needs_nobody(stage: Stage, tmp_path: Path) -> None:
    controller = stage.controller
    async with stage.node() as node:
        await controller.wait_for(lambda: bool(controller.devices), "registration")
        controller.write_config(want_config(items=FAST))
        node.poller.wake()
        await controller.wait_for(lambda: any(info.HasField("ainfo") for info in controller.infos), "the app")
        await controller.stop()
        for device in controller.devices.values():
            device.token = b""
        config = want_config(version="2", items=FAST)
        del config.apps[:]
        controller.write_config(config)
        await controller.start(tmp_path / "controller")
        await controller.wait_for(lambda: controller.only_device().attestations == 2, "a second attestation", 40)
        await controller.wait_for(
            lambda: any(info.ainfo.AppID == APP_ID and not info.ainfo.AppName for info in controller.infos),
            "the end of the app",
            40,
        )


async def test_rotated_signing_certificate_costs_one_fetch(stage: Stage) -> None:
    controller = stage.controller
    async with stage.node() as node:
        await controller.wait_for(lambda: bool(controller.devices), "registration")
        controller.write_config(want_config(items=FAST))
        node.poller.wake()
        await controller.wait_for(lambda: any(info.HasField("ainfo") for info in controller.infos), "the app")
        node.certs._last_fetch = None  # As if the last fetch were long ago.
        fetches = controller.count("certs")
        controller.authority.rotate_signing()
        hash_ = controller.write_config(want_config(version="2", items=FAST))
        node.poller.wake()
        await controller.wait_for(
            lambda: any(info.dinfo.eaves.config_hash == hash_ for info in controller.infos), "the second config"
        )
        assert controller.count("certs") == fetches + 1


async def test_secret_reaches_the_app_encrypted(stage: Stage) -> None:
    controller = stage.controller
    async with stage.node() as node:
        await controller.wait_for(lambda: bool(controller.devices) and bool(controller.only_device().ecdh_pem), "keys")
        config = want_config(items=FAST)
        block = EncryptionBlock(protectedUserData=base64.b64encode(b"TOKEN=s3cret").decode())
        config.apps[0].cipherData.CopyFrom(controller.encrypt(config, block))
        config.apps[0].userData = ""
        controller.write_config(config)
        node.poller.wake()
        await controller.wait_for(lambda: any(info.HasField("ainfo") for info in controller.infos), "the app")
    assert stage.engines.last.applied[-1].apps[0].env["TOKEN"].reveal() == "s3cret"


async def test_impossible_app_is_reported_beside_the_good_one(stage: Stage) -> None:
    controller = stage.controller
    async with stage.node() as node:
        await controller.wait_for(lambda: bool(controller.devices), "registration")
        config = want_config(items=FAST)
        bad = want_app("50000000-0000-4000-8000-000000000099", "bad")
        bad.fixedresources.memory = 0
        config.apps.append(bad)
        controller.write_config(config)
        node.poller.wake()
        await controller.wait_for(
            lambda: (
                {info.ainfo.AppName: info.ainfo.state for info in controller.infos if info.HasField("ainfo")}
                == {"web": info_pb2.RUNNING, "bad": info_pb2.ERROR}
            ),
            "both apps",
        )


async def test_logs_of_app_and_device_arrive_once_and_in_order(stage: Stage) -> None:
    controller = stage.controller
    async with stage.node() as node:
        await controller.wait_for(lambda: bool(controller.devices), "registration")
        controller.write_config(want_config(items=FAST))
        node.poller.wake()
        await controller.wait_for(lambda: any(info.HasField("ainfo") for info in controller.infos), "the app")
        node.uploader.note_readers(APP_ID, 60)
        for number in range(5):
            await stage.engines.last.write_log(APP_ID, f"line {number}", "näxt")
        await controller.wait_for(lambda: len(controller.app_records.get(APP_ID, [])) >= 10, "the app's lines")
        logging.getLogger("eaves.test").warning("hello from the daemon")
        await node.logs.cut(0.0, ["dev"])
        node.uploader.note_timers()
        await controller.wait_for(lambda: bool(controller.device_records), "the device's lines")
    numbers = [record.number for record in controller.app_records[APP_ID]]
    assert numbers == list(range(1, 11))
    assert controller.log_names[APP_ID] == "web"


async def test_a_controller_chooses_which_lines_of_the_daemon_it_gets(stage: Stage) -> None:
    controller = stage.controller
    log = logging.getLogger("eaves.test")
    async with stage.node() as node:
        await controller.wait_for(lambda: bool(controller.devices), "registration")
        hash_ = controller.write_config(want_config(items={**FAST, "debug.default.remote.loglevel": "error"}))
        node.poller.wake()
        await controller.wait_for(
            lambda: any(info.dinfo.eaves.config_hash == hash_ for info in controller.infos), "the config"
        )
        log.warning("not for the controller")
        log.error("for the controller")
        await node.logs.cut(0.0, ["dev"])
        node.uploader.note_timers()
        await controller.wait_for(
            lambda: "for the controller" in [record.content for record in controller.device_records], "the line"
        )
    assert "not for the controller" not in [record.content for record in controller.device_records]


async def test_a_controller_that_chats_is_served_as_well(stage: Stage) -> None:
    controller = stage.controller
    controller.small_talk = b"OK"
    async with stage.node() as node:
        await controller.wait_for(lambda: bool(controller.infos and controller.metrics), "what the node tells")
        async with asyncio.timeout(60):
            await node.queue.wait_empty()
        assert controller.count("register") == 1


async def test_lines_written_while_the_controller_is_gone_are_sent_later(stage: Stage, tmp_path: Path) -> None:
    await onboarded(stage, want_config(items=FAST))
    controller = stage.controller
    await controller.stop()
    async with stage.node():
        await (await stage.engines.wait_opened(2)).write_log(APP_ID, "one", "two")
    async with stage.node() as node:
        await (await stage.engines.wait_opened(3)).write_log(APP_ID, "three")
        await controller.start(tmp_path / "controller")
        node.uploader.note_readers(APP_ID, 60)
        await controller.wait_for(lambda: len(controller.app_records.get(APP_ID, [])) >= 3, "the lines")
    assert [record.content for record in controller.app_records[APP_ID]] == ["one", "two", "three"]


async def test_serial_that_is_not_admitted_waits_and_says_so(stage: Stage) -> None:
    stage.controller.allowed_serials = {"another"}
    async with stage.node() as node:
        await stage.controller.wait_for(lambda: stage.controller.count("uuid") >= 2, "a second attempt")
        snapshot = await stage.snapshot()
        assert "403" in snapshot.waiting_for
        stage.controller.allowed_serials = {"store-17"}
        await stage.controller.wait_for(lambda: bool(stage.controller.devices), "registration by soft serial")
        assert node.serial == "S-1"


async def test_wrong_clock_shows_as_such_in_the_status(tmp_path: Path) -> None:
    old = Authority(server_lifetime=(-30 * DAY, -10 * DAY))
    async with ForeignController(old).running(tmp_path / "controller") as controller:
        stage = Stage(controller, tmp_path)
        async with stage.node():
            # The node refuses first, then the controller's side of the handshake fails.
            await controller.wait_for(lambda: controller.failed_handshakes > 0, "a handshake")
            text = render_snapshot(await stage.snapshot())
    assert "expired by this machine's clock" in text
    assert "check the clock" in text


async def test_machine_without_podman_is_managed_and_says_what_it_lacks(stage: Stage) -> None:
    stage.engines.error = EavesError("missing programs: podman", resolution="apt-get install podman")
    controller = stage.controller
    async with stage.node():
        await controller.wait_for(
            lambda: any(
                "apt-get install podman" in line for info in controller.infos for line in info.dinfo.eaves.problems
            ),
            "the problem",
        )


async def test_reboot_command_is_announced_and_carried_out_once(stage: Stage, tmp_path: Path) -> None:
    mark = tmp_path / "rebooted"
    stage.settings = replace(stage.settings, reboot_command=("touch", str(mark)))
    controller = stage.controller
    async with stage.node() as node:
        await controller.wait_for(lambda: bool(controller.devices), "registration")
        config = want_config(items=FAST)
        config.reboot.counter = 1
        controller.write_config(config)
        node.poller.wake()
        await controller.wait_for(lambda: bool(node.poller.applied_hash), "the first config")
        config.reboot.counter = 2
        controller.write_config(config)
        node.poller.wake()
        await controller.wait_for(lambda: any(info.dinfo.reboot_inprogress for info in controller.infos), "the notice")
        assert node.orders._reboot is not None
        await node.orders._reboot
    assert await asyncio.to_thread(mark.exists)


async def test_controller_that_lost_everything_gets_the_node_back(stage: Stage) -> None:
    controller = stage.controller
    async with stage.node() as node:
        await controller.wait_for(lambda: bool(controller.devices), "registration")
        controller.write_config(want_config(items=FAST))
        node.poller.wake()
        await controller.wait_for(lambda: any(info.HasField("ainfo") for info in controller.infos), "the app")
        before = node.controller.device_id
        controller.devices.clear()
        controller.infos.clear()
        node.poller.wake()
        await controller.wait_for(lambda: bool(controller.devices), "another registration")
        device = controller.only_device()
        assert device.id != before
        controller.write_config(want_config(items=FAST))
        node.poller.wake()
        await controller.wait_for(
            lambda: any(info.devId == device.id and info.HasField("ainfo") for info in controller.infos),
            "the app again",
            30,
        )
    assert stage.engines.last.applied[-1].apps[0].activate
