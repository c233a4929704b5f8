"""Kinds of Kubernetes that a controller never has objects of, served as empty lists.

Unmodified clients ask for them without looking whether they are there: ``kubectl cluster-info`` (Services), ``kubectl describe namespace``
(quotas), k9s' views of everything, informers of controllers. An empty list is the truth and lets them go on. Who writes one is told what
to write instead. They are in no category, so that ``kubectl get all`` does not ask for them.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Struct

from eaves.kinds.fields import about
from eaves.kinds.serving import core_resource, text_at
from eaves.kube.resource import Resource, Verb
from eaves.kube.tables import age_column, name_column

_VERBS = frozenset({Verb.GET, Verb.LIST, Verb.WATCH, Verb.DELETE, Verb.PATCH})
"""A deletion finds nothing, as Helm needs it to forget a release that could not be made, nor does a patch of what should be there."""


class Absent(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What all of them are described by."""

    spec: Annotated[dict, about("Not used.")] = {}  # type: ignore[type-arg] # any object
    status: Annotated[dict, about("Not used.")] = {}  # type: ignore[type-arg] # any object


def _absent(
    group: str,
    plural: str,
    kind: str,
    short: str,
    instead: str,
    *,
    namespaced: bool = True,
    fields: str = "",
    version: str = "v1",
    deprecation: str = "",
) -> Resource:
    about_it = {"__doc__": f"{kind} is a kind that there are no objects of: {instead}."}
    resource = core_resource(
        msgspec.defstruct(kind, [], bases=(Absent,), namespace=about_it, module=__name__),
        plural,
        namespaced=namespaced,
        group=group,
        group_reference=group.partition(".")[0] or "core",
        short_names=tuple(short.split()),
        verbs=_VERBS,
        selectable_fields={name: text_at(*name.split(".")) for name in fields.split()},
        columns=(name_column(), age_column()),
        version=version,
    )
    not_kept = f"{plural} are not kept here: {instead}"
    return msgspec.structs.replace(resource, instead=not_kept, deprecation=deprecation)


_WORKLOAD = (
    "write an App (eaves.dev/v1alpha1), which runs one container or machine on the node that its spec.nodeName names"
)
_JOB = (
    "write an App (eaves.dev/v1alpha1) with restartPolicy Never or OnFailure, which runs once on the node that it names"
)
_REACH = "an App is reached by kubectl port-forward, at ports of its node by spec.networks[].ports, and by other apps by its name"
_STORAGE = "write a Volume (eaves.dev/v1alpha1), which is on the node of the App that mounts it"
_SINGLE = "an App is one instance on one node"
_BOUNDS = "each App says in spec.resources what it gets at most, and what a node has bounds them all"

RESOURCES: tuple[Resource, ...] = (
    _absent("", "services", "Service", "svc", _REACH, fields="spec.clusterIP spec.type"),
    _absent(
        "",
        "endpoints",
        "Endpoints",
        "ep",
        _REACH,
        deprecation="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    ),
    _absent("discovery.k8s.io", "endpointslices", "EndpointSlice", "", _REACH),
    _absent("", "replicationcontrollers", "ReplicationController", "rc", _WORKLOAD, fields="status.replicas"),
    _absent("", "persistentvolumeclaims", "PersistentVolumeClaim", "pvc", _STORAGE),
    _absent("", "persistentvolumes", "PersistentVolume", "pv", _STORAGE, namespaced=False),
    _absent("", "resourcequotas", "ResourceQuota", "quota", _BOUNDS),
    _absent("", "limitranges", "LimitRange", "limits", _BOUNDS),
    _absent("apps", "daemonsets", "DaemonSet", "", _WORKLOAD),
    _absent("apps", "deployments", "Deployment", "deploy", _WORKLOAD),
    _absent("apps", "replicasets", "ReplicaSet", "rs", _WORKLOAD, fields="status.replicas"),
    _absent("apps", "statefulsets", "StatefulSet", "sts", _WORKLOAD),
    # What is preferred comes first.
    *(
        _absent("autoscaling", "horizontalpodautoscalers", "HorizontalPodAutoscaler", "hpa", _SINGLE, version=version)
        for version in ("v2", "v1")
    ),
    _absent("batch", "cronjobs", "CronJob", "cj", _JOB),
    _absent("batch", "jobs", "Job", "", _JOB, fields="status.successful"),
    _absent("networking.k8s.io", "ingresses", "Ingress", "ing", _REACH),
    _absent(
        "networking.k8s.io",
        "networkpolicies",
        "NetworkPolicy",
        "netpol",
        "an App's rules are in its spec.networks[].acl",
    ),
)
