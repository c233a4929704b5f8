"""Virtual machines and their snapshots by the real kubectl: explain, columns, faults with their paths, server-side apply."""

from __future__ import annotations

import pytest

from eaves.testing.kubectl import Kubectl

pytestmark = pytest.mark.contract

MACHINE = """
apiVersion: eaves.dev/v1alpha1
kind: App
metadata: {name: plc}
spec:
  nodeName: n1
  type: VirtualMachine
  image: registry.example/disks/plc:1
  resources: {cpus: 2, memory: 1Gi}
  vm:
    rootDisk: {size: 20Gi}
    vtpm: true
    vnc: {passwordSecretKeyRef: {name: plc, key: vnc}}
    cloudInit:
      userData: |
        #cloud-config
        packages: [nginx]
  volumes: [{name: data, size: 5Gi}]
"""
SNAPSHOT = """
apiVersion: eaves.dev/v1alpha1
kind: AppSnapshot
metadata: {name: before-upgrade}
spec: {appName: plc, type: Disk}
"""


def test_explain_tells_of_machines(kubectl: Kubectl) -> None:
    out = kubectl.ok("explain", "app.spec.vm").out
    assert "FIELDS" in out
    for field in ("firmware", "deviceModel", "cloudInit", "vtpm", "vnc", "rootDisk", "balloon", "hugePages"):
        assert field in out
    assert "enum: UEFI, BIOS" in out
    assert "cidata" in kubectl.ok("explain", "app.spec.vm.cloudInit.datasource").out
    assert "CDROM" in kubectl.ok("explain", "app.spec.volumes.device").out
    assert "cannot be deleted" in kubectl.ok("explain", "appsnapshot.spec.retain").out


def test_a_machine_is_applied_shown_and_changed(kubectl: Kubectl, space: str) -> None:
    kubectl.ok("apply", "-n", space, "--server-side", "-f", "-", stdin=MACHINE)
    assert "serverside-applied" in kubectl.ok("apply", "-n", space, "--server-side", "-f", "-", stdin=MACHINE).out
    wide = kubectl.ok("get", "app", "plc", "-n", space, "-o", "wide").out
    assert "VirtualMachine" in wide
    pod = kubectl.ok("get", "pod", "plc", "-n", space, "-o", "json").json()
    assert pod["spec"]["containers"][0]["image"] == "registry.example/disks/plc:1"
    assert "emptyDir" in pod["spec"]["volumes"][0]
    assert "registry.example/disks/plc:1" in kubectl.ok("describe", "pod", "plc", "-n", space).out
    patch = '{"spec":{"vm":{"rootDisk":{"size":"30Gi"}}}}'
    kubectl.ok("patch", "app", "plc", "-n", space, "--type=merge", "-p", patch)
    patch = '{"spec":{"vm":{"rootDisk":{"size":"10Gi"}}}}'
    err = kubectl.fails("patch", "app", "plc", "-n", space, "--type=merge", "-p", patch)
    assert "spec.vm.rootDisk.size: Forbidden: storage cannot shrink" in err


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (
            "  env: [{name: A, value: b}]",
            "spec.env: Forbidden: a virtual machine gets its settings by spec.vm.cloudInit",
        ),
        ("  isolation: VM", "spec.isolation: Forbidden"),
        ("  restartPolicy: Sometimes", 'spec.restartPolicy: Unsupported value: "Sometimes"'),
        ("  imageFormat: Container", 'spec.imageFormat: Invalid value: "Container"'),
        ("  type: Container", "spec.vm: Forbidden: only an app of type VirtualMachine has it"),
    ],
)
def test_impossible_machines_are_refused_with_the_field(kubectl: Kubectl, space: str, line: str, fault: str) -> None:
    base = MACHINE.replace("  type: VirtualMachine\n", "") if line.startswith("  type") else MACHINE
    assert fault in kubectl.fails("create", "-n", space, "-f", "-", stdin=f"{base.rstrip()}\n{line}\n")


def test_faults_inside_the_machine_name_their_path(kubectl: Kubectl, space: str) -> None:
    bad = MACHINE.replace("    vtpm: true", "    vtpm: true\n    firmware: BIOS").replace(
        "volumes: [{name: data, size: 5Gi}]",
        "volumes: [{name: a, bootOrder: 1}, {name: b, bootOrder: 1}, {name: c, device: CDROM}]",
    )
    err = kubectl.fails("create", "-n", space, "-f", "-", stdin=bad)
    for fault in (
        "spec.vm.vtpm: Forbidden: BIOS firmware knows no TPM 2.0",
        "spec.volumes[1].bootOrder: Duplicate value",
        "spec.volumes[2].volumeName: Required value",
    ):
        assert fault in err
    unknown = MACHINE.replace("    vtpm: true", "    vtpn: true")
    assert 'unknown field "spec.vm.vtpn"' in kubectl.fails("create", "-n", space, "-f", "-", stdin=unknown)


def test_snapshots_are_made_listed_and_guarded(kubectl: Kubectl, space: str) -> None:
    assert "spec.appName: Invalid value" in kubectl.fails("create", "-n", space, "-f", "-", stdin=SNAPSHOT)
    kubectl.ok("create", "-n", space, "-f", "-", stdin=MACHINE)
    with_memory = SNAPSHOT.replace("type: Disk", "type: DiskAndMemory, trigger: AppUpdate")
    assert 'spec.type: Invalid value: "DiskAndMemory"' in kubectl.fails(
        "create", "-n", space, "-f", "-", stdin=with_memory
    )
    kubectl.ok("create", "-n", space, "-f", "-", stdin=SNAPSHOT)
    table = kubectl.ok("get", "appsnapshots", "-n", space).out.splitlines()
    assert table[0].split() == ["NAME", "APP", "TYPE", "PHASE", "SIZE", "TAKEN", "AGE"]
    assert table[1].split()[:3] == ["before-upgrade", "plc", "Disk"]
    assert "before-upgrade" in kubectl.ok("get", "asnap", "-n", space, "--field-selector", "spec.appName=plc").out
    kubectl.ok("patch", "asnap", "before-upgrade", "-n", space, "--type=merge", "-p", '{"spec":{"retain":true}}')
    assert "retain" in kubectl.fails("delete", "asnap", "before-upgrade", "-n", space)
    kubectl.ok("delete", "app", "plc", "-n", space)
    kubectl.ok("wait", "asnap/before-upgrade", "-n", space, "--for=delete", "--timeout=60s")
