"""What an App of type VirtualMachine may ask for."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.kinds.app import RESOURCE
from eaves.kinds.image_format import ImageFormat, guess_disk_format
from eaves.kube.schema import apply_defaults, validate_schema
from eaves.testing.objects import make_vm

DIGEST = "@sha256:" + "ab" * 32


def faults(new: dict[str, Any], old: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    assert list(validate_schema(RESOURCE.schema, new)) == []
    return [(fault.path, fault.type.name) for fault in RESOURCE.validate(new, old)]


def test_a_minimal_machine_is_accepted() -> None:
    assert faults(make_vm()) == []


def test_the_full_example_is_accepted() -> None:
    app = make_vm(
        image=f"plc/disk.vmdk{DIGEST}",
        datastoreRef={"name": "files"},
        resources={"cpus": 2, "memory": "2Gi"},
        vm={
            "firmware": "UEFI",
            "machine": "q35",
            "rootDisk": {"size": "20Gi", "bootOrder": 2},
            "cloudInit": {
                "datasource": "NoCloud",
                "userDataFrom": {"secretKeyRef": {"name": "plc", "key": "user-data"}},
                "metaData": "local-hostname: plc\n",
                "networkConfig": "version: 2\n",
                "version": 3,
            },
            "vtpm": True,
            "vnc": {"passwordSecretKeyRef": {"name": "plc", "key": "vnc"}},
            "dedicatedCpus": True,
            "balloon": {"minMemory": "1Gi"},
            "clock": "LocalTime",
        },
        volumes=[
            {"name": "data", "size": "5Gi"},
            {"name": "cd", "volumeName": "installer", "device": "CDROM", "bootOrder": 1},
        ],
        rollback={"snapshotName": "before", "counter": 1},
    )
    apply_defaults(RESOURCE.schema, app)
    assert faults(app) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"command": ["/bin/sh"]}, [("spec.command", "FORBIDDEN")]),
        ({"args": ["-v"]}, [("spec.args", "FORBIDDEN")]),
        ({"workingDir": "/srv"}, [("spec.workingDir", "FORBIDDEN")]),
        ({"env": [{"name": "A", "value": "1"}]}, [("spec.env", "FORBIDDEN")]),
        ({"envFrom": [{"secretRef": {"name": "s"}}]}, [("spec.envFrom", "FORBIDDEN")]),
        ({"files": [{"path": "/a", "content": "x"}]}, [("spec.files", "FORBIDDEN")]),
        ({"isolation": "VM"}, [("spec.isolation", "FORBIDDEN")]),
        ({"imageFormat": "Container"}, [("spec.imageFormat", "INVALID")]),
        ({"image": "Web"}, [("spec.image", "INVALID")]),
        ({"image": f"plc.img{DIGEST}", "datastoreRef": {"name": "f"}}, [("spec.imageFormat", "REQUIRED")]),
        ({"image": "a b", "datastoreRef": {"name": "f"}}, [("spec.image", "INVALID")]),
        ({"image": "../plc.raw", "datastoreRef": {"name": "f"}}, [("spec.image", "INVALID")]),
        ({"image": "plc.raw@sha256:1", "datastoreRef": {"name": "f"}}, [("spec.image", "INVALID")]),
        ({"resources": {"memory": "15Mi"}}, [("spec.resources.memory", "INVALID")]),
        ({"resources": {"memory": "1025Mi"}, "vm": {"hugePages": "2Mi"}}, [("spec.resources.memory", "INVALID")]),
        ({"vm": {"balloon": {"minMemory": "1Gi"}}}, [("spec.vm.balloon.minMemory", "INVALID")]),
        ({"vm": {"balloon": {"minMemory": "1Mi"}}}, [("spec.vm.balloon.minMemory", "INVALID")]),
        ({"vm": {"balloon": {"minMemory": "64Mi"}, "hugePages": "2Mi"}}, [("spec.vm.balloon", "FORBIDDEN")]),
        (
            {"vm": {"balloon": {"minMemory": "64Mi"}}, "devices": [{"name": "gpu"}]},
            [("spec.vm.balloon", "FORBIDDEN")],
        ),
        ({"vm": {"vtpm": True, "firmware": "BIOS"}}, [("spec.vm.vtpm", "FORBIDDEN")]),
        ({"vm": {"vtpm": True, "deviceModel": "Legacy"}}, [("spec.vm.vtpm", "FORBIDDEN")]),
        ({"vm": {"vtpm": True, "deviceModel": "Legacy", "firmware": "UEFI"}}, [("spec.vm.vtpm", "FORBIDDEN")]),
        ({"vm": {"machine": "q35,accel=tcg"}}, [("spec.vm.machine", "INVALID")]),
        ({"vm": {"dedicatedCpus": True}}, [("spec.resources.cpus", "REQUIRED")]),
        (
            {"vm": {"vnc": {"enabled": False, "passwordSecretKeyRef": {"name": "s", "key": "k"}}}},
            [("spec.vm.vnc.passwordSecretKeyRef", "FORBIDDEN")],
        ),
        ({"volumes": [{"name": "d", "mountPath": "/d"}]}, [("spec.volumes[0].mountPath", "FORBIDDEN")]),
        ({"volumes": [{"name": "d", "device": "CDROM"}]}, [("spec.volumes[0].volumeName", "REQUIRED")]),
        (
            {"volumes": [{"name": "a", "bootOrder": 1}, {"name": "b", "bootOrder": 1}]},
            [("spec.volumes[1].bootOrder", "DUPLICATE")],
        ),
        (
            {"vm": {"rootDisk": {"bootOrder": 1}}, "volumes": [{"name": "a", "bootOrder": 1}]},
            [("spec.volumes[0].bootOrder", "DUPLICATE")],
        ),
        ({"vm": {"rootDisk": {"size": "0"}}}, [("spec.vm.rootDisk.size", "INVALID")]),
        ({"imageFormat": "Iso", "vm": {"rootDisk": {"size": "1Gi"}}}, [("spec.vm.rootDisk.size", "FORBIDDEN")]),
        (
            {"vm": {"cloudInit": {"userData": "x", "userDataFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}}},
            [("spec.vm.cloudInit.userDataFrom", "FORBIDDEN")],
        ),
        ({"vm": {"cloudInit": {"metaDataFrom": {}}}}, [("spec.vm.cloudInit.metaDataFrom", "REQUIRED")]),
        (
            {
                "vm": {
                    "cloudInit": {
                        "networkConfigFrom": {
                            "secretKeyRef": {"name": "s", "key": "k"},
                            "configMapKeyRef": {"name": "s", "key": "k"},
                        }
                    }
                }
            },
            [("spec.vm.cloudInit.networkConfigFrom", "FORBIDDEN")],
        ),
        (
            {"vm": {"cloudInit": {"datasource": "None", "userData": "#!/bin/sh"}}},
            [("spec.vm.cloudInit.userData", "FORBIDDEN")],
        ),
        ({"vm": {"cloudInit": {"userData": "#cloud-config\na: [1"}}}, [("spec.vm.cloudInit.userData", "INVALID")]),
        ({"vm": {"cloudInit": {"userData": "#cloud-config\n- a"}}}, [("spec.vm.cloudInit.userData", "INVALID")]),
        ({"vm": {"cloudInit": {"metaData": "{"}}}, [("spec.vm.cloudInit.metaData", "INVALID")]),
        ({"vm": {"cloudInit": {"networkConfig": "text"}}}, [("spec.vm.cloudInit.networkConfig", "INVALID")]),
        (
            {"vm": {"cloudInit": {"datasource": "ConfigDrive", "metaData": "a: 1", "networkConfig": "[]"}}},
            [("spec.vm.cloudInit.metaData", "INVALID"), ("spec.vm.cloudInit.networkConfig", "INVALID")],
        ),
        ({"rollback": {"snapshotName": "A_b", "counter": 1}}, [("spec.rollback.snapshotName", "INVALID")]),
    ],
)
def test_each_fault_is_told_with_the_path_of_its_field(spec: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert faults(make_vm(**spec)) == expected


@pytest.mark.parametrize(
    ("spec", "is_warned"),
    [
        ({"vm": {"firmware": "BIOS"}, "volumes": [{"name": "data", "size": "1Gi", "bootOrder": 5}]}, True),
        ({"vm": {"deviceModel": "Legacy"}, "volumes": [{"name": "data", "size": "1Gi", "bootOrder": 5}]}, True),
        ({"vm": {"firmware": "UEFI"}, "volumes": [{"name": "data", "size": "1Gi", "bootOrder": 5}]}, False),
        (
            {
                "vm": {"firmware": "BIOS", "rootDisk": {"bootOrder": 1}},
                "volumes": [{"name": "data", "size": "1Gi", "bootOrder": 5}],
            },
            False,
        ),
        ({"vm": {"firmware": "BIOS"}, "volumes": [{"name": "old", "volumeName": "old", "bootOrder": 1}]}, False),
        (
            {
                "vm": {"firmware": "BIOS"},
                "image": f"setup.iso{DIGEST}",
                "datastoreRef": {"name": "files"},
                "volumes": [{"name": "system", "size": "1Gi", "bootOrder": 1}],
            },
            False,
        ),
    ],
)
def test_an_empty_disk_from_which_a_bios_would_boot_is_warned_of(spec: dict[str, Any], is_warned: bool) -> None:
    app = make_vm(**spec)
    assert faults(app) == []
    assert RESOURCE.warn is not None
    assert [warning.partition(":")[0] for warning in RESOURCE.warn(app)] == ["spec.volumes[0].bootOrder"] * is_warned


@pytest.mark.parametrize(
    ("size", "known", "is_warned"),
    [
        ("1Gi", {"image": "registry.example/disks/plc:1", "size": str(2 << 30)}, True),
        ("2Gi", {"image": "registry.example/disks/plc:1", "size": str(2 << 30)}, False),
        ("3Gi", {"image": "registry.example/disks/plc:1", "size": str(2 << 30)}, False),
        ("2000001", {"image": "registry.example/disks/plc:1", "size": "2000384"}, False),
        ("1Gi", {"image": "registry.example/disks/plc:0", "size": str(2 << 30)}, False),
        (None, {"image": "registry.example/disks/plc:1", "size": str(2 << 30)}, False),
        ("1Gi", None, False),
    ],
)
def test_a_root_disk_smaller_than_its_image_is_warned_of_once_a_node_has_the_image(
    size: str | None, known: dict[str, str] | None, is_warned: bool
) -> None:
    app = make_vm(vm={"rootDisk": {"size": size} if size else {}}, status={"rootDisk": known} if known else {})
    assert faults(app) == []
    told = "spec.vm.rootDisk.size: 1Gi is less than the 2Gi of the image, so the disk has 2Gi; ask for 2Gi or more, or leave it out"
    assert list(RESOURCE.warn(app)) == [told] * is_warned


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {"type": "Container"}, [("spec.type", "INVALID")]),
        (
            {"vm": {"rootDisk": {"size": "2Gi"}}},
            {"vm": {"rootDisk": {"size": "1Gi"}}},
            [("spec.vm.rootDisk.size", "FORBIDDEN")],
        ),
        ({"vm": {"rootDisk": {"size": "2Gi"}}}, {"vm": {"rootDisk": {"size": "1Gi"}}, "purgeCounter": 1}, []),
        ({"vm": {"rootDisk": {"size": "1Gi"}}}, {"vm": {"rootDisk": {"size": "2Gi"}}}, []),
        (
            {"vm": {"cloudInit": {"version": 2}}},
            {"vm": {"cloudInit": {"version": 1}}},
            [("spec.vm.cloudInit.version", "INVALID")],
        ),
        (
            {"rollback": {"snapshotName": "a", "counter": 2}},
            {"rollback": {"snapshotName": "b", "counter": 1}},
            [("spec.rollback.counter", "INVALID")],
        ),
        ({"vm": {"vtpm": True}}, {"vm": {"deviceModel": "Legacy"}}, []),
    ],
)
def test_changes(old: dict[str, Any], new: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert faults(make_vm(**new), make_vm(**old)) == expected


def test_a_fault_of_inline_data_does_not_repeat_them() -> None:
    app = make_vm(vm={"cloudInit": {"userData": "#cloud-config\npassword: hunter2\nx: ["}})
    assert "hunter2" not in repr(list(RESOURCE.validate(app, None)))


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        ("registry.example/disks/plc:1", ImageFormat.QCOW2),
        (f"a/b.QCOW2{DIGEST}", ImageFormat.QCOW2),
        ("b.raw", ImageFormat.RAW),
        ("b.vmdk", ImageFormat.VMDK),
        ("b.vhdx", ImageFormat.VHDX),
        ("b.vhd", ImageFormat.VHD),
        ("b.ova", ImageFormat.OVA),
        ("b.iso", ImageFormat.ISO),
        ("b.img", None),
        ("b.bin", None),
    ],
)
def test_formats_by_name(image: str, kind: ImageFormat | None) -> None:
    assert guess_disk_format(image) is kind
