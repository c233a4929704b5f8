"""What an App asks for: the Structs of its ``spec``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from eaves.kinds.fields import KeyReference, LocalReference, Quantity, SourceReference, about, keyed
from eaves.kinds.image_format import ImageFormat, guess_disk_format
from eaves.kinds.vm_spec import BootOrder, DiskDevice, VmSpec

DEFAULT_NETWORK = "default"
"""Network of an app that names none."""

DEFAULT_VOLUME_SIZE = "1Gi"
"""Size of an app's own volume that asks for none."""

CONTAINER_GRACE_S, VM_GRACE_S = 10, 60
"""Time to end for an app that asks for none: a process, a whole operating system."""

GraceSeconds = Annotated[int, Meta(ge=0, le=3600)]
PortNumber = Annotated[int, Meta(ge=1, le=65535)]
VlanNumber = Annotated[int, Meta(ge=2, le=4093)]


class AppType(StrEnum):
    CONTAINER = "Container"
    VIRTUAL_MACHINE = "VirtualMachine"


class Isolation(StrEnum):
    PROCESS = "Process"
    VM = "VM"


class RestartPolicy(StrEnum):
    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"


class Protocol(StrEnum):
    TCP = "TCP"
    UDP = "UDP"


class EnvSource(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Where a value comes from: exactly one of the fields."""

    secret_key_ref: Annotated[KeyReference | None, about("A key of a Secret.")] = None
    config_map_key_ref: Annotated[KeyReference | None, about("A key of a ConfigMap.")] = None


class EnvVar(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """One environment variable."""

    name: Annotated[str, about("Name of the variable.", min_length=1, max_length=253)]
    value: Annotated[str | None, about("Its value.")] = None
    value_from: Annotated[EnvSource | None, about("Take the value from a Secret or ConfigMap.")] = None


class EnvFrom(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """All keys of a Secret or ConfigMap as environment variables."""

    prefix: Annotated[str, about("Put before each key.", max_length=253)] = ""
    secret_ref: Annotated[SourceReference | None, about("The Secret.")] = None
    config_map_ref: Annotated[SourceReference | None, about("The ConfigMap.")] = None


class AppFile(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A file that is placed in the app before it starts. Exactly one of content, secretKeyRef, configMapKeyRef."""

    path: Annotated[str, about("Absolute path inside the app.", min_length=1, max_length=4096)]
    content: Annotated[str | None, about("The text of the file.")] = None
    secret_key_ref: Annotated[KeyReference | None, about("Take the content from a Secret.")] = None
    config_map_key_ref: Annotated[KeyReference | None, about("Take the content from a ConfigMap.")] = None
    mode: Annotated[str, about("Permissions in octal digits.", pattern="^0?[0-7]{3}$")] = "0644"


class AppResources(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What the app may use at most."""

    cpus: Annotated[Quantity | None, about("Processors, such as 500m or 2; no limit when absent.")] = None
    memory: Annotated[Quantity, about("Memory, such as 256Mi.")] = "256Mi"


class AppVolume(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Storage that survives restarts and updates of the app."""

    name: Annotated[str, about("Name of the volume in this app, a DNS label.", min_length=1, max_length=63)]
    mount_path: Annotated[str, about("Absolute path inside the app; containers need it.", max_length=4096)] = ""
    device: Annotated[DiskDevice | None, about("How a virtual machine sees it: Disk (also when absent) or CDROM.")] = (
        None
    )
    boot_order: Annotated[
        BootOrder | None, about("Place in the boot order of a virtual machine; after the others when absent.")
    ] = None
    size: Annotated[
        Quantity | None, about("Size of the app's own volume, 1Gi when absent; it may grow, never shrink.")
    ] = None
    volume_name: Annotated[
        str, about("Use this Volume object on the same node instead of a volume of the app's own.", max_length=253)
    ] = ""
    read_only: Annotated[bool, about("The app cannot write to it.")] = False


class AppDevice(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Hardware of the node that belongs to the app alone."""

    name: Annotated[str, about("Assignment group, as the node's hardware model names it.", min_length=1, max_length=63)]


class Rollback(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Goes back to a snapshot whenever the counter is raised."""

    snapshot_name: Annotated[str, about("Name of the AppSnapshot in the same namespace.", min_length=1, max_length=253)]
    counter: Annotated[int, about("Raise it by one to go back to the snapshot.", ge=1, le=0xFFFFFFFF)]


class AppPort(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A port that the app listens on."""

    port: Annotated[PortNumber, about("Port inside the app.")]
    protocol: Annotated[Protocol, about("TCP or UDP.")] = Protocol.TCP
    name: Annotated[str, about("Name of the port.", max_length=63)] = ""
    node_port: Annotated[
        PortNumber | None,
        about("Port on the node that leads to it (Local networks); only peers on the network reach it when absent."),
    ] = None


class AclAction(StrEnum):
    ALLOW = "Allow"
    DROP = "Drop"
    LIMIT = "Limit"


class AclDirection(StrEnum):
    BOTH = "Both"
    INGRESS = "Ingress"
    EGRESS = "Egress"


class RateUnit(StrEnum):
    SECOND = "Second"
    MINUTE = "Minute"
    HOUR = "Hour"


class RateLimit(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """How much may pass."""

    packets: Annotated[int, about("Packets in each unit of time.", ge=1, le=0xFFFFFFFF)]
    unit: Annotated[RateUnit, about("Unit of time.")] = RateUnit.SECOND
    burst: Annotated[int, about("Packets that may come at once; the same as packets when 0.", ge=0, le=0xFFFFFFFF)] = 0


class AclRule(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A firewall rule. All that is given must match, the first rule that matches decides, what no rule matches is dropped."""

    name: Annotated[str, about("Name of the rule.", min_length=1, max_length=63)]
    action: Annotated[AclAction, about("Allow, Drop, or Limit the rate.")] = AclAction.ALLOW
    direction: Annotated[AclDirection, about("Ingress is towards the app.")] = AclDirection.BOTH
    ip: Annotated[str, about("Address or CIDR of the other side.", max_length=64)] = ""
    host: Annotated[str, about("Host name of the other side (Local networks).", max_length=253)] = ""
    protocol: Annotated[str, about("tcp, udp, icmp or a protocol number.", max_length=8)] = ""
    local_port: Annotated[str, about("Port or range a-b on the app's side; needs tcp or udp.", max_length=11)] = ""
    remote_port: Annotated[str, about("Port or range a-b on the other side; needs tcp or udp.", max_length=11)] = ""
    limit: Annotated[RateLimit | None, about("The rate, for action Limit.")] = None


class AppNetwork(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A network interface of the app."""

    name: Annotated[str, about("Name of the Network in the same namespace.", min_length=1, max_length=253)]
    ports: Annotated[
        list[AppPort], keyed("port", "protocol", description="Ports that may be reached.", max_length=256)
    ] = []
    address: Annotated[
        str, about("Fixed IP address, inside the network's subnet and outside its DHCP range.", max_length=45)
    ] = ""
    mac_address: Annotated[str, about("Fixed hardware address.", max_length=17)] = ""
    allow_to_discover: Annotated[
        bool, about("The app may ask the metadata server for the addresses of the node's other apps.")
    ] = False
    vlan: Annotated[
        VlanNumber | None,
        about("VLAN that the app sees untagged on a network of type Switch; all of them, tagged, when absent."),
    ] = None
    acl: Annotated[
        list[AclRule] | None,
        keyed("name", description="Firewall rules; all traffic outwards and the ports inwards when absent."),
    ] = None


class AppSpec(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What is to run."""

    image: Annotated[
        str,
        about(
            "Image reference, such as registry.example/shop/web:1.4 or one with @sha256:…. The disk image of a virtual"
            " machine may also be a path in a Datastore of type HTTP or S3, with @sha256:….",
            min_length=1,
            max_length=512,
        ),
    ]
    node_name: Annotated[str, about("EdgeNode to run on; the app waits while it is empty.", max_length=253)] = ""
    type: Annotated[AppType, about("Container or VirtualMachine; cannot change.")] = AppType.CONTAINER
    image_format: Annotated[
        ImageFormat | None,
        about("Format of a virtual machine's disk image; by the suffix of its name, else Qcow2 when absent."),
    ] = None
    datastore_ref: Annotated[
        LocalReference | None,
        about("Datastore to pull from; the image's own registry without credentials when absent."),
    ] = None
    command: Annotated[list[str], about("Replaces the image's entrypoint.", max_length=1024)] = []
    args: Annotated[list[str], about("Arguments of the entrypoint.", max_length=4096)] = []
    working_dir: Annotated[str, about("Working directory; the image's own when empty.", max_length=4096)] = ""
    env: Annotated[list[EnvVar], keyed("name", description="Environment variables.", max_length=1024)] = []
    env_from: Annotated[
        list[EnvFrom],
        about("Environment variables from Secrets and ConfigMaps; later ones and env win.", max_length=64),
    ] = []
    files: Annotated[
        list[AppFile], keyed("path", description="Files placed in the app before it starts.", max_length=256)
    ] = []
    vm: Annotated[VmSpec | None, about("Hardware and first-boot data of a virtual machine.")] = None
    isolation: Annotated[
        Isolation | None,
        about("Process (also when absent): the container shares the node's kernel. VM: it has one of its own."),
    ] = None
    devices: Annotated[
        list[AppDevice], keyed("name", description="Hardware that belongs to the app alone.", max_length=64)
    ] = []
    resources: Annotated[AppResources, about("What it may use at most.")] = AppResources()
    volumes: Annotated[list[AppVolume], keyed("name", description="Storage.", max_length=64)] = []
    networks: Annotated[
        list[AppNetwork] | None,
        keyed("name", description="Network interfaces; one on the network default when absent."),
    ] = None
    running: Annotated[bool, about("False stops the app and keeps its data.")] = True
    restart_policy: Annotated[RestartPolicy, about("When to start it again after it ended.")] = RestartPolicy.ALWAYS
    termination_grace_period_seconds: Annotated[
        GraceSeconds | None,
        about("Time between the request to stop and the kill; 10, for a virtual machine 60 when absent."),
    ] = None
    start_delay_seconds: Annotated[int, about("Wait this long after a boot of the node.", ge=0, le=86400)] = 0
    restart_counter: Annotated[int, about("Raise it by one to restart the app.", ge=0, le=0xFFFFFFFF)] = 0
    purge_counter: Annotated[
        int, about("Raise it by one to recreate the app from its image; its volumes stay.", ge=0, le=0xFFFFFFFF)
    ] = 0
    rollback: Annotated[Rollback | None, about("Takes the app back to one of its snapshots.")] = None


def networks_of(spec: AppSpec) -> list[AppNetwork]:
    """The app's interfaces: as written, or one on the default network."""
    return [AppNetwork(name=DEFAULT_NETWORK)] if spec.networks is None else spec.networks


def image_format_of(spec: AppSpec) -> ImageFormat | None:
    """Format of the app's image; None when a virtual machine's image has a name that may mean several."""
    if spec.type is AppType.CONTAINER:
        return ImageFormat.CONTAINER
    return spec.image_format or guess_disk_format(spec.image)


def vm_of(spec: AppSpec) -> VmSpec:
    """The machine as asked for, or an ordinary one."""
    return spec.vm or VmSpec()


def grace_period_s(spec: AppSpec) -> int:
    """As written, or what a process, or a whole operating system, needs to end."""
    if spec.termination_grace_period_seconds is not None:
        return spec.termination_grace_period_seconds
    return VM_GRACE_S if spec.type is AppType.VIRTUAL_MACHINE else CONTAINER_GRACE_S
