"""The documents that apps read, in the form that EVE gives them (pillar ``msrv`` handlers). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from eaves.node.desired.model import DesiredApp
from eaves.node.desired.vm_model import Datasource
from eaves.node.metadata.model import Answer, Caller, World

_JSON = "application/json"


def want_json(value: object, status: int = 200) -> Answer:
    return Answer(status, msgspec.json.encode(value), _JSON)


def want_text(text: str, status: int = 200) -> Answer:
    return Answer(status, text.encode())


def want_error(status: int, message: str) -> Answer:
    """For people who look at what their app got: what is wrong and, where there is one, the remedy."""
    return want_json({"message": message}, status)


def want_network(caller: Caller, world: World, external: str) -> Answer:
    """``hostname`` is the app's UUID, as EVE's server says for the sake of old apps."""
    node = world.desired
    return want_json(
        {
            "caller-ip": caller.peer,
            "external-ipv4": external,
            "hostname": caller.app.id,
            "app-instance-uuid": caller.app.id,
            "device-uuid": node.device_id,
            "device-name": node.name,
            "project-name": node.owner.project_name,
            "project-uuid": node.owner.project_id,
            "enterprise-name": node.owner.enterprise_name,
            "enterprise-id": node.owner.enterprise_id,
        }
    )


def want_app(caller: Caller, world: World) -> Answer:
    """``app-blobs`` is EVE's; the rest tells an app what it is to the node."""
    vifs = [vif for vif in world.layout.vifs if vif.app_id == caller.app.id]
    return want_json(
        {
            "app-blobs": [],
            "uuid": caller.app.id,
            "name": caller.app.name,
            "version": caller.app.version,
            "interfaces": [{"name": vif.inside, "address": vif.address, "mac": vif.mac} for vif in vifs],
        }
    )


def want_diag(caller: Caller, world: World) -> Answer:
    """What the node sees of the app's connections, as lines for people."""
    node = world.desired
    lines = [f"node {node.name or node.device_id}: config {node.version}"]
    bridges = {bridge.network_id: bridge for bridge in world.layout.bridges}
    names = {network.id: network.name for network in node.networks}
    for netns in world.layout.netns:
        if netns.app_id != caller.app.id:
            continue
        for vif in netns.vifs:
            network = names.get(vif.network_id, vif.network_id)
            bridge = bridges.get(vif.network_id)
            if bridge is None:
                lines.append(f"interface {vif.inside}: network {network}, a switch")
                continue
            way = "no way out" if bridge.air_gapped else f"way out by {bridge.uplink or 'the default route'}"
            lines.append(f"interface {vif.inside}: network {network}, {vif.address}/{vif.prefix_length}, {way}")
    lines += [f"fault: {text}" for object_id, text in sorted(world.has_fault.items()) if object_id in names]
    if fault := world.has_fault.get(caller.app.id):
        lines.append(f"fault: {fault}")
    return want_text("".join(f"{line}\n" for line in lines))


def want_peers(caller: Caller, world: World) -> Answer:
    """Each other app's addresses by port, for an app that may discover them."""
    if not caller.app.may_discover:
        return want_error(403, "This app instance is not allowed to discover; ask its owner to allow it")
    apps = {app.id: app for app in world.desired.apps}
    names = {network.id: network.name for network in world.desired.networks}
    found: dict[str, list[dict[str, str]]] = {}
    for netns in world.layout.netns:
        if netns.app_id == caller.app.id or netns.app_id not in apps:
            continue
        found[apps[netns.app_id].name] = [
            {"port": names.get(vif.network_id, vif.network_id), "address": vif.address}
            for vif in netns.vifs
            if vif.address
        ]
    return want_json(found)


def want_interface_metrics(counters: Iterable[Mapping[str, Any]]) -> Answer:
    return want_json(list(counters))


def want_openstack(app: DesiredApp, name: str) -> Answer:
    """Files of an OpenStack metadata service, for virtual machines whose cloud-init reads that."""
    cloud_init = app.vm.cloud_init if app.vm is not None else None
    if cloud_init is None or cloud_init.datasource is not Datasource.CONFIG_DRIVE:
        return want_error(404, "this app has no OpenStack metadata")
    match name:
        case "openstack":
            return want_text("latest\n")
        case "meta_data.json":
            return want_json(_openstack_metadata(app))
        case "network_data.json":
            return want_json({"services": [], "networks": []})
        case "user_data":
            return Answer(200, cloud_init.user_data.reveal(), "text/yaml")
        case "vendor_data.json":
            return want_json({})
    return want_error(404, "not found")


def _openstack_metadata(app: DesiredApp) -> dict[str, Any]:
    return {
        "uuid": app.id,
        "hostname": app.name,
        "name": app.name,
        "launch_index": 0,
        "keys": [],
        "public_keys": {},
    }
