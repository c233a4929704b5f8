"""What a K3sCluster is asked to be."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from eaves.kinds.fields import LabelSelector, LocalReference, Quantity, about, keyed, unique

DEFAULT_MEMORY, DEFAULT_CPUS = "1Gi", "500m"


class ClusterDatastore(StrEnum):
    EMBEDDED_ETCD = "EmbeddedEtcd"
    SQLITE = "SQLite"
    EXTERNAL = "External"


class DeletionPolicy(StrEnum):
    DELETE_DATA = "DeleteData"
    KEEP_DATA = "KeepData"


class MemberPool(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Nodes by name, or some of those that a selector matches. A node that was chosen stays chosen while it fits."""

    node_names: Annotated[list[str], unique(description="EdgeNodes.", max_length=1024)] = []
    selector: Annotated[LabelSelector | None, about("Chooses among EdgeNodes by their labels.")] = None
    count: Annotated[
        Annotated[int, Meta(ge=0, le=1024)] | None,
        about("How many of them. Servers by selector need it; agents are all that match when absent."),
    ] = None


class MemberAddress(Struct, frozen=True, rename="camel", kw_only=True):
    """The address of one member, where the one that the node reports is not to be taken."""

    node_name: Annotated[str, about("EdgeNode.", min_length=1, max_length=253)]
    address: Annotated[str, about("IPv4 address with prefix length on the cluster interface: 10.17.0.11/24.")]


class HelmFailurePolicy(StrEnum):
    REINSTALL = "Reinstall"
    RETRY = "Retry"
    ABORT = "Abort"


class ValuesSecret(Struct, frozen=True, rename="camel", kw_only=True):
    """Values of a chart that a Secret of the cluster keeps, in its namespace kube-system."""

    name: Annotated[str, about("Secret.", min_length=1, max_length=253)]
    keys: Annotated[list[str], unique(description="Its keys, each the text of a values file.", max_length=16)]


class HelmChart(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A chart that the cluster's own Helm controller installs."""

    chart: Annotated[
        str, about("oci:// or https:// reference of a chart, or its name in repo.", min_length=1, max_length=2048)
    ]
    repo: Annotated[str, about("Repository of the chart, https://….", max_length=2048)] = ""
    version: Annotated[str, about("Version of the chart; the newest when absent.", max_length=253)] = ""
    target_namespace: Annotated[
        str, about("Namespace to install into, made if there is none; default when absent.", max_length=63)
    ] = ""
    values: Annotated[
        dict[str, Any],
        about("Values of the chart. They are kept in the clear: what is secret goes into valuesSecrets."),
    ] = {}
    values_secrets: Annotated[
        list[ValuesSecret],
        keyed("name", description="Secrets of the cluster that have more values, which win.", max_length=16),
    ] = []
    auth_secret: Annotated[
        LocalReference | None,
        about("Secret of the cluster, in kube-system, of type kubernetes.io/basic-auth: credentials for repo."),
    ] = None
    docker_registry_secret: Annotated[
        LocalReference | None,
        about(
            "Secret of the cluster, in kube-system, of type kubernetes.io/dockerconfigjson: credentials for an oci:// registry."
        ),
    ] = None
    ca_certificates: Annotated[
        str, about("PEM certificates of authorities to trust for the registry or repository.", max_length=262144)
    ] = ""
    plain_http: Annotated[bool, about("An oci:// registry that speaks HTTP without TLS.")] = msgspec.field(
        default=False, name="plainHTTP"
    )
    bootstrap: Annotated[
        bool,
        about(
            "The cluster needs it to come up, as a CNI: its job runs on a server, in the host's network, before nodes are ready."
        ),
    ] = False
    timeout: Annotated[str, about("How long Helm waits for each of its steps; 5m when absent.", max_length=32)] = ""
    failure_policy: Annotated[
        HelmFailurePolicy,
        about("What to do about a release that failed: reinstall it from nothing, upgrade it again, or leave it."),
    ] = HelmFailurePolicy.REINSTALL


class AddOn(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Something to run in the cluster: exactly one of manifest and helm."""

    name: Annotated[str, about("Name by which its state is told.", min_length=1, max_length=63)]
    manifest: Annotated[str, about("Kubernetes objects as YAML documents.", max_length=262144)] = ""
    helm: Annotated[HelmChart | None, about("A Helm chart.")] = None


class UpgradePolicy(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """How members get another version: servers one by one, then agents."""

    drain: Annotated[bool, about("Evict a node's pods before its K3s is replaced, heeding PodDisruptionBudgets.")] = (
        True
    )
    drain_timeout: Annotated[
        str,
        about(
            "After this long a drain that does not end is told as the reason why the upgrade stands still; it goes on."
        ),
    ] = "15m"
    max_unavailable: Annotated[int, about("How many agents at a time.", ge=1, le=1024)] = 1
    health_timeout: Annotated[
        str, about("A member that is not ready so long after its new version stops the upgrade; no other is touched.")
    ] = "10m"
    paused: Annotated[bool, about("Start no further member; what has begun is finished.")] = False


class ClusterBackup(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Snapshots of the cluster's state, of embedded etcd or SQLite."""

    schedule: Annotated[
        str,
        about(
            "Five fields of cron in UTC: 0 2 * * *. Only on order (spec.operations.snapshot) when absent.",
            max_length=256,
        ),
    ] = ""
    keep: Annotated[
        int, about("Scheduled snapshots to keep, on the server and in the Datastore each.", ge=1, le=1000)
    ] = 7
    datastore_ref: Annotated[
        LocalReference | None, about("Datastore of type S3 to ship them to; they stay on the server when absent.")
    ] = None
    path: Annotated[
        str, about("Folder below the Datastore's path; NAMESPACE/NAME of the cluster when absent.", max_length=512)
    ] = ""


class ClusterResources(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What each member keeps free of apps and virtual machines for K3s and its pods."""

    memory: Annotated[Quantity, about("Memory.")] = DEFAULT_MEMORY
    cpus: Annotated[Quantity, about("Processors.")] = DEFAULT_CPUS


class RestoreOrder(Struct, frozen=True, rename="camel", kw_only=True):
    """Goes back to a snapshot whenever the counter is raised."""

    snapshot: Annotated[
        str,
        about(
            "Name in status.snapshots, or the path of a snapshot below the backup's Datastore.",
            min_length=1,
            max_length=1024,
        ),
    ]
    counter: Annotated[int, about("Raise it by one to restore.", ge=1, le=0xFFFFFFFF)]


class ClusterOperations(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Orders: each is obeyed once whenever its counter is raised."""

    snapshot: Annotated[int, about("Raise it by one to take a snapshot now.", ge=0, le=0xFFFFFFFF)] = 0
    rotate_certificates: Annotated[
        int, about("Raise it by one to renew the certificates of all members, one by one.", ge=0, le=0xFFFFFFFF)
    ] = 0
    rotate_token: Annotated[int, about("Raise it by one to replace the join token.", ge=0, le=0xFFFFFFFF)] = 0
    restore: Annotated[RestoreOrder | None, about("Go back to a snapshot.")] = None


class K3sClusterSpec(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Which K3s on which nodes."""

    version: Annotated[str, about("Version of the form vX.Y.Z+k3sN; raise it to upgrade.", min_length=1)]
    release: Annotated[
        str, about("K3sRelease in the same namespace; the one that has the version when absent.", max_length=253)
    ] = ""
    servers: Annotated[MemberPool, about("Nodes that run the control plane: one, or an odd number.")]
    agents: Annotated[MemberPool, about("Nodes that run pods only.")] = MemberPool()
    replace: Annotated[
        list[str],
        unique(
            description="EdgeNodes that are not to be members: a dead one gives its place to another that the selector matches."
        ),
    ] = []
    api_address: Annotated[str, about("Address that the servers share, in the subnet of their cluster interface.")] = ""
    cluster_interface: Annotated[
        str, about("Uplink by which members talk to each other; the first for management when absent.", max_length=63)
    ] = ""
    addresses: Annotated[
        list[MemberAddress],
        keyed("nodeName", description="Addresses that differ from those that the nodes report.", max_length=1024),
    ] = []
    datastore: Annotated[
        ClusterDatastore,
        about("EmbeddedEtcd, SQLite (one server) or External, which datastoreSecretRef names; cannot change."),
    ] = ClusterDatastore.EMBEDDED_ETCD
    datastore_secret_ref: Annotated[
        LocalReference | None,
        about("Secret of an External datastore: key endpoint, and optionally ca.crt, tls.crt and tls.key."),
    ] = None
    token_secret_ref: Annotated[
        LocalReference | None,
        about(
            "Secret whose key token is the cluster's first join token, as a restore of another cluster's snapshot needs it; cannot change."
        ),
    ] = None
    disable: Annotated[
        list[str], unique(description="Packaged components to leave out, such as traefik.", max_length=32)
    ] = []
    config: Annotated[
        dict[str, Any],
        about(
            "Further K3s options by their names in K3s' config file; agents get those that they know. secrets-encryption is true when"
            " absent."
        ),
    ] = {}
    add_ons: Annotated[list[AddOn], keyed("name", description="What is to run in the cluster.", max_length=64)] = []
    resources: Annotated[ClusterResources, about("What members keep free for the cluster.")] = ClusterResources()
    upgrade: Annotated[UpgradePolicy, about("How members get another version.")] = UpgradePolicy()
    backup: Annotated[ClusterBackup | None, about("Snapshots of the cluster's state.")] = None
    operations: Annotated[ClusterOperations, about("Orders.")] = ClusterOperations()
    deletion_policy: Annotated[
        DeletionPolicy, about("DeleteData, or KeepData: members that leave keep K3s' data folder on their disk.")
    ] = DeletionPolicy.DELETE_DATA
