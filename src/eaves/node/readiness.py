"""What an app's container would get, or what the app waits for, in words. Asked by the keepers; reads, changes nothing."""

from __future__ import annotations

from eaves.node.containers.keeper import Ready
from eaves.node.containers.plan import Blocker
from eaves.node.desired.model import AppKind, DesiredApp
from eaves.node.images.service import Images
from eaves.node.networks.service import Networks
from eaves.node.observed import AppState, Fault, ImageState, ImageStatus, NetworkStatus, Observations, VolumeStatus
from eaves.node.volumes.service import Volumes


class Readiness:
    def __init__(self, observations: Observations, images: Images, volumes: Volumes, networks: Networks) -> None:
        self._observations = observations
        self._images = images
        self._volumes = volumes
        self._networks = networks

    def find(self, app: DesiredApp) -> Ready | Blocker:
        if app.kind is not AppKind.CONTAINER:
            fault = Fault(
                "AppKindUnsupported",
                f"app {app.name} is of kind {app.kind}, this node runs containers",
                "use type: Container",
            )
            return Blocker(AppState.FAILED, "", fault)
        pin = self._images.loaded(app.image_id)
        if pin is None:
            return self._say_image(app)
        volumes = {}
        for mount in app.mounts:
            path = self._volumes.path(mount.volume_id, mount.generation)
            if path is None:
                return self._say_volume(mount.volume_id)
            volumes[mount.volume_id, mount.generation] = str(path)
        connection = self._networks.connection(app.id)
        if connection is None:
            return self._say_network(app)
        return Ready(pin.image, pin.digest, connection, volumes)

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

    def _say_network(self, app: DesiredApp) -> Blocker:
        fault = self._networks.fault(app.id)
        for interface in app.interfaces:
            status = self._observations.get(NetworkStatus, interface.network_id)
            if isinstance(status, NetworkStatus) and status.fault:
                return Blocker(AppState.CREATING, f"network {status.name}: {status.fault.message}", status.fault)
        why = f": {fault.message}" if fault else ""
        return Blocker(AppState.CREATING, f"its network{why}", fault)
