"""What there is to tell of each object now, and the message that tells it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from eaves.node.desired.hardware_model import DesiredIo
from eaves.node.desired.model import ConfigProblem, DesiredNetwork, DesiredNode, ObjectKind
from eaves.node.observed import (
    ALIVE,
    AppStatus,
    ClusterStatus,
    ImageState,
    ImageStatus,
    NetworkStatus,
    Status,
    VolumeState,
    VolumeStatus,
)
from eaves.node.report import apps, clusters, networks, storage
from eaves.wire.identifiers import is_uuid
from eaves.wire.pb.info.info_pb2 import ZInfoMsg

STRUCTS: dict[ObjectKind, type[Status]] = {
    ObjectKind.IMAGE: ImageStatus,
    ObjectKind.VOLUME: VolumeStatus,
    ObjectKind.NETWORK: NetworkStatus,
    ObjectKind.APP: AppStatus,
    ObjectKind.CLUSTER: ClusterStatus,
}
"""In the order to tell them."""

_PROGRESS_STEP = 5

Key = tuple[ObjectKind, str]


class Subject(Struct, frozen=True):
    """What one queued message tells: the status (None = the object cannot even be tried) and the config's problems with it."""

    status: Status | None
    problems: tuple[ConfigProblem, ...] = ()
    devices: tuple[DesiredIo, ...] = ()
    """What an app has of the hardware model."""
    networks: tuple[DesiredNetwork, ...] = ()
    """Those that an app is on."""
    source: ImageStatus | None = None
    """What a volume that is not there yet is made from."""
    references: int = 1
    """How many things of the config name a volume, itself included."""


def want_subjects(
    desired: DesiredNode | None, problems: Iterable[ConfigProblem], statuses: Iterable[Status]
) -> dict[Key, Subject]:
    """All there is to tell, by object."""
    by_key: dict[Key, list[ConfigProblem]] = {}
    for problem in problems:
        if problem.kind in STRUCTS and is_uuid(problem.object_id):
            by_key.setdefault((problem.kind, problem.object_id), []).append(problem)
    subjects = {
        key: Subject(None, tuple(found)) for key, found in by_key.items() if any(problem.is_fatal for problem in found)
    }
    observed = {(_KINDS[type(status)], status.id): status for status in statuses}
    for key, status in observed.items():
        subject = Subject(status, tuple(by_key.get(key, ())))
        subjects[key] = _extend(subject, desired, observed) if desired is not None else subject
    return subjects


def want_gist(subject: Subject) -> Subject:
    """What is worth a message: not each kilobyte of a download or of a volume's use."""
    status = subject.status
    if isinstance(status, ImageStatus):
        return replace(subject, status=_coarsen_image(status))
    if isinstance(status, VolumeStatus):
        used, allocated = (_coarsen(number) for number in (status.used_bytes, status.allocated_bytes))
        source = _coarsen_image(subject.source) if subject.source is not None else None
        return replace(subject, status=replace(status, used_bytes=used, allocated_bytes=allocated), source=source)
    return subject


def want_info(device_id: str, key: Key, subject: Subject, now: float) -> ZInfoMsg:
    problems: Sequence[ConfigProblem] = subject.problems
    match subject.status:
        case AppStatus() as status:
            return apps.want_app_info(device_id, status, problems, now, subject.devices, subject.networks)
        case NetworkStatus() as status:
            return networks.want_network_info(device_id, status, problems, now)
        case VolumeStatus() as status:
            return storage.want_volume_info(
                device_id, status, problems, now, source=subject.source, references=subject.references
            )
        case ImageStatus() as status:
            return storage.want_image_info(device_id, status, problems, now)
        case ClusterStatus() as status:
            return clusters.want_cluster_info(device_id, status, problems, now)
        case None:
            return _REFUSALS[key[0]](device_id, problems, now)


def want_removal(device_id: str, key: Key, now: float) -> ZInfoMsg:
    return _REMOVALS[key[0]](device_id, key[1], now)


def _extend(subject: Subject, desired: DesiredNode, observed: dict[Key, Status]) -> Subject:
    """With what only the config tells about it."""
    status = subject.status
    if isinstance(status, AppStatus) and status.state in ALIVE:
        groups = {group for app in desired.apps if app.id == status.id for group in app.devices}
        joined = {interface.network_id for interface in status.interfaces}
        return replace(
            subject,
            devices=tuple(device for device in desired.hardware if device.group in groups),
            networks=tuple(network for network in desired.networks if network.id in joined),
        )
    if isinstance(status, VolumeStatus):
        users = (app for app in desired.apps if status.id in (app.root_volume_id, *(m.volume_id for m in app.mounts)))
        image_id = next((volume.image_id for volume in desired.volumes if volume.id == status.id), "")
        source = observed.get((ObjectKind.IMAGE, image_id)) if status.state is not VolumeState.READY else None
        assert source is None or isinstance(source, ImageStatus)
        return replace(subject, source=source, references=1 + sum(1 for _ in users))
    return subject


def _coarsen_image(status: ImageStatus) -> ImageStatus:
    if status.state not in (ImageState.DOWNLOADING, ImageState.CONVERTING):
        return status
    return replace(status, downloaded_bytes=status.progress_percent // _PROGRESS_STEP)


def _coarsen(number: int) -> int:
    return (number >> 20).bit_length()


_KINDS = {struct: kind for kind, struct in STRUCTS.items()}
_REFUSALS = {
    ObjectKind.APP: apps.want_refused_app_info,
    ObjectKind.NETWORK: networks.want_refused_network_info,
    ObjectKind.IMAGE: storage.want_refused_image_info,
    ObjectKind.VOLUME: storage.want_refused_volume_info,
    ObjectKind.CLUSTER: clusters.want_refused_cluster_info,
}
_REMOVALS = {
    ObjectKind.APP: apps.want_removed_app_info,
    ObjectKind.NETWORK: networks.want_removed_network_info,
    ObjectKind.IMAGE: storage.want_removed_image_info,
    ObjectKind.VOLUME: storage.want_removed_volume_info,
    ObjectKind.CLUSTER: clusters.want_removed_cluster_info,
}
