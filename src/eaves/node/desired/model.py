"""What a device config asks of this node, in the node's own words.

Made by :mod:`eaves.node.desired.parse`, read by every managed thing. Values are checked and normalised; whatever could not be
understood is a :class:`ConfigProblem` beside the good rest, so that one impossible object never stops another.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from eaves.node.desired.cluster_model import DesiredCluster
from eaves.node.desired.hardware_model import DesiredIo
from eaves.node.desired.network_model import AccessPort, DesiredPort, DesiredRoute
from eaves.node.desired.patch_model import DesiredPatch
from eaves.node.desired.secret import Secret as Secret
from eaves.node.desired.vm_model import DesiredVm, Isolation, SnapshotOrders


class ObjectKind(StrEnum):
    """What a problem is about; the value is how people call it."""

    APP = "app"
    NETWORK = "network"
    VOLUME = "volume"
    IMAGE = "image"
    DATASTORE = "datastore"
    PATCH = "patch envelope"
    CLUSTER = "cluster"
    NODE = "node"


class ConfigProblem(Struct, frozen=True):
    """Something in the config that this node cannot do. ``object_id`` is the UUID of the app, volume, network … it is about."""

    object_id: str
    element: str
    """For people: ``app web``, ``network default``."""
    code: str
    message: str
    resolution: str = ""
    kind: ObjectKind = ObjectKind.NODE
    is_fatal: bool = False
    """The object is left out of the desired state because of it."""


class DatastoreKind(StrEnum):
    REGISTRY = "registry"
    HTTP = "http"
    HTTPS = "https"
    S3 = "s3"
    OTHER = "other"


class S3Addressing(StrEnum):
    """Where the bucket's name goes."""

    PATH = "Path"
    VIRTUAL_HOST = "VirtualHost"


class DesiredDatastore(Struct, frozen=True):
    """Where images come from."""

    id: str
    kind: DatastoreKind
    server: str
    """``host[:port]`` without scheme for a registry; with scheme for HTTP(S)."""
    path: str = ""
    region: str = ""
    username: str = ""
    password: Secret = Secret("")
    ca_pems: tuple[str, ...] = ()
    plain_http: bool = False
    """A registry named with ``http://`` speaks without TLS."""
    may_lack_tls: bool = False
    """A registry of the node's own surroundings may turn out to speak without TLS."""
    addressing: S3Addressing | None = None
    """None = by the server's name."""
    mirrors: tuple[DesiredDatastore, ...] = ()
    """Asked first for what is known by digest; they have none of their own."""


class ImageFormat(StrEnum):
    CONTAINER = "container"
    RAW = "raw"
    QCOW = "qcow"
    QCOW2 = "qcow2"
    VHD = "vhd"
    VHDX = "vhdx"
    VMDK = "vmdk"
    OVA = "ova"
    ISO = "iso"
    OTHER = "other"


class DesiredImage(Struct, frozen=True):
    """A content tree. ``reference`` is what follows the datastore's path: ``shop/web:1.4`` or ``shop/web@sha256:…``."""

    id: str
    name: str
    reference: str
    format: ImageFormat
    digest: str
    """``sha256:<hex>`` of the manifest or blob; empty = resolve the tag once and keep it until ``generation`` changes."""
    max_size_bytes: int
    generation: int
    datastores: tuple[DesiredDatastore, ...]
    """In the order to try."""


class VolumeMode(StrEnum):
    FILESYSTEM = "Filesystem"
    BLOCK = "Block"
    """A disk image file that a virtual machine has as a disk."""


class DiskFormat(StrEnum):
    """Of a block volume's file."""

    QCOW2 = "Qcow2"
    RAW = "Raw"


class SnapshotSet(Struct, frozen=True):
    """The disks of one machine, whose snapshots are of one moment: all of them are taken, or none.

    ``members``: (id, generation) of the volumes; beside the first is kept what belongs to the machine rather than to a disk.
    ``problem``: why no such snapshot can be, empty = it can.
    """

    app_id: str
    members: tuple[tuple[str, int], ...]
    with_memory: bool = False
    at_update: bool = False
    """Taken when the machine next stops for an update."""
    problem: str = ""


class VolumeSnapshotWish(Struct, frozen=True):
    """A snapshot that is to exist; one that is not named any more is deleted. ``of``: what it is a part of."""

    id: str
    name: str
    of: SnapshotSet | None = None


class VolumeRollback(Struct, frozen=True):
    """Go back to a snapshot once whenever ``counter`` differs from the one obeyed last; the snapshot stays.

    ``of``: what has to be whole before any of it goes back.
    """

    snapshot_id: str
    counter: int
    of: SnapshotSet | None = None


class DesiredVolume(Struct, frozen=True):
    """Storage. ``image_id`` empty = blank. Identity is (id, generation): a new generation is a new, recreated volume."""

    id: str
    generation: int
    name: str
    image_id: str
    size_bytes: int
    """The most that it holds, 0 = no limit (for a block volume: the size of its image)."""
    read_only: bool = False
    mode: VolumeMode = VolumeMode.FILESYSTEM
    is_explicit: bool = False
    """The config says the mode, as it does of Volume objects. Else it follows from the image and from who uses the volume."""
    format: DiskFormat = DiskFormat.QCOW2
    """Of a block volume that is made from now on."""
    clear_text: bool = False
    """Not in the vault, where there is one."""
    is_shared: bool = False
    """Several apps may write to it at the same time."""
    copy_of: str = ""
    """Id of the volume on this node whose content it has at first."""
    copy_of_snapshot: str = ""
    """A snapshot of ``copy_of`` instead of what the volume holds now."""
    snapshots: tuple[VolumeSnapshotWish, ...] = ()
    snapshots_limit: int = 0
    """The oldest go when there are more; 0 = no limit."""
    rollback: VolumeRollback | None = None


class NetworkKind(StrEnum):
    LOCAL = "Local"
    SWITCH = "Switch"


class DesiredNetwork(Struct, frozen=True):
    """A network instance. Addresses are text, checked to be inside ``subnet`` (CIDR)."""

    id: str
    version: str
    name: str
    kind: NetworkKind
    port_label: str
    """Uplink by label; empty = air-gapped."""
    subnet: str = ""
    gateway: str = ""
    dhcp_start: str = ""
    dhcp_end: str = ""
    dns_servers: tuple[str, ...] = ()
    ntp_servers: tuple[str, ...] = ()
    domain: str = ""
    static_hosts: Mapping[str, tuple[str, ...]] = {}
    mtu: int = 0
    activate: bool = True
    flow_log: bool = False
    routes: tuple[DesiredRoute, ...] = ()
    """Besides the default route by ``port_label``; one of ``0.0.0.0/0`` replaces that."""
    propagate_routes: bool = False
    """Tell guests the subnets of the network's ports (DHCP option 121)."""
    access_ports: tuple[AccessPort, ...] = ()
    bpdu_guard_label: str = ""
    """Ports with it go down when a spanning-tree message comes in."""
    forward_lldp: bool = False


class AclDirection(StrEnum):
    BOTH = "both"
    INGRESS = "ingress"
    EGRESS = "egress"


class AclAction(StrEnum):
    ALLOW = "allow"
    DROP = "drop"
    LIMIT = "limit"
    PORT_MAP = "portmap"


class AclRule(Struct, frozen=True):
    """One ACE: matches are joined by AND; the first rule that matches decides; nothing matched = dropped."""

    id: int
    name: str
    direction: AclDirection
    action: AclAction
    subnet: str = ""
    """``ip`` match: CIDR of the far side; empty = any."""
    host: str = ""
    protocol: str = ""
    """tcp, udp, icmp or a number; empty = any."""
    local_port: str = ""
    """``lport``: port on the app's side (for PORT_MAP: on the node); a number or a range ``a-b``."""
    remote_port: str = ""
    adapter: str = ""
    app_port: int = 0
    limit_rate: int = 0
    limit_unit: str = ""
    limit_burst: int = 0


class DesiredInterface(Struct, frozen=True):
    """One virtual interface of an app, in the order of the config (eth0, eth1 …)."""

    name: str
    network_id: str
    address: str = ""
    mac: str = ""
    acls: tuple[AclRule, ...] = ()
    vlan: int = 0
    """Access VLAN on a switch; 0 = all VLANs, tagged."""
    may_discover: bool = False
    """The app may ask the metadata server for the addresses of other apps."""


class VolumeMount(Struct, frozen=True):
    volume_id: str
    generation: int
    mount_path: str
    read_only: bool = False


class AppKind(StrEnum):
    CONTAINER = "Container"
    VIRTUAL_MACHINE = "VirtualMachine"


class RestartPolicy(StrEnum):
    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"


class FileToWrite(Struct, frozen=True):
    """A ``write_files`` entry of cloud-config: placed in the container before it starts."""

    path: str
    content: bytes
    mode: int = 0o644
    owner: str = "root:root"


class DesiredApp(Struct, frozen=True):
    """One application.

    The root volume of a container is the first whose origin is a container image; that of a virtual machine the first of all.
    """

    id: str
    version: str
    name: str
    """Display name; DNS name on its networks."""
    namespace: str
    kind: AppKind
    activate: bool
    image_id: str
    """Content tree of the root volume; empty when none could be found (then a problem says so)."""
    root_volume_id: str
    root_generation: int
    memory_bytes: int
    cpu_millis: int
    """Limit in thousandths of a CPU; 0 = none."""
    mounts: tuple[VolumeMount, ...] = ()
    """Volumes besides the root. What a virtual machine sees of them, and of its root, is in ``vm.disks``."""
    interfaces: tuple[DesiredInterface, ...] = ()
    env: Mapping[str, Secret] = {}
    files: tuple[FileToWrite, ...] = ()
    command: tuple[str, ...] = ()
    """Replaces the image's entrypoint when not empty."""
    args: tuple[str, ...] = ()
    working_dir: str = ""
    restart_policy: RestartPolicy = RestartPolicy.ALWAYS
    stop_grace_s: int = 10
    start_delay_s: int = 0
    restart_counter: int = 0
    purge_counter: int = 0
    collect_logs: bool = True
    isolation: Isolation = Isolation.PROCESS
    """Of a container."""
    vm: DesiredVm | None = None
    """The hardware of a virtual machine; None for a container, whatever its isolation."""
    devices: tuple[str, ...] = ()
    """Assignment groups of the hardware model that belong to the app alone."""
    snapshots: SnapshotOrders = SnapshotOrders()

    @property
    def may_discover(self) -> bool:
        return any(interface.may_discover for interface in self.interfaces)


class Owner(Struct, frozen=True):
    """To whom the node belongs, in the controller's words; told to apps."""

    project_name: str = ""
    project_id: str = ""
    enterprise_name: str = ""
    enterprise_id: str = ""


class DesiredBaseOs(Struct, frozen=True):
    """The operating system that the config asks for, which this node refuses."""

    version: str
    image_id: str = ""
    retry_counter: int = 0


class DesiredNode(Struct, frozen=True):
    """Everything one config asks of this node."""

    device_id: str
    version: str
    config_hash: str
    name: str = ""
    apps: tuple[DesiredApp, ...] = ()
    networks: tuple[DesiredNetwork, ...] = ()
    hardware: tuple[DesiredIo, ...] = ()
    """The devices of the machine that the config names."""
    ports: tuple[DesiredPort, ...] = ()
    """Ports by the labels that networks use; empty = the controller leaves them to the node."""
    port_sections: bytes = b""
    """How they are to be set up, as the config says it, secrets sealed (see :mod:`eaves.node.desired.port_setup`); empty = not at all."""
    volumes: tuple[DesiredVolume, ...] = ()
    images: tuple[DesiredImage, ...] = ()
    config_items: Mapping[str, str] = {}
    reboot_counter: int | None = None
    """None = the config carries no reboot command (the stored counter is then forgotten)."""
    shutdown_counter: int | None = None
    maintenance_mode: bool = False
    controller_epoch: int = 0
    controller_certs_hash: str = ""
    config_timestamp_ns: int = 0
    """0 = the controller sets none."""
    notify_disabled: bool = False
    owner: Owner = Owner()
    base_os: DesiredBaseOs | None = None
    patches: tuple[DesiredPatch, ...] = ()
    cluster: DesiredCluster | None = None
    is_cluster_refused: bool = False
    """The config asks for a cluster that cannot be understood: no order to leave the one that there is."""
    problems: tuple[ConfigProblem, ...] = ()
