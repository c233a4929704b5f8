"""Root volumes of containers, as other controllers of the device API expect to hear of them.

Podman makes a container's root from its image, so no volume of ours stands behind it; yet the config names it as a volume, and a controller
waits until it is told that it was created.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from eaves.node.desired.model import AppKind, DesiredNode
from eaves.node.observed import ImageState, VolumeState, VolumeStatus


def want_root_volumes(desired: DesiredNode, images: Mapping[str, ImageState]) -> Iterator[VolumeStatus]:
    """One status for each app that is a container; ``images``: where the images of the node stand."""
    volumes = {volume.id: volume for volume in desired.volumes}
    for app in desired.apps:
        volume = volumes.get(app.root_volume_id)
        if app.kind is not AppKind.CONTAINER or volume is None:
            continue
        is_made = images.get(app.image_id) is ImageState.LOADED
        yield VolumeStatus(
            volume.id,
            volume.generation,
            volume.name,
            VolumeState.READY if is_made else VolumeState.WAITING,
            size_bytes=volume.size_bytes,
            users=(app.name,),
        )
