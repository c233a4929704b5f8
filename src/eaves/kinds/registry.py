"""Every served kind. A new kind is one more line here."""

from __future__ import annotations

from collections.abc import Mapping

from eaves.kinds import (
    app,
    appsnapshot,
    configmap,
    datastore,
    edgenode,
    event,
    event_v1,
    hardwaremodel,
    k3scluster,
    k3sclusteraccess,
    k3srelease,
    lease,
    namespace,
    network,
    node,
    onboardingkey,
    patchenvelope,
    pod,
    rbac,
    secret,
    serviceaccount,
    usage,
    volume,
    volumesnapshot,
)
from eaves.kube.resource import Gvr, Resource

RESOURCES: tuple[Resource, ...] = (
    namespace.RESOURCE,
    secret.RESOURCE,
    configmap.RESOURCE,
    event.RESOURCE,
    serviceaccount.RESOURCE,
    node.RESOURCE,
    pod.RESOURCE,
    lease.RESOURCE,
    *rbac.RESOURCES,
    edgenode.RESOURCE,
    onboardingkey.RESOURCE,
    hardwaremodel.RESOURCE,
    app.RESOURCE,
    appsnapshot.RESOURCE,
    network.RESOURCE,
    volume.RESOURCE,
    volumesnapshot.RESOURCE,
    datastore.RESOURCE,
    k3scluster.RESOURCE,
    k3srelease.RESOURCE,
    k3sclusteraccess.RESOURCE,
    patchenvelope.RESOURCE,
    usage.NODE_RESOURCE,
    usage.POD_RESOURCE,
)

FACES: tuple[Resource, ...] = (event_v1.RESOURCE,)
"""Other groups' names for kinds above: served, and nothing of their own."""

PROJECTED: frozenset[Gvr] = frozenset(
    {
        node.RESOURCE.gvr,
        pod.RESOURCE.gvr,
        usage.NODE_RESOURCE.gvr,
        usage.POD_RESOURCE.gvr,
    }
)
"""Kinds that are views of others and never stored."""

BY_GVR: Mapping[Gvr, Resource] = {resource.gvr: resource for resource in RESOURCES}
BY_KIND: Mapping[str, Resource] = {resource.kind: resource for resource in RESOURCES}
"""Kinds have unique names here, whatever their group."""
