"""Volumes from kubectl to a running app: bounded, snapshotted, gone back to, copied, refused with the field's path."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from eaves.kube.resource import Object
from eaves.testing.registry import Registry
from eaves.testing.system import ControllerHost, want_app
from tests.system.conftest import MakeNode

pytestmark = pytest.mark.system

FILL = "cat /data/rows || echo good > /data/rows; dd if=/dev/zero of=/data/fill bs=64k 2>&1; rm /data/fill; sync; exec sleep 1000"


def make(kind: str, name: str, **spec: Any) -> Object:
    return {"apiVersion": "eaves.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def test_a_volume_bounds_its_app_and_goes_back_to_a_snapshot(
    controller: ControllerHost, registry: Registry, namespace: str, make_node: MakeNode, tmp_path: Path
) -> None:
    node = make_node(controller)
    kubectl = controller.kubectl

    def apply(obj: Object) -> None:
        kubectl.ok("apply", "-n", namespace, "-f", "-", stdin=json.dumps(obj))

    def status(what: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(kubectl.ok("get", "-n", namespace, what, "-o", "json").out)
        return found.get("status") or {}

    refused = kubectl.run(
        "apply", "-n", namespace, "-f", "-", stdin=json.dumps(make("VolumeSnapshot", "x", volumeName="no"))
    )
    assert "spec.volumeName" in refused.err
    apply(make("Volume", "orders", nodeName=node.name, size="16Mi"))
    app = want_app(node, "db", f"{registry.server}/shop/shell:1")
    app["spec"] |= {"command": ["/bin/sh", "-c"], "args": [FILL]}
    app["spec"]["volumes"] = [{"name": "data", "volumeName": "orders", "mountPath": "/data"}]
    apply(app)
    node.wait(
        "the app to meet the end of its volume",
        lambda: "No space left" in kubectl.run("logs", "-n", namespace, "db").out,
    )
    node.wait("who uses it", lambda: status("volume/orders").get("usedBy") == ["db"])
    told = status("volume/orders")
    assert (told["phase"], told["mode"]) == ("Ready", "Filesystem")
    assert told["enforcement"] in ("Image", "Quota")

    apply(make("VolumeSnapshot", "good", volumeName="orders"))
    kubectl.ok("wait", "-n", namespace, "--for=condition=Ready", "volumesnapshot/good", "--timeout=60s")
    apply(make("Volume", "copy", nodeName=node.name, size="32Mi", source={"snapshotName": "good"}))
    kubectl.ok("wait", "-n", namespace, "--for=condition=Ready", "volume/copy", "--timeout=60s")
    assert "good" in kubectl.ok("get", "volumesnapshots", "-n", namespace).out
    if told["enforcement"] == "Image":
        # A folder with a quota is no image.
        image = tmp_path / "orders.qcow2"
        said = controller.eaves_kubectl("-n", namespace, "export", "volume/orders", str(image))
        assert hashlib.sha256(image.read_bytes()).hexdigest() in said
        assert read_file(image, "rows") == "good\n", "of a volume that its app writes to"

    rollback = {"spec": {"rollback": {"snapshotName": "good", "counter": 1}}}
    kubectl.ok("patch", "volume/orders", "-n", namespace, "--type=merge", "-p", json.dumps(rollback))
    node.wait("the reason to wait", lambda: "app db" in str(status("volume/orders").get("message")))
    kubectl.ok("patch", "app/db", "-n", namespace, "--type=merge", "-p", '{"spec":{"running":false}}')
    node.wait("the way back", lambda: status("volume/orders").get("rollbackCounter") == 1)
    kubectl.ok("patch", "app/db", "-n", namespace, "--type=merge", "-p", '{"spec":{"running":true}}')
    node.wait("what it had", lambda: "good" in kubectl.run("logs", "-n", namespace, "db").out)
    shrunk = kubectl.run("patch", "volume/orders", "-n", namespace, "--type=merge", "-p", '{"spec":{"size":"8Mi"}}')
    assert "spec.size" in shrunk.err


def read_file(image: Path, name: str) -> str:
    """Of the file system in an exported image."""
    raw = image.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw], check=True, capture_output=True)
    return subprocess.run(["debugfs", "-R", f"cat /{name}", raw], check=True, capture_output=True, text=True).stdout


NOTE = "echo had $(cat /data/rows 2>/dev/null); echo $VERSION > /data/rows; sync; exec sleep 1000"


def test_a_container_goes_back_to_what_it_had_before_its_update(
    controller: ControllerHost, registry: Registry, namespace: str, make_node: MakeNode
) -> None:
    node = make_node(controller)
    kubectl = controller.kubectl

    def apply(obj: Object) -> None:
        kubectl.ok("apply", "-n", namespace, "-f", "-", stdin=json.dumps(obj))

    def want(version: str) -> Object:
        app = want_app(node, "db", f"{registry.server}/shop/shell:1")
        app["spec"] |= {"command": ["/bin/sh", "-c"], "args": [NOTE], "env": [{"name": "VERSION", "value": version}]}
        app["spec"]["volumes"] = [{"name": "data", "size": "16Mi", "mountPath": "/data"}]
        return app

    def status(what: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(kubectl.ok("get", "-n", namespace, what, "-o", "json").out)
        return found.get("status") or {}

    def started_at() -> str:
        return str(status("app/db").get("state", {}).get("running", {}).get("startedAt", ""))

    def await_start(line: str, former: str = "") -> str:
        """Until a run that is not the former says this and nothing else; answers when it began."""

        def check() -> str:
            said = kubectl.run("logs", "-n", namespace, "db").out.splitlines()
            return started_at() if started_at() not in ("", former) and said == [line] else ""

        return node.wait(f"a run that says {line!r}", check)

    apply(want("1"))
    first = await_start("had")
    apply(make("AppSnapshot", "before", appName="db", trigger="AppUpdate"))
    node.wait("its word", lambda: "next stops" in str(status("appsnapshot/before").get("message")))
    assert started_at() == first, "a wish for a snapshot restarts nothing"
    apply(want("2"))
    second = await_start("had 1", first)
    kubectl.ok("wait", "-n", namespace, "--for=condition=Ready", "appsnapshot/before", "--timeout=60s")
    back = {"spec": {"rollback": {"snapshotName": "before", "counter": 1}}}
    kubectl.ok("patch", "app/db", "-n", namespace, "--type=merge", "-p", json.dumps(back))
    # It had written 2 meanwhile.
    await_start("had 1", second)
