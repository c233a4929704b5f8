"""Finds the objects that others refer to, and notes every reference, found or not.

The notes become ``CompiledConfig.touched``: the index from object to device that makes recompiling proportional to a
change.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from eaves.controller.compile.errors import HeldBackError
from eaves.controller.compile.model import NodeInputs, ObjectKey
from eaves.kinds import appsnapshot, datastore, hardwaremodel, k3srelease, network, volume, volumesnapshot
from eaves.kube.resource import Object

T = TypeVar("T")


class Lookup:
    """The inputs by kind, namespace and name."""

    def __init__(self, inputs: NodeInputs) -> None:
        self.touched: set[ObjectKey] = set()
        self._objects: dict[ObjectKey, Object] = {}
        for kind, objects in (
            ("Network", inputs.networks),
            ("Volume", inputs.volumes),
            ("Datastore", inputs.datastores),
            ("AppSnapshot", inputs.snapshots),
            ("HardwareModel", inputs.hardware_models),
            ("VolumeSnapshot", inputs.volume_snapshots),
            ("K3sRelease", inputs.releases),
            ("Secret", inputs.secrets),
            ("ConfigMap", inputs.configmaps),
        ):
            self._add(kind, objects)

    def _add(self, kind: str, objects: Sequence[Object]) -> None:
        for obj in objects:
            meta = obj["metadata"]
            self._objects[ObjectKey(kind, meta.get("namespace", ""), meta["name"])] = obj

    def find(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object, unless it is missing or being deleted."""
        key = ObjectKey(kind, namespace, name)
        self.touched.add(key)
        obj = self._objects.get(key)
        return None if obj is None or obj["metadata"].get("deletionTimestamp") else obj

    def network(self, namespace: str, name: str) -> network.Network:
        return self._typed("Network", namespace, name, network.decode)

    def hardware_model(self, name: str) -> hardwaremodel.HardwareModel:
        return self._typed("HardwareModel", "", name, hardwaremodel.decode)

    def volume(self, namespace: str, name: str) -> volume.Volume:
        return self._typed("Volume", namespace, name, volume.decode)

    def datastore(self, namespace: str, name: str) -> datastore.Datastore:
        return self._typed("Datastore", namespace, name, datastore.decode)

    def snapshots(self, namespace: str, app_name: str) -> list[appsnapshot.AppSnapshot]:
        """Those of one app; one that cannot be read is left out. The app's own key stands for all of them in the notes."""
        found = []
        for key, obj in self._objects.items():
            if key.kind == "AppSnapshot" and key.namespace == namespace:
                with contextlib.suppress(msgspec.ValidationError):
                    snapshot = appsnapshot.decode(obj)
                    if snapshot.spec.app_name == app_name:
                        found.append(snapshot)
        return found

    def volume_snapshot(self, namespace: str, name: str) -> volumesnapshot.VolumeSnapshot:
        return self._typed("VolumeSnapshot", namespace, name, volumesnapshot.decode)

    def volume_snapshots(self, namespace: str, volume_name: str) -> list[volumesnapshot.VolumeSnapshot]:
        """Those of one Volume by name; one that cannot be read is left out. The Volume's own key stands for all in the notes."""
        found = []
        for key, obj in sorted(self._objects.items()):
            is_gone = bool(obj["metadata"].get("deletionTimestamp"))
            if key.kind == "VolumeSnapshot" and key.namespace == namespace and not is_gone:
                with contextlib.suppress(msgspec.ValidationError):
                    snapshot = volumesnapshot.decode(obj)
                    if snapshot.spec.volume_name == volume_name:
                        found.append(snapshot)
        return found

    def k3s_release(self, namespace: str, version: str, name: str) -> k3srelease.K3sRelease:
        """The one of this name if it has the version, else the first by name that has."""
        found = []
        for key in sorted(key for key in self._objects if key.kind == "K3sRelease" and key.namespace == namespace):
            if (obj := self.find("K3sRelease", namespace, key.name)) is not None:
                with contextlib.suppress(msgspec.ValidationError):
                    release = k3srelease.decode(obj)
                    found += [release] if release.spec.version == version else []
        chosen = next((release for release in found if release.metadata.name == name), found[0] if found else None)
        if chosen is None:
            raise HeldBackError(
                "ReleaseMissing", f"there is no K3sRelease of version {version}{_where(namespace)}; import it again"
            )
        return chosen

    def _typed(self, kind: str, namespace: str, name: str, decode: Callable[[Object], T]) -> T:
        obj = self.find(kind, namespace, name)
        if obj is None:
            raise HeldBackError(f"{kind}NotFound", f"{kind} {name} does not exist{_where(namespace)}; create it")
        try:
            return decode(obj)
        except msgspec.ValidationError as error:
            raise HeldBackError(f"{kind}Invalid", f"{kind} {name} cannot be read: {error}") from error

    def secret_data(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """Keys and values of a Secret; None when there is none."""
        obj = self.find("Secret", namespace, name)
        return None if obj is None else {key: _decode(value) for key, value in (obj.get("data") or {}).items()}

    def configmap_data(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """Keys and values of a ConfigMap, text and binary; None when there is none."""
        obj = self.find("ConfigMap", namespace, name)
        if obj is None:
            return None
        data = {key: value.encode() for key, value in (obj.get("data") or {}).items()}
        return data | {key: _decode(value) for key, value in (obj.get("binaryData") or {}).items()}


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        # Admission lets only base64 in; a value that is none is as good as missing, and its reader says so.
        return b""


def _where(namespace: str) -> str:
    return f" in namespace {namespace}" if namespace else ""
