"""Sizes of volumes and files of containers as an EVE device bears them.

As pillar has it: a volume whose size changes without a new generation is at fault, and its app with it (cmd/volumemgr quantifyChanges);
disks of some formats cannot be made larger, and asking for it fails (diskmetrics ResizeImg). Files are placed in a container only when
the version of its first-boot data is higher than the one it has, and without such a version that of the app counts, which stays when a
ConfigMap changes (cmd/domainmgr doActivate).
"""

from __future__ import annotations

from collections.abc import Iterator

from eaves.controller.compile.draft import Draft
from eaves.controller.compile.errors import Omission
from eaves.wire.pb.config import storage_pb2
from eaves.wire.pb.config.appconfig_pb2 import AppInstanceConfig
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.vm_pb2 import NOHYPER

_FIXED_FORMATS = frozenset({storage_pb2.VMDK, storage_pb2.VHD, storage_pb2.VHDX})


class EveStorage:
    """Compares what is wanted with the config before."""

    def __init__(self, previous: EdgeDevConfig | None) -> None:
        self._volumes = {volume.uuid: volume for volume in previous.volumes} if previous is not None else {}
        self._apps = {app.uuidandversion.uuid: app for app in previous.apps} if previous is not None else {}

    def fit_app(self, draft: Draft, app_id: str) -> Iterator[Omission]:
        """Sizes of the app's own volumes, and when its files are placed anew."""
        for volume_id in sorted(draft.volumes):
            yield from self.fit_volume(draft, volume_id)
        config = draft.apps[app_id]
        if config.cipherData.clearTextSha256 and not config.cloud_init_version and _is_container(config, draft):
            config.cloud_init_version = self._count_files(config)

    def fit_volume(self, draft: Draft, volume_id: str) -> Iterator[Omission]:
        volume, former = draft.volumes[volume_id], self._volumes.get(volume_id)
        if former is not None and former.generationCount == volume.generationCount:
            if former.maxsizebytes != volume.maxsizebytes:
                volume.maxsizebytes = former.maxsizebytes
                text = f"an EVE device gives no other size to a volume that it has: {volume.displayName} keeps its own"
                yield Omission("UnknownToEve", text)
            return
        tree = draft.trees.get(volume.origin.downloadContentTreeID)
        if tree is not None and tree.iformat in _FIXED_FORMATS and volume.maxsizebytes:
            # 0 stands for the size of the image.
            volume.maxsizebytes = 0
            text = f"an EVE device makes no disk of this format larger: {volume.displayName} gets the size of its image; use Qcow2 or Raw"
            yield Omission("UnknownToEve", text)

    def _count_files(self, config: AppInstanceConfig) -> int:
        """Higher than before when the secrets of the app changed, its files among them."""
        former = self._apps.get(config.uuidandversion.uuid)
        if former is None:
            return int(config.uuidandversion.version)
        if not former.cloud_init_version:
            # Of a controller that left the count to the app's version.
            return max(int(former.uuidandversion.version), int(config.uuidandversion.version)) + 1
        is_same = former.cipherData.clearTextSha256 == config.cipherData.clearTextSha256
        return former.cloud_init_version + (0 if is_same else 1)


def _is_container(config: AppInstanceConfig, draft: Draft) -> bool:
    if config.fixedresources.virtualizationMode == NOHYPER:
        return True
    root = draft.volumes.get(config.volumeRefList[0].uuid)
    tree = draft.trees.get(root.origin.downloadContentTreeID) if root is not None else None
    return tree is not None and tree.iformat == storage_pb2.CONTAINER
