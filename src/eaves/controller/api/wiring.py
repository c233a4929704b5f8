"""Puts the operator API together: one readable list of what serves what. Called by the controller's bootstrap and by tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from msgspec import Struct
from prometheus_client import CollectorRegistry

from eaves import __version__
from eaves.controller.access.escalation import EscalationGuard
from eaves.controller.access.following import AccessFollower
from eaves.controller.api.accounts import DISCOVERY_PATH, KEYS_PATH, AccountKeys, Accounts
from eaves.controller.api.admission import Admission
from eaves.controller.api.app import Api
from eaves.controller.api.applying import Applier
from eaves.controller.api.audit import Auditor, RequestLog
from eaves.controller.api.authentication import Authenticator, TokenAuthenticator, TokenLookup
from eaves.controller.api.authorization import Authorizer, RbacAuthorizer
from eaves.controller.api.backends import Backend, StoreBackend
from eaves.controller.api.clusterproxy import ClusterProxy
from eaves.controller.api.consoles import Consoles
from eaves.controller.api.definitions import DefinitionBackend, DefinitionKind
from eaves.controller.api.deleting import Deleter
from eaves.controller.api.eventkind import EventKind, make_event_view
from eaves.controller.api.eventwriting import EventGuard, EventWriter
from eaves.controller.api.exports import Exports
from eaves.controller.api.flows import AppFlows
from eaves.controller.api.forms import Forms
from eaves.controller.api.health import Check, Health
from eaves.controller.api.leases import LeaseBackend, LeaseKind
from eaves.controller.api.namespacekind import NamespaceFinalizer
from eaves.controller.api.namespaces import NamespaceGate
from eaves.controller.api.nodekind import NodeKind
from eaves.controller.api.pages import Pages
from eaves.controller.api.podexec import PodStreams
from eaves.controller.api.podkind import PodKind
from eaves.controller.api.podlogs import LogInterest, NoInterest, PodLogs
from eaves.controller.api.portforward import PortForward
from eaves.controller.api.reading import Reader
from eaves.controller.api.reviews import REVIEWS, ReviewKind
from eaves.controller.api.service import KindHandler, ResourceService, SubresourceHandler
from eaves.controller.api.stored import Readings, StoredKind
from eaves.controller.api.tokenreviews import TOKEN_REVIEW, TokenReviewKind
from eaves.controller.api.usage import make_node_usage, make_pod_usage
from eaves.controller.api.viewkind import AbsentKind, ViewKind
from eaves.controller.api.views import Contacts, make_lease_view, make_node_view, make_pod_view
from eaves.controller.api.watching import Watcher
from eaves.controller.api.writing import Writer
from eaves.controller.tunnel.abc import Tunnel
from eaves.controller.tunnel.none import NoTunnel
from eaves.kinds import (
    absent,
    app,
    definition,
    edgenode,
    k3scluster,
    lease,
    namespace,
    node,
    pod,
    secret,
    serviceaccount,
    volume,
)
from eaves.kinds.registry import FACES, PROJECTED, RESOURCES
from eaves.kube.resource import Gvr, Resource
from eaves.store.abc import ObjectStore
from eaves.store.telemetry import Telemetry


class ApiParts(Struct, frozen=True, kw_only=True):
    """What the API stands on. ``checks`` are named conditions of readiness, each raising an EavesError when it does not hold."""

    store: ObjectStore
    telemetry: Telemetry
    tokens: TokenLookup
    contacts: Contacts
    access: AccessFollower
    """Roles and bindings; whoever makes the parts runs it."""
    account_keys: AccountKeys
    """Keys that sign the tokens of service accounts, newest last."""
    interest: LogInterest = NoInterest()
    tunnel: Tunnel = NoTunnel()
    authenticator: Authenticator | None = None
    issuer: str = "https://kubernetes.default.svc"
    """Address of this API as it stands in those tokens."""
    checks: Mapping[str, Check] = {}
    auditor: Auditor | None = None
    clock: Callable[[], float] = time.time

    @property
    def authorizer(self) -> Authorizer:
        return RbacAuthorizer(self.access)


def make_api(parts: ApiParts, registry: CollectorRegistry) -> Api:
    """The ASGI application."""
    accounts = make_accounts(parts)
    tokens = TokenAuthenticator(parts.tokens, accounts, parts.clock)
    clusters = ClusterProxy(parts.store, parts.tunnel)
    kinds, subresources = make_kinds(parts, accounts, tokens, clusters)
    resources: list[Resource] = [*RESOURCES, *FACES, *REVIEWS, TOKEN_REVIEW, definition.RESOURCE, *absent.RESOURCES]
    health = Health({"store": _store_check(parts.store), **parts.checks})
    more = {DISCOVERY_PATH: accounts.render_discovery, KEYS_PATH: accounts.render_keys}
    pages = Pages(resources, health, registry, __version__, more)
    return Api(
        authenticator=parts.authenticator or tokens,
        authorizer=parts.authorizer,
        resources=ResourceService(kinds, subresources),
        pages=pages.answer,
        requests=RequestLog(registry, parts.auditor),
        on_stop=clusters.stop,
    )


def make_accounts(parts: ApiParts) -> Accounts:
    """Tokens may be bound to Secrets, Pods and Nodes."""
    store = parts.store
    bound: dict[str, Backend] = {
        "Secret": StoreBackend(secret.RESOURCE, store),
        "Pod": make_pod_view(store),
        "Node": make_node_view(store, parts.clock),
    }
    return Accounts(store, parts.account_keys, parts.issuer, bound, parts.clock)


def make_kinds(
    parts: ApiParts, accounts: Accounts, tokens: TokenAuthenticator, clusters: ClusterProxy
) -> tuple[Mapping[Gvr, KindHandler], Mapping[tuple[Gvr, str], SubresourceHandler]]:
    """The handler of every kind and subresource."""
    store, clock = parts.store, parts.clock
    reader = Reader(store)
    readings = Readings(reader, Watcher(store, reader), Forms(clock))
    admission = Admission(store)
    authorizer = parts.authorizer
    guard = EscalationGuard(store, parts.access, authorizer)
    writer = Writer(store, admission, NamespaceGate(store), clock, guard)
    deleter = Deleter(store, admission, reader, clock)
    applier = Applier(store, writer, clock)

    kinds: dict[Gvr, KindHandler] = {}
    subresources: dict[tuple[Gvr, str], SubresourceHandler] = {}
    for resource in RESOURCES:
        if resource.gvr in PROJECTED:
            continue
        stored = StoredKind(StoreBackend(resource, store), readings, writer, deleter, applier)
        kinds[resource.gvr] = stored
        if any(sub.name == "status" for sub in resource.subresources):
            subresources[resource.gvr, "status"] = stored.serve_status

    node_view = make_node_view(store, clock)
    nodes = NodeKind(node_view, readings, writer, deleter, applier, clock)
    pod_view = make_pod_view(store)
    pods = PodKind(pod_view, StoreBackend(edgenode.RESOURCE, store), readings, reader, writer)
    leases = LeaseBackend(make_lease_view(store, parts.contacts), StoreBackend(lease.RESOURCE, store))
    kinds[lease.RESOURCE.gvr] = LeaseKind(StoredKind(leases, readings, writer, deleter, applier))
    reviews: list[KindHandler] = [ReviewKind(resource, authorizer) for resource in REVIEWS]
    reviews.append(TokenReviewKind(tokens, accounts))
    usages: list[KindHandler] = [
        ViewKind(make_node_usage(node_view, store, parts.telemetry, clock), readings),
        ViewKind(make_pod_usage(pod_view, store, parts.telemetry, clock), readings),
    ]
    event_writer = EventWriter(store, admission, NamespaceGate(store), clock, EventGuard(guard))
    events = EventKind(make_event_view(store), readings, event_writer, Applier(store, event_writer, clock), deleter)
    definitions = DefinitionKind(DefinitionBackend(RESOURCES, store), readings)
    missing = [AbsentKind(StoreBackend(resource, store), readings) for resource in absent.RESOURCES]
    views: list[KindHandler] = [nodes, pods, events, definitions, *usages, *reviews, *missing]
    kinds |= {kind.resource.gvr: kind for kind in views}

    consoles, streams = Consoles(store, parts.tunnel), PodStreams(store, parts.tunnel)
    exports = Exports(store, parts.tunnel)
    subresources |= {
        (app.RESOURCE.gvr, "flows"): AppFlows(store, parts.telemetry, clock).serve,
        (app.RESOURCE.gvr, "console"): consoles.serve_console,
        (app.RESOURCE.gvr, "vnc"): consoles.serve_vnc,
        (k3scluster.RESOURCE.gvr, "proxy"): clusters.serve,
        (serviceaccount.RESOURCE.gvr, "token"): accounts.serve_token,
        (app.RESOURCE.gvr, "export"): exports.serve_app,
        (volume.RESOURCE.gvr, "export"): exports.serve_volume,
        (pod.RESOURCE.gvr, "exec"): streams.serve_exec,
        (pod.RESOURCE.gvr, "attach"): streams.serve_attach,
        (namespace.RESOURCE.gvr, "finalize"): NamespaceFinalizer(readings, writer).serve,
        (node.RESOURCE.gvr, "status"): nodes.serve_status,
        (pod.RESOURCE.gvr, "status"): pods.serve_status,
        (pod.RESOURCE.gvr, "log"): PodLogs(store, parts.telemetry, parts.interest, parts.tunnel, clock).serve,
        (pod.RESOURCE.gvr, "portforward"): PortForward(store, parts.tunnel).serve,
    }
    return kinds, subresources


def _store_check(store: ObjectStore) -> Check:
    async def check() -> None:
        await store.revision()

    return check
