"""A virtual machine on an EVE device, which knows nothing of Eaves' own fields: kubectl in, device API out, snapshots and back."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from typing import Any

import pytest

from eaves.testing.eve_device import device_info, join_device, poll_until, send, without_eaves
from eaves.testing.system import ControllerHost
from eaves.wire.pb.config import appconfig_pb2, storage_pb2, vm_pb2
from eaves.wire.pb.config.appconfig_pb2 import AppInstanceConfig
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.info import info_pb2

pytestmark = pytest.mark.system

SECRET = f"known-secret-{secrets.token_hex(8)}"
USER_DATA = f"#cloud-config\npassword: {SECRET}\n"
SHA256 = "ab" * 32


def manifest(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "eaves.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


MANIFESTS: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "plc"}, "stringData": {"user-data": USER_DATA}},
    manifest("Datastore", "files", {"type": "HTTP", "url": "https://files.example"}),
]


def want_vm(node: str, **spec: Any) -> dict[str, Any]:
    return manifest(
        "App",
        "plc",
        {
            "nodeName": node,
            "type": "VirtualMachine",
            "image": f"plc/plc.qcow2@sha256:{SHA256}",
            "datastoreRef": {"name": "files"},
            "resources": {"cpus": 2, "memory": "1Gi"},
            "vm": {
                "rootDisk": {"size": "20Gi"},
                "vtpm": True,
                "cloudInit": {"userDataFrom": {"secretKeyRef": {"name": "plc", "key": "user-data"}}},
            },
            "volumes": [{"name": "data", "size": "5Gi"}],
            **spec,
        },
    )


async def apply(controller: ControllerHost, *manifests: dict[str, Any]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    await asyncio.to_thread(controller.kubectl.ok, "apply", "--server-side", "-f", "-", stdin=text)


def check_machine(config: EdgeDevConfig) -> AppInstanceConfig:
    """What EVE's agents read of a machine: all of it in fields of the public API."""
    (app,) = config.apps
    sizes = app.fixedresources
    assert (sizes.memory, sizes.vcpus, sizes.virtualizationMode) == (1 << 20, 2, vm_pb2.FML)
    assert (sizes.disable_vtpm, sizes.enable_vnc, sizes.bootloader) == (False, False, "")
    assert (app.metaDataType, app.cloud_init_version, app.userData) == (appconfig_pb2.MetaDataDrive, 1, "")
    volumes = {volume.uuid: volume for volume in config.volumes}
    root, data = (volumes[reference.uuid] for reference in app.volumeRefList)
    assert (root.maxsizebytes, data.maxsizebytes, data.origin.type) == (20 << 30, 5 << 30, storage_pb2.VCOT_BLANK)
    (tree,) = (tree for tree in config.contentInfo if tree.uuid == root.origin.downloadContentTreeID)
    assert (tree.iformat, tree.URL, tree.sha256) == (storage_pb2.QCOW2, "plc/plc.qcow2", SHA256)
    return app


async def test_a_machine_with_snapshots_on_a_device_that_knows_only_the_public_api(controller: ControllerHost) -> None:
    kubectl = controller.kubectl
    async with join_device(controller, f"eve-{secrets.token_hex(4)}") as device:
        await send(device, device_info(device))
        name = device.serial
        await asyncio.to_thread(controller.eaves_kubectl, "approve", name)
        await apply(controller, *MANIFESTS, want_vm(name))
        sealed = await poll_until(device, lambda config: bool(config.apps))
        assert device.config is not None
        app = check_machine(without_eaves(device.config))
        assert SECRET.encode() not in sealed
        assert base64.b64decode(device.decrypt(app.cipherData).protectedUserData).decode() == USER_DATA

        await apply(controller, manifest("AppSnapshot", "before", {"appName": "plc"}))
        await poll_until(device, lambda config: bool(config.apps and config.apps[0].snapshot.snapshots))
        with_snapshot = without_eaves(device.config).apps[0]
        (wanted,) = with_snapshot.snapshot.snapshots
        assert (wanted.type, with_snapshot.snapshot.max_snapshots) == (appconfig_pb2.SNAPSHOT_TYPE_IMMEDIATE, 1)
        assert (with_snapshot.restart, with_snapshot.purge) == (app.restart, app.purge)

        message = device.app_info(app.uuidandversion.uuid, info_pb2.RUNNING)
        message.ainfo.appVersion = with_snapshot.uuidandversion.version
        message.ainfo.bootTime.GetCurrentTime()
        taken = message.ainfo.snapshots.add(id=wanted.id, config_version=with_snapshot.uuidandversion.version)
        taken.create_time.seconds = int(time.time())
        await send(device, message)
        for target in ("app/plc", "appsnapshot/before"):
            await asyncio.to_thread(kubectl.ok, "wait", "--for=condition=Ready", target, "--timeout=60s")
        shown = await asyncio.to_thread(kubectl.ok, "get", "appsnapshots,pods", "-o", "wide")
        assert "Ready" in shown.out

        await apply(controller, want_vm(name, rollback={"snapshotName": "before", "counter": 1}))
        await poll_until(device, lambda config: config.apps[0].snapshot.rollback_cmd.counter == 1)
        assert device.config.apps[0].snapshot.active_snapshot == wanted.id

        await asyncio.to_thread(kubectl.ok, "delete", "app/plc", "--wait=false")
        await poll_until(device, lambda config: not config.apps)
        await asyncio.to_thread(kubectl.ok, "wait", "appsnapshot/before", "--for=delete", "--timeout=60s")
        await asyncio.to_thread(kubectl.ok, "delete", "secret/plc", "datastore/files")
