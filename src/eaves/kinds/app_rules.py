"""Rules for an App that its schema cannot express."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from eaves.kinds import rules
from eaves.kinds.app_spec import (
    AclAction,
    AclRule,
    AppFile,
    AppNetwork,
    AppSpec,
    AppType,
    AppVolume,
    EnvFrom,
    EnvVar,
    vm_of,
)
from eaves.kinds.app_status import AppStatus
from eaves.kinds.image_reference import ImageReferenceError, parse_image_reference
from eaves.kinds.rules import duplicate, forbidden, invalid, required
from eaves.kinds.vm_rules import check_container, check_machine, find_warnings
from eaves.kube.errors import FieldError
from eaves.kube.quantity import QuantityError, parse_quantity
from eaves.kube.resource import Object

LEAST_MEMORY, MOST_MEMORY = "4Mi", "16Ti"
LEAST_CPUS, MOST_CPUS = "1m", "1024"
LEAST_VOLUME, MOST_VOLUME = "1Mi", "64Ti"

_PATH = re.compile(r"[A-Za-z0-9._/:+~%-]{1,400}")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_PORT_PROTOCOLS = ("tcp", "udp", "6", "17")


def check_app(new: Object, old: Object | None) -> Sequence[FieldError]:
    """Every fault of an App, and of a change of one."""
    spec = msgspec.convert(new["spec"], AppSpec)
    faults = [*rules.check_own_name(new), *_check_spec(spec)]
    if old is not None:
        faults.extend(_check_change(spec, msgspec.convert(old["spec"], AppSpec)))
    return faults


def find_app_warnings(new: Object) -> Iterator[str]:
    """What is allowed and hardly wanted."""
    spec = msgspec.convert(new["spec"], AppSpec)
    if spec.type is AppType.VIRTUAL_MACHINE:
        yield from find_warnings(spec, msgspec.convert(new.get("status") or {}, AppStatus))


def _check_spec(spec: AppSpec) -> Iterator[FieldError]:
    yield from check_machine(spec) if spec.type is AppType.VIRTUAL_MACHINE else check_container(spec)
    if spec.type is AppType.VIRTUAL_MACHINE and spec.datastore_ref is not None:
        yield from check_path_or_image("spec.image", spec.image)
    else:
        yield from check_image("spec.image", spec.image)
    if spec.node_name:
        yield from rules.check_dns_subdomain("spec.nodeName", spec.node_name)
    if spec.datastore_ref is not None:
        yield from rules.check_dns_subdomain("spec.datastoreRef.name", spec.datastore_ref.name)
    if spec.working_dir and not spec.working_dir.startswith("/"):
        yield invalid("spec.workingDir", spec.working_dir, "must be an absolute path")
    for index, word in enumerate(spec.command):
        if "\0" in word or (index == 0 and not word):
            yield invalid(f"spec.command[{index}]", word, "must not be empty or hold a NUL character")
    yield from _check_environment(spec)
    yield from _check_files(spec)
    if spec.resources.cpus is not None:
        yield from rules.check_quantity(
            "spec.resources.cpus", spec.resources.cpus, minimum=LEAST_CPUS, maximum=MOST_CPUS
        )
    yield from rules.check_quantity(
        "spec.resources.memory", spec.resources.memory, minimum=LEAST_MEMORY, maximum=MOST_MEMORY
    )
    yield from _check_volumes(spec)
    for index, network in enumerate(spec.networks or ()):
        yield from _check_network(f"spec.networks[{index}]", network)
    yield from _check_node_ports(spec)


def check_image(path: str, image: str) -> Iterator[FieldError]:
    """A container image reference."""
    try:
        parse_image_reference(image)
    except ImageReferenceError as error:
        yield invalid(path, image, f"must be an image reference such as registry.example/shop/web:1.4: {error}")


def check_path_or_image(path: str, image: str) -> Iterator[FieldError]:
    """What a datastore of any type could have: which type it is only its object tells."""
    name, at, digest = image.partition("@")
    if _PATH.fullmatch(name) is None or ".." in name.split("/"):
        yield invalid(path, image, "must be an image reference, or a path of letters, digits and ._-+~%/ without '..'")
    elif at and _SHA256.fullmatch(digest) is None:
        yield invalid(path, image, "the digest after @ must be sha256: and 64 lower-case hexadecimal digits")


def _check_environment(spec: AppSpec) -> Iterator[FieldError]:
    for index, variable in enumerate(spec.env):
        yield from _check_variable(f"spec.env[{index}]", variable)
    for index, source in enumerate(spec.env_from):
        yield from _check_env_from(f"spec.envFrom[{index}]", source)


def _check_variable(path: str, variable: EnvVar) -> Iterator[FieldError]:
    yield from rules.check_env_name(f"{path}.name", variable.name)
    if variable.value is not None and "\0" in variable.value:
        yield invalid(f"{path}.value", variable.value, "must not hold a NUL character")
    if variable.value_from is None:
        return
    if variable.value:
        yield invalid(f"{path}.valueFrom", "", "may not be specified when `value` is not empty")
    given = [variable.value_from.secret_key_ref, variable.value_from.config_map_key_ref]
    if given.count(None) == 2:
        yield invalid(f"{path}.valueFrom", "", "must specify one of: `secretKeyRef`, `configMapKeyRef`")
    elif given.count(None) == 0:
        yield invalid(f"{path}.valueFrom", "", "may not have more than one field specified at a time")


def _check_env_from(path: str, source: EnvFrom) -> Iterator[FieldError]:
    if source.prefix:
        yield from rules.check_env_name(f"{path}.prefix", source.prefix)
    given = [source.secret_ref, source.config_map_ref]
    if given.count(None) == 2:
        yield invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
    elif given.count(None) == 0:
        yield invalid(path, "", "may not have more than one field specified at a time")


def _check_files(spec: AppSpec) -> Iterator[FieldError]:
    for index, file in enumerate(spec.files):
        path = f"spec.files[{index}]"
        yield from rules.check_absolute_path(f"{path}.path", file.path)
        if file.path.endswith("/"):
            yield invalid(f"{path}.path", file.path, "must name a file, not a directory")
        yield from _check_content(path, file)


def _check_content(path: str, file: AppFile) -> Iterator[FieldError]:
    given = [file.content, file.secret_key_ref, file.config_map_key_ref]
    if given.count(None) == 3:
        yield required(path, "must specify one of: content, secretKeyRef, configMapKeyRef")
    elif given.count(None) < 2:
        yield forbidden(path, "may not have more than one of content, secretKeyRef, configMapKeyRef")


def _check_volumes(spec: AppSpec) -> Iterator[FieldError]:
    for index, volume in enumerate(spec.volumes):
        path = f"spec.volumes[{index}]"
        yield from rules.check_dns_label(f"{path}.name", volume.name)
        if volume.mount_path and spec.type is AppType.CONTAINER:
            yield from rules.check_absolute_path(f"{path}.mountPath", volume.mount_path)
        yield from _check_size(path, volume)
    paths = [
        (f"spec.volumes[{index}].mountPath", volume.mount_path.rstrip("/"))
        for index, volume in enumerate(spec.volumes)
        if volume.mount_path and spec.type is AppType.CONTAINER
    ]
    yield from rules.check_no_repeats(paths)
    names = [
        (f"spec.volumes[{index}].volumeName", v.volume_name) for index, v in enumerate(spec.volumes) if v.volume_name
    ]
    yield from rules.check_no_repeats(names)


def _check_size(path: str, volume: AppVolume) -> Iterator[FieldError]:
    if volume.volume_name:
        yield from rules.check_dns_subdomain(f"{path}.volumeName", volume.volume_name)
        if volume.size is not None:
            yield forbidden(f"{path}.size", "a Volume object has its own size; leave it out beside volumeName")
    elif volume.size is not None:
        yield from rules.check_quantity(f"{path}.size", volume.size, minimum=LEAST_VOLUME, maximum=MOST_VOLUME)


def _check_network(path: str, network: AppNetwork) -> Iterator[FieldError]:
    yield from rules.check_dns_subdomain(f"{path}.name", network.name)
    if network.address:
        yield from rules.check_ipv4(f"{path}.address", network.address)
    if network.mac_address:
        yield from rules.check_mac(f"{path}.macAddress", network.mac_address)
    for index, port in enumerate(network.ports):
        if port.name:
            yield from rules.check_dns_label(f"{path}.ports[{index}].name", port.name)
    named = [(f"{path}.ports[{index}].name", port.name) for index, port in enumerate(network.ports) if port.name]
    yield from rules.check_no_repeats(named)
    for index, rule in enumerate(network.acl or ()):
        yield from _check_acl(f"{path}.acl[{index}]", rule)


def _check_acl(path: str, rule: AclRule) -> Iterator[FieldError]:
    if rule.ip:
        yield from rules.check_cidr(f"{path}.ip", rule.ip)
    if rule.host:
        yield from rules.check_dns_subdomain(f"{path}.host", rule.host.lower())
    if rule.ip and rule.host:
        yield forbidden(f"{path}.host", "may not be given together with ip")
    protocol = rule.protocol.lower()
    if protocol and protocol not in ("tcp", "udp", "icmp") and not (protocol.isdecimal() and int(protocol) < 256):
        yield invalid(f"{path}.protocol", rule.protocol, "must be tcp, udp, icmp or a protocol number below 256")
    for name, value in (("localPort", rule.local_port), ("remotePort", rule.remote_port)):
        if value:
            yield from rules.check_port_range(f"{path}.{name}", value)
            if protocol not in _PORT_PROTOCOLS:
                yield required(f"{path}.protocol", f"{name} needs protocol tcp or udp")
    if rule.action is AclAction.LIMIT and rule.limit is None:
        yield required(f"{path}.limit", "action Limit needs it")
    if rule.action is not AclAction.LIMIT and rule.limit is not None:
        yield forbidden(f"{path}.limit", f"may not be given with action {rule.action}")


def _check_node_ports(spec: AppSpec) -> Iterator[FieldError]:
    """A port of the node leads to one place."""
    seen: set[tuple[str, int]] = set()
    for i, network in enumerate(spec.networks or ()):
        for j, port in enumerate(network.ports):
            if port.node_port is None:
                continue
            key = (str(port.protocol), port.node_port)
            if key in seen:
                yield duplicate(f"spec.networks[{i}].ports[{j}].nodePort", port.node_port)
            seen.add(key)


def _check_change(new: AppSpec, old: AppSpec) -> Iterator[FieldError]:
    if new.type is not old.type:
        yield from rules.check_immutable("spec.type", str(new.type), str(old.type))
    yield from check_counter("spec.restartCounter", new.restart_counter, old.restart_counter)
    yield from check_counter("spec.purgeCounter", new.purge_counter, old.purge_counter)
    yield from _check_machine_change(new, old)
    sizes = {volume.name: volume.size for volume in old.volumes if volume.size is not None}
    for index, volume in enumerate(new.volumes):
        if volume.size is not None and volume.name in sizes:
            yield from check_growth(f"spec.volumes[{index}].size", volume.size, sizes[volume.name])


def _check_machine_change(new: AppSpec, old: AppSpec) -> Iterator[FieldError]:
    """A root disk shrinks only by being made anew; counters go up."""
    if new.rollback is not None and old.rollback is not None:
        yield from check_counter("spec.rollback.counter", new.rollback.counter, old.rollback.counter)
    vm, former = vm_of(new), vm_of(old)
    is_same_disk = (new.image, new.purge_counter) == (old.image, old.purge_counter)
    if is_same_disk and vm.root_disk.size is not None and former.root_disk.size is not None:
        yield from check_growth("spec.vm.rootDisk.size", vm.root_disk.size, former.root_disk.size)
    if vm.cloud_init is not None and former.cloud_init is not None:
        yield from check_counter("spec.vm.cloudInit.version", vm.cloud_init.version, former.cloud_init.version)


def check_counter(path: str, new: int, old: int) -> Iterator[FieldError]:
    """A counter that acts when it is raised: one that goes back would act without anyone having asked."""
    if new < old:
        yield invalid(path, new, f"must not be lower than it was ({old}); raise it by one to act")


def check_growth(path: str, new: int | str, old: int | str) -> Iterator[FieldError]:
    """Storage grows, it never shrinks."""
    try:
        if parse_quantity(new) < parse_quantity(old):
            yield forbidden(path, f"storage cannot shrink (it is {old}); make a new volume and copy")
    except QuantityError:
        return
