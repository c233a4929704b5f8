"""How a Helm chart of an add-on stands: by the job that K3s's Helm controller runs for it, that job's pods, and what the release made.

K3s installs a HelmChart by a job of its own (docs.k3s.io, "Helm") that is tried again without end, so its failure shows in its pods
alone; and the job is done when the objects are made, not when their pods are ready.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from eaves.node.clusters.kubeapi import KubeApi, want_path

KIND = "HelmChart"
SYSTEM_NAMESPACE = "kube-system"
_WORKLOADS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}
_MANAGED_BY_HELM = "app.kubernetes.io/managed-by=Helm"
_RELEASE, _RELEASE_NAMESPACE = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
_SETTLING_S = 60.0
"""So long after a change of a chart a job from before it is taken for one that the controller has yet to replace."""
_LONGEST = 300

Object = Mapping[str, Any]


async def find_job(api: KubeApi, chart: Object) -> Object | None:
    """The job that installs or upgrades it."""
    metadata = chart["metadata"]
    name = chart.get("status", {}).get("jobName") or f"helm-install-{metadata['name']}"
    return await api.find(want_path("apis", "batch", "v1", "namespaces", metadata["namespace"], "jobs", name))


async def list_pods(api: KubeApi, job: Object) -> list[Object]:
    """Pods of a job."""
    metadata = job["metadata"]
    path = want_path("api", "v1", "namespaces", metadata["namespace"], "pods")
    return [pod async for pod in api.list(path, labelSelector=f"batch.kubernetes.io/job-name={metadata['name']}")]


async def list_workloads(api: KubeApi, chart: Object) -> list[Object]:
    """What the chart's release has made that has pods, each with its kind, in the namespace of the release."""
    release = chart["metadata"]["name"], chart["spec"].get("targetNamespace") or chart["metadata"]["namespace"]
    found: list[Object] = []
    for kind, resource in _WORKLOADS.items():
        path = want_path("apis", "apps", "v1", "namespaces", release[1], resource)
        async for workload in api.list(path, labelSelector=_MANAGED_BY_HELM):
            noted = workload["metadata"].get("annotations", {})
            if (noted.get(_RELEASE), noted.get(_RELEASE_NAMESPACE)) == release:
                found.append({**workload, "kind": kind})
    return found


async def explain_departure(api: KubeApi, chart: Object) -> str:
    """Why a deleted chart is still there; empty while its removal takes its time."""
    metadata = chart["metadata"]
    name = f"helm-delete-{metadata['name']}"
    job = await api.find(want_path("apis", "batch", "v1", "namespaces", metadata["namespace"], "jobs", name))
    pods = await list_pods(api, job) if job is not None else []
    return _find_reason(pods) or _find_waiting(pods)


def judge_job(chart: Object, job: Object | None, pods: Iterable[Object], now: float) -> str:
    """Why the chart is not installed as it is asked for; empty = it is. ``now`` in Unix seconds."""
    for condition in chart.get("status", {}).get("conditions", []):
        if condition.get("type") == "Failed" and condition.get("status") == "True":
            return _failed(_find_reason(pods) or str(condition.get("message", "")))
    if job is None:
        return "is not installed yet"
    conditions = {entry.get("type"): entry for entry in job.get("status", {}).get("conditions", [])}
    made_at = _parse_time(job["metadata"].get("creationTimestamp"))
    if made_at < _changed_at(chart) and now < _changed_at(chart) + _SETTLING_S:
        return "is not upgraded yet"
    if conditions.get("Complete", {}).get("status") == "True":
        return ""
    reason = _find_reason(pods)
    if conditions.get("Failed", {}).get("status") == "True":
        return _failed(reason or str(conditions["Failed"].get("message", "")))
    if reason:
        return _failed(reason)
    waiting = _find_waiting(pods)
    return f"is being installed{f': {waiting}' if waiting else ''}"


def _changed_at(chart: Object) -> float:
    """When its spec was changed last, by the record that the API server keeps of who set which field; 0 = never."""
    times = [
        _parse_time(entry.get("time"))
        for entry in chart["metadata"].get("managedFields", [])
        if not entry.get("subresource") and "f:spec" in entry.get("fieldsV1", {})
    ]
    return max(times, default=0.0)


def _find_reason(pods: Iterable[Object]) -> str:
    """What the newest attempt that failed said last: Helm's own word for it, where there is one."""
    ended = [
        state["terminated"]
        for status in _container_statuses(pods)
        for state in (status.get("state", {}), status.get("lastState", {}))
        if state.get("terminated", {}).get("exitCode", 0) != 0
    ]
    if not ended:
        return ""
    newest = max(ended, key=lambda state: _parse_time(state.get("finishedAt")))
    lines = [line.strip() for line in str(newest.get("message", "")).splitlines() if line.strip()]
    said = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    text = (said or lines)[-1] if lines else f"its job ended with status {newest['exitCode']}"
    return text[:_LONGEST]


def _find_waiting(pods: Iterable[Object]) -> str:
    """Why a pod has not started, such as an image that cannot be had."""
    for status in _container_statuses(pods):
        waiting = status.get("state", {}).get("waiting", {})
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"{waiting['reason']}: {waiting.get('message', '')}"[:_LONGEST]
    for pod in pods:
        for condition in pod.get("status", {}).get("conditions", []):
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                return str(condition.get("message", ""))[:_LONGEST]
    return ""


def _container_statuses(pods: Iterable[Object]) -> list[Object]:
    return [status for pod in pods for status in pod.get("status", {}).get("containerStatuses", [])]


def _parse_time(text: object) -> float:
    """RFC 3339 as the API writes it; 0 for none."""
    return datetime.fromisoformat(text).timestamp() if isinstance(text, str) and text else 0.0


def _failed(reason: str) -> str:
    return f"failed: {reason}"
