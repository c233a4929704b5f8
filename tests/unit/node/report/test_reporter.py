"""When messages go out, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from msgspec.structs import replace

from eaves.kit.errors import EavesError
from eaves.node.desired.model import ConfigProblem, DesiredNode, ObjectKind
from eaves.node.desired.parse import parse_config
from eaves.node.link.calls import Reply
from eaves.node.link.queues import EventQueue
from eaves.node.observed import (
    AppState,
    AppStatus,
    ClusterStatus,
    Fault,
    ImageBlob,
    ImageState,
    ImageStatus,
    NetworkStatus,
    Observations,
    RunRecord,
    VolumeState,
    VolumeStatus,
)
from eaves.node.observed_cluster import ClusterState
from eaves.node.observed_patches import PatchState, PatchStatus
from eaves.node.orders import Orders
from eaves.node.report.device import DeviceView
from eaves.node.report.facts import Load, Machine
from eaves.node.report.metrics import MetricsView
from eaves.node.report.reporter import Reporter
from eaves.node.report.told import Told, ToldKeys
from eaves.node.statefile import StateFile
from eaves.testing.device_configs import ROOT_ID, TREE_ID, want_config
from eaves.testing.scripted_controller import ScriptedController
from eaves.wire.paths import Endpoint
from eaves.wire.pb.evecommon import devmodelcommon_pb2
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock
from eaves.wire.pb.info import info_pb2, patch_envelope_pb2
from eaves.wire.pb.info.info_pb2 import ZInfoMsg, ZInfoVolume
from eaves.wire.pb.metrics.metrics_pb2 import ZMetricMsg
from eaves.wire.timers import Timers

pytestmark = pytest.mark.looptime

APP_ID = "50000000-0000-4000-8000-000000000001"
IMAGE_ID = "20000000-0000-4000-8000-000000000001"
CLUSTER_ID = "60000000-0000-4000-8000-000000000001"
APP = AppStatus(APP_ID, "1", "web", "shop", AppState.RUNNING)


class Survey:
    async def view_device(self) -> DeviceView:
        return DeviceView(machine=Machine(hostname="here"))

    async def view_metrics(self) -> MetricsView:
        return MetricsView(machine=Machine(), load=Load(1, 2, 3, 4))


class Stage:
    def __init__(self, folder: Path, *, remembers: bool = False) -> None:
        """``remembers``: what was told outlives the reporter, which takes real time that the loop's clock does not know."""
        told = Told(StateFile(folder / "told.json", ToldKeys)) if remembers else Told()
        self.folder = folder
        self.controller = ScriptedController(folder)
        self.observations = Observations()
        self.observations.note_inventory()
        self.queue = EventQueue(self.controller.post)
        self.desired = DesiredNode("d", "1", "h")
        self.orders = SimpleNamespace(desired=self.desired, problems=(), timers=Timers())
        self.reporter = Reporter(
            self.controller, self.observations, cast(Orders, self.orders), self.queue, Survey(), told
        )

    @contextlib.asynccontextmanager
    async def running(self, *services: str) -> AsyncIterator[None]:
        names = services or ("run_changes",)
        tasks = [asyncio.create_task(getattr(self.reporter, name)()) for name in names]
        tasks.append(asyncio.create_task(self.queue.run()))
        await asyncio.sleep(1)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Threads read and write the record of what was told; the loop's clock runs on meanwhile."""
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end
            await asyncio.sleep(1)

    async def until_told(self, count: int) -> None:
        """Until the record on disk has so many objects."""
        path = self.folder / "told.json"
        await self.until(lambda: path.exists() and len(json.loads(path.read_bytes())["keys"]) == count)

    def infos(self) -> list[ZInfoMsg]:
        return [ZInfoMsg.FromString(call.payload) for call in self.controller.calls if call.endpoint is Endpoint.INFO]

    def take(self) -> list[ZInfoMsg]:
        infos = self.infos()
        self.controller.calls.clear()
        return infos

    def take_volumes(self) -> list[ZInfoVolume]:
        return [info.vinfo for info in self.take() if info.ztype == info_pb2.ZiVolume]


async def test_each_change_is_told_once_and_at_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.running():
        stage.observations.publish(replace(APP, state=AppState.STARTING))
        stage.observations.publish(APP)
        await asyncio.sleep(0.2)
        assert [info.ainfo.state for info in stage.take()] == [info_pb2.RUNNING]
        stage.observations.publish(APP)
        await asyncio.sleep(3600)
        assert stage.take() == []


async def test_an_app_that_runs_is_told_with_its_devices(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    config = want_config()
    config.deviceIoList.add(phylabel="COM1", logicallabel="serial", assigngrp="com", ptype=devmodelcommon_pb2.PhyIoCOM)
    config.apps[0].adapters.add(name="com", type=devmodelcommon_pb2.PhyIoCOM)
    stage.orders.desired = parse_config(config, "h", no_key)
    app = replace(APP, id=stage.orders.desired.apps[0].id)
    async with stage.running():
        stage.observations.publish(app)
        await asyncio.sleep(1)
        (info,) = (info.ainfo for info in stage.take() if info.ztype == info_pb2.ZiApp)
        (bundle,) = info.assignedAdapters
        assert (bundle.name, list(bundle.members), bundle.usedByAppUUID) == ("com", ["COM1"], app.id)
        stage.observations.publish(replace(app, state=AppState.HALTED))
        await asyncio.sleep(1)
        assert not stage.take()[-1].ainfo.assignedAdapters


async def test_a_volume_is_told_with_the_progress_of_its_image(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.orders.desired = parse_config(want_config(), "h", no_key)
    image = ImageStatus(TREE_ID, "web", ImageState.DOWNLOADING, size_bytes=100_000)
    root = VolumeStatus(ROOT_ID, 1, "web", VolumeState.WAITING)
    stage.observations.publish(image)
    stage.observations.publish(root)
    async with stage.running():
        (info,) = stage.take_volumes()
        assert (info.uuid, info.state, info.usage.refCount) == (ROOT_ID, info_pb2.DOWNLOAD_STARTED, 2)
        for downloaded in range(0, 100_000, 500):
            stage.observations.publish(replace(image, downloaded_bytes=downloaded))
            await asyncio.sleep(0.1)
        percents = [info.progressPercentage for info in stage.take_volumes()]
        assert 15 <= len(percents) <= 21
        assert percents == sorted(percents)
        stage.observations.publish(replace(image, state=ImageState.LOADED))
        stage.observations.publish(replace(root, state=VolumeState.READY))
        await asyncio.sleep(2)
        (info,) = stage.take_volumes()
        assert (info.state, info.progressPercentage) == (info_pb2.CREATED_VOLUME, 100)
        stage.observations.remove(VolumeStatus, ROOT_ID)
        await asyncio.sleep(2)
        (info,) = stage.take_volumes()
        assert (info.uuid, info.state, info.displayName) == (ROOT_ID, info_pb2.INVALID, "")


def no_key(_: CipherBlock) -> bytes:
    raise EavesError("no key", code="NoKey")


async def test_removed_object_is_told_by_its_id_alone(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.running():
        stage.observations.publish(APP)
        await asyncio.sleep(1)
        stage.take()
        stage.observations.remove(AppStatus, APP_ID)
        await asyncio.sleep(1)
        (info,) = stage.take()
        assert (info.ainfo.AppID, info.ainfo.AppName) == (APP_ID, "")


async def test_what_left_the_config_while_the_daemon_was_down_is_told_as_gone(tmp_path: Path) -> None:
    volume = VolumeStatus(ROOT_ID, 1, "root", VolumeState.READY)
    stage = Stage(tmp_path, remembers=True)
    async with stage.running():
        stage.observations.publish(APP)
        stage.observations.publish(volume)
        await stage.until_told(2)
    again = Stage(tmp_path, remembers=True)
    again.orders.desired = None
    async with again.running():
        again.observations.publish(volume)
        await again.until(lambda: len(again.infos()) == 1)
        assert again.infos()[0].vinfo.displayName == "root", "before there is a config nothing is known to be gone"
        again.orders.desired = DesiredNode("d", "2", "h2")
        again.reporter.note_config()
        await again.until_told(1)
    last = again.infos()[-1]
    assert (last.ainfo.AppID, last.ainfo.AppName) == (APP_ID, "")
    third = Stage(tmp_path, remembers=True)
    third.observations.publish(volume)
    async with third.running():
        await third.until(lambda: bool(third.infos()))
        await asyncio.sleep(10)
    assert [info.WhichOneof("InfoContent") for info in third.infos()] == ["vinfo"]


async def test_what_is_here_and_was_not_looked_at_yet_is_not_told_as_gone(tmp_path: Path) -> None:
    """A cluster that is to be left: a controller that took it for left would delete its K3sCluster while all of it is still here."""
    status = ClusterStatus(CLUSTER_ID, "shop", ClusterState.READY)
    stage = Stage(tmp_path, remembers=True)
    async with stage.running():
        stage.observations.publish(status)
        await stage.until_told(1)
    again = Stage(tmp_path, remembers=True)
    again.observations.has_inventory = False
    async with again.running():
        again.reporter.note_config()
        await asyncio.sleep(10)
        again.observations.expect(ClusterStatus, CLUSTER_ID)
        again.observations.note_inventory()
        await asyncio.sleep(10)
        assert again.infos() == []
        again.observations.publish(replace(status, state=ClusterState.LEAVING))
        await again.until(lambda: len(again.infos()) == 1)
        again.observations.remove(ClusterStatus, CLUSTER_ID)
        await again.until_told(0)
    assert [info.cluster_info.HasField("eaves") for info in again.infos()] == [True, False]
    await StateFile(tmp_path / "told.json", ToldKeys).save(ToldKeys(((ObjectKind.CLUSTER, CLUSTER_ID),)))
    third = Stage(tmp_path, remembers=True)
    third.observations.expect(ClusterStatus, CLUSTER_ID)
    async with third.running():
        # It was left before anything could be said of it.
        third.observations.remove(ClusterStatus, CLUSTER_ID)
        await third.until_told(0)
    assert [info.cluster_info.HasField("eaves") for info in third.infos()] == [False]


async def test_a_removal_that_did_not_arrive_before_the_daemon_ended_is_told_by_the_next(tmp_path: Path) -> None:
    stage = Stage(tmp_path, remembers=True)
    async with stage.running():
        stage.observations.publish(APP)
        await stage.until_told(1)
        stage.take()
        stage.controller.answers[Endpoint.INFO] = lambda _: Reply(503)
        stage.observations.remove(AppStatus, APP_ID)
        await stage.until(lambda: bool(stage.infos()))
    again = Stage(tmp_path, remembers=True)
    async with again.running():
        again.reporter.note_config()
        await again.until_told(0)
    assert [(info.ainfo.AppID, info.ainfo.AppName) for info in again.infos()] == [(APP_ID, "")]


async def test_an_object_that_is_wanted_and_not_seen_yet_is_not_told_as_gone(tmp_path: Path) -> None:
    stage = Stage(tmp_path, remembers=True)
    config = want_config()
    config.id.uuid = "a0000000-0000-4000-8000-000000000001"
    app = AppStatus(config.apps[0].uuidandversion.uuid, "1", "web", "", AppState.RUNNING)
    async with stage.running():
        stage.observations.publish(app)
        await stage.until_told(1)
    again = Stage(tmp_path, remembers=True)
    again.orders.desired = parse_config(config, "h", no_key)
    async with again.running():
        again.reporter.note_config()
        await asyncio.sleep(10)
    assert again.infos() == []


async def test_what_an_app_posted_and_patch_envelopes_are_told_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    patch = PatchStatus("patch-1", "settings", "3", PatchState.READY, 12)
    async with stage.running():
        stage.observations.note_app_data(APP_ID, "customStatus", b"{}")
        stage.observations.note_patches((patch,))
        await asyncio.sleep(1)
        data, told = stage.take()
        assert (data.amdinfo.uuid, data.amdinfo.data) == (APP_ID, b"{}")
        assert (told.patchInfo.id, told.patchInfo.state) == ("patch-1", patch_envelope_pb2.PATCH_READY)
        stage.observations.note_app_data(APP_ID, "customStatus", b"{}")
        stage.observations.note_patches((replace(patch, state=PatchState.ACTIVE),))
        await asyncio.sleep(1)
        assert [info.patchInfo.state for info in stage.take()] == [patch_envelope_pb2.PATCH_ACTIVE]
        stage.observations.note_patches(())
        await asyncio.sleep(1)
        (gone,) = stage.take()
        assert (gone.patchInfo.id, gone.patchInfo.name) == ("patch-1", "")


async def test_blobs_of_an_image_are_told_when_known_when_loaded_and_when_gone(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    image = ImageStatus(IMAGE_ID, "web", ImageState.DOWNLOADING, blobs=(ImageBlob("sha256:11", 4),))

    def take() -> list[tuple[str, int]]:
        blobs = [blob for info in stage.take() for blob in info.binfo.blob]
        return [(blob.sha256, blob.state) for blob in blobs]

    async with stage.running():
        stage.observations.publish(image)
        await asyncio.sleep(1)
        assert take() == [("11", info_pb2.DOWNLOAD_STARTED)]
        stage.observations.publish(replace(image, state=ImageState.LOADED))
        await asyncio.sleep(1)
        assert take() == [("11", info_pb2.LOADED)]
        stage.reporter.tell_all()
        await asyncio.sleep(1)
        assert take() == [("11", info_pb2.LOADED)]
        stage.observations.remove(ImageStatus, IMAGE_ID)
        await asyncio.sleep(1)
        assert take() == [("11", info_pb2.INVALID)]


async def test_download_is_told_in_steps_and_not_by_kilobytes(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    status = ImageStatus(IMAGE_ID, "web", ImageState.DOWNLOADING, size_bytes=100_000)
    async with stage.running():
        for downloaded in range(0, 100_000, 500):
            stage.observations.publish(replace(status, downloaded_bytes=downloaded))
            await asyncio.sleep(0.1)
        percents = [info.cinfo.progressPercentage for info in stage.take()]
        assert 15 <= len(percents) <= 21
        assert percents == sorted(percents)


async def test_use_of_a_volume_is_told_when_it_doubles(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    status = VolumeStatus(IMAGE_ID, 1, "data", VolumeState.READY, 1 << 30)
    async with stage.running():
        for used in range(0, 100 << 20, 1 << 20):
            stage.observations.publish(replace(status, used_bytes=used))
            await asyncio.sleep(0.1)
        assert 6 <= len(stage.take()) <= 9


async def test_impossible_object_is_told_and_its_end_too(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    problem = ConfigProblem(APP_ID, "app web", "MemoryTooSmall", "too little", "", ObjectKind.APP, is_fatal=True)
    async with stage.running():
        stage.orders.problems = (problem,)
        stage.reporter.note_config()
        await asyncio.sleep(1)
        (info,) = stage.take()
        assert (info.ainfo.state, info.ainfo.appErr[0].description) == (info_pb2.ERROR, "too little")
        stage.orders.problems = ()
        stage.reporter.note_config()
        await asyncio.sleep(1)
        (info,) = stage.take()
        assert (info.ainfo.AppID, info.ainfo.state) == (APP_ID, info_pb2.INVALID)


async def test_problem_beside_a_running_app_is_added_to_its_info(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.running():
        stage.observations.publish(APP)
        stage.orders.problems = (ConfigProblem(APP_ID, "app web", "BadFirewallRule", "odd", "", ObjectKind.APP),)
        stage.reporter.note_config()
        await asyncio.sleep(1)
        (info,) = stage.take()
        assert (info.ainfo.state, info.ainfo.appErr[0].description) == (info_pb2.RUNNING, "odd")


async def test_problem_with_what_has_no_id_is_left_to_the_device_info(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.running():
        stage.orders.problems = (
            ConfigProblem("../x", "app bad", "BadIdentifier", "no", "", ObjectKind.APP, is_fatal=True),
        )
        stage.reporter.note_config()
        await asyncio.sleep(1)
        assert stage.take() == []


async def test_new_epoch_sends_everything_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.running("run_changes", "run_device"):
        stage.observations.publish(APP)
        stage.observations.publish(NetworkStatus(IMAGE_ID, "1", "n", "Local", active=True, fault=Fault("X", "y")))
        stage.reporter.note_config()
        await asyncio.sleep(5)
        stage.take()
        stage.orders.desired = replace(stage.desired, controller_epoch=1)
        stage.reporter.note_config()
        await asyncio.sleep(5)
        kinds = sorted(info.WhichOneof("InfoContent") or "" for info in stage.take())
        assert kinds == ["ainfo", "dinfo", "hwinfo", "niinfo"]


async def test_device_info_comes_at_intervals_and_the_inventory_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.running("run_device"):
        await asyncio.sleep(3600)
        kinds = [info.WhichOneof("InfoContent") for info in stage.infos()]
        assert kinds.count("hwinfo") == 1
        times = stage.controller.times(Endpoint.INFO)[2:]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert all(480 <= gap <= 720 for gap in gaps)


async def test_burst_of_changes_is_one_device_info(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.running("run_changes", "run_device"):
        stage.take()
        for number in range(10):
            stage.observations.publish(replace(APP, id=f"50000000-0000-4000-8000-00000000000{number}"))
            stage.reporter.note_device()
            await asyncio.sleep(0.01)
        await asyncio.sleep(5)
        kinds = [info.WhichOneof("InfoContent") for info in stage.take()]
        assert kinds.count("ainfo") == 10
        assert 1 <= kinds.count("dinfo") <= 2


async def test_metrics_come_at_random_intervals_and_are_not_repeated(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.running("run_metrics"):
        await asyncio.sleep(3600)
    times = stage.controller.times(Endpoint.METRICS)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    # The second message comes soon, since a rate needs two.
    assert gaps.pop(0) == 15
    assert all(18 <= gap <= 60 for gap in gaps)
    assert len({round(gap) for gap in gaps}) > 5
    message = ZMetricMsg.FromString(stage.controller.calls[0].payload)
    assert message.dm.dormant_time_in_seconds == 180


async def test_metrics_come_soon_after_an_app_has_started_however_often_it_starts(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.running("run_metrics", "run_changes"):
        await asyncio.sleep(600)
        stage.controller.calls.clear()
        began = asyncio.get_running_loop().time()
        for second in range(10):
            stage.observations.publish(replace(APP, current=RunRecord(started_at=1000.0 + second)))
            await asyncio.sleep(1)
        await asyncio.sleep(6)
        times = [at - began for at in stage.controller.times(Endpoint.METRICS)]
        assert any(15 <= at < 16 for at in times)
        assert len(times) <= 2


async def test_metered_nodes_send_no_metrics_in_between(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.orders.timers = Timers(metric_interval_s=3600)
    async with stage.running("run_metrics", "run_changes"):
        stage.observations.publish(replace(APP, current=RunRecord(started_at=1000.0)))
        await asyncio.sleep(600)
    assert len(stage.controller.times(Endpoint.METRICS)) == 1


async def test_changed_metric_interval_counts_at_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.running("run_metrics"):
        await asyncio.sleep(0.5)
        stage.orders.timers = Timers(metric_interval_s=3000)
        stage.reporter.note_config()
        await asyncio.sleep(1)
        message = ZMetricMsg.FromString(stage.controller.calls[-1].payload)
        assert message.dm.dormant_time_in_seconds == 9000
    assert len(stage.controller.times(Endpoint.METRICS)) == 2


async def test_hardware_health_comes_at_start_and_twice_a_day(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.running("run_health"):
        await asyncio.sleep(2 * 86400)
    assert 4 <= len(stage.controller.times(Endpoint.HARDWARE_HEALTH)) <= 14
