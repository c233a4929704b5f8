"""Roles and bindings through the API: they decide, they are checked, and nobody grants what he has not."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from eaves.kube.rbac import GROUP
from eaves.testing.asgi import Answer, AsgiClient
from eaves.testing.operator_api import USER_TOKEN, ApiBench, open_api
from eaves.testing.stores import eventually

RBAC = f"/apis/{GROUP}/v1"
READ = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}


@pytest.fixture
def jane(bench: ApiBench) -> AsgiClient:
    return AsgiClient(bench.api, USER_TOKEN)


def role(name: str, *rules: dict[str, Any], kind: str = "Role", **more: Any) -> dict[str, Any]:
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": {"name": name}, "rules": list(rules), **more}


def binding(name: str, role: str, *, kind: str = "RoleBinding", role_kind: str = "ClusterRole") -> dict[str, Any]:
    subjects = [{"kind": "User", "name": "jane"}]
    reference = {"kind": role_kind, "name": role}
    body = {"metadata": {"name": name}, "roleRef": reference, "subjects": subjects}
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, **body}


async def make(client: AsgiClient, path: str, body: Any) -> Answer:
    answer = await client.call("POST", f"{RBAC}/{path}", body)
    assert answer.status == 201, answer.body.decode()
    return answer


async def until(client: AsgiClient, status: int, method: str, path: str, body: Any = None, **query: Any) -> Answer:
    """The answer with this status; rules count a moment after they are written."""
    found: list[Answer] = []

    async def answers() -> bool:
        found.append(await client.call(method, path, body, **query))
        return found[-1].status == status

    await eventually(answers, 60)
    return found[-1]


async def test_a_binding_opens_and_its_deletion_closes(admin: AsgiClient, jane: AsgiClient) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    assert (await jane.call("GET", path)).status == 403
    await make(admin, "namespaces/default/roles", role("read", READ))
    await make(admin, "namespaces/default/rolebindings", binding("b", "read", role_kind="Role"))
    await until(jane, 200, "GET", path)
    assert (await jane.call("GET", path, watch="true")).status == 403
    assert (await jane.call("GET", "/api/v1/configmaps")).status == 403
    await admin.call("DELETE", f"{RBAC}/namespaces/default/rolebindings/b")
    await until(jane, 403, "GET", path)


async def test_a_missing_role_shows_in_the_refusal(admin: AsgiClient, jane: AsgiClient) -> None:
    await make(admin, "namespaces/default/rolebindings", binding("b", "later"))
    expected = f'RBAC: clusterrole.{GROUP} "later" not found'

    async def tells() -> bool:
        answer = await jane.call("GET", "/api/v1/namespaces/default/configmaps")
        return bool(answer.json()["message"].endswith(expected))

    await eventually(tells, 60)


async def test_names_open_lists_of_that_name_only(admin: AsgiClient, jane: AsgiClient) -> None:
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one"], "verbs": ["get", "list", "watch"]}
    await make(admin, "namespaces/default/roles", role("one", rule))
    await make(admin, "namespaces/default/rolebindings", binding("b", "one", role_kind="Role"))
    path = "/api/v1/namespaces/default/configmaps"
    await until(jane, 200, "GET", path, fieldSelector="metadata.name=one")
    assert (await jane.call("GET", f"{path}/one")).status == 404
    assert (await jane.call("GET", f"{path}/two")).status == 403
    assert (await jane.call("GET", path)).status == 403
    assert (await jane.call("GET", path, fieldSelector="metadata.name=two")).status == 403
    assert (await jane.call("GET", path, fieldSelector="metadata.name=one,metadata.name=two")).status == 403
    assert (await jane.call("GET", path, fieldSelector="metadata.name!=one")).status == 403


async def test_who_may_read_a_namespace_is_said_in_it(admin: AsgiClient, jane: AsgiClient) -> None:
    rule = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]}
    await make(admin, "namespaces/default/roles", role("look", rule))
    await make(admin, "namespaces/default/rolebindings", binding("b", "look", role_kind="Role"))
    await until(jane, 200, "GET", "/api/v1/namespaces/default")
    assert (await jane.call("GET", "/api/v1/namespaces/kube-system")).status == 403


async def test_nobody_grants_what_he_has_not(admin: AsgiClient, jane: AsgiClient) -> None:
    own = {"apiGroups": [GROUP], "resources": ["roles", "rolebindings"], "verbs": ["create", "update", "patch"]}
    await make(admin, "namespaces/default/roles", role("granter", own, READ))
    await make(admin, "namespaces/default/rolebindings", binding("b", "granter", role_kind="Role"))
    spaces = f"{RBAC}/namespaces/default"
    await until(jane, 201, "POST", f"{spaces}/roles", role("mine", READ))
    more = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}
    refused = await jane.call("POST", f"{spaces}/roles", role("more", READ, more))
    assert refused.status == 403
    assert refused.json()["message"] == (
        f'roles.{GROUP} "more" is forbidden: user "jane" (groups=["staff" "system:authenticated"]) is attempting to grant RBAC '
        'permissions not currently held:\n{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}'
    )
    patch = {"rules": [more]}
    options: dict[str, Any] = {"content_type": "application/merge-patch+json"}
    assert (await jane.call("PATCH", f"{spaces}/roles/mine", patch, **options)).status == 403
    label = {"metadata": {"labels": {"a": "b"}}}
    assert (await jane.call("PATCH", f"{spaces}/roles/mine", label, **options)).status == 200
    assert (await jane.call("POST", f"{spaces}/rolebindings", binding("x", "cluster-admin"))).status == 403
    assert (await jane.call("POST", f"{spaces}/rolebindings", binding("x", "mine", role_kind="Role"))).status == 201
    missing = await jane.call("POST", f"{spaces}/rolebindings", binding("y", "nowhere"))
    assert (missing.status, missing.json()["details"]["kind"]) == (404, "clusterroles")


async def test_apply_is_no_way_around(admin: AsgiClient, jane: AsgiClient) -> None:
    own = {"apiGroups": [GROUP], "resources": ["roles"], "verbs": ["create", "patch", "get"]}
    await make(admin, "namespaces/default/roles", role("granter", own))
    await make(admin, "namespaces/default/rolebindings", binding("b", "granter", role_kind="Role"))
    path = f"{RBAC}/namespaces/default/roles/mine"
    given: dict[str, Any] = {"content_type": "application/apply-patch+yaml", "fieldManager": "me"}
    await until(jane, 404, "GET", path)
    assert (await jane.call("PATCH", path, role("mine", own), **given)).status == 201
    assert (await jane.call("PATCH", path, role("mine", READ), **given)).status == 403


async def test_escalate_and_bind_are_rights_of_their_own(admin: AsgiClient, jane: AsgiClient) -> None:
    rules = [
        {"apiGroups": [GROUP], "resources": ["roles", "rolebindings"], "verbs": ["create"]},
        {"apiGroups": [GROUP], "resources": ["roles"], "verbs": ["escalate"]},
        {"apiGroups": [GROUP], "resources": ["clusterroles"], "resourceNames": ["view"], "verbs": ["bind"]},
    ]
    await make(admin, "namespaces/default/roles", role("granter", *rules))
    await make(admin, "namespaces/default/rolebindings", binding("b", "granter", role_kind="Role"))
    spaces = f"{RBAC}/namespaces/default"
    await until(jane, 201, "POST", f"{spaces}/roles", role("anything", {**READ, "verbs": ["*"]}))
    assert (await jane.call("POST", f"{spaces}/rolebindings", binding("v", "view"))).status == 201
    assert (await jane.call("POST", f"{spaces}/rolebindings", binding("e", "edit"))).status == 403


async def test_a_right_to_escalate_one_role_is_none_to_make_it(admin: AsgiClient, jane: AsgiClient) -> None:
    rules = [
        {"apiGroups": [GROUP], "resources": ["roles"], "verbs": ["create", "patch"]},
        {"apiGroups": [GROUP], "resources": ["roles"], "resourceNames": ["esc"], "verbs": ["escalate"]},
    ]
    await make(admin, "namespaces/default/roles", role("granter", *rules))
    await make(admin, "namespaces/default/rolebindings", binding("b", "granter", role_kind="Role"))
    spaces = f"{RBAC}/namespaces/default/roles"
    await until(jane, 201, "POST", spaces, role("own", rules[0]))
    # As a kube-apiserver decides: the path of a create has no name, that of an apply has.
    assert (await jane.call("POST", spaces, role("esc", READ))).status == 403
    given: dict[str, Any] = {"content_type": "application/apply-patch+yaml", "fieldManager": "me"}
    assert (await jane.call("PATCH", f"{spaces}/esc", role("esc", READ), **given)).status == 201


async def test_aggregated_roles_follow_their_parts(tmp_path: Path) -> None:
    async with open_api(tmp_path, reconcilers=True) as bench:
        admin = AsgiClient(bench.api, "eaves_admin-token-of-tests")
        labels = {f"{GROUP}/aggregate-to-view": "true"}
        extra = role("more-view", READ, kind="ClusterRole")
        extra["rules"][0] = {**READ, "resources": ["things"], "apiGroups": ["shop"]}
        extra["metadata"]["labels"] = labels
        await make(admin, "clusterroles", extra)

        async def has_it(name: str) -> bool:
            return extra["rules"][0] in (await admin.get(f"{RBAC}/clusterroles/{name}"))["rules"]

        async def has_lost_it() -> bool:
            return not await has_it("admin")

        for name in ("view", "edit", "admin"):
            await eventually(functools.partial(has_it, name), 60)
        await admin.call("DELETE", f"{RBAC}/clusterroles/more-view")
        await eventually(has_lost_it, 60)


@pytest.mark.parametrize(
    ("body", "field", "text"),
    [
        (role("a", {"verbs": [], "apiGroups": [""], "resources": ["x"]}), "rules[0].verbs", "Required value"),
        (role("a", {"verbs": ["get"]}), "rules[0].apiGroups", "must supply at least one api group"),
        (role("a", {"verbs": ["get"], "apiGroups": [""]}), "rules[0].resources", "at least one resource"),
        (
            role("a", {"verbs": ["get"], "nonResourceURLs": ["/"]}),
            "rules[0].nonResourceURLs",
            "namespaced rules cannot",
        ),
        (role("a/b", READ), "metadata.name", "may not contain '/'"),
    ],
)
async def test_faults_of_roles_are_named(admin: AsgiClient, body: Any, field: str, text: str) -> None:
    answer = await admin.call("POST", f"{RBAC}/namespaces/default/roles", body)
    assert answer.status == 422
    cause = answer.json()["details"]["causes"][0]
    assert cause["field"] == field
    assert text in cause["message"]


async def test_faults_of_bindings_are_named(admin: AsgiClient) -> None:
    path = f"{RBAC}/namespaces/default/rolebindings"
    wrong = binding("b", "x", role_kind="Thing")
    wrong["subjects"] = [
        {"kind": "User", "name": "", "apiGroup": "other"},
        {"kind": "ServiceAccount", "name": "Bad", "apiGroup": GROUP},
        {"kind": "Robot", "name": "r"},
    ]
    answer = await admin.call("POST", path, wrong)
    fields = {cause["field"] for cause in answer.json()["details"]["causes"]}
    assert fields == {
        "roleRef.kind",
        "subjects[0].name",
        "subjects[0].apiGroup",
        "subjects[1].name",
        "subjects[1].apiGroup",
        "subjects[2].kind",
    }
    cluster = binding("b", "x", kind="ClusterRoleBinding")
    cluster["subjects"] = [{"kind": "ServiceAccount", "name": "bot"}]
    answer = await admin.call("POST", f"{RBAC}/clusterrolebindings", cluster)
    assert [cause["field"] for cause in answer.json()["details"]["causes"]] == ["subjects[0].namespace"]


async def test_faults_of_selectors_are_named(admin: AsgiClient) -> None:
    terms = [{"key": "a/b/c", "operator": "Exists"}, {"key": "a", "operator": "In", "values": ["ok", "x y"]}]
    selectors = [{"matchLabels": {"-a": "ok"}, "matchExpressions": terms}]
    body = role("sum", kind="ClusterRole", aggregationRule={"clusterRoleSelectors": selectors})
    answer = await admin.call("POST", f"{RBAC}/clusterroles", body)
    path = "aggregationRule.clusterRoleSelectors[0]"
    assert [cause["field"] for cause in answer.json()["details"]["causes"]] == [
        f"{path}.matchLabels",
        f"{path}.matchExpressions[0].key",
        f"{path}.matchExpressions[1].values[1]",
    ]


async def test_the_role_of_a_binding_stays(admin: AsgiClient) -> None:
    made = (await make(admin, "namespaces/default/rolebindings", binding("b", "view"))).json()
    assert made["subjects"][0]["apiGroup"] == made["roleRef"]["apiGroup"] == GROUP
    made["roleRef"]["name"] = "edit"
    answer = await admin.call("PUT", f"{RBAC}/namespaces/default/rolebindings/b", made)
    assert answer.status == 422
    assert "field is immutable" in answer.json()["message"]


async def test_acting_as_somebody_else_needs_the_right_to(admin: AsgiClient, jane: AsgiClient) -> None:
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    as_bob = {"impersonate-user": "bob", "impersonate-group": "ops", "impersonate-extra-team%2fName": "x"}
    answer = await admin.call("POST", path, {}, headers=as_bob)
    info = answer.json()["status"]["userInfo"]
    assert info == {"username": "bob", "groups": ["ops", "system:authenticated"], "extra": {"team/name": ["x"]}}
    refused = await jane.call("POST", path, {}, headers={"impersonate-user": "bob"})
    assert refused.status == 403
    assert refused.json()["message"] == (
        'users "bob" is forbidden: User "jane" cannot impersonate resource "users" in API group "" at the cluster scope'
    )
    account = {"impersonate-user": "system:serviceaccount:default:bot"}
    info = (await admin.call("POST", path, {}, headers=account)).json()["status"]["userInfo"]
    assert info["groups"] == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    assert (await admin.call("POST", path, {}, headers={"impersonate-group": "ops"})).status == 400
    # Rights are those of whom one acts as.
    assert (await admin.call("GET", "/api/v1/secrets", headers={"impersonate-user": "bob"})).status == 403
    rule = {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]}
    await make(admin, "namespaces/default/roles", role("act", rule))
    await make(admin, "namespaces/default/rolebindings", binding("b", "act", role_kind="Role"))
    await until(jane, 201, "POST", path, {}, headers=account)
    elsewhere = {"impersonate-user": "system:serviceaccount:kube-system:bot"}
    assert (await jane.call("POST", path, {}, headers=elsewhere)).status == 403
    assert (await jane.call("POST", path, {}, headers={**account, "impersonate-group": "system:masters"})).status == 403


async def test_reviews_about_others(admin: AsgiClient, jane: AsgiClient) -> None:
    await make(admin, "clusterrolebindings", binding("view", "view", kind="ClusterRoleBinding"))
    asked = {"resourceAttributes": {"verb": "list", "group": "eaves.dev", "resource": "apps", "namespace": "default"}}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

    async def is_allowed() -> bool:
        return bool((await admin.call("POST", path, {"spec": {**asked, "user": "jane"}})).json()["status"]["allowed"])

    await eventually(is_allowed, 60)
    found = (await admin.call("POST", path, {"spec": {**asked, "user": "jane"}})).json()["status"]
    assert found["reason"] == 'RBAC: allowed by ClusterRoleBinding "view" of ClusterRole "view" to User "jane"'
    assert (await jane.call("POST", path, {"spec": {**asked, "user": "jane"}})).status == 403
    assert (await admin.call("POST", path, {"spec": asked})).status == 422
    masters = {"spec": {**asked, "groups": ["system:masters"]}}
    assert (await admin.call("POST", path, masters)).json()["status"]["allowed"] is True
    local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews"
    assert (await admin.call("POST", local, {"spec": {**asked, "user": "jane"}})).json()["status"]["allowed"] is True
    asked["resourceAttributes"]["namespace"] = "other"
    assert (await admin.call("POST", local, {"spec": {**asked, "user": "jane"}})).status == 422


async def test_running_commands_needs_create(admin: AsgiClient, jane: AsgiClient) -> None:
    rule = {"apiGroups": [""], "resources": ["pods", "pods/exec"], "verbs": ["get"]}
    await make(admin, "namespaces/default/roles", role("look", rule))
    await make(admin, "namespaces/default/rolebindings", binding("b", "look", role_kind="Role"))
    path = "/api/v1/namespaces/default/pods/x"
    await until(jane, 404, "GET", path)
    assert (await jane.call("POST", f"{path}/exec")).status == 403


async def test_making_by_a_change_needs_the_right_to_make(admin: AsgiClient, jane: AsgiClient) -> None:
    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["update"]},
    ]
    await make(admin, "namespaces/default/roles", role("change", *rules))
    await make(admin, "namespaces/default/rolebindings", binding("b", "change", role_kind="Role"))
    path = "/api/v1/namespaces/default/configmaps/c"
    await until(jane, 404, "GET", path)
    wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}

    async def apply(client: AsgiClient) -> Answer:
        kind = "application/apply-patch+yaml"
        return await client.call("PATCH", path, wanted, content_type=kind, fieldManager="m")

    told = await apply(jane)
    assert (told.status, "cannot create resource" in told.json()["message"]) == (403, True)
    lease = {"metadata": {"name": "l"}, "spec": {}}
    told = await jane.call("PUT", "/apis/coordination.k8s.io/v1/namespaces/default/leases/l", lease)
    assert (told.status, "cannot create resource" in told.json()["message"]) == (403, True)
    assert (await apply(admin)).status == 201
    assert (await apply(jane)).status == 200
