"""Acting as somebody else: the ``Impersonate-*`` headers, each part of the wanted identity authorised by the verb ``impersonate``.

As in a kube-apiserver: users, groups and serviceaccounts of the core group, uids and userextras/KEY of ``authentication.k8s.io``.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

from eaves.controller.api.authorization import Attributes, Authorizer, check_allowed
from eaves.controller.api.http import Request
from eaves.controller.api.identity import ANONYMOUS, GROUP_AUTHENTICATED, GROUP_UNAUTHENTICATED, Identity
from eaves.controller.api.routing import Target
from eaves.kube import names, status
from eaves.kube.rbac import SERVICE_ACCOUNT_PREFIX

HEADER_PREFIX = b"impersonate-"
_EXTRA_PREFIX = b"impersonate-extra-"
_GROUP = "authentication.k8s.io"


async def impersonate(request: Request, authorizer: Authorizer) -> Identity:
    """Whom the request is to be done as: its caller when it names nobody else. Raises ApiError 400, 403."""
    wanted = parse_wanted(request)
    if wanted is None:
        return request.identity
    for target in _targets(wanted):
        await check_allowed(authorizer, Attributes(request.identity, "impersonate", target))
    return _complete(wanted)


def parse_wanted(request: Request) -> Identity | None:
    """What the headers ask for; None when there are none. Raises ApiError 400 when they name no user."""
    user, uid = "", ""
    groups: list[str] = []
    extra: dict[str, list[str]] = {}
    for name, raw in request.scope["headers"]:
        if not name.startswith(HEADER_PREFIX):
            continue
        value = raw.decode("utf-8", "replace")
        if name == b"impersonate-user":
            user = user or value
        elif name == b"impersonate-uid":
            uid = uid or value
        elif name == b"impersonate-group":
            groups.append(value)
        elif name.startswith(_EXTRA_PREFIX):
            extra.setdefault(unquote(name[len(_EXTRA_PREFIX) :].decode("latin-1")).lower(), []).append(value)
    if not user:
        if groups or uid or extra:
            raise status.bad_request("a group, uid or extra is to be impersonated without a user: set Impersonate-User")
        return None
    return Identity(user, tuple(groups), uid, {key: tuple(values) for key, values in extra.items()})


def _targets(wanted: Identity) -> Iterator[Target]:
    if account := _account_of(wanted.user):
        yield Target("", "v1", "serviceaccounts", *account)
    else:
        yield Target("", "v1", "users", "", wanted.user)
    for group in wanted.groups:
        yield Target("", "v1", "groups", "", group)
    for key, values in wanted.extra.items():
        for value in values:
            yield Target(_GROUP, "v1", "userextras", "", value, key)
    if wanted.uid:
        yield Target(_GROUP, "v1", "uids", "", wanted.uid)


def _complete(wanted: Identity) -> Identity:
    """With the groups that everybody has; a service account that names none gets its own."""
    groups = tuple(wanted.groups)
    account = _account_of(wanted.user)
    if account and not groups:
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")
    everybody = GROUP_UNAUTHENTICATED if wanted.user == ANONYMOUS.user else GROUP_AUTHENTICATED
    if not {GROUP_AUTHENTICATED, GROUP_UNAUTHENTICATED} & set(groups):
        groups = (*groups, everybody)
    return Identity(wanted.user, groups, wanted.uid, wanted.extra)


def _account_of(user: str) -> tuple[str, str] | None:
    """(namespace, name) of a service account's user name; None for a name that no service account can have."""
    if not user.startswith(SERVICE_ACCOUNT_PREFIX):
        return None
    namespace, _, name = user.removeprefix(SERVICE_ACCOUNT_PREFIX).partition(":")
    return None if names.check_label_name(namespace) or names.check_subdomain(name) else (namespace, name)
