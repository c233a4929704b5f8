"""A Volume from a disk image of a web server: by kubectl's API, over a lying mirror, a budget and a power cut, until it is ready."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from eaves.kube.resource import Object
from eaves.testing.disk_images import make_disk
from eaves.testing.file_server import FileServer
from eaves.testing.system import ControllerHost
from tests.system.conftest import MakeNode

pytestmark = pytest.mark.system

CONTENT = os.urandom(6 << 20)
KIND = {"apiVersion": "eaves.dev/v1alpha1"}


@pytest.mark.timeout(240)
def test_a_volume_from_a_disk_image(
    controller: ControllerHost, namespace: str, make_node: MakeNode, tmp_path: Path
) -> None:
    operator = controller.operator
    node = make_node(controller)
    with FileServer() as origin, FileServer() as mirror:
        disk = make_disk(tmp_path, "vmdk", CONTENT)
        digest = origin.add("/disks/plc.vmdk", disk)
        mirror.add("/plc.vmdk", disk)
        mirror.manners.is_corrupt = True
        origin.manners.stall_after_bytes = 3 << 20
        files = {"type": "HTTP", "url": origin.url, "path": "disks", "mirrors": [{"url": mirror.url}]}
        operator.create(
            "datastores", {**KIND, "kind": "Datastore", "metadata": {"name": "files"}, "spec": files}, namespace
        )
        source = {"image": f"plc.vmdk@{digest}", "format": "Vmdk", "datastoreRef": {"name": "files"}}
        spec = {"nodeName": node.name, "size": "1Gi", "source": source}
        operator.create("volumes", {**KIND, "kind": "Volume", "metadata": {"name": "plc"}, "spec": spec}, namespace)

        def status() -> Object:
            found: Object = (operator.get("volumes", "plc", namespace) or {}).get("status") or {}
            return found

        def kept_bytes() -> int:
            sizes = 0
            for path in (node.instance.blobs_dir / "partial").iterdir():
                # A file that is being saved has another name for a moment.
                with contextlib.suppress(FileNotFoundError):
                    sizes += path.stat().st_size
            return sizes

        node.wait("half of the image to come", lambda: kept_bytes() >= 2 << 20)
        node.cut_power()
        origin.manners.stall_after_bytes = 0
        properties = {"spec": {"properties": {"eaves.download.budget.day": "1"}}}
        operator.patch("edgenodes", node.name, properties)
        node.start()
        node.wait("the budget to be told", lambda: "download budget is used up" in status().get("message", ""))
        operator.patch("edgenodes", node.name, {"spec": {"properties": {"eaves.download.budget.day": "100"}}})
        node.wait("the volume to be ready", lambda: status().get("phase") == "Ready")
        assert mirror.asked, "the mirror was asked first"
        assert origin.served_bytes < len(disk) + (2 << 20), "what had come before the cut is not fetched again"
        assert operator.condition("volumes", "plc", "ImageReady", namespace)["status"] == "True"
