"""What an app's workload would get, or what the app waits for, in words. Asked by the keepers; reads, changes nothing."""

from __future__ import annotations

from eaves.node.desired.model import AppKind, DesiredApp
from eaves.node.hardware.service import Devices
from eaves.node.images.service import Images
from eaves.node.networks.service import Networks
from eaves.node.observed import AppState, Fault, ImageState, ImageStatus, NetworkStatus, Observations, VolumeStatus
from eaves.node.volumes.service import Volumes
from eaves.node.workloads.abc import Ready
from eaves.node.workloads.plan import Blocker
from eaves.node.workloads.snapshots import find_rollback, list_volumes


class Readiness:
    def __init__(
        self, observations: Observations, images: Images, volumes: Volumes, networks: Networks, devices: Devices
    ) -> None:
        self._observations = observations
        self._images = images
        self._volumes = volumes
        self._networks = networks
        self._devices = devices

    def find(self, app: DesiredApp) -> Ready | Blocker:
        # A machine may start from a blank disk, to be installed.
        is_blank = app.kind is AppKind.VIRTUAL_MACHINE and not app.image_id
        pin = None if is_blank else self._images.loaded(app.image_id)
        if pin is None and not is_blank:
            return self._say_image(app)
        if (rollback := find_rollback(app, list_volumes(self._observations, app))) is not None:
            return Blocker(AppState.RESTARTING, rollback.message, needs_stop=True)
        volumes = {}
        for volume_id, generation in _list_volumes(app):
            path = self._volumes.path(volume_id, generation)
            if path is None:
                return self._say_volume(volume_id)
            if rival := self._volumes.find_rival(app, volume_id):
                return self._say_rival(volume_id, rival)
            volumes[volume_id, generation] = str(path)
        connection = self._networks.connection(app.id)
        if connection is None:
            return self._say_network(app)
        devices = self._devices.assignment(app)
        if isinstance(devices, Fault):
            return Blocker(AppState.CREATING, f"its devices: {devices.message}", devices)
        image, digest = (pin.image, pin.digest) if pin is not None else ("", "")
        return Ready(image, digest, connection, volumes, devices)

    def _say_image(self, app: DesiredApp) -> Blocker:
        if not app.image_id:
            fault = Fault("ImageMissing", f"app {app.name} names no image", "give the app an image")
            return Blocker(AppState.FAILED, "an image", fault)
        status = self._observations.get(ImageStatus, app.image_id)
        if not isinstance(status, ImageStatus):
            return Blocker(AppState.INITIAL, f"image {app.image_id}")
        words = {
            ImageState.DOWNLOADING: f"download at {status.progress_percent} %",
            ImageState.RESOLVING: "asking the registry",
            ImageState.VERIFYING: "unpacking",
            ImageState.CONVERTING: f"conversion at {status.progress_percent} %",
            ImageState.WAITING: "its turn to download",
            ImageState.LOADED: "removed from storage, fetched again",
            ImageState.FAILED: status.fault.message if status.fault else "failed",
        }
        return Blocker(
            AppState.DOWNLOADING,
            f"image {status.name}: {words[status.state]}",
            status.fault,
            lets_former_run=self._networks.connection(app.id) is not None,
        )

    def _say_volume(self, volume_id: str) -> Blocker:
        status = self._observations.get(VolumeStatus, volume_id)
        if not isinstance(status, VolumeStatus):
            return Blocker(AppState.CREATING, f"volume {volume_id}")
        why = f": {status.fault.message}" if status.fault else ""
        return Blocker(AppState.CREATING, f"volume {status.name}{why}", status.fault)

    def _say_rival(self, volume_id: str, rival: str) -> Blocker:
        status = self._observations.get(VolumeStatus, volume_id)
        name = status.name if isinstance(status, VolumeStatus) else volume_id
        fault = Fault(
            "VolumeInUse",
            f"volume {name} is in use by app {rival}",
            f"stop {rival}, mount the volume read-only, or let the volume be written by many",
        )
        return Blocker(AppState.CREATING, f"volume {name}: in use by app {rival}", fault)

    def _say_network(self, app: DesiredApp) -> Blocker:
        fault = self._networks.fault(app.id)
        for interface in app.interfaces:
            status = self._observations.get(NetworkStatus, interface.network_id)
            if isinstance(status, NetworkStatus) and status.fault:
                return Blocker(AppState.CREATING, f"network {status.name}: {status.fault.message}", status.fault)
        why = f": {fault.message}" if fault else ""
        return Blocker(AppState.CREATING, f"its network{why}", fault)


def _list_volumes(app: DesiredApp) -> list[tuple[str, int]]:
    """The volumes that must be there first. A container's root comes from its image by itself, a machine's is a volume."""
    root = [(app.root_volume_id, app.root_generation)] if app.kind is AppKind.VIRTUAL_MACHINE else []
    return root + [(mount.volume_id, mount.generation) for mount in app.mounts]
