"""NodeMetrics and PodMetrics of group metrics.k8s.io: what nodes and apps use, as ``kubectl top`` and dashboards read it.

Nothing is stored: they are computed from the newest metrics messages of the devices. The kinds have the form that the
Kubernetes metrics server gives them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Struct

from eaves.kinds.columns import Getter, at, get
from eaves.kinds.fields import Quantity, Time, about
from eaves.kinds.pod_projection import CONTAINER_NAME
from eaves.kinds.serving import served_schema
from eaves.kinds.times import render_time
from eaves.kube.quantity import parse_bytes, parse_millis
from eaves.kube.resource import Column, Gvr, Object, Resource, Verb
from eaves.kube.tables import name_column

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
_MIB, _KIB = 1 << 20, 1 << 10


class ContainerMetrics(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What one container uses."""

    name: Annotated[str, about("Name of the container.")]
    usage: Annotated[dict[str, Quantity], about("Processors and memory in use.")]


class PodMetrics(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """PodMetrics is what the app of a pod uses."""

    timestamp: Annotated[Time, about("When the newest figures arrived.")]
    window: Annotated[str, about("Time over which the use of processors is an average.")]
    containers: Annotated[list[ContainerMetrics], about("Use of each container.")]


class NodeMetrics(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """NodeMetrics is what a node uses, its system and all its apps together."""

    timestamp: Annotated[Time, about("When the newest figures arrived.")]
    window: Annotated[str, about("Time over which the use of processors is an average.")]
    usage: Annotated[dict[str, Quantity], about("Processors and memory in use.")]


class Figures(Struct, frozen=True):
    """What is in use. ``cpu_nanos`` are thousand-millionths of a processor on average over ``window_s``."""

    cpu_nanos: int
    memory_bytes: int
    window_s: float
    arrived_at: float
    """Unix seconds."""


def project_node_metrics(node: Object, figures: Figures) -> Object:
    """NodeMetrics of a v1 Node, with its labels, so that selectors find both."""
    return {**_start("NodeMetrics", node["metadata"], figures), "usage": _usage(figures)}


def project_pod_metrics(pod: Object, figures: Figures) -> Object:
    """PodMetrics of a v1 Pod, with its labels."""
    containers = [{"name": CONTAINER_NAME, "usage": _usage(figures)}]
    return {**_start("PodMetrics", pod["metadata"], figures), "containers": containers}


def _start(kind: str, source: Mapping[str, object], figures: Figures) -> Object:
    metadata = {
        name: source[name] for name in ("name", "namespace", "uid", "resourceVersion", "labels") if source.get(name)
    }
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": kind,
        "metadata": {**metadata, "creationTimestamp": render_time(figures.arrived_at)},
        "timestamp": render_time(figures.arrived_at),
        "window": f"{figures.window_s:.3f}".rstrip("0").rstrip(".") + "s",
    }


def _usage(figures: Figures) -> Object:
    return {"cpu": f"{figures.cpu_nanos}n", "memory": f"{figures.memory_bytes // _KIB}Ki"}


def _cpu(*keys: str) -> Getter:
    def value(obj: Object, _now: float) -> str:
        return f"{sum(parse_millis(usage['cpu']) for usage in _usages(obj, keys))}m"

    return value


def _memory(*keys: str) -> Getter:
    def value(obj: Object, _now: float) -> str:
        return f"{sum(parse_bytes(usage['memory']) for usage in _usages(obj, keys)) // _MIB}Mi"

    return value


def _usages(obj: Object, keys: tuple[str, ...]) -> list[Object]:
    found = get(obj, list(keys), [])
    usages = [container.get("usage") or {} for container in found] if isinstance(found, list) else [found]
    return [usage for usage in usages if "cpu" in usage and "memory" in usage]


def _resource(kind: type[msgspec.Struct], plural: str, key: str, *, namespaced: bool) -> Resource:
    return Resource(
        gvr=Gvr(GROUP, VERSION, plural),
        kind=kind.__name__,
        singular=kind.__name__.lower(),
        namespaced=namespaced,
        schema=served_schema(kind, f"io.k8s.metrics.pkg.apis.metrics.{VERSION}.{kind.__name__}"),
        columns=(
            name_column(),
            Column("CPU", "string", _cpu(key), "Thousandths of a processor in use."),
            Column("Memory", "string", _memory(key), "Memory in use."),
            Column("Window", "string", at("window"), "Time over which the use of processors is an average."),
        ),
        verbs=frozenset({Verb.GET, Verb.LIST}),
        has_status=False,
        is_custom=False,
        description=inspect.cleandoc(kind.__doc__ or ""),
    )


NODE_RESOURCE = _resource(NodeMetrics, "nodes", "usage", namespaced=False)
POD_RESOURCE = _resource(PodMetrics, "pods", "containers", namespaced=True)
