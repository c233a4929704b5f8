"""Apps: one AppInstanceConfig each, with everything it needs around it.

Real EVE devices restart or recreate an app only when its restart or purge counter differs, and refuse a change that
would need it when the counter stayed. The counters sent are therefore made from the operator's counter and everything
whose change needs a restart (or a new root volume): one edit of the App is enough on every device.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping

from msgspec import Struct

from eaves.controller.compile.acls import AceIds, want_acls
from eaves.controller.compile.draft import Draft
from eaves.controller.compile.environment import want_environment, want_files
from eaves.controller.compile.errors import HeldBackError, Omission
from eaves.controller.compile.eve import Displays, order_interfaces
from eaves.controller.compile.eve_environment import COMMAND_VARIABLE, escape_environment, want_command
from eaves.controller.compile.identifiers import content_tree_id
from eaves.controller.compile.images import ImageSource, want_content_tree
from eaves.controller.compile.lookup import Lookup
from eaves.controller.compile.model import NodeCipher
from eaves.controller.compile.networks import UsedNetworks, check_address, check_vlan
from eaves.controller.compile.snapshots import want_snapshots
from eaves.controller.compile.user_data import UserFile, render_user_data
from eaves.controller.compile.vms import fill_isolation, fill_machine, unknown_to_eve, want_machine_secrets
from eaves.controller.compile.volumes import FORMATS, want_mount, want_own_volumes, want_root_volume
from eaves.kinds.app import App
from eaves.kinds.app_spec import AppNetwork, AppType, AppVolume, Isolation, grace_period_s, image_format_of, networks_of
from eaves.kube.quantity import parse_bytes, parse_millis
from eaves.wire.pb.config.appconfig_pb2 import AppInstanceConfig, InstanceOpsCmd, VolumeRef
from eaves.wire.pb.config.devcommon_pb2 import Adapter, UUIDandVersion
from eaves.wire.pb.config.netconfig_pb2 import NetworkAdapter
from eaves.wire.pb.config.vm_pb2 import VmConfig
from eaves.wire.pb.evecommon.acipherinfo_pb2 import EncryptionBlock
from eaves.wire.pb.evecommon.devmodelcommon_pb2 import PhyIoType


class NodeFacts(Struct, frozen=True):
    """What the compilation of an app needs to know of its node."""

    name: str
    cipher: NodeCipher | None
    runs_eve: bool
    """A real EVE device, which knows none of our extensions."""
    maintenance: bool
    displays: Displays
    device_types: Mapping[str, PhyIoType.ValueType]
    """Of the groups of the node's HardwareModel."""


class Claims:
    """Node ports and fixed addresses that are taken, by the app that has them."""

    def __init__(self) -> None:
        self._owners: dict[tuple[str, ...], str] = {}

    def check(self, app: App) -> None:
        """Refuses an app that wants what an older one has, or one thing twice. Raises :class:`HeldBackError`."""
        own: set[tuple[str, ...]] = set()
        for key, what in _wanted(app):
            owner = "this one" if key in own else self._owners.get(key)
            if owner is not None:
                raise HeldBackError(
                    "Clash", f"{what} belongs to App {owner} on this node already; choose another", may_keep=False
                )
            own.add(key)

    def take(self, app: App, config: AppInstanceConfig) -> None:
        """Notes what the app has by its config, which may be an earlier one than its object asks for."""
        owner = f"{app.metadata.namespace}/{app.metadata.name}"
        for interface in config.interfaces:
            if interface.addr:
                self._owners[_address(app, interface.name, interface.addr)] = owner
            for entry in interface.acls:
                if any(action.portmap for action in entry.actions):
                    match = {term.type: term.value for term in entry.matches}
                    self._owners["port", match["protocol"], match["lport"]] = owner


def _wanted(app: App) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each claim of an app, and what it is for people."""
    for interface in networks_of(app.spec):
        if interface.address:
            yield (
                _address(app, interface.name, interface.address),
                f"address {interface.address} of network {interface.name}",
            )
        for port in interface.ports:
            protocol = port.protocol.lower()
            if port.node_port is not None:
                yield ("port", protocol, str(port.node_port)), f"node port {port.node_port}/{protocol}"


def _address(app: App, network: str, address: str) -> tuple[str, ...]:
    return ("address", app.metadata.namespace, network, address)


def want_app(
    app: App, node: NodeFacts, networks: UsedNetworks, ids: AceIds, lookup: Lookup
) -> tuple[Draft, list[Omission]]:
    """The app with its images, volumes and networks, and what of it had to be left out.

    Raises :class:`HeldBackError` when something that it needs is missing or impossible.
    """
    draft = Draft()
    config = _base(app, node)
    if app.spec.type is AppType.VIRTUAL_MACHINE:
        omissions = _add_machine(app, config, node, draft, lookup)
    else:
        omissions = _add_container(app, config, node, draft, lookup)
    if (snapshots := want_snapshots(app, lookup)) is not None:
        config.snapshot.CopyFrom(snapshots)
    _add_image(app, node, draft, lookup)
    config.volumeRefList.append(want_root_volume(app, draft))
    want_own_volumes(app, draft)
    config.volumeRefList.extend(want_mount(app, mount, node.name, lookup) for mount in _in_order(app))
    for order, interface in enumerate(networks_of(app.spec)):
        config.interfaces.append(_interface(app, interface, order, draft, networks, ids))
    if node.runs_eve:
        order_interfaces(config, node.device_types)
    config.purge.CopyFrom(InstanceOpsCmd(counter=_purge_counter(app, config)))
    config.restart.CopyFrom(InstanceOpsCmd(counter=_restart_counter(app, config)))
    draft.apps[app.metadata.uid] = config
    return draft, omissions


def _add_container(
    app: App, config: AppInstanceConfig, node: NodeFacts, draft: Draft, lookup: Lookup
) -> list[Omission]:
    environment, unusable = want_environment(app, lookup)
    files = want_files(app, lookup)
    omissions: list[Omission] = []
    if node.runs_eve:
        environment, omissions = _fit_to_eve(app, environment, files)
    user_data = render_user_data(environment, files)
    if user_data:
        config.cipherData.CopyFrom(
            draft.encrypt(node.cipher, EncryptionBlock(protectedUserData=user_data), "the environment or a file")
        )
    fill_isolation(app, config)
    if unusable:
        names = ", ".join(unusable)
        text = f"left out of the environment, since they are no names of variables: {names}"
        omissions.append(Omission("InvalidVariableNames", text))
    return omissions


def _add_machine(app: App, config: AppInstanceConfig, node: NodeFacts, draft: Draft, lookup: Lookup) -> list[Omission]:
    secrets = want_machine_secrets(app, lookup)
    if secrets is not None:
        config.cipherData.CopyFrom(draft.encrypt(node.cipher, secrets, "cloud-init data or the password of the screen"))
    fill_machine(app, config, runs_eve=node.runs_eve)
    if node.runs_eve and config.fixedresources.enable_vnc:
        config.fixedresources.vncDisplay = node.displays.take(app.metadata.uid)
    unknown = ", ".join(unknown_to_eve(app)) if node.runs_eve else ""
    return [Omission("UnknownToEve", f"an EVE device has no word for {unknown}")] if unknown else []


def _add_image(app: App, node: NodeFacts, draft: Draft, lookup: Lookup) -> None:
    image_format = image_format_of(app.spec)
    if image_format is None:
        raise HeldBackError(
            "ImageFormatMissing", f"image {app.spec.image} may be of several formats; set spec.imageFormat"
        )
    datastore = app.spec.datastore_ref.name if app.spec.datastore_ref else ""
    source = ImageSource(app.metadata.namespace, app.spec.image, datastore)
    want_content_tree(
        content_tree_id(app),
        app.metadata.name,
        source,
        draft,
        lookup,
        node.cipher,
        generation=app.spec.purge_counter,
        iformat=FORMATS[image_format],
    )


def _in_order(app: App) -> list[AppVolume]:
    """A guest sees its disks in the order in which they were written; to a container order means nothing."""
    if app.spec.type is AppType.VIRTUAL_MACHINE:
        return app.spec.volumes
    return sorted(app.spec.volumes, key=lambda volume: volume.name)


def _fit_to_eve(
    app: App, environment: Mapping[str, str], files: list[UserFile]
) -> tuple[dict[str, str], list[Omission]]:
    """The environment with the command in it, and what is left out; ``files`` gets what the command needs."""
    spec, omissions = app.spec, []
    wanted = dict(environment)
    if spec.command:
        wanted[COMMAND_VARIABLE], needed = want_command([*spec.command, *spec.args])
        files.extend(needed)
    elif spec.args:
        omissions.append(
            Omission(
                "UnknownToEve", "an EVE device takes no args without a command; write the image's entrypoint as command"
            )
        )
    if spec.working_dir:
        omissions.append(Omission("UnknownToEve", "an EVE device keeps the image's working directory"))
    return escape_environment(wanted, by_shell=spec.isolation is Isolation.VM), omissions


def _base(app: App, node: NodeFacts) -> AppInstanceConfig:
    spec = app.spec
    cpu_millis = parse_millis(spec.resources.cpus) if spec.resources.cpus is not None else 0
    config = AppInstanceConfig(
        uuidandversion=UUIDandVersion(uuid=app.metadata.uid, version=str(app.metadata.generation)),
        displayname=app.metadata.name,
        fixedresources=VmConfig(
            memory=-(-parse_bytes(spec.resources.memory) // 1024),
            vcpus=max(1, math.ceil(cpu_millis / 1000)),
        ),
        activate=spec.running and not node.maintenance,
        start_delay_in_seconds=spec.start_delay_seconds,
    )
    extension = config.eaves
    extension.command.extend(spec.command)
    extension.args.extend(spec.args)
    extension.cpu_millis = cpu_millis
    extension.restart_policy = spec.restart_policy
    extension.stop_grace_s = grace_period_s(spec)
    extension.namespace = app.metadata.namespace
    extension.name = app.metadata.name
    extension.working_dir = spec.working_dir
    config.adapters.extend(Adapter(name=device.name) for device in spec.devices)
    return config


def _interface(
    app: App, interface: AppNetwork, order: int, draft: Draft, networks: UsedNetworks, ids: AceIds
) -> NetworkAdapter:
    network, instance = networks.get(app.metadata.namespace, interface.name)
    check_address(interface, instance)
    check_vlan(interface, instance)
    draft.networks[network.metadata.uid] = instance
    return NetworkAdapter(
        name=interface.name,
        networkId=network.metadata.uid,
        addr=interface.address,
        macAddress=interface.mac_address.lower(),
        acls=want_acls(app.metadata.uid, interface, network.spec.subnet, ids),
        access_vlan_id=interface.vlan or 0,
        allow_to_discover=interface.allow_to_discover,
        interface_order=order,
    )


def _purge_counter(app: App, config: AppInstanceConfig) -> int:
    """Differs when the operator's counter does, or the image: then the root volume is another one."""
    return _counter(str(app.spec.purge_counter), config.volumeRefList[0].uuid)


def _restart_counter(app: App, config: AppInstanceConfig) -> int:
    """Differs when the operator's counter does, or anything that a running container or machine cannot take on.

    Firewall rules and port maps are not among them. Of secrets the hash that the cipher block carries anyway is
    taken: it stays when only the key changes.
    """
    essence = AppInstanceConfig(
        fixedresources=config.fixedresources,
        # The root has its own counter; only its place in the boot order is the machine's.
        volumeRefList=[*_boot_order(config.volumeRefList[0]), *config.volumeRefList[1:]],
        adapters=config.adapters,
        metaDataType=config.metaDataType,
        cloud_init_version=config.cloud_init_version,
        interfaces=[
            NetworkAdapter(name=vif.name, networkId=vif.networkId, addr=vif.addr, macAddress=vif.macAddress)
            for vif in config.interfaces
        ],
        eaves=config.eaves,
    )
    # These change how the app is supervised, not the app.
    for name in ("restart_policy", "stop_grace_s"):
        essence.eaves.ClearField(name)
    essence.eaves.vm.ClearField("suspend")
    if not config.eaves.HasField("vm"):
        essence.eaves.ClearField("vm")
    return _counter(
        str(app.spec.restart_counter),
        essence.SerializeToString(deterministic=True).hex(),
        config.cipherData.clearTextSha256.hex(),
    )


def _boot_order(root: VolumeRef) -> list[VolumeRef]:
    return [VolumeRef(eaves=root.eaves)] if root.HasField("eaves") else []


def _counter(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("\n".join(parts).encode()).digest()[:4])
