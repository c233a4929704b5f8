"""App: one workload on one node. What is to run (:mod:`eaves.kinds.app_spec`), and what does (:mod:`eaves.kinds.app_status`).

``v1 Pod`` is a view of this kind (:mod:`eaves.kinds.pod`).
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Struct

from eaves.kinds.app_rules import check_app, find_app_warnings
from eaves.kinds.app_spec import AppSpec
from eaves.kinds.app_status import AppStatus
from eaves.kinds.columns import at, condition, get
from eaves.kinds.fields import about
from eaves.kinds.metadata import ObjectMeta
from eaves.kinds.serving import GROUP, VERSION, eaves_resource, text_at
from eaves.kube.resource import Column, Object, Subresource


class App(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """One workload on one edge node."""

    api_version: Annotated[str, about("Version of the schema of this object.")] = ""
    kind: Annotated[str, about("Kind of this object.")] = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: AppSpec
    status: AppStatus = AppStatus()


def decode(obj: Object) -> App:
    """Typed view of a stored object. Raises ``msgspec.ValidationError`` when it does not fit the schema."""
    return msgspec.convert(obj, App)


def _addresses(obj: Object, _now: float) -> str:
    entries = get(obj, ["status", "addresses"], ())
    return ",".join(address for entry in entries for address in entry.get("addresses", ()))


def _ports(obj: Object, _now: float) -> str:
    return ",".join(get(obj, ["status", "ports"], ()))


_WITH_FORMER_IMAGE = ("Running", "Starting", "BackOff")


def _phase(obj: Object, _now: float) -> str:
    """The phase, and what an app that goes on with its former image waits for."""
    phase = str(get(obj, ["status", "phase"]))
    for item in get(obj, ["status", "conditions"], ()):
        if item.get("type") == "ImageReady" and item.get("status") == "False" and phase in _WITH_FORMER_IMAGE:
            return f"{phase} ({item.get('reason', '')})"
    return phase


RESOURCE = eaves_resource(
    App,
    "apps",
    namespaced=True,
    short_names=("ea",),
    categories=("eaves", "all"),
    columns=(
        Column("Node", "string", at("spec.nodeName"), "EdgeNode that it runs on."),
        Column("Phase", "string", _phase, "What it is doing."),
        Column("Ready", "string", condition("Ready"), "Whether it runs."),
        Column("Restarts", "integer", at("status.restarts", 0), "How often it was started again."),
        Column("Type", "string", at("spec.type"), "Container or VirtualMachine.", priority=1),
        Column("Image", "string", at("spec.image"), "Image that is to run.", priority=1),
        Column("Addresses", "string", _addresses, "IP addresses on its networks.", priority=1),
        Column("Ports", "string", _ports, "Ports of the node that lead to it.", priority=1),
        Column("Message", "string", at("status.message"), "What is going on.", priority=1),
    ),
    selectable_fields={"spec.nodeName": text_at("spec", "nodeName"), "status.phase": text_at("status", "phase")},
    subresources=(
        Subresource("console", frozenset({"get"})),
        Subresource("export", frozenset({"get"})),
        Subresource("flows", frozenset({"get"}), "AppFlows", GROUP, VERSION),
        Subresource("vnc", frozenset({"get"})),
    ),
    validate=check_app,
    warn=find_app_warnings,
)
