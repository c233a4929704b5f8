"""A whole Debian as clouds offer it, under kubectl: its cloud-init takes its data, its agent tells of it, it ends and starts as asked."""

from __future__ import annotations

import hashlib
import json
import secrets
import socket
from typing import Any

import pytest

from eaves.testing.daemons import find_ports
from eaves.testing.debian_image import want_debian_disk
from eaves.testing.file_server import FileServer
from eaves.testing.system import ControllerHost, NodeHost
from tests.system.conftest import MakeNode
from tests.system.test_vm import apply, find_seeds, manifest

pytestmark = [pytest.mark.system, pytest.mark.soak, pytest.mark.timeout(1800)]

BOOT_LIMIT_S = 600
"""systemd and cloud-init without hardware virtualisation, on a busy machine."""
_USER_DATA = """#cloud-config
hostname: erp
write_files:
  - {{path: /etc/shop-secret, permissions: '0600', content: {secret}}}
  - path: /usr/local/bin/tell
    permissions: '0755'
    content: |
      exec > /dev/ttyS0
      echo "first boot: $(cut -d: -f1 /var/lib/cloud/instance/datasource) $(hostname) $(sha256sum < /etc/shop-secret | cut -c -16)"
      echo "devices: $(basename $(readlink /sys/class/net/e*/device/driver)) $(ls /sys/block | grep '[sv]d' | xargs)"
      echo "root of $(df -BM --output=size / | tail -n 1)"
runcmd:
  - [sh, /usr/local/bin/tell]
"""


@pytest.fixture(scope="module")
def disk() -> bytes:
    return want_debian_disk().read_bytes()


class Machine:
    """The App ``erp`` with a Secret of first-boot data."""

    def __init__(self, controller: ControllerHost, node: NodeHost, namespace: str, disk: bytes, **vm: Any) -> None:
        self.controller = controller
        self.node = node
        self.namespace = namespace
        self.port = find_ports(1)[0]
        self.secret = f"known-{secrets.token_hex(8)}"
        self.digest = hashlib.sha256(self.secret.encode()).hexdigest()[:16]
        user_data = {"user-data": _USER_DATA.format(secret=self.secret)}
        cloud_init = {"userDataFrom": {"secretKeyRef": {"name": "erp", "key": "user-data"}}} | vm.pop("cloudInit", {})
        spec = {
            "nodeName": node.name,
            "type": "VirtualMachine",
            "image": f"debian.qcow2@sha256:{hashlib.sha256(disk).hexdigest()}",
            "datastoreRef": {"name": "files"},
            "resources": {"cpus": 2, "memory": "640Mi"},
            "vm": {"rootDisk": {"size": "2Gi"}, "cloudInit": cloud_init, **vm},
            "networks": [{"name": "default", "ports": [{"port": 22, "nodePort": self.port}]}],
        }
        with FileServer({"/debian.qcow2": disk}) as files:
            apply(
                controller,
                namespace,
                manifest("Datastore", "files", {"type": "HTTP", "url": files.url}),
                {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "erp"}, "stringData": user_data},
                manifest("App", "erp", spec),
            )
            node.wait("the machine to run", lambda: self.started_at(), limit_s=BOOT_LIMIT_S)

    def status(self) -> dict[str, Any]:
        app = self.controller.operator.get("apps", "erp", self.namespace)
        assert app is not None
        found: dict[str, Any] = app.get("status", {})
        return found

    def started_at(self) -> str:
        return str(self.status().get("state", {}).get("running", {}).get("startedAt", ""))

    def wait_line(self, start: str) -> str:
        """The rest of the line on its serial console that begins so."""

        def find() -> str:
            return next((rest for line in self.log() if (rest := line.partition(f"{start} ")[2])), "")

        return self.node.wait(f"the line {start}", find, limit_s=BOOT_LIMIT_S).strip()

    def log(self, *, previous: bool = False) -> list[str]:
        return self.controller.operator.logs("erp", self.namespace, previous=previous)

    def wait_ssh(self) -> None:
        def greet() -> bool:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=20) as client:
                    return client.recv(8).startswith(b"SSH-2.0")
            except OSError:
                return False

        self.node.wait("its SSH server by the node's port", greet, limit_s=BOOT_LIMIT_S)

    def remove(self) -> None:
        self.controller.kubectl.ok("delete", "app/erp", "-n", self.namespace, "--timeout=240s")


@pytest.fixture
def node(controller: ControllerHost, make_node: MakeNode) -> NodeHost:
    return make_node(controller)


def test_debian_takes_its_first_boot_data_and_tells_of_itself(
    controller: ControllerHost, namespace: str, node: NodeHost, disk: bytes
) -> None:
    machine = Machine(controller, node, namespace, disk, vtpm=True)
    assert machine.wait_line("first boot:") == f"DataSourceNoCloud erp {machine.digest}"
    assert machine.wait_line("devices:") == "virtio_net vda vdb"
    assert int(machine.wait_line("root of").rstrip("M")) > 1700, "grown to the size that the App asks for"
    node.wait("its agent", lambda: "guest" in machine.status().get("vm", {}), limit_s=BOOT_LIMIT_S)

    def told() -> dict[str, Any]:
        guest: dict[str, Any] = machine.status()["vm"]["guest"]
        return guest if guest.get("hostname") == "erp" and guest.get("interfaces") else {}

    guest = node.wait("what its agent tells", told, limit_s=BOOT_LIMIT_S)
    assert guest["os"].startswith("Debian GNU/Linux")
    (address,) = machine.status()["addresses"]
    assert address["addresses"][0] in json.dumps(guest["interfaces"])
    machine.wait_ssh()

    started = machine.started_at()
    controller.kubectl.ok("delete", "pod/erp", "-n", namespace, "--wait=false")
    node.wait("the next start", lambda: machine.started_at() not in ("", started), limit_s=BOOT_LIMIT_S)
    node.wait("the end of its log", lambda: any("poweroff.target" in line for line in machine.log(previous=True)))
    machine.wait_ssh()
    assert not any("first boot:" in line for line in machine.log()), "cloud-init works once"
    text = controller.kubectl.ok("get", "apps,pods,events", "-n", namespace, "-o", "yaml").out
    assert machine.secret not in text
    assert not any(machine.secret in line for line in machine.log(previous=True))
    machine.remove()
    node.wait("its secrets to go from the run folder", lambda: not find_seeds(node))


def test_debian_on_old_hardware_reads_a_config_drive(
    controller: ControllerHost, namespace: str, node: NodeHost, disk: bytes
) -> None:
    machine = Machine(controller, node, namespace, disk, deviceModel="Legacy", cloudInit={"datasource": "ConfigDrive"})
    assert machine.wait_line("first boot:") == f"DataSourceConfigDrive erp {machine.digest}"
    assert machine.wait_line("devices:") == "e1000 sda"
    machine.wait_ssh()
    machine.remove()
