"""The node's engine: makes this machine what a :class:`~eaves.node.desired.model.DesiredNode` says.

The daemon opens one manager, gives it each new config by :meth:`Manager.apply` and runs :meth:`Manager.run` under its supervisor. What
comes of it is on the observations board. Nothing here needs a controller: after a reboot the daemon applies its checkpoint and
all comes up again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from eaves.kit import files
from eaves.kit.errors import EavesError
from eaves.node.clusters.model import ClusterApi
from eaves.node.clusters.slot import ClusterSlot
from eaves.node.containers.cli import PodmanCli
from eaves.node.containers.podman import PodmanEngine
from eaves.node.containers.sessions import end_sessions
from eaves.node.desired.model import DesiredApp, DesiredNode
from eaves.node.engine import NoteDevice, Seal
from eaves.node.flows.service import ROUND_S, FlowLog
from eaves.node.guard import keep_running
from eaves.node.hardware.service import Devices
from eaves.node.host import Host, observe_host, save_host_files
from eaves.node.images.policy import STALLED_AFTER_S, DownloadPolicy, want_policy
from eaves.node.images.service import FIRST_RETRY_S, Images
from eaves.node.images.uplinks import list_ways
from eaves.node.images.ways import ManagedWays, Way, WebProxy
from eaves.node.instance import Instance
from eaves.node.metadata.blobs import BlobFinder
from eaves.node.metadata.patches import Patches
from eaves.node.metadata.service import MetadataServer
from eaves.node.mounts import remove_mounts
from eaves.node.networks.model import Port
from eaves.node.networks.service import Networks
from eaves.node.observed import AppUsage, LogLine, Observations
from eaves.node.observed_cluster import ClusterUsage
from eaves.node.readiness import Readiness
from eaves.node.vms.qemu import QemuEngine
from eaves.node.volumes.abc import VolumeUsers
from eaves.node.volumes.exports import Export, Exports, Say, find_disk
from eaves.node.volumes.service import MEASURE_EVERY_S, Volumes
from eaves.node.volumes.sources import ImageSources
from eaves.node.workloads.abc import EngineKind
from eaves.node.workloads.engines import EngineSet
from eaves.node.workloads.logs import Deliver
from eaves.node.workloads.service import Apps
from eaves.node.workloads.sessions import Command, Session
from eaves.wire.export import ExportParameters
from eaves.wire.timers import Timers, parse_config_items

log = logging.getLogger(__name__)

_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_SUSPEND_LIMIT_S = 300.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class EngineOptions(Struct, frozen=True):
    """``ports``: ports of this machine that its settings label; without any, networks leave by whatever way the host routes.

    ``proxy``: for downloads by ways that have none of their own.
    """

    ports: tuple[Port, ...] = ()
    proxy: WebProxy = WebProxy()
    first_retry_s: float = FIRST_RETRY_S
    stalled_after_s: float = STALLED_AFTER_S
    measure_every_s: float = MEASURE_EVERY_S
    flow_round_s: float = ROUND_S
    k3s_binary: str = ""
    """Program for clusters of controllers that name none."""


async def drop_lines(_: list[LogLine]) -> None:
    """Takes log lines and keeps none."""


class Manager:
    """Use :meth:`open`. ``apply`` may be called before or while ``run`` runs; the latest config counts."""

    def __init__(
        self,
        instance: Instance,
        host: Host,
        observations: Observations,
        deliver: Deliver,
        options: EngineOptions,
    ) -> None:
        self.instance = instance
        self.host = host
        self._observations = observations
        cli = PodmanCli(instance)
        self.podman = cli
        self._timers = Timers()
        self._ports = options.ports
        self._managed_ways: ManagedWays | None = None
        self._base_policy = DownloadPolicy(proxy=options.proxy, stalled_after_s=options.stalled_after_s)
        self.vms = QemuEngine(instance, cli)
        self._engine = EngineSet({EngineKind.CONTAINER: PodmanEngine(instance, host, cli), EngineKind.VM: self.vms})
        self.images = Images(
            instance,
            observations,
            cli,
            policy=self._base_policy,
            find_ways=self._find_ways,
            on_change=self._take_images,
            first_retry_s=options.first_retry_s,
        )
        self._volumes = Volumes(
            instance,
            observations,
            sources=ImageSources(self.images, cli),
            live=self.vms.disks,
            users=self._volume_users,
            on_change=self._take_volumes,
            measure_every_s=options.measure_every_s,
        )
        self._exports = Exports(instance, self._volumes)
        self._desired: DesiredNode | None = None
        self._flows = FlowLog(instance, observations, round_s=options.flow_round_s)
        self._metadata = MetadataServer(observations, Patches(BlobFinder(observations).find))
        self._networks = Networks(
            instance,
            observations,
            ports=options.ports,
            pid_of=self._pid_of,
            is_in_use=self._is_in_use,
            on_change=self._wake_apps,
            metadata=self._metadata,
            on_layout=self._flows.set_layout,
        )
        self._devices = Devices(
            instance,
            on_change=self._wake_apps,
            uplinks=[port.interface for port in options.ports if port.is_uplink],
        )
        readiness = Readiness(observations, self.images, self._volumes, self._networks, self._devices)
        self._apps = Apps(
            instance,
            self._engine,
            observations,
            find_ready=readiness.find,
            deliver=deliver,
            on_change=self._take_apps,
            on_failed_start=self._recheck_images,
        )
        self.clusters = ClusterSlot(
            instance,
            observations,
            find_pin=self.images.loaded,
            ports=options.ports,
            own_binary=options.k3s_binary,
            proxies=dict(options.proxy.variables),
            find_way=self._find_way,
        )
        self._rechecks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(
        cls,
        instance: Instance,
        observations: Observations,
        deliver: Deliver = drop_lines,
        *,
        options: EngineOptions | None = None,
    ) -> Manager:
        """Look at the machine and at what an earlier daemon left. Raises HostError with the remedy when the machine will not do.

        ``deliver`` takes batches of app log lines and returns when they are safe; after a crash it may get lines again, with the
        same numbers.
        """
        host = await observe_host()
        await asyncio.to_thread(instance.prepare)
        await asyncio.to_thread(_forget_other_boot, instance)
        await asyncio.to_thread(end_sessions, instance.sessions_dir)
        await save_host_files(instance, host)
        manager = cls(instance, host, observations, deliver, options or EngineOptions())
        await manager._networks.open()
        await manager._volumes.open()
        await manager._exports.open()
        await manager.images.open()
        await manager._devices.open()
        await manager._apps.open()
        await manager.clusters.open()
        observations.note_inventory()
        return manager

    @property
    def podman_version(self) -> str:
        return ".".join(str(part) for part in self.host.podman_version)

    def use_seal(self, seal: Seal) -> None:
        """Lend the device's signature to apps that ask for it."""
        self._metadata.seal = seal

    def use_device_log(self, note: NoteDevice) -> None:
        """K3s is a part of the device, as EVE has it: its lines go where the daemon's go."""
        self.clusters.note_line = note

    def use_ways(self, ways: ManagedWays) -> None:
        """Downloads leave by the ports that the node itself sets up, where it does."""
        self._managed_ways = ways

    def note_moved(self) -> None:
        """The node's way out changed."""
        self.images.retry()

    async def apply(self, desired: DesiredNode) -> None:
        """Take ``desired`` as the wish from now on; returns at once."""
        desired = self._desired = _drop_strange(desired)
        self._timers, _ = parse_config_items(desired.config_items.items(), self._timers)
        self.images.set_policy(want_policy(self._base_policy, self._timers, desired.config_items))
        self.images.set_desired(desired)
        self._volumes.set_desired(desired)
        self._networks.set_desired(desired)
        self._devices.set_desired(desired)
        self._apps.set_desired(desired)
        self.clusters.set_desired(desired)

    async def run(self) -> None:
        """Until cancelled. Containers, networks and name servers then go on by themselves."""
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_running("networks", self._networks.run), name="networks")
            group.create_task(keep_running("flows", self._flows.run), name="flows")
            group.create_task(keep_running("volumes", self._volumes.run), name="volumes")
            group.create_task(keep_running("images", self.images.run), name="images")
            group.create_task(keep_running("devices", self._devices.run), name="devices")
            group.create_task(keep_running("apps", self._apps.run), name="apps")
            group.create_task(keep_running("clusters", self.clusters.run), name="clusters")

    async def usages(self) -> list[AppUsage]:
        """Counters of every app that runs now."""
        uses = self._metadata.patches.uses
        return [replace(usage, patches=uses(usage.id)) for usage in await self._apps.usages()]

    async def cluster_usage(self) -> ClusterUsage | None:
        """What K3s and its pods take of this machine."""
        return await self.clusters.usage()

    async def exec(self, app_id: str, command: Command) -> Session:
        """Run a command in an app. Raises NotRunningError, WorkloadError, EavesError."""
        return await self._engine.exec(self._apps.find_running(app_id), command)

    async def attach(self, app_id: str, *, stdin: bool) -> Session:
        """An app's standard streams. Raises NotRunningError, WorkloadError, EavesError."""
        return await self._engine.attach(self._apps.find_running(app_id), stdin=stdin)

    def cluster_api(self, cluster_id: str) -> ClusterApi:
        """Blocking, short. Raises ClusterError."""
        return self.clusters.api(cluster_id)

    async def go_down(self) -> None:
        """Before the machine reboots: every virtual machine is suspended or shut down. The next :meth:`apply` starts them again."""
        await self._apps.let_go()
        apps = {app.id: app for app in self._desired.apps} if self._desired is not None else {}
        running = [seen.app_id for seen in (await self.vms.observe()).values() if seen.pid]
        await asyncio.gather(*(self._end_machine(app_id, apps.get(app_id)) for app_id in running))

    async def _end_machine(self, app_id: str, app: DesiredApp | None) -> None:
        try:
            if app is not None and app.vm is not None and app.vm.is_suspended:
                try:
                    async with asyncio.timeout(_SUSPEND_LIMIT_S):
                        await self.vms.suspend(app_id)
                except (EavesError, OSError, TimeoutError) as error:
                    log.warning("machine cannot be suspended and is shut down: app=%s error=%s", app_id, error)
                else:
                    return
            await self.vms.stop(app_id, app.stop_grace_s if app is not None else 0)
        except (EavesError, OSError) as error:
            log.warning("machine is not shut down: app=%s error=%s", app_id, error)

    def find_export(self, token: str) -> Export | None:
        """An image that was made to be taken away."""
        return self._exports.find(token)

    async def make_export(self, wanted: ExportParameters, say: Say) -> Export:
        """An image of a volume, or of a disk of a machine. Raises EavesError, OSError."""
        volume_id = wanted.volume or find_disk(self._desired, wanted.app, wanted.disk)
        return await self._exports.make(volume_id, wanted.snapshot, say)

    async def teardown(self) -> None:
        """Remove every trace of the engine from the machine; :meth:`run` must have ended. Volumes and their data go too."""
        await self.clusters.teardown()
        await self._engine.teardown()
        await self._devices.teardown()
        await self._networks.teardown()
        await self.images.teardown()
        await remove_mounts((self.instance.data_dir, self.instance.run_dir))
        await asyncio.to_thread(_remove_folders, self.instance)

    async def _find_ways(self, policy: DownloadPolicy) -> Sequence[Way]:
        managed = await self._managed_ways(policy.max_cost) if self._managed_ways is not None else None
        return managed if managed is not None else await list_ways(self._ports, policy)

    async def _find_way(self) -> Way:
        return (await self._find_ways(self.images.policy))[0]

    def _wake_apps(self) -> None:
        self._apps.wake()

    def _take_volumes(self) -> None:
        self._wake_apps()
        if self._observations.patches:
            self._networks.wake()

    def _pid_of(self, app_id: str) -> int:
        return self._apps.pid(app_id)

    def _is_in_use(self, app_id: str) -> bool:
        return self._apps.is_in_use(app_id)

    def _volume_users(self) -> VolumeUsers:
        apps = self._apps
        return VolumeUsers(
            apps.volumes_held(), apps.volumes_in_use(), is_whole=apps.is_settled, updating=apps.updating()
        )  # fmt: skip

    def _take_images(self) -> None:
        self._apps.wake()
        self.clusters.wake()
        self._volumes.wake()

    def _take_apps(self) -> None:
        self._networks.wake()
        self._volumes.wake()

    def _recheck_images(self) -> None:
        task = asyncio.create_task(self.images.recheck(), name="recheck images")
        self._rechecks.add(task)
        task.add_done_callback(self._rechecks.discard)


def _drop_strange(desired: DesiredNode) -> DesiredNode:
    """Ids become names of folders and links: one that is no plain word is left out, whatever let it through."""
    kept = {
        field: tuple(item for item in getattr(desired, field) if _ID.fullmatch(item.id))
        for field in ("apps", "networks", "volumes", "images")
    }
    return msgspec.structs.replace(desired, **kept)


def _forget_other_boot(instance: Instance) -> None:
    """Run-time files of another boot describe processes that are gone. Usually the run folder is empty then by itself."""
    mark = instance.run_dir / "boot"
    boot_id = _BOOT_ID.read_bytes()
    if files.load_file(mark) not in (None, boot_id):
        for folder in instance.run_folders:
            shutil.rmtree(folder, ignore_errors=True)
        instance.prepare()
    files.save_file(mark, boot_id)


def _remove_folders(instance: Instance) -> None:
    for folder in (*instance.data_folders, *instance.run_folders):
        shutil.rmtree(folder, ignore_errors=True)
    (instance.run_dir / "boot").unlink(missing_ok=True)
    for folder in (instance.data_dir, instance.run_dir):
        with contextlib.suppress(OSError):
            folder.rmdir()
