"""Applications of a config."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Mapping

from msgspec import Struct

from eaves.node.desired import userdata
from eaves.node.desired.acl import parse_acls
from eaves.node.desired.draft import Draft, clean_name
from eaves.node.desired.errors import ObjectError, UserDataError
from eaves.node.desired.model import (
    AppKind,
    DesiredApp,
    DesiredImage,
    DesiredInterface,
    DesiredNetwork,
    DesiredVolume,
    ImageFormat,
    ObjectKind,
    RestartPolicy,
    Secret,
    VolumeMount,
)
from eaves.node.desired.userdata import UserData
from eaves.wire.pb.config.appconfig_pb2 import AppInstanceConfig
from eaves.wire.pb.config.netconfig_pb2 import NetworkAdapter
from eaves.wire.pb.config.vm_pb2 import VmConfig

_DEFAULT_MOUNT = "/mnt"
_DEFAULT_GRACE_S = 10
_GRACE_LIMIT_S = 3600
_LEAST_MEMORY_BYTES = 4 << 20
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_VIRTUAL_FORMATS = {ImageFormat.RAW, ImageFormat.QCOW2, ImageFormat.ISO}


class Surroundings(Struct, frozen=True):
    """What apps refer to."""

    images: Mapping[str, DesiredImage]
    volumes: Mapping[str, DesiredVolume]
    networks: Mapping[str, DesiredNetwork]
    profile: str = ""


class _Root(Struct, frozen=True):
    image_id: str
    volume_id: str
    generation: int
    kind: AppKind


def parse_apps(configs: list[AppInstanceConfig], around: Surroundings, draft: Draft) -> tuple[DesiredApp, ...]:
    """The apps that can be run; each of the others has a problem that says why not."""
    found: list[DesiredApp] = []
    for config in configs:
        name = clean_name(config.displayname)
        app_id = draft.take_id(ObjectKind.APP, config.uuidandversion.uuid, name)
        if app_id is None:
            continue
        try:
            found.append(_parse_app(config, app_id, name or app_id, around, draft))
        except (ObjectError, UserDataError) as error:
            draft.add_error(ObjectKind.APP, app_id, name, error)
    return tuple(found)


def _parse_app(config: AppInstanceConfig, app_id: str, name: str, around: Surroundings, draft: Draft) -> DesiredApp:
    sizes = config.fixedresources
    _check_sizes(config, sizes)
    refs = _parse_mounts(config, around.volumes)
    root = _find_root(refs, around)
    data = _parse_user_data(config, draft)
    command, args = _parse_command(config, data.env)
    extension = config.eaves
    return DesiredApp(
        id=app_id,
        version=config.uuidandversion.version,
        name=name,
        namespace=clean_name(extension.namespace),
        kind=root.kind,
        activate=config.activate and _is_in_profile(config, around.profile),
        image_id=root.image_id,
        root_volume_id=root.volume_id,
        root_generation=root.generation,
        memory_bytes=sizes.memory << 10,
        cpu_millis=extension.cpu_millis or sizes.vcpus * 1000,
        mounts=_check_paths(tuple(mount for mount in refs if mount.volume_id != root.volume_id)),
        interfaces=_parse_interfaces(config, app_id, name, around.networks, draft),
        env={key: Secret(value) for key, value in data.env.items() if key != userdata.COMMAND_VARIABLE},
        files=data.files,
        command=command,
        args=args,
        working_dir=extension.working_dir if extension.working_dir.startswith("/") else "",
        restart_policy=_parse_policy(config, app_id, name, draft),
        stop_grace_s=min(extension.stop_grace_s, _GRACE_LIMIT_S) or _DEFAULT_GRACE_S,
        start_delay_s=config.start_delay_in_seconds,
        restart_counter=config.restart.counter,
        purge_counter=config.purge.counter,
        collect_logs=not sizes.disableLogs,
    )


def _check_sizes(config: AppInstanceConfig, sizes: VmConfig) -> None:
    if not config.HasField("fixedresources"):
        raise ObjectError("the config gives no resources for it", code="ResourcesMissing")
    if sizes.memory << 10 < _LEAST_MEMORY_BYTES:
        raise ObjectError(
            f"{sizes.memory} KiB of memory is too little to run anything",
            code="MemoryTooSmall",
            resolution="give it 4 MiB or more",
        )


def _parse_mounts(config: AppInstanceConfig, volumes: Mapping[str, DesiredVolume]) -> list[VolumeMount]:
    mounts: list[VolumeMount] = []
    for ref in config.volumeRefList:
        volume = volumes.get(ref.uuid.lower())
        if volume is None:
            raise ObjectError(f"volume {ref.uuid[:64]} is not in the config", code="VolumeMissing")
        if volume.generation != ref.generationCount:
            raise ObjectError(
                f"it wants generation {ref.generationCount} of volume {volume.name}, which is at {volume.generation}",
                code="VolumeGenerationMismatch",
            )
        if any(mount.volume_id == volume.id for mount in mounts):
            raise ObjectError(f"volume {volume.name} is used twice", code="DuplicateVolume")
        path = ref.mount_dir.strip() or _DEFAULT_MOUNT
        mounts.append(VolumeMount(volume.id, volume.generation, path, volume.read_only or ref.eaves.read_only))
    return mounts


def _find_root(mounts: list[VolumeMount], around: Surroundings) -> _Root:
    """The first volume made from a container image; a first volume from a disk image makes the app a virtual machine."""
    missing = ""
    for index, mount in enumerate(mounts):
        volume = around.volumes[mount.volume_id]
        image = around.images.get(volume.image_id)
        if volume.image_id and image is None:
            missing = missing or volume.name
            continue
        if image is None:
            continue
        if image.format is ImageFormat.CONTAINER:
            return _Root(image.id, volume.id, volume.generation, AppKind.CONTAINER)
        if index == 0 and image.format in _VIRTUAL_FORMATS:
            return _Root(image.id, volume.id, volume.generation, AppKind.VIRTUAL_MACHINE)
    if missing:
        raise ObjectError(
            f"the image of its volume {missing} cannot be had",
            code="ImageMissing",
            resolution="see the problems of images",
        )
    raise ObjectError("none of its volumes is made from an image", code="ImageMissing")


def _check_paths(mounts: tuple[VolumeMount, ...]) -> tuple[VolumeMount, ...]:
    seen: set[str] = set()
    for mount in mounts:
        path = mount.mount_path
        if (
            not path.startswith("/")
            or posixpath.normpath(path) in ("/", "//")
            or "\0" in path
            or ".." in path.split("/")
        ):
            raise ObjectError(f"a volume cannot be mounted at {clean_name(path)!r}", code="BadMountPath")
        if posixpath.normpath(path) in seen:
            raise ObjectError(f"two volumes are mounted at {clean_name(path)}", code="DuplicateMountPath")
        seen.add(posixpath.normpath(path))
    return mounts


def _parse_user_data(config: AppInstanceConfig, draft: Draft) -> UserData:
    text = config.userData
    if config.HasField("cipherData"):
        try:
            text = draft.decrypt(config.cipherData).protectedUserData
        except ObjectError:
            if not config.userData:
                raise
    return userdata.parse_user_data(text)


def _parse_command(config: AppInstanceConfig, env: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Command and arguments: of the extension, else of the variable that every controller can set."""
    extension = config.eaves
    if extension.command or extension.args:
        return tuple(extension.command), tuple(extension.args)
    return userdata.parse_command(env.get(userdata.COMMAND_VARIABLE, "")), ()


def _parse_interfaces(
    config: AppInstanceConfig, app_id: str, name: str, networks: Mapping[str, DesiredNetwork], draft: Draft
) -> tuple[DesiredInterface, ...]:
    adapters = list(config.interfaces)
    if config.fixedresources.enforce_network_interface_order:
        adapters.sort(key=lambda adapter: adapter.interface_order)
    return tuple(
        _parse_interface(adapter, index, app_id, name, networks, draft) for index, adapter in enumerate(adapters)
    )


def _parse_interface(
    adapter: NetworkAdapter, index: int, app_id: str, name: str, networks: Mapping[str, DesiredNetwork], draft: Draft
) -> DesiredInterface:
    network = networks.get(adapter.networkId.lower())
    if network is None:
        raise ObjectError(
            f"network {adapter.networkId[:64] or 'without id'} of its interface {index} cannot be had",
            code="NetworkMissing",
            resolution="see the problems of networks",
        )
    mac = adapter.macAddress.strip().lower().replace("-", ":")
    if mac and (not _MAC.fullmatch(mac) or int(mac[1], 16) & 1):
        raise ObjectError(f"{clean_name(adapter.macAddress)!r} is no MAC address", code="BadMacAddress")
    return DesiredInterface(
        clean_name(adapter.name) or f"eth{index}",
        network.id,
        _parse_address(adapter.addr, network),
        mac,
        parse_acls(adapter.acls, app_id, name, draft),
    )


def _parse_address(text: str, network: DesiredNetwork) -> str:
    if not text.strip():
        return ""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError as error:
        raise ObjectError(f"{text[:64]!r} is no IP address", code="BadAddress") from error
    if network.subnet:
        subnet = ipaddress.IPv4Network(network.subnet)
        taken = (str(subnet.network_address), str(subnet.broadcast_address), network.gateway)
        if address not in subnet or str(address) in taken:
            raise ObjectError(
                f"{address} cannot be its address on network {network.name} ({subnet})", code="BadAddress"
            )
    return str(address)


def _parse_policy(config: AppInstanceConfig, app_id: str, name: str, draft: Draft) -> RestartPolicy:
    text = config.eaves.restart_policy
    if not text:
        return RestartPolicy.ALWAYS
    try:
        return RestartPolicy(text)
    except ValueError:
        message = f"restart policy {text[:32]!r} is not known, Always is used"
        draft.add(ObjectKind.APP, app_id, name, "BadRestartPolicy", message)
        return RestartPolicy.ALWAYS


def _is_in_profile(config: AppInstanceConfig, profile: str) -> bool:
    return not config.profile_list or profile in config.profile_list
