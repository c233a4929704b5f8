"""Rules for a K3sCluster that its schema cannot express."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import msgspec

from eaves.kinds import rules
from eaves.kinds.app_rules import check_counter
from eaves.kinds.durations import check_duration
from eaves.kinds.k3s_addon_rules import check_add_ons
from eaves.kinds.k3s_config_rules import check_options
from eaves.kinds.k3s_version import check_k3s_version, explain_skew, find_span, parse_k3s_version
from eaves.kinds.k3scluster_spec import ClusterDatastore, K3sClusterSpec, MemberPool, UpgradePolicy
from eaves.kinds.rules import forbidden, invalid, required
from eaves.kit.cron import ScheduleError, check_schedule
from eaves.kube import names
from eaves.kube.errors import FieldError
from eaves.kube.resource import Object

LEAST_MEMORY, MOST_MEMORY = "256Mi", "16Ti"
LEAST_CPUS, MOST_CPUS = "50m", "1024"
_HOUR_S = 3600


def check_cluster(new: Object, old: Object | None) -> Sequence[FieldError]:
    """Every fault of a K3sCluster, and of a change of one."""
    spec = msgspec.convert(new["spec"], K3sClusterSpec)
    faults = [*rules.check_own_name(new), *_check_spec(spec)]
    if old is not None:
        faults.extend(_check_change(spec, msgspec.convert(old["spec"], K3sClusterSpec), old.get("status") or {}))
    return faults


def find_warnings(new: Object) -> Iterator[str]:
    """What is allowed and hardly wanted."""
    spec = msgspec.convert(new["spec"], K3sClusterSpec)
    wanted = wanted_servers(spec)
    if spec.datastore is ClusterDatastore.EMBEDDED_ETCD and wanted > 1 and wanted % 2 == 0:
        yield (
            f"spec.servers: {wanted} servers with embedded etcd bear the loss of no more servers than {wanted - 1}; take an odd number"
        )
    if spec.backup is None and spec.datastore is not ClusterDatastore.EXTERNAL:
        yield "spec.backup: no snapshots are taken; without one the cluster is lost with its servers' disks"


def wanted_servers(spec: K3sClusterSpec) -> int:
    """How many servers the spec asks for."""
    return len(set(spec.servers.node_names)) if spec.servers.selector is None else spec.servers.count or 0


def _check_spec(spec: K3sClusterSpec) -> Iterator[FieldError]:
    yield from check_k3s_version("spec.version", spec.version)
    if spec.release:
        yield from rules.check_dns_subdomain("spec.release", spec.release)
    yield from _check_members(spec)
    yield from _check_datastore(spec)
    yield from _check_addresses(spec)
    yield from check_options(spec)
    yield from check_add_ons(spec)
    yield from rules.check_quantity(
        "spec.resources.memory", spec.resources.memory, minimum=LEAST_MEMORY, maximum=MOST_MEMORY
    )
    yield from rules.check_quantity("spec.resources.cpus", spec.resources.cpus, minimum=LEAST_CPUS, maximum=MOST_CPUS)
    yield from _check_upgrade(spec.upgrade)
    yield from _check_backup(spec)


def _check_members(spec: K3sClusterSpec) -> Iterator[FieldError]:
    for field, pool in (("servers", spec.servers), ("agents", spec.agents)):
        yield from _check_pool(f"spec.{field}", pool)
    if not spec.servers.node_names and spec.servers.selector is None:
        yield required("spec.servers", "name at least one node in nodeNames, or choose some by selector and count")
    if spec.servers.selector is not None and not spec.servers.count:
        yield required(
            "spec.servers.count", "how many of the nodes that the selector matches become servers: 1, 3 or 5"
        )
    named = set(spec.servers.node_names)
    for index, name in enumerate(spec.agents.node_names):
        if name in named:
            yield invalid(f"spec.agents.nodeNames[{index}]", name, "is a server already; servers run pods too")
    for index, name in enumerate(spec.replace):
        yield from rules.check_dns_subdomain(f"spec.replace[{index}]", name)
        if name in named or name in spec.agents.node_names:
            yield invalid(f"spec.replace[{index}]", name, "is named in nodeNames; take it out there")


def _check_pool(path: str, pool: MemberPool) -> Iterator[FieldError]:
    if pool.selector is not None and pool.node_names:
        yield forbidden(f"{path}.nodeNames", "either names or a selector, not both")
    if pool.selector is None and pool.count is not None:
        yield forbidden(f"{path}.count", "goes with selector; nodeNames say how many they are")
    for index, name in enumerate(pool.node_names):
        yield from rules.check_dns_subdomain(f"{path}.nodeNames[{index}]", name)
    yield from rules.check_no_repeats([(f"{path}.nodeNames[{i}]", name) for i, name in enumerate(pool.node_names)])
    if pool.selector is None:
        return
    for key, value in sorted(pool.selector.match_labels.items()):
        for text in (*names.check_qualified_name(key), *names.check_label_value(value)):
            yield invalid(f"{path}.selector.matchLabels[{key}]", value, text)
    for index, demand in enumerate(pool.selector.match_expressions):
        at = f"{path}.selector.matchExpressions[{index}]"
        for text in names.check_qualified_name(demand.key):
            yield invalid(f"{at}.key", demand.key, text)
        if bool(demand.values) is not (demand.operator in ("In", "NotIn")):
            yield invalid(
                f"{at}.values", demand.values, "must be there for In and NotIn, and not for Exists and DoesNotExist"
            )


def _check_datastore(spec: K3sClusterSpec) -> Iterator[FieldError]:
    if spec.datastore is ClusterDatastore.SQLITE and wanted_servers(spec) > 1:
        yield invalid("spec.datastore", str(spec.datastore), "SQLite is for one server; take EmbeddedEtcd or External")
    if spec.datastore is ClusterDatastore.EXTERNAL and spec.datastore_secret_ref is None:
        yield required("spec.datastoreSecretRef", "names the Secret with the key endpoint of the External datastore")
    if spec.datastore is not ClusterDatastore.EXTERNAL and spec.datastore_secret_ref is not None:
        yield forbidden("spec.datastoreSecretRef", "goes with datastore: External")
    for field, reference in (
        ("datastoreSecretRef", spec.datastore_secret_ref),
        ("tokenSecretRef", spec.token_secret_ref),
    ):
        if reference is not None:
            yield from rules.check_dns_subdomain(f"spec.{field}.name", reference.name)


def _check_addresses(spec: K3sClusterSpec) -> Iterator[FieldError]:
    subnets = set()
    for index, entry in enumerate(spec.addresses):
        path = f"spec.addresses[{index}]"
        yield from rules.check_dns_subdomain(f"{path}.nodeName", entry.node_name)
        faults = list(rules.check_interface_address(f"{path}.address", entry.address))
        yield from faults
        if not faults:
            subnets.add(IPv4Interface(entry.address).network)
    yield from rules.check_no_repeats(
        [(f"spec.addresses[{i}].address", e.address) for i, e in enumerate(spec.addresses)]
    )
    if not spec.api_address:
        return
    if faults := list(rules.check_ipv4("spec.apiAddress", spec.api_address)):
        yield from faults
        return
    address = IPv4Address(spec.api_address)
    if any(address == IPv4Interface(entry.address).ip for entry in spec.addresses if "/" in entry.address):
        yield invalid("spec.apiAddress", spec.api_address, "is the address of a member; take one that nobody has")
    if subnets and not any(address in subnet for subnet in subnets):
        shown = ", ".join(sorted(str(subnet) for subnet in subnets))
        yield invalid("spec.apiAddress", spec.api_address, f"must be in the subnet of the members ({shown})")


def _check_upgrade(upgrade: UpgradePolicy) -> Iterator[FieldError]:
    yield from check_duration("spec.upgrade.drainTimeout", upgrade.drain_timeout, least_s=10, most_s=7 * 24 * _HOUR_S)
    yield from check_duration("spec.upgrade.healthTimeout", upgrade.health_timeout, least_s=10, most_s=24 * _HOUR_S)


def _check_backup(spec: K3sClusterSpec) -> Iterator[FieldError]:
    backup = spec.backup
    if backup is None:
        if spec.operations.restore is not None and "/" in spec.operations.restore.snapshot:
            yield required("spec.backup", "a snapshot in a Datastore needs backup.datastoreRef")
        return
    if spec.datastore is ClusterDatastore.EXTERNAL:
        yield forbidden("spec.backup", "an External datastore has no snapshots here; back it up where it is")
    if backup.schedule:
        try:
            check_schedule(backup.schedule)
        except ScheduleError as error:
            yield invalid("spec.backup.schedule", backup.schedule, str(error))
    if backup.datastore_ref is not None:
        yield from rules.check_dns_subdomain("spec.backup.datastoreRef.name", backup.datastore_ref.name)
    if backup.path.startswith("/") or ".." in backup.path.split("/") or any(sign.isspace() for sign in backup.path):
        yield invalid("spec.backup.path", backup.path, "must be relative, without '..' and white space")


def _check_change(new: K3sClusterSpec, old: K3sClusterSpec, status: Mapping[str, Any]) -> Iterator[FieldError]:
    yield from rules.check_immutable("spec.datastore", str(new.datastore), str(old.datastore))
    yield from rules.check_immutable("spec.tokenSecretRef", _name(new.token_secret_ref), _name(old.token_secret_ref))
    orders, former = new.operations, old.operations
    yield from check_counter("spec.operations.snapshot", orders.snapshot, former.snapshot)
    yield from check_counter(
        "spec.operations.rotateCertificates", orders.rotate_certificates, former.rotate_certificates
    )
    yield from check_counter("spec.operations.rotateToken", orders.rotate_token, former.rotate_token)
    if former.restore is not None:
        counter = orders.restore.counter if orders.restore is not None else 0
        yield from check_counter("spec.operations.restore.counter", counter, former.restore.counter)
    version = parse_k3s_version(new.version)
    if new.version != old.version and version is not None:
        entries = (entry for entry in status.get("members") or () if entry.get("joined") and not entry.get("runsEVE"))
        span = find_span(_versions(entry) for entry in entries)
        if span is not None and (fault := explain_skew(*span, version)):
            yield invalid("spec.version", new.version, fault)


def _versions(member: Mapping[str, Any]) -> tuple[str, str]:
    return str(member.get("runningVersion") or ""), str(member.get("version") or "")


def _name(reference: Any) -> str:
    return reference.name if reference is not None else ""
