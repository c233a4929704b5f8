"""Virtual machines in a config: as the device API has them, as EVE reads them, and what an EVE device cannot do."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from eaves.controller.compile.model import CompiledConfig, Effect, NodeInputs
from eaves.controller.compile.node import compile_node
from eaves.testing.device_cipher import DeviceCipher
from eaves.testing.objects import (
    make_app,
    make_configmap,
    make_datastore,
    make_edgenode,
    make_network,
    make_secret,
    make_vm,
    make_volume,
    uid_of,
)
from eaves.wire.pb.config import appconfig_pb2, storage_pb2, vm_pb2
from eaves.wire.pb.config.appconfig_pb2 import AppInstanceConfig

DEVICE = DeviceCipher()
EVE = {"versions": {"eve": "14.5.0", "os": "EVE-OS 14.5.0"}}
DIGEST = "ab" * 32


def compile_all(*apps: dict[str, Any], status: dict[str, Any] | None = None, **given: Any) -> CompiledConfig:
    fields: dict[str, Any] = {"networks": [make_network()], "cipher": DEVICE.node_cipher, **given}
    return compile_node(NodeInputs(edgenode=make_edgenode(status=status), apps=apps, **fields))


def compile_app(app: dict[str, Any], **given: Any) -> AppInstanceConfig:
    result = compile_all(app, **given)
    assert result.problems == ()
    return result.config.apps[0]


def held_back(app: dict[str, Any], **given: Any) -> str:
    result = compile_all(app, **given)
    assert not result.config.apps
    (problem,) = result.problems
    return problem.reason


@pytest.mark.parametrize(
    ("vm", "mode", "boot", "loader"),
    [
        ({}, vm_pb2.FML, vm_pb2.VM_BOOT_MODE_UEFI, ""),
        ({"firmware": "BIOS"}, vm_pb2.HVM, vm_pb2.VM_BOOT_MODE_LEGACY, ""),
        ({"deviceModel": "Legacy"}, vm_pb2.LEGACY, vm_pb2.VM_BOOT_MODE_LEGACY, ""),
        (
            {"deviceModel": "Legacy", "firmware": "UEFI"},
            vm_pb2.LEGACY,
            vm_pb2.VM_BOOT_MODE_UEFI,
            "/usr/lib/xen/boot/ovmf.bin",
        ),
    ],
)
def test_firmware_and_devices_choose_the_mode_of_the_device_api(
    vm: dict[str, Any], mode: int, boot: int, loader: str
) -> None:
    sizes = compile_app(make_vm(vm=vm)).fixedresources
    assert (sizes.virtualizationMode, sizes.boot_mode, sizes.bootloader) == (mode, boot, loader)


def test_a_machine_has_its_own_firmware_of_eve_for_uefi_and_none_for_mode_hvm() -> None:
    """EVE puts its own files in where no boot loader is named; a name would replace them."""
    assert compile_app(make_vm(), status=EVE).fixedresources.bootloader == ""


def test_hardware() -> None:
    app = compile_app(
        make_vm(
            resources={"cpus": "1500m", "memory": "1Gi"},
            vm={"vtpm": True, "dedicatedCpus": True, "vnc": {}, "machine": "q35", "hugePages": "2Mi",
                "clock": "LocalTime", "serialConsole": False, "guestAgent": False},
            devices=[{"name": "gpu"}, {"name": "com-1"}],
        )
    )  # fmt: skip
    sizes, extension = app.fixedresources, app.eaves.vm
    assert (sizes.memory, sizes.vcpus, app.eaves.cpu_millis) == (1 << 20, 2, 1500)
    assert (sizes.disable_vtpm, sizes.pin_cpu, sizes.enable_vnc, sizes.vncPasswd) == (False, True, True, "")
    assert (extension.machine, extension.huge_page_bytes, extension.clock_base) == ("q35", 2 << 20, "LocalTime")
    assert (extension.no_serial_console, extension.no_guest_agent) == (True, True)
    assert [adapter.name for adapter in app.adapters] == ["gpu", "com-1"]
    assert app.eaves.stop_grace_s == 60


def test_what_is_not_asked_for_is_off() -> None:
    sizes = compile_app(make_vm()).fixedresources
    assert (sizes.disable_vtpm, sizes.pin_cpu, sizes.enable_vnc) == (True, False, False)


def test_the_disk_image_comes_from_a_registry_by_tag() -> None:
    config = compile_all(make_vm()).config
    (tree,) = config.contentInfo
    assert (tree.iformat, tree.URL, tree.sha256) == (storage_pb2.QCOW2, "disks/plc:1", "")


def test_the_disk_image_comes_from_a_web_server_by_digest() -> None:
    files = make_datastore("files", url="https://files.example", type="HTTP", path="images")
    app = make_vm(image=f"plc/plc.vmdk@sha256:{DIGEST}", datastoreRef={"name": "files"})
    config = compile_all(app, datastores=[files]).config
    (tree,) = config.contentInfo
    assert (tree.iformat, tree.URL, tree.sha256) == (storage_pb2.VMDK, "plc/plc.vmdk", DIGEST)
    assert config.datastores[0].dpath == "images"
    assert held_back(make_vm(image="plc.vmdk", datastoreRef={"name": "files"}), datastores=[files]) == "DigestMissing"


def test_another_format_is_another_image() -> None:
    raw, qcow2 = (compile_app(make_vm(imageFormat=kind)) for kind in ("Raw", "Qcow2"))
    assert raw.volumeRefList[0].uuid != qcow2.volumeRefList[0].uuid
    assert raw.purge.counter != qcow2.purge.counter


def test_disks_keep_their_order_with_device_and_place() -> None:
    app = make_vm(
        vm={"rootDisk": {"size": "20Gi", "bootOrder": 2}},
        volumes=[
            {"name": "z", "size": "2Gi"},
            {"name": "a", "volumeName": "cd", "device": "CDROM", "bootOrder": 1},
        ],
    )
    source = {"image": f"cd.iso@sha256:{DIGEST}", "format": "Iso", "datastoreRef": {"name": "files"}}
    config = compile_all(
        app,
        volumes=[make_volume("cd", source=source)],
        datastores=[make_datastore("files", url="https://files.example", type="HTTP")],
    ).config
    root, blank, cdrom = config.apps[0].volumeRefList
    assert (root.eaves.boot_order, root.mount_dir) == (2, "")
    assert (blank.mount_dir, blank.eaves.device, blank.eaves.boot_order) == ("", "", 0)
    assert (cdrom.uuid, cdrom.eaves.device, cdrom.eaves.boot_order) == (uid_of("Volume", "cd"), "CDROM", 1)
    sizes = {volume.displayName: volume.maxsizebytes for volume in config.volumes}
    assert (sizes["plc-root"], sizes["plc-z"]) == (20 << 30, 2 << 30)
    assert {tree.iformat for tree in config.contentInfo} == {storage_pb2.QCOW2, storage_pb2.ISO}


def test_an_iso_is_a_root_that_nobody_writes_to() -> None:
    (root,) = compile_all(make_vm(imageFormat="Iso")).config.volumes
    assert root.readonly


def test_volumes_of_the_wrong_kind_are_held_back() -> None:
    files = make_volume("v", source={"image": "registry.example/site:1"})
    assert held_back(make_vm(volumes=[{"name": "d", "volumeName": "v"}]), volumes=[files]) == "VolumeIsNoDisk"
    disk = make_volume(
        "v",
        source={"image": f"d.raw@sha256:{DIGEST}", "format": "Raw", "datastoreRef": {"name": "f"}},
    )
    store = make_datastore("f", url="https://files.example", type="HTTP")
    app = make_app(volumes=[{"name": "d", "volumeName": "v", "mountPath": "/d"}])
    assert held_back(app, volumes=[disk], datastores=[store]) == "VolumeIsDisk"


def test_first_boot_data_travel_encrypted_alone() -> None:
    app = compile_app(
        make_vm(
            vm={
                "cloudInit": {
                    "userDataFrom": {"secretKeyRef": {"name": "plc", "key": "userdata"}},
                    "metaData": "local-hostname: plc",
                    "networkConfigFrom": {"configMapKeyRef": {"name": "net", "key": "v2"}},
                    "version": 3,
                },
                "vnc": {"passwordSecretKeyRef": {"name": "plc", "key": "vnc"}},
            }
        ),
        secrets=[make_secret("plc", userdata=b"#!/bin/sh\necho \xff", vnc="hunter2")],
        configmaps=[make_configmap("net", v2="version: 2")],
    )
    assert (app.metaDataType, app.cloud_init_version, app.userData) == (appconfig_pb2.MetaDataDrive, 3, "")
    block = DEVICE.decrypt(app.cipherData)
    assert base64.b64decode(block.protectedUserData) == b"#!/bin/sh\necho \xff"
    assert (block.eaves.meta_data, block.eaves.network_config) == (b"local-hostname: plc", b"version: 2")
    assert block.eaves.vnc_password == "hunter2"
    for secret in (b"hunter2", b"echo", b"version: 2"):
        assert secret not in app.SerializeToString()


@pytest.mark.parametrize(
    ("vm", "kind", "version"),
    [
        ({}, appconfig_pb2.MetaDataNone, 0),
        ({"cloudInit": {}}, appconfig_pb2.MetaDataDrive, 1),
        ({"cloudInit": {"datasource": "ConfigDrive"}}, appconfig_pb2.MetaDataOpenStack, 1),
        ({"cloudInit": {"datasource": "None"}}, appconfig_pb2.MetaDataNone, 1),
    ],
)
def test_datasources(vm: dict[str, Any], kind: int, version: int) -> None:
    app = compile_app(make_vm(vm=vm), cipher=None)
    assert (app.metaDataType, app.cloud_init_version) == (kind, version)
    assert not app.HasField("cipherData")


def test_what_is_missing_for_the_data_holds_the_machine_back() -> None:
    data = {"cloudInit": {"userDataFrom": {"secretKeyRef": {"name": "plc", "key": "user-data"}}}}
    assert held_back(make_vm(vm=data)) == "SecretNotFound"
    assert held_back(make_vm(vm=data), secrets=[make_secret("plc", other="x")]) == "SecretKeyNotFound"
    assert held_back(make_vm(vm={"cloudInit": {"userData": "#!/bin/sh"}}), cipher=None) == "AwaitingDeviceKey"


@pytest.mark.parametrize("password", ["", "123456789", "pass\n", b"\xff"])
def test_a_password_that_the_protocol_cannot_carry_is_refused(password: str | bytes) -> None:
    app = make_vm(vm={"vnc": {"passwordSecretKeyRef": {"name": "plc", "key": "vnc"}}})
    assert held_back(app, secrets=[make_secret("plc", vnc=password)]) == "InvalidVncPassword"


@pytest.mark.parametrize(
    "change",
    [
        {"vm": {"vtpm": True}},
        {"vm": {"firmware": "BIOS"}},
        {"vm": {"deviceModel": "Legacy"}},
        {"vm": {"vnc": {}}},
        {"vm": {"balloon": {"minMemory": "64Mi"}}},
        {"vm": {"cloudInit": {"userData": "#!/bin/sh"}}},
        {"vm": {"cloudInit": {}}},
        {"vm": {"rootDisk": {"bootOrder": 3}}},
        {"resources": {"memory": "512Mi"}},
        {"volumes": [{"name": "d", "bootOrder": 1}]},
        {"devices": [{"name": "gpu"}]},
        {"restartCounter": 1},
    ],
)
def test_what_a_running_machine_cannot_take_on_is_a_restart(change: dict[str, Any]) -> None:
    base: dict[str, Any] = {"volumes": [{"name": "d"}]}
    before, after = compile_app(make_vm(**base)), compile_app(make_vm(**(base | change)))
    assert before.restart.counter != after.restart.counter
    assert before.purge.counter == after.purge.counter


@pytest.mark.parametrize(
    "change",
    [
        {"terminationGracePeriodSeconds": 5},
        {"vm": {"onNodeRestart": "Suspend"}},
        {"vm": {"rootDisk": {"size": "20Gi"}}},
        {"volumes": [{"name": "d", "size": "9Gi"}]},
        {"running": False},
    ],
)
def test_what_a_running_machine_does_not_feel_is_none(change: dict[str, Any]) -> None:
    base: dict[str, Any] = {"volumes": [{"name": "d"}], "vm": {}}
    before, after = compile_app(make_vm(**base)), compile_app(make_vm(**(base | change)))
    assert (before.restart.counter, before.purge.counter) == (after.restart.counter, after.purge.counter)


def test_an_eve_device_gets_a_valid_config_and_the_rest_is_told() -> None:
    app = make_vm(
        vm={
            "machine": "q35",
            "clock": "LocalTime",
            "onNodeRestart": "Suspend",
            "vnc": {"passwordSecretKeyRef": {"name": "plc", "key": "vnc"}},
            "cloudInit": {"userData": "#!/bin/sh", "networkConfig": "version: 2"},
        },
    )
    secrets = [make_secret("plc", vnc="hunter2")]
    result = compile_all(app, status=EVE, secrets=secrets)
    (problem,) = result.problems
    assert (problem.reason, problem.effect) == ("UnknownToEve", Effect.PARTIAL)
    for name in ("vm.machine", "vm.clock", "vm.onNodeRestart", "vm.vnc.passwordSecretKeyRef", "networkConfig"):
        assert name in problem.message
    config = result.config.apps[0]
    assert not config.fixedresources.enable_vnc
    assert config.fixedresources.vncPasswd == ""
    assert DEVICE.decrypt(config.cipherData).protectedUserData


def test_an_ordinary_machine_is_wholly_known_to_eve() -> None:
    app = make_vm(vm={"vtpm": True, "vnc": {}, "cloudInit": {"userData": "#!/bin/sh"}}, volumes=[{"name": "d"}])
    assert compile_app(app, status=EVE).fixedresources.enable_vnc


def test_a_container_with_a_kernel_of_its_own() -> None:
    app = compile_app(make_app(isolation="VM"))
    assert (app.fixedresources.virtualizationMode, app.eaves.isolation) == (vm_pb2.HVM, "VM")
    plain = compile_app(make_app())
    assert (plain.fixedresources.virtualizationMode, plain.eaves.isolation) == (vm_pb2.NOHYPER, "")
    assert plain.restart.counter != app.restart.counter
