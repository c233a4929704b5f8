"""What every namespace has without anybody having made it: an account, the authorities of this API, a network for apps.

As a Kubernetes cluster, whose controllers ``serviceaccount`` and ``root-ca-certificate-publisher`` keep the first two. Programs count on
them: ``kubectl create token default``, Helm, and what waits for a fresh namespace to be usable. The network is ours. Pure;
:mod:`eaves.controller.reconcile.namespaces` reads and writes.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from eaves.controller.objects import MANAGER
from eaves.kinds import configmap, network, serviceaccount, subnets
from eaves.kinds.app_spec import DEFAULT_NETWORK
from eaves.kinds.times import render_time
from eaves.kube import managed
from eaves.kube.resource import Object, Resource

ACCOUNT = "default"
AUTHORITIES = "kube-root-ca.crt"
AUTHORITIES_KEY = "ca.crt"
DESCRIPTION = "kubernetes.io/description"
_DESCRIPTION = (
    "Contains the CA bundle that verifies the certificate of this API server. It is empty when systems trust that certificate by"
    " themselves. The controller keeps it current in each namespace."
)
WITHOUT_NETWORK = frozenset({"kube-node-lease", "kube-public"})

WATCHED: tuple[tuple[Resource, str], ...] = (
    (serviceaccount.RESOURCE, ACCOUNT),
    (configmap.RESOURCE, AUTHORITIES),
    (network.RESOURCE, DEFAULT_NETWORK),
)
"""Each kind with the name that its object has in every namespace."""


def make_account(space: str, now: float) -> Object:
    return make_object(serviceaccount.RESOURCE, ACCOUNT, space, now)


def plan_authorities(known: Object | None, authority_pem: bytes | None, space: str, now: float) -> Object | None:
    """The ConfigMap as it is to be written; None when ``known`` is right. ``authority_pem`` None: systems trust the server.

    Data is the controller's alone, and managedFields say so. Of annotations it wants the description, in whatever words, as Kubernetes'
    publisher does.
    """
    # A bundle that an operator gives may have remarks between its certificates, in any encoding.
    data = {AUTHORITIES_KEY: (authority_pem or b"").decode(errors="replace")}
    if known is None:
        made = make_object(configmap.RESOURCE, AUTHORITIES, space, now)
        made["metadata"]["annotations"] = {DESCRIPTION: _DESCRIPTION}
        made["data"] = data
        managed.track_create(configmap.RESOURCE, made, MANAGER, render_time(now))
        return made
    annotations = known["metadata"].get("annotations") or {}
    if known.get("data") == data and annotations.get(DESCRIPTION):
        return None
    annotations = {**annotations, DESCRIPTION: annotations.get(DESCRIPTION) or _DESCRIPTION}
    mended = {**known, "metadata": {**known["metadata"], "annotations": annotations}, "data": data}
    managed.track_update(configmap.RESOURCE, mended, known, MANAGER, render_time(now))
    return mended


def make_network(space: str, networks: Iterable[Object], now: float) -> Object:
    """The network of apps that name none, with a subnet that none of ``networks`` has."""
    made = make_object(network.RESOURCE, DEFAULT_NETWORK, space, now)
    taken = [text for other in networks if (text := (other.get("spec") or {}).get("subnet"))]
    made["spec"] = {"type": "Local", "subnet": subnets.allocate_subnet(taken, made["metadata"]["uid"])}
    return made


def make_object(resource: Resource, name: str, space: str, now: float) -> Object:
    """A new object with its defaults; ``space`` is empty for those in no namespace, ``now`` Unix seconds."""
    meta: Object = {"name": name, "uid": str(uuid.uuid4()), "creationTimestamp": render_time(now)}
    if resource.namespaced:
        meta["namespace"] = space
    if resource.is_custom:
        meta["generation"] = 1
    obj: Object = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta}
    resource.default(obj)
    return obj
