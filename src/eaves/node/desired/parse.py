"""Device config → desired state: the only door for config protobuf into the node.

Called by ``eaves.node.orders`` for each new config and for the saved one at start. Never raises for what a config contains: whatever
cannot be done is a ConfigProblem beside the rest, which goes on.
"""

from __future__ import annotations

from collections.abc import Mapping

from eaves.node.desired.apps import Surroundings, parse_apps
from eaves.node.desired.clusters import parse_cluster
from eaves.node.desired.draft import Decrypt, Draft, clean_name
from eaves.node.desired.hardware import parse_hardware
from eaves.node.desired.model import (
    DesiredBaseOs,
    DesiredImage,
    DesiredNode,
    DesiredVolume,
    ObjectKind,
    Owner,
)
from eaves.node.desired.networks import parse_networks
from eaves.node.desired.patches import parse_patches
from eaves.node.desired.port_setup import extract_port_sections
from eaves.node.desired.ports import parse_ports
from eaves.node.desired.snapshots import hand_down_snapshots
from eaves.node.desired.storage import parse_datastores, parse_images, parse_volumes
from eaves.node.desired.unsupported import refuse_unsupported
from eaves.node.desired.volume_modes import assign_modes
from eaves.node.properties import is_maintenance
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.timers import parse_value

_SPLIT_MULTIPART = "process.cloud-init.multipart"


def parse_config(config: EdgeDevConfig, config_hash: str, decrypt: Decrypt) -> DesiredNode:
    """What ``config`` asks for. ``decrypt`` may raise any EavesError; what it would have given is then missing."""
    draft = Draft(decrypt)
    datastores = parse_datastores(config.datastores, draft)
    images = parse_images(config.contentInfo, datastores, draft)
    volumes = parse_volumes(config.volumes, images, draft)
    base_os = _parse_base_os(config)
    if base_os is not None:
        _refuse_image(base_os, images, volumes, draft)
    networks = parse_networks(config.networkInstances, draft)
    items = {item.key: item.value for item in config.configItems}
    splits_multipart, _ = parse_value(_SPLIT_MULTIPART, items.get(_SPLIT_MULTIPART, "false"))
    around = Surroundings(images, volumes, networks, config.global_profile, bool(splits_multipart))
    apps = parse_apps(list(config.apps), around, draft)
    modes, apps = assign_modes(volumes, images, apps, draft)
    modes, apps = hand_down_snapshots(modes, apps)
    wish = parse_cluster(config, items, datastores, draft)
    refuse_unsupported(config, draft)
    return DesiredNode(
        device_id=config.id.uuid.lower(),
        version=config.id.version,
        config_hash=config_hash,
        name=config.eaves.node_name or config.device_name,
        apps=apps,
        networks=tuple(networks.values()),
        ports=parse_ports(config),
        port_sections=extract_port_sections(config),
        hardware=parse_hardware(config.deviceIoList, draft),
        volumes=modes,
        images=tuple(images.values()),
        config_items=items,
        reboot_counter=config.reboot.counter if config.HasField("reboot") else None,
        shutdown_counter=config.shutdown.counter if config.HasField("shutdown") else None,
        maintenance_mode=parse_maintenance(config),
        controller_epoch=config.controller_epoch,
        controller_certs_hash=config.controllercert_confighash,
        config_timestamp_ns=parse_timestamp_ns(config),
        notify_disabled=config.eaves.notify_disabled,
        owner=Owner(config.project_name, config.project_id, config.enterprise_name, config.enterprise_id),
        base_os=base_os,
        patches=parse_patches(config.patchEnvelopes, draft),
        cluster=wish.cluster,
        is_cluster_refused=wish.is_refused,
        problems=tuple(draft.problems),
    )


def _parse_base_os(config: EdgeDevConfig) -> DesiredBaseOs | None:
    wish = config.baseos
    version = clean_name(wish.base_os_version)
    if not version:
        return None
    return DesiredBaseOs(version, wish.content_tree_uuid.lower(), wish.retry_update.counter)


def _refuse_image(
    base_os: DesiredBaseOs, images: dict[str, DesiredImage], volumes: Mapping[str, DesiredVolume], draft: Draft
) -> None:
    """Do not fetch hundreds of megabytes that nothing here will ever start from."""
    image = images.get(base_os.image_id)
    if image is None or any(volume.image_id == image.id for volume in volumes.values()):
        return
    del images[image.id]
    message = "it is an operating system, which this node does not take from its controller"
    draft.add(ObjectKind.IMAGE, image.id, image.name, "BaseOsUnsupported", message, is_fatal=True)


def parse_maintenance(config: EdgeDevConfig) -> bool:
    """Whether ``config`` puts the node into maintenance."""
    return is_maintenance({item.key: item.value for item in config.configItems}, is_asked=config.maintenance_mode)


def parse_timestamp_ns(config: EdgeDevConfig) -> int:
    """When the controller made ``config``; 0 when it does not say. Numbers that are no time are taken as they are."""
    stamp = config.config_timestamp
    return max(0, stamp.seconds * 10**9 + stamp.nanos)
