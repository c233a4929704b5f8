"""Applications of a config."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from eaves.node.desired import userdata
from eaves.node.desired.draft import Draft, clean_name
from eaves.node.desired.errors import ObjectError, UserDataError
from eaves.node.desired.interfaces import parse_interfaces
from eaves.node.desired.model import (
    AppKind,
    DesiredApp,
    DesiredImage,
    DesiredNetwork,
    DesiredVolume,
    ImageFormat,
    ObjectKind,
    RestartPolicy,
    Secret,
    VolumeMount,
)
from eaves.node.desired.vm_model import Isolation
from eaves.node.desired.vms import DISK_FORMATS, AppData, parse_snapshots, parse_vm
from eaves.wire.pb.config.appconfig_pb2 import AppInstanceConfig
from eaves.wire.pb.config.vm_pb2 import VmConfig

_DEFAULT_MOUNT = "/mnt"
_DEFAULT_GRACE_S = 10
_GRACE_LIMIT_S = 3600
_GRACE_OF_VM_S = 60
"""An operating system takes longer to end than a process."""
_LEAST_MEMORY_BYTES = 4 << 20


class Surroundings(Struct, frozen=True):
    """What apps refer to."""

    images: Mapping[str, DesiredImage]
    volumes: Mapping[str, DesiredVolume]
    networks: Mapping[str, DesiredNetwork]
    profile: str = ""
    splits_multipart: bool = False
    """EVE's property ``process.cloud-init.multipart``: MIME archives are laid out as files for every machine."""


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
    root = _find_root(config, refs, around)
    is_vm = root.kind is AppKind.VIRTUAL_MACHINE
    mounts = tuple(mount for mount in refs if mount.volume_id != root.volume_id)
    extension = config.eaves
    base = DesiredApp(
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
        mounts=mounts if is_vm else _check_paths(mounts),
        interfaces=parse_interfaces(config, app_id, name, around.networks, draft),
        restart_policy=_parse_policy(config, app_id, name, draft),
        stop_grace_s=min(extension.stop_grace_s, _GRACE_LIMIT_S) or (_GRACE_OF_VM_S if is_vm else _DEFAULT_GRACE_S),
        start_delay_s=config.start_delay_in_seconds,
        restart_counter=config.restart.counter,
        purge_counter=config.purge.counter,
        collect_logs=not sizes.disableLogs,
        devices=_parse_devices(config),
    )
    return _add_machine(base, config, refs, around, draft) if is_vm else _add_container(base, config, draft)


def _add_container(app: DesiredApp, config: AppInstanceConfig, draft: Draft) -> DesiredApp:
    """What only containers have."""
    data = userdata.parse_user_data(_decrypt_data(config, draft).user_data)
    command, args = _parse_command(config, data.env)
    extension = config.eaves
    if extension.isolation not in ("", *Isolation):
        message = f"isolation {clean_name(extension.isolation)[:32]!r} is not known"
        raise ObjectError(message, code="BadIsolation")
    return replace(
        app,
        env={key: Secret(value) for key, value in data.env.items() if key != userdata.COMMAND_VARIABLE},
        files=data.files,
        command=command,
        args=args,
        working_dir=extension.working_dir if extension.working_dir.startswith("/") else "",
        isolation=Isolation(extension.isolation or Isolation.PROCESS),
        snapshots=parse_snapshots(config.snapshot, app.id, app.name, draft),
    )


def _add_machine(
    app: DesiredApp, config: AppInstanceConfig, mounts: list[VolumeMount], around: Surroundings, draft: Draft
) -> DesiredApp:
    """What only virtual machines have."""
    data = _decrypt_data(config, draft)
    return replace(
        app,
        vm=parse_vm(
            config, app.id, mounts, around.images, around.volumes, data, splits_multipart=around.splits_multipart
        ),
        snapshots=parse_snapshots(config.snapshot, app.id, app.name, draft),
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


def _find_root(config: AppInstanceConfig, mounts: list[VolumeMount], around: Surroundings) -> _Root:
    """The first volume made from a container image; without one the app is a virtual machine with the first of all as root.

    An app whose first volume is blank is a machine when another comes from a disk image: it is to be installed from that.
    """
    missing, has_disk = "", config.eaves.HasField("vm")
    for mount in mounts:
        volume = around.volumes[mount.volume_id]
        image = around.images.get(volume.image_id)
        if image is None:
            missing = missing or (volume.name if volume.image_id else "")
        elif image.format is ImageFormat.CONTAINER and not config.eaves.HasField("vm"):
            return _Root(image.id, volume.id, volume.generation, AppKind.CONTAINER)
        elif image.format in DISK_FORMATS:
            has_disk = True
        else:
            raise ObjectError(
                f"the image of its volume {volume.name} is in a format that is no disk of a virtual machine",
                code="ImageFormatUnsupported",
                resolution="use raw, qcow2, vmdk, vhd, vhdx, ova or iso",
            )
    if missing:
        raise ObjectError(
            f"the image of its volume {missing} cannot be had",
            code="ImageMissing",
            resolution="see the problems of images",
        )
    if not mounts or not has_disk:
        raise ObjectError("none of its volumes is made from an image", code="ImageMissing")
    first = around.volumes[mounts[0].volume_id]
    return _Root(first.image_id, first.id, first.generation, AppKind.VIRTUAL_MACHINE)


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


def _decrypt_data(config: AppInstanceConfig, draft: Draft) -> AppData:
    """User data, encrypted or (of old controllers) in the clear, and the secrets of the extension."""
    if not config.HasField("cipherData"):
        return AppData(config.userData)
    try:
        block = draft.decrypt(config.cipherData)
    except ObjectError:
        if config.userData:
            return AppData(config.userData)
        raise
    return AppData(block.protectedUserData, block.eaves)


def _parse_devices(config: AppInstanceConfig) -> tuple[str, ...]:
    """Assignment groups by name, in order."""
    return tuple(dict.fromkeys(clean_name(adapter.name) for adapter in config.adapters if adapter.name.strip()))


def _parse_command(config: AppInstanceConfig, env: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Command and arguments: of the extension, else of the variable that every controller can set."""
    extension = config.eaves
    if extension.command or extension.args:
        return tuple(extension.command), tuple(extension.args)
    return userdata.parse_command(env.get(userdata.COMMAND_VARIABLE, "")), ()


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
