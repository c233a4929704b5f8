"""Add-ons that leave the cluster: whatever was made of them goes, whoever placed them and whoever leads now.

K3s leaves the objects of a manifest that goes (docs.k3s.io, "Manage Packaged Components"). But it keeps an ``Addon`` of every file that it
has ever applied and marks each object with the file that it came from (k3s-io/k3s ``pkg/deploy``, rancher/wrangler ``pkg/apply``). So the
record of what was placed lies in the cluster itself, where a new leader, or one whose disk is new, finds it. An Addon of ours that the
config does not name is only told of: this server's config may be an old one. The controller then names it as one that is to go, and the
leader deletes what bears its mark and the Addon last, so that a round that is cut off is taken again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Any

from eaves.node.clusters import addons, helmcharts
from eaves.node.clusters.addons import ObjectKey
from eaves.node.clusters.errors import KubeApiError
from eaves.node.clusters.helmcharts import SYSTEM_NAMESPACE
from eaves.node.clusters.kubeapi import KubeApi, want_path
from eaves.node.desired.cluster_model import ClusterAddOn
from eaves.node.observed_cluster import AddOnState, AddOnStatus

log = logging.getLogger(__name__)

_ADDONS = ("apis", "k3s.cattle.io", "v1", "namespaces", SYSTEM_NAMESPACE, "addons")
_MARK = "objectset.rio.cattle.io/hash"
_OWNER_KIND = ("objectset.rio.cattle.io/owner-gvk", "k3s.cattle.io/v1, Kind=Addon")
_OWNER = "objectset.rio.cattle.io/owner-name"
_NEEDED_VERBS = frozenset(("list", "delete"))
_NOT_SERVED = (404, 405)
_SHOWN = 3

Object = Mapping[str, Any]


async def take_round(api: KubeApi, wanted: Sequence[ClusterAddOn]) -> list[AddOnStatus]:
    """Take those away that are to go; answers those that are not gone. Raises KubeApiError."""
    present = [str(found["metadata"]["name"]) async for found in _list_found(api, want_path(*_ADDONS))]
    leaving = [add_on.name for add_on in wanted if add_on.is_leaving and addons.want_addon(add_on.name) in present]
    found = [AddOnStatus(name, "", AddOnState.REMOVING) for name in list_strays(present, wanted)]
    kept = {key for add_on in wanted for key in addons.parse_objects(add_on.manifest)}
    marked = [entry async for entry in _list_marked(api, leaving) if is_surplus(entry[1], kept)] if leaving else []
    for name in leaving:
        waiting = [await _remove(api, path, item) for path, item in marked if find_owner(item) == name]
        held = [text for text in waiting if text]
        if held:
            more = f" and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
            message = f"waits for {', '.join(held[:_SHOWN])}{more} to go"
            found.append(AddOnStatus(name, "", AddOnState.REMOVING, message))
        else:
            await api.delete(want_path(*_ADDONS, addons.want_addon(name)))
            log.info("add-on is removed from the cluster: name=%s", name)
    return sorted(found, key=lambda status: status.name)


def list_strays(present: Iterable[str], wanted: Iterable[ClusterAddOn]) -> list[str]:
    """Add-ons of ours that the cluster has (``present``: names of its Addons) and the config does not know."""
    known = {addons.want_addon(add_on.name) for add_on in wanted}
    return sorted(addons.name_of(name) for name in set(present) - known if addons.name_of(name))


def find_owner(item: Object) -> str:
    """Add-on of ours that an object was made of; empty = none, also where it is an object that an add-on's chart has made."""
    annotations = item["metadata"].get("annotations") or {}
    kind, value = _OWNER_KIND
    return addons.name_of(annotations.get(_OWNER, "")) if annotations.get(kind) == value else ""


def is_surplus(item: Object, kept: Collection[ObjectKey]) -> bool:
    """Whether no add-on that stays names it; one that does takes it over."""
    metadata = item["metadata"]
    namespace = metadata.get("namespace", "")
    group, kind = item["apiVersion"].rpartition("/")[0], item["kind"]
    # Another add-on may name it in another version of its group, and leave out the namespace where it is the default.
    return not any(
        (key.api_version.rpartition("/")[0], key.kind, key.name) == (group, kind, metadata["name"])
        and (key.namespace or addons.DEFAULT_NAMESPACE) == (namespace or key.namespace or addons.DEFAULT_NAMESPACE)
        for key in kept
    )


async def _remove(api: KubeApi, path: str, item: Object) -> str:
    """Answers what still waits; finalizers hold some objects, which are looked for again in the next round."""
    metadata = item["metadata"]
    if "deletionTimestamp" not in metadata and not await api.delete(path):
        return ""
    held = await api.find(path)
    if held is None or held["metadata"].get("uid") != metadata.get("uid"):
        return ""
    key = ObjectKey(item["apiVersion"], item["kind"], metadata.get("namespace", ""), metadata["name"])
    reason = await helmcharts.explain_departure(api, item) if item["kind"] == helmcharts.KIND else ""
    return f"{key} ({reason})" if reason else str(key)


async def _list_marked(api: KubeApi, names: Collection[str]) -> AsyncIterator[tuple[str, Object]]:
    """Path and object of everything that K3s made of these add-ons, of whatever kind the cluster serves now."""
    async for api_version, kind, resource in api.list_resources(_NEEDED_VERBS):
        async for item in _list_found(api, resource.collection, labelSelector=_MARK):
            if find_owner(item) in names:
                metadata = item["metadata"]
                path = resource.want_path(metadata.get("namespace", ""), metadata["name"])
                yield path, {**item, "apiVersion": api_version, "kind": kind}


async def _list_found(api: KubeApi, path: str, **query: str) -> AsyncIterator[Object]:
    """A collection that is not served any more holds nothing."""
    try:
        async for item in api.list(path, **query):
            yield item
    except KubeApiError as error:
        if error.status not in _NOT_SERVED:
            raise
