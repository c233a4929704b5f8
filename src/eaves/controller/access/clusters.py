"""As whom a caller of the operator API acts inside a K3s cluster: the evaluation of K3sClusterAccess. Pure.

Whether he may reach the cluster at all is decided before, by roles on ``k3sclusters/proxy``.
"""

from __future__ import annotations

from collections.abc import Iterable

from eaves.controller.api.identity import GROUP_MASTERS, Identity
from eaves.kinds.k3sclusteraccess import AccessRule, K3sClusterAccess
from eaves.kube.rbac import SERVICE_ACCOUNT_PREFIX
from eaves.wire.clusterstream import HttpParameters

RESERVED_PREFIX = "system:"
FOREIGN_PREFIX = "eaves:"


def map_caller(identity: Identity, cluster_id: str, accesses: Iterable[K3sClusterAccess]) -> HttpParameters | None:
    """Who he is in the cluster; None when nothing names him. ``accesses`` are those of the cluster.

    Only groups that a rule gives count there; his own do not, besides that an administrator of the controller, who may write any rule, is
    the cluster's too. Names that Kubernetes reserves get a prefix: the cluster has service accounts of its own, which others must not
    become by having the same name here.
    """
    groups = [GROUP_MASTERS] if GROUP_MASTERS in identity.groups else []
    for access in accesses:
        for rule in access.spec.rules:
            if _names(rule, identity, access.metadata.namespace):
                groups.extend(rule.cluster_groups)
    if not groups:
        return None
    user = identity.user
    if user.startswith(RESERVED_PREFIX):
        user = FOREIGN_PREFIX + user
    unique = tuple(dict.fromkeys(groups))
    return HttpParameters(cluster_id, user, unique, identity.uid, {k: tuple(v) for k, v in identity.extra.items()})


def _names(rule: AccessRule, identity: Identity, namespace: str) -> bool:
    if identity.user in rule.users or any(group in rule.groups for group in identity.groups):
        return True
    accounts = (f"{account.namespace or namespace}:{account.name}" for account in rule.service_accounts)
    return any(identity.user == SERVICE_ACCOUNT_PREFIX + account for account in accounts)
