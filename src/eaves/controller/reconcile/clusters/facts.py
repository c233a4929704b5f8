"""From objects to the plain values that planning takes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

import msgspec

from eaves.controller.observe.conditions import condition_status
from eaves.controller.reconcile.clusters.model import NodeFacts, ReleaseFacts
from eaves.kinds import edgenode as edgenode_kind
from eaves.kinds import k3srelease
from eaves.kinds.edgenode import EdgeNode
from eaves.kinds.fields import ConditionStatus
from eaves.kube.resource import Object


def read_node(obj: Object) -> NodeFacts | None:
    """None for an object that cannot be read."""
    try:
        node = edgenode_kind.decode(obj)
    except msgspec.ValidationError:
        return None
    config, inventory, versions = node.status.config, node.status.inventory, node.status.versions
    return NodeFacts(
        name=node.metadata.name,
        id=node.metadata.uid,
        labels=node.metadata.labels,
        is_approved=node.spec.approved,
        is_going=bool(node.metadata.deletion_timestamp),
        is_connected=condition_status(obj.get("status") or {}, "Connected") == ConditionStatus.TRUE,
        has_told=versions is not None and bool(versions.eve or versions.daemon),
        runs_eve=versions is not None and bool(versions.eve),
        eve_version=versions.eve if versions is not None else "",
        has_config=config is not None and bool(config.wanted) and config.wanted == config.applied,
        architecture=inventory.architecture if inventory is not None else "",
        addresses=_addresses(node),
        management=frozenset(port.name for port in node.status.ports if port.management),
    )


def _addresses(node: EdgeNode) -> Mapping[str, tuple[str, ...]]:
    """By uplink, in the order in which the device uses them for management. What the spec sets has its prefix length."""
    given = {uplink.name: tuple(uplink.addresses) for uplink in node.spec.uplinks if uplink.addresses}
    ports = sorted(node.status.ports, key=lambda port: (not port.management, port.cost, port.name))
    found = {
        port.name: tuple(text for text in port.addresses if "." in text)
        for port in ports
        if port.management or port.name in given
    }
    for port in ports:
        found.setdefault(port.name, tuple(text for text in port.addresses if "." in text))
    return {name: given.get(name, addresses) for name, addresses in {**found, **given}.items()}


def read_releases(objects: Iterable[Object]) -> tuple[ReleaseFacts, ...]:
    releases = []
    for obj in objects:
        with contextlib.suppress(msgspec.ValidationError):
            release = k3srelease.decode(obj)
            if not release.metadata.deletion_timestamp:
                builds = frozenset(str(build.architecture) for build in release.spec.architectures)
                releases.append(ReleaseFacts(release.metadata.name, release.spec.version, builds))
    return tuple(releases)
