"""What the controller compiles is what the node understands: both ends of a config, without the wire between them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eaves.controller.compile.model import NodeInputs
from eaves.controller.compile.node import compile_node
from eaves.node.desired.model import (
    AclAction,
    AclDirection,
    AppKind,
    DesiredNode,
    ImageFormat,
    RestartPolicy,
    VolumeMode,
)
from eaves.node.desired.parse import parse_config
from eaves.node.desired.vm_model import ClockBase, DeviceModel, DiskDevice, Firmware, Isolation
from eaves.testing.device_cipher import DeviceCipher
from eaves.testing.objects import (
    DEVICE_ID,
    make_app,
    make_configmap,
    make_datastore,
    make_edgenode,
    make_network,
    make_secret,
    make_volume,
    uid_of,
)
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig

DEVICE = DeviceCipher()
DIGEST = "sha256:" + "ab" * 32


def through(*apps: dict[str, Any], **given: Any) -> DesiredNode:
    """Objects → config → bytes → config → desired state; both ends without a complaint."""
    fields: dict[str, Any] = {"edgenode": make_edgenode(), "networks": [make_network()], "cipher": DEVICE.node_cipher}
    result = compile_node(NodeInputs(apps=apps, **(fields | given)))
    assert result.problems == ()
    config = EdgeDevConfig.FromString(result.config.SerializeToString())
    desired = parse_config(config, result.hash, DEVICE.plaintext)
    assert desired.problems == ()
    return desired


def test_a_whole_app() -> None:
    app = make_app(
        image=f"registry.example/shop/web:1@{DIGEST}",
        datastoreRef={"name": "registry"},
        command=["/bin/web"],
        args=["-v"],
        workingDir="/srv",
        env=[
            {"name": "GREETING", "value": "hello"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "web", "key": "token"}}},
        ],
        envFrom=[{"prefix": "CFG_", "configMapRef": {"name": "cfg"}}],
        files=[{"path": "/etc/web.conf", "content": "on\n", "mode": "0640"}],
        resources={"cpus": "1500m", "memory": "300Mi"},
        volumes=[
            {"name": "data", "mountPath": "/data/", "size": "2Gi"},
            {"name": "shared", "mountPath": "/shared", "volumeName": "shared", "readOnly": True},
        ],
        networks=[
            {
                "name": "default",
                "address": "10.160.1.7",
                "macAddress": "02:00:00:00:00:07",
                "ports": [{"port": 80, "nodePort": 8080}],
            }
        ],
        restartPolicy="OnFailure",
        terminationGracePeriodSeconds=3,
        startDelaySeconds=4,
    )
    desired = through(
        app,
        secrets=[make_secret("web", token="t0p"), make_secret("creds", username="u", password="p")],
        configmaps=[make_configmap("cfg", A="1")],
        datastores=[make_datastore(url="http://registry.example", credentialsSecretRef={"name": "creds"})],
        volumes=[make_volume("shared")],
    )
    assert (desired.device_id, desired.name) == (DEVICE_ID, "store-17")
    assert (desired.reboot_counter, desired.shutdown_counter) == (0, 0)
    (found,) = desired.apps
    assert (found.id, found.name, found.namespace, found.kind) == (
        app["metadata"]["uid"],
        "web",
        "default",
        AppKind.CONTAINER,
    )
    assert (found.activate, found.memory_bytes, found.cpu_millis) == (True, 300 << 20, 1500)
    assert {name: value.reveal() for name, value in found.env.items()} == {
        "CFG_A": "1",
        "GREETING": "hello",
        "TOKEN": "t0p",
    }
    assert [(file.path, file.content, file.mode) for file in found.files] == [("/etc/web.conf", b"on\n", 0o640)]
    assert (found.command, found.args, found.working_dir) == (("/bin/web",), ("-v",), "/srv")
    assert (found.restart_policy, found.stop_grace_s, found.start_delay_s) == (RestartPolicy.ON_FAILURE, 3, 4)
    assert [(mount.mount_path, mount.read_only) for mount in found.mounts] == [("/data", False), ("/shared", True)]
    assert found.mounts[1].volume_id == uid_of("Volume", "shared")
    (interface,) = found.interfaces
    assert (interface.network_id, interface.address, interface.mac) == (
        uid_of("Network", "default"),
        "10.160.1.7",
        "02:00:00:00:00:07",
    )
    assert [(rule.action, rule.direction, rule.local_port, rule.app_port) for rule in interface.acls] == [
        (AclAction.PORT_MAP, AclDirection.BOTH, "8080", 80),
        (AclAction.ALLOW, AclDirection.INGRESS, "80", 0),
        (AclAction.ALLOW, AclDirection.EGRESS, "", 0),
    ]
    image = next(image for image in desired.images if image.id == found.image_id)
    assert (image.reference, image.digest) == (f"shop/web@{DIGEST}", DIGEST)
    (datastore,) = image.datastores
    assert (datastore.server, datastore.plain_http, datastore.username, datastore.password.reveal()) == (
        "registry.example",
        True,
        "u",
        "p",
    )
    sizes = {volume.name: volume.size_bytes for volume in desired.volumes}
    assert sizes["web-data"] == 2 << 30
    (network,) = desired.networks
    assert (network.subnet, network.gateway, network.port_label) == ("10.160.1.0/24", "10.160.1.1", "uplink")
    assert (network.dhcp_start, network.dhcp_end, network.flow_log) == ("10.160.1.64", "10.160.1.254", False)


def test_a_whole_machine() -> None:
    app = make_app(
        "plc",
        type="VirtualMachine",
        image=f"plc.vmdk@{DIGEST}",
        datastoreRef={"name": "files"},
        resources={"cpus": 2, "memory": "1Gi"},
        vm={
            "machine": "q35",
            "rootDisk": {"size": "20Gi"},
            "cloudInit": {
                "userData": "#cloud-config\npackages: [nginx]\n",
                "networkConfig": "version: 2\n",
                "version": 2,
            },
            "vtpm": True,
            "vnc": {"passwordSecretKeyRef": {"name": "plc", "key": "vnc"}},
            "balloon": {"minMemory": "512Mi"},
            "clock": "LocalTime",
        },
        volumes=[
            {"name": "data", "size": "5Gi"},
            {"name": "cd", "volumeName": "cd", "device": "CDROM", "bootOrder": 1},
        ],
    )
    source = {"image": f"cd.iso@{DIGEST}", "format": "Iso", "datastoreRef": {"name": "files"}}
    desired = through(
        app,
        secrets=[make_secret("plc", vnc="hunter2")],
        datastores=[make_datastore("files", url="https://files.example", type="HTTP")],
        volumes=[make_volume("cd", source=source)],
    )
    (found,) = desired.apps
    assert (found.kind, found.memory_bytes, found.cpu_millis) == (AppKind.VIRTUAL_MACHINE, 1 << 30, 2000)
    assert found.stop_grace_s == 60
    vm = found.vm
    assert vm is not None
    assert (vm.vcpus, vm.firmware, vm.device_model, vm.machine) == (2, Firmware.UEFI, DeviceModel.VIRTIO, "q35")
    assert (vm.has_vtpm, vm.has_vnc, vm.vnc_password.reveal()) == (True, True, "hunter2")
    assert (vm.balloon_min_bytes, vm.clock_base) == (512 << 20, ClockBase.LOCAL_TIME)
    assert [(disk.name, disk.device, disk.boot_index) for disk in vm.disks] == [
        ("plc-root", DiskDevice.DISK, 2),
        ("plc-data", DiskDevice.DISK, 3),
        ("cd", DiskDevice.CDROM, 1),
    ]
    assert vm.cloud_init is not None
    assert (vm.cloud_init.instance_id, vm.cloud_init.hostname) == (f"{found.id}/2", "plc")
    assert vm.cloud_init.user_data.reveal() == b"#cloud-config\npackages: [nginx]\n"
    assert vm.cloud_init.network_config.reveal() == b"version: 2\n"
    assert {volume.mode for volume in desired.volumes} == {VolumeMode.BLOCK}
    assert {image.format for image in desired.images} == {ImageFormat.VMDK, ImageFormat.ISO}


def test_a_container_with_a_kernel_of_its_own() -> None:
    (found,) = through(make_app(isolation="VM")).apps
    assert (found.kind, found.isolation) == (AppKind.CONTAINER, Isolation.VM)


def test_a_plain_app_needs_no_secret() -> None:
    (found,) = through(make_app(), cipher=None).apps
    assert (found.env, found.files, found.memory_bytes) == ({}, (), 256 << 20)


@pytest.mark.parametrize(
    "acl",
    [
        {"action": "Drop", "ip": "192.0.2.0/24"},
        {"host": "Example.com", "protocol": "TCP", "remotePort": "443"},
        {
            "action": "Limit",
            "protocol": "udp",
            "localPort": "5000-5010",
            "limit": {"packets": 3, "unit": "Hour", "burst": 9},
        },
        {"direction": "Ingress", "protocol": "icmp"},
    ],
)
def test_every_kind_of_rule(acl: dict[str, Any]) -> None:
    (found,) = through(make_app(networks=[{"name": "default", "acl": [{"name": "rule", **acl}]}])).apps
    assert len(found.interfaces[0].acls) == 1


def test_a_switch_and_an_air_gapped_network() -> None:
    networks = [
        make_network("lan", type="Switch", subnet="", uplink={"label": "eth1"}),
        make_network("alone", uplink={"label": ""}),
    ]
    desired = through(make_app(networks=[{"name": "lan"}, {"name": "alone"}]), networks=networks)
    assert {network.name: network.port_label for network in desired.networks} == {"lan": "eth1", "alone": ""}


names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,8}", fullmatch=True)
values = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


@settings(max_examples=100)
@given(st.dictionaries(names, values, max_size=4), st.lists(st.binary(max_size=40), max_size=2))
def test_any_environment_and_files_arrive_as_written(environment: dict[str, str], contents: list[bytes]) -> None:
    data: dict[str, Any] = {f"f{index}": content for index, content in enumerate(contents)}
    secret = make_secret("s", **data)
    files = [
        {"path": f"/f{index}", "secretKeyRef": {"name": "s", "key": f"f{index}"}} for index in range(len(contents))
    ]
    env = [{"name": name, "value": value} for name, value in environment.items()]
    (found,) = through(make_app(env=env, files=files), secrets=[secret]).apps
    assert {name: value.reveal() for name, value in found.env.items()} == environment
    assert [file.content for file in found.files] == contents
