"""kubectl apply runs a virtual machine on an edge node: a disk image from a web server, first-boot data, network, serial log, end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest

from eaves.testing.daemons import find_ports
from eaves.testing.file_server import FileServer
from eaves.testing.guest_image import PROMPT, READY, want_guest_disk
from eaves.testing.system import ControllerHost, NodeHost, fetch
from eaves.testing.vm_host import Console
from tests.system.conftest import MakeNode

pytestmark = pytest.mark.system

BOOT_LIMIT_S = 180
"""A guest without hardware virtualisation on a busy machine."""


def manifest(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "eaves.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def want_vm(node: NodeHost, disk: Path, port: int, **vm: Any) -> dict[str, Any]:
    digest = hashlib.sha256(disk.read_bytes()).hexdigest()
    spec = {
        "nodeName": node.name,
        "type": "VirtualMachine",
        "image": f"guest.raw@sha256:{digest}",
        "datastoreRef": {"name": "files"},
        "resources": {"cpus": 1, "memory": "256Mi"},
        "vm": vm,
        "volumes": [{"name": "data", "size": "64Mi"}],
        "networks": [{"name": "default", "ports": [{"port": 80, "nodePort": port}]}],
    }
    return manifest("App", "plc", spec)


def apply(controller: ControllerHost, namespace: str, *objects: dict[str, Any]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    controller.kubectl.ok("apply", "-n", namespace, "-f", "-", stdin=text)


def wait_until(controller: ControllerHost, node: NodeHost, namespace: str, target: str, condition: str) -> None:
    """By kubectl wait; says where everything stands when it is in vain."""
    arguments = ("wait", "-n", namespace, f"--for={condition}", target, f"--timeout={BOOT_LIMIT_S}s")
    done = controller.kubectl.run(*arguments, timeout_s=BOOT_LIMIT_S + 20)
    assert done.code == 0, f"{done.err}\n{node.explain()}"


def test_an_applied_machine_boots_answers_and_goes(
    controller: ControllerHost, namespace: str, make_node: MakeNode
) -> None:
    kubectl, disk = controller.kubectl, want_guest_disk()
    node = make_node(controller)
    port, secret = find_ports(1)[0], f"known-{secrets.token_hex(8)}"
    with FileServer({"/guest.raw": disk.read_bytes()}) as files:
        apply(
            controller,
            namespace,
            manifest("Datastore", "files", {"type": "HTTP", "url": files.url}),
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "plc"}, "stringData": {"user-data": secret}},
            want_vm(
                node, disk, port, cloudInit={"userDataFrom": {"secretKeyRef": {"name": "plc", "key": "user-data"}}}
            ),
        )
        wait_until(controller, node, namespace, "app/plc", "condition=Ready")
    node.wait("the guest", lambda: READY in kubectl.ok("logs", "-n", namespace, "plc").out, limit_s=BOOT_LIMIT_S)
    node.wait("an answer of the guest", lambda: fetch(port), limit_s=BOOT_LIMIT_S)

    def app_status() -> dict[str, Any]:
        app = controller.operator.get("apps", "plc", namespace)
        assert app is not None
        status: dict[str, Any] = app["status"]
        return status

    def agent() -> str:
        conditions = app_status()["conditions"]
        return next((entry["status"] for entry in conditions if entry["type"] == "AgentConnected"), "")

    node.wait("the guest's agent", lambda: agent() == "True", limit_s=BOOT_LIMIT_S)
    status = app_status()
    assert status["vm"]["accelerator"] in ("KVM", "TCG")
    assert status["vm"]["firmware"] == "UEFI"
    (address,) = status["addresses"]
    assert address["addresses"]
    pods = kubectl.ok("get", "pods", "-n", namespace, "-o", "wide").out
    assert "Running" in pods
    assert address["addresses"][0] in pods
    assert "app/plc is as asked" in controller.eaves_kubectl("-n", namespace, "why", "app/plc")
    assert secret not in kubectl.ok("get", "apps,pods,events", "-n", namespace, "-o", "yaml").out
    (seed,) = find_seeds(node)
    assert secret.encode() in seed.read_bytes()
    assert seed.stat().st_mode & 0o077 == 0

    assert len(find_machines(node)) == 1
    kubectl.ok("delete", "app/plc", "-n", namespace, "--timeout=120s")
    node.wait("the machine to go", lambda: not find_machines(node))
    assert fetch(port) is None
    node.wait("its secrets to go from the run folder", lambda: not find_seeds(node))


def test_a_machine_goes_back_to_a_snapshot_with_all_of_its_disks(
    controller: ControllerHost, namespace: str, make_node: MakeNode
) -> None:
    disk, kubectl = want_guest_disk(), controller.kubectl
    node = make_node(controller)

    def patch(spec: dict[str, Any]) -> None:
        kubectl.ok("patch", "app", "plc", "-n", namespace, "--type=merge", "-p", json.dumps({"spec": spec}))

    def restarted() -> bool:
        found = controller.operator.get("apps", "plc", namespace)
        state = (found or {}).get("status", {}).get("state", {})
        return bool(state.get("running", {}).get("startedAt", "") not in ("", started))

    with FileServer({"/guest.raw": disk.read_bytes()}) as files:
        store = manifest("Datastore", "files", {"type": "HTTP", "url": files.url})
        apply(controller, namespace, store, want_vm(node, disk, find_ports(1)[0], firmware="BIOS"))
        wait_until(controller, node, namespace, "app/plc", "condition=Ready")
    in_guest(controller, node, namespace, "echo before > /dev/vdb; sync")
    apply(controller, namespace, manifest("AppSnapshot", "first", {"appName": "plc"}))
    wait_until(controller, node, namespace, "appsnapshot/first", "condition=Ready")
    assert "before" in in_guest(controller, node, namespace, "head -c 6 /dev/vdb; echo after > /dev/vdb; sync")
    assert "after" in in_guest(controller, node, namespace, "head -c 5 /dev/vdb")

    found = controller.operator.get("apps", "plc", namespace)
    assert found is not None
    started = found["status"]["state"]["running"]["startedAt"]
    patch({"rollback": {"snapshotName": "first", "counter": 1}})
    node.wait("the machine to start again", restarted, limit_s=BOOT_LIMIT_S)
    assert "before" in in_guest(controller, node, namespace, "head -c 6 /dev/vdb")
    wait_until(controller, node, namespace, "appsnapshot/first", "condition=Ready")
    events = kubectl.ok("get", "events", "-n", namespace, "--field-selector", "involvedObject.name=first").out
    assert "SnapshotTaken" in events


def test_a_legacy_guest_sees_its_disks_its_cdrom_and_its_first_boot_data(
    controller: ControllerHost, namespace: str, make_node: MakeNode, tmp_path: Path
) -> None:
    disk, node = want_guest_disk(), make_node(controller)
    iso = make_iso(tmp_path)
    source = {
        "image": f"cd.iso@sha256:{hashlib.sha256(iso).hexdigest()}",
        "format": "Iso",
        "datastoreRef": {"name": "files"},
    }
    cloud_init = {"userData": "#!/bin/sh\n: first boot\n"}
    machine = want_vm(node, disk, find_ports(1)[0], deviceModel="Legacy", cloudInit=cloud_init)
    machine["spec"]["volumes"].append({"name": "cd", "volumeName": "cd", "device": "CDROM"})
    with FileServer({"/guest.raw": disk.read_bytes(), "/cd.iso": iso}) as files:
        apply(
            controller,
            namespace,
            manifest("Datastore", "files", {"type": "HTTP", "url": files.url}),
            manifest("Volume", "cd", {"nodeName": node.name, "size": "1Mi", "source": source}),
            machine,
        )
        wait_until(controller, node, namespace, "app/plc", "condition=Ready")
    shown = in_guest(
        controller,
        node,
        namespace,
        "for disk in /dev/sr?; do mount -t iso9660 -o ro $disk /mnt 2>/dev/null && cat /mnt/* && umount /mnt; done",
    )
    assert "hello from a CD" in shown
    assert ": first boot" in shown
    assert "instance-id" in shown
    data = in_guest(controller, node, namespace, "cat /sys/block/sdb/size")
    assert str((64 << 20) // 512) in data


def make_iso(folder: Path) -> bytes:
    (folder / "cd").mkdir()
    (folder / "cd" / "hello").write_text("hello from a CD\n")
    argv = [
        "xorrisofs",
        "-quiet",
        "-output",
        str(folder / "cd.iso"),
        "-volid",
        "tools",
        "-rational-rock",
        str(folder / "cd"),
    ]
    subprocess.run(argv, check=True, capture_output=True)
    return (folder / "cd.iso").read_bytes()


def in_guest(controller: ControllerHost, node: NodeHost, namespace: str, command: str) -> str:
    """Run a command in the guest's shell by its serial console; answers what it wrote."""
    found = controller.operator.get("apps", "plc", namespace)
    assert found is not None
    path = node.instance.apps_run_dir / found["metadata"]["uid"] / "vm" / "console.sock"

    async def talk() -> str:
        async with Console(path) as console:
            await console.type("\n")
            await console.wait(PROMPT)
            return await console.run(command)

    return asyncio.run(talk())


def find_seeds(node: NodeHost) -> list[Path]:
    """Images with first-boot data on this node."""
    return [path for path in node.instance.run_dir.rglob("*.iso") if path.is_file()]


def find_machines(node: NodeHost) -> list[str]:
    """Command lines of this node's QEMU processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "qemu-system" in line.split(" ")[0] and str(node.instance.run_dir) in line:
            found.append(line)
    return found
