"""Add-ons: manifests in K3s's own folder, which K3s applies; what a changed manifest no longer names K3s deletes itself.

K3s applies every file of ``server/manifests`` whenever it changes, but leaves the objects of a file that goes (docs.k3s.io, "Manage
Packaged Components"): :mod:`.departures` takes those away.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import yaml
from msgspec import Struct

from eaves.kit import files
from eaves.node.clusters import helmcharts
from eaves.node.clusters.helmcharts import SYSTEM_NAMESPACE
from eaves.node.clusters.kubeapi import KubeApi, Resource, want_path
from eaves.node.clusters.model import ClusterFolders
from eaves.node.desired.cluster_model import ClusterAddOn
from eaves.node.observed_cluster import AddOnState, AddOnStatus

_PREFIX = "eaves-"
_SUFFIX = ".yaml"
DEFAULT_NAMESPACE = "default"

Object = Mapping[str, Any]


class ObjectKey(Struct, frozen=True, order=True):
    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def want_addon(name: str) -> str:
    """Name of the Addon that K3s keeps of it. Ours are told from those that K3s packs itself, which it writes anew at every start."""
    return f"{_PREFIX}{name}"


def name_of(addon: str) -> str:
    """Of the add-on that K3s's ``addon`` is of; empty = it is not ours."""
    return addon.removeprefix(_PREFIX) if addon.startswith(_PREFIX) else ""


def want_file_name(name: str) -> str:
    """K3s names the Addon after it."""
    return f"{want_addon(name)}{_SUFFIX}"


def place(folders: ClusterFolders, add_ons: Iterable[ClusterAddOn]) -> None:
    """Make K3s's folder hold these of ours, but for those that are to go, and no others. Blocking. Raises OSError."""
    files.want_folder(folders.manifests)
    wanted = {want_file_name(add_on.name): add_on.manifest.encode() for add_on in add_ons if not add_on.is_leaving}
    for path in folders.manifests.glob(f"{_PREFIX}*{_SUFFIX}"):
        if path.name not in wanted:
            path.unlink()
    for name, manifest in wanted.items():
        if files.load_file(folders.manifests / name) != manifest:
            files.save_file(folders.manifests / name, manifest)


def parse_objects(manifest: str) -> list[ObjectKey]:
    """What a manifest names; documents that are no objects are left to K3s to complain about."""
    found: list[ObjectKey] = []
    with contextlib.suppress(yaml.YAMLError):
        for document in yaml.safe_load_all(manifest):
            found += _parse_document(document)
    return found


async def observe(api: KubeApi, folders: ClusterFolders, add_on: ClusterAddOn) -> AddOnStatus:
    """Whether all that it names is there as it is wanted, and ready. Raises KubeApiError when the API does not answer, OSError."""
    state, message = await _judge(api, folders, add_on)
    return AddOnStatus(add_on.name, add_on.digest, state, message)


async def _judge(api: KubeApi, folders: ClusterFolders, add_on: ClusterAddOn) -> tuple[AddOnState, str]:
    keys = parse_objects(add_on.manifest)
    if not keys and add_on.manifest.strip():
        return AddOnState.FAILED, "its manifest names no objects"
    if not await _is_applied(api, add_on):
        failure = await _find_failure(api, folders, add_on)
        return (AddOnState.FAILED, failure) if failure else (AddOnState.PENDING, "waits for K3s to apply its manifest")
    state, message = AddOnState.READY, ""
    for key in keys:
        found = await _find(api, key)
        if found is None:
            return AddOnState.PENDING, f"waits for {key}"
        if state is AddOnState.READY and (reason := await _explain_unready(api, found)):
            state = AddOnState.FAILED if reason.startswith("failed") else AddOnState.APPLIED
            message = f"{key} {reason}"
    return state, message


def judge_object(found: Object) -> str:
    """Why a workload is not ready, by its status; empty = it is, or it has no readiness."""
    kind, spec, status = found.get("kind"), found.get("spec", {}), found.get("status", {})
    generation = found.get("metadata", {}).get("generation", 0)
    if kind in ("Deployment", "StatefulSet", "DaemonSet") and status.get("observedGeneration", 0) < generation:
        return "has not been looked at yet"
    if kind in ("Deployment", "StatefulSet"):
        ready, wanted = status.get("readyReplicas", 0), spec.get("replicas", 1)
        return "" if ready >= wanted else f"has {ready} of {wanted} pods ready"
    if kind == "DaemonSet":
        ready, wanted = status.get("numberReady", 0), status.get("desiredNumberScheduled", 0)
        return "" if ready >= wanted else f"has {ready} of {wanted} pods ready"
    if kind == "Job":
        conditions = {
            entry.get("type"): entry for entry in status.get("conditions", []) if entry.get("status") == "True"
        }
        if "Failed" in conditions:
            return f"failed: {conditions['Failed'].get('message', '')}"[:300]
        return "" if "Complete" in conditions else "has not finished"
    return ""


async def _explain_unready(api: KubeApi, found: Object) -> str:
    if found.get("kind") != helmcharts.KIND:
        return judge_object(found)
    job = await helmcharts.find_job(api, found)
    pods = await helmcharts.list_pods(api, job) if job is not None else []
    if reason := helmcharts.judge_job(found, job, pods, time.time()):
        return reason
    for workload in await helmcharts.list_workloads(api, found):
        if reason := judge_object(workload):
            return f"is installed; {workload['kind']} {workload['metadata']['name']} {reason}"
    return ""


async def _find(api: KubeApi, key: ObjectKey) -> Object | None:
    resource = await api.find_resource(key.api_version, key.kind)
    return await api.find(_want_path(resource, key)) if resource is not None else None


async def _is_applied(api: KubeApi, add_on: ClusterAddOn) -> bool:
    """K3s keeps the checksum of the file that it applied last with success, in an Addon of its name."""
    path = want_path("apis", "k3s.cattle.io", "v1", "namespaces", SYSTEM_NAMESPACE, "addons", want_addon(add_on.name))
    found = await api.find(path)
    checksum = found.get("spec", {}).get("checksum") if found is not None else None
    return checksum == hashlib.sha256(add_on.manifest.encode()).hexdigest()


async def _find_failure(api: KubeApi, folders: ClusterFolders, add_on: ClusterAddOn) -> str:
    """K3s tells by events of its Addon why the manifest cannot be applied; those from before the manifest's last change count no more."""
    try:
        changed_at = (await asyncio.to_thread((folders.manifests / want_file_name(add_on.name)).stat)).st_mtime
    except FileNotFoundError:
        return ""
    selector = f"involvedObject.kind=Addon,involvedObject.name={want_addon(add_on.name)},type=Warning"
    newest = (changed_at - 1, "")
    async for event in api.list(
        want_path("api", "v1", "namespaces", SYSTEM_NAMESPACE, "events"), fieldSelector=selector
    ):
        metadata = event["metadata"]
        told = event.get("lastTimestamp") or event.get("eventTime") or metadata.get("creationTimestamp")
        at = datetime.fromisoformat(told).timestamp() if told else 0.0
        newest = max(newest, (at, str(event.get("message", ""))[:300]))
    return newest[1]


def _want_path(resource: Resource, key: ObjectKey) -> str:
    return resource.want_path(key.namespace or DEFAULT_NAMESPACE, key.name)


def _parse_document(document: object) -> list[ObjectKey]:
    if not isinstance(document, dict):
        return []
    if str(document.get("kind", "")).endswith("List") and isinstance(document.get("items"), list):
        return [key for item in document["items"] for key in _parse_document(item)]
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not metadata.get("name") or not document.get("kind"):
        return []
    return [
        ObjectKey(
            str(document.get("apiVersion", "v1")),
            str(document["kind"]),
            str(metadata.get("namespace") or ""),
            str(metadata["name"]),
        )
    ]
