"""kubectl takes a machine back to where it was: its disks, its memory, over the death of the daemon and before updates."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from eaves.testing import guest_counter
from eaves.testing.daemons import find_ports
from eaves.testing.file_server import FileServer
from eaves.testing.guest_image import want_guest_disk
from eaves.testing.system import ControllerHost, NodeHost
from tests.system.conftest import MakeNode
from tests.system.test_vm import BOOT_LIMIT_S, apply, in_guest, manifest, wait_until, want_vm

pytestmark = pytest.mark.system


class Machine:
    """One machine of a namespace, by kubectl and its console."""

    def __init__(self, controller: ControllerHost, node: NodeHost, namespace: str, **vm: Any) -> None:
        self.controller, self.node, self.namespace = controller, node, namespace
        disk = want_guest_disk()
        with FileServer({"/guest.raw": disk.read_bytes()}) as files:
            store = manifest("Datastore", "files", {"type": "HTTP", "url": files.url})
            apply(controller, namespace, store, want_vm(node, disk, find_ports(1)[0], **vm))
            wait_until(controller, node, namespace, "app/plc", "condition=Ready")

    def run(self, command: str) -> str:
        return in_guest(self.controller, self.node, self.namespace, command)

    def count(self, beyond: int = 0) -> int:
        """The program's number, once it is larger than that."""
        while (number := guest_counter.parse(self.run(guest_counter.look(beyond)))) is None:
            pass
        return number

    def snapshot(self, name: str, **spec: str) -> None:
        apply(self.controller, self.namespace, manifest("AppSnapshot", name, {"appName": "plc", **spec}))

    def await_snapshot(self, name: str) -> dict[str, Any]:
        wait_until(self.controller, self.node, self.namespace, f"appsnapshot/{name}", "condition=Ready")
        return self.status("appsnapshots", name)

    def patch(self, spec: dict[str, Any]) -> None:
        text = json.dumps({"spec": spec})
        self.controller.kubectl.ok("patch", "app", "plc", "-n", self.namespace, "--type=merge", "-p", text)

    def status(self, plural: str = "apps", name: str = "plc") -> dict[str, Any]:
        found = self.controller.operator.get(plural, name, self.namespace)
        return (found or {}).get("status") or {}

    def started_at(self) -> str:
        return str(self.status().get("state", {}).get("running", {}).get("startedAt", ""))

    def await_restart(self, started: str) -> None:
        self.node.wait("another start", lambda: self.started_at() not in ("", started), limit_s=BOOT_LIMIT_S)

    def note(self) -> str:
        return str((self.status().get("vm") or {}).get("note", ""))


@pytest.mark.timeout(280)
def test_a_machine_goes_on_from_its_memory_of_then_whenever_the_daemon_dies(
    controller: ControllerHost, namespace: str, make_node: MakeNode
) -> None:
    node = make_node(controller)
    machine = Machine(controller, node, namespace, firmware="BIOS")
    machine.run(guest_counter.START)
    machine.run("echo before > /dev/vdb; sync")
    before = machine.count()
    started = machine.started_at()
    never = threading.Event()
    machine.snapshot("first", type="DiskAndMemory")
    for _ in range(2):
        never.wait(random.uniform(0, 1))
        node.daemon.kill()
        node.start()
    status = machine.await_snapshot("first")
    assert machine.started_at() == started, "it is still the machine of then"
    assert int(status["size"]) > 16 << 20, "the memory is part of what it takes"
    left_at = machine.count() + 150
    machine.run("echo after > /dev/vdb; sync")
    machine.count(beyond=left_at)

    machine.patch({"rollback": {"snapshotName": "first", "counter": 1}})
    for _ in range(2):
        never.wait(random.uniform(0, 1))
        node.daemon.kill()
        node.start()
    machine.await_restart(started)
    # A start that a killed daemon did not end is made anew.
    node.wait("the note", lambda: "went on from its snapshot" in machine.note(), limit_s=BOOT_LIMIT_S)
    now = machine.count()
    assert before <= now < left_at, "it goes on from its number of then"
    assert "before" in machine.run("head -c 6 /dev/vdb")
    machine.count(beyond=now)
    machine.await_snapshot("first")

    machine.patch({"rollback": None})
    controller.kubectl.ok("delete", "appsnapshot/first", "-n", namespace)
    node.wait("the memory to go", lambda: not list(node.instance.volumes_dir.glob("*.snapshots/*/memory")))


@pytest.mark.timeout(280)
def test_a_snapshot_is_taken_before_an_update_and_the_machine_goes_back_to_it(
    controller: ControllerHost, namespace: str, make_node: MakeNode
) -> None:
    node = make_node(controller)
    machine = Machine(controller, node, namespace, firmware="BIOS")
    machine.run("echo before > /dev/vdb; sync")
    machine.snapshot("update", trigger="AppUpdate")
    node.wait("its word", lambda: "next stops" in str(machine.status("appsnapshots", "update").get("message")))
    started = machine.started_at()
    machine.patch({"resources": {"cpus": 1, "memory": "320Mi"}})
    machine.await_snapshot("update")
    machine.await_restart(started)
    started = machine.started_at()
    assert "before" in machine.run("head -c 6 /dev/vdb; echo after > /dev/vdb; sync")
    machine.patch({"rollback": {"snapshotName": "update", "counter": 1}})
    machine.await_restart(started)
    assert "before" in machine.run("head -c 6 /dev/vdb")


@pytest.mark.timeout(280)
def test_a_machine_that_is_to_be_suspended_goes_on_after_a_reboot(
    controller: ControllerHost, namespace: str, make_node: MakeNode
) -> None:
    """The reboot command of the test's node fails, so that the daemon starts all again by itself."""
    node = make_node(controller)
    machine = Machine(controller, node, namespace, firmware="BIOS", onNodeRestart="Suspend")
    machine.run(guest_counter.START)
    before = machine.count()
    controller.eaves_kubectl("reboot", node.name)
    node.wait("the machine to go on", lambda: "went on where it was" in machine.note(), limit_s=BOOT_LIMIT_S)
    wait_until(controller, node, namespace, "app/plc", "condition=Ready")
    after = machine.count()
    assert before <= after
    machine.count(beyond=after)


@pytest.mark.timeout(280)
def test_disks_of_a_running_machine_are_exported_as_of_one_moment(
    controller: ControllerHost, namespace: str, make_node: MakeNode, tmp_path: Path
) -> None:
    node = make_node(controller)
    machine = Machine(controller, node, namespace, firmware="BIOS")
    machine.run("echo before > /dev/vdb; sync")
    machine.snapshot("first")
    machine.await_snapshot("first")
    machine.run("echo after! > /dev/vdb; sync")
    root, now, then = (tmp_path / f"{name}.qcow2" for name in ("root", "now", "then"))
    said = controller.eaves_kubectl("-n", namespace, "export", "plc", str(root))
    assert hashlib.sha256(root.read_bytes()).hexdigest() in said
    controller.eaves_kubectl("-n", namespace, "export", "app/plc", str(now), "--disk", "data")
    controller.eaves_kubectl("-n", namespace, "export", "app/plc", str(then), "--disk", "data", "--snapshot", "first")
    assert read_disk(root, tmp_path) == want_guest_disk().read_bytes()
    assert read_disk(now, tmp_path)[:6] == b"after!"
    assert read_disk(then, tmp_path)[:6] == b"before"
    assert then.stat().st_size < 4 << 20, "what is empty takes no room"
    with pytest.raises(AssertionError, match="app plc has no disk gone; its disks: root, data"):
        controller.eaves_kubectl("-n", namespace, "export", "plc", str(now), "--force", "--disk", "gone")
    assert read_disk(now, tmp_path)[:6] == b"after!", "what was there before stays"
    node.wait("the moments to go", lambda: not any(b"eaves-volume-export" in raw for raw in list_headers(node)))


def read_disk(path: Path, folder: Path) -> bytes:
    out = folder / "out.raw"
    argv = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(path), str(out)]
    subprocess.run(argv, check=True, capture_output=True)
    return out.read_bytes()


def list_headers(node: NodeHost) -> list[bytes]:
    """What qemu-img says of every disk."""
    return [
        subprocess.run(["qemu-img", "info", "-U", str(path)], check=True, capture_output=True).stdout
        for path in node.instance.volumes_dir.glob("*.qcow2")
    ]
