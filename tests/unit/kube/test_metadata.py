"""ObjectMeta: what the server owns, what clients may write, and what is told of it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.kinds.registry import BY_KIND
from eaves.kube import metadata, names
from eaves.kube.errors import CauseType
from eaves.kube.resource import Object
from eaves.kube.schema import find_unknown
from eaves.kube.status import render_field_error

APP, CONFIG_MAP, NAMESPACE = BY_KIND["App"], BY_KIND["ConfigMap"], BY_KIND["Namespace"]
NOW = "2026-01-01T00:00:00Z"
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "n", "uid": "u"}


def told(**meta: Any) -> list[str]:
    obj = {"metadata": {"name": "web", "namespace": "default", **meta}}
    return [render_field_error(fault) for fault in metadata.check_metadata(APP, obj)]


def app(**fields: Any) -> Object:
    return {"apiVersion": "eaves.dev/v1alpha1", "kind": "App", "metadata": {"name": "web"}, **fields}


def stored(**meta: Any) -> Object:
    full = {
        "name": "web",
        "namespace": "default",
        "uid": "u1",
        "resourceVersion": "5",
        "generation": 2,
        "creationTimestamp": NOW,
        **meta,
    }
    return app(metadata=full, spec={"image": "a"}, status={"phase": "Running"})


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"labels": {"a": "b", "example.com/A": ""}},
        {"annotations": {"Example.com/a": "any text\n"}},
        {"finalizers": ["example.com/a", "orphan"]},
        {"ownerReferences": [OWNER, {**OWNER, "uid": "v", "controller": True}]},
        {"annotations": {"a": "x" * (256 * 1024 - 1)}},
        {"generateName": "web-"},
    ],
)
def test_good_metadata_is_accepted(meta: Object) -> None:
    assert told(**meta) == []


@pytest.mark.parametrize(
    ("meta", "text"),
    [
        ({"name": ""}, "metadata.name: Required value: name or generateName is required"),
        ({"name": "A"}, 'metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain must'),
        ({"generateName": "A-"}, 'metadata.generateName: Invalid value: "A-": a lowercase RFC 1123 subdomain must'),
        ({"labels": {"a b": "c"}}, 'metadata.labels: Invalid value: "a b": name part must consist'),
        ({"labels": {"a": "b c"}}, 'metadata.labels: Invalid value: "b c": a valid label must be'),
        ({"annotations": {"a b": "c"}}, 'metadata.annotations: Invalid value: "a b": name part must consist'),
        (
            {"annotations": {"a": "x" * (256 * 1024)}},
            "metadata.annotations: Too long: may not be more than 262144 bytes",
        ),
        ({"finalizers": ["a b"]}, 'metadata.finalizers: Invalid value: "a b": name part must consist'),
        (
            {"finalizers": ["orphan", "foregroundDeletion"]},
            'metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: finalizer orphan and '
            "foregroundDeletion cannot be both set",
        ),
        (
            {"ownerReferences": [{**OWNER, "uid": ""}]},
            "metadata.ownerReferences[0].uid: Required value: must not be empty",
        ),
        (
            {"ownerReferences": [{**OWNER, "apiVersion": "a/b/c"}]},
            'metadata.ownerReferences[0].apiVersion: Invalid value: "a/b/c": must be <group>/<version> or <version>',
        ),
        (
            {"ownerReferences": [{**OWNER, "kind": "Event"}]},
            'metadata.ownerReferences[0]: Invalid value: {"apiVersion":"v1","kind":"Event","name":"n","uid":"u"}: '
            "/v1, Kind=Event is disallowed from being an owner",
        ),
    ],
)
def test_faults_are_told_as_kubernetes_tells_them(meta: Object, text: str) -> None:
    (fault,) = told(**meta)
    assert fault.startswith(text)


def test_two_controllers_are_one_too_many() -> None:
    owners = [{**OWNER, "controller": True}, {**OWNER, "uid": "v", "controller": True}]
    (fault,) = told(ownerReferences=owners)
    assert fault.endswith(
        'Only one reference can have Controller set to true. Found "true" in references for ConfigMap/n and ConfigMap/n'
    )


def test_namespaces_are_named_by_labels() -> None:
    faults = list(metadata.check_metadata(NAMESPACE, {"metadata": {"name": "a.b"}}))
    assert [fault.type for fault in faults] == [CauseType.INVALID]


def test_finalizer_without_a_domain_is_warned_of() -> None:
    obj: Object = {"metadata": {"finalizers": ["mine", "orphan", "example.com/a"]}}
    (warning,) = metadata.find_finalizer_warnings(obj)
    assert warning.startswith('metadata.finalizers: "mine": prefer a domain-qualified finalizer name')


def test_new_object_gets_what_the_server_owns() -> None:
    obj = app(
        metadata={"name": "web", "uid": "mine", "resourceVersion": "7", "generation": 9, "deletionTimestamp": NOW},
        spec={},
        status={"phase": "Running"},
    )
    metadata.start_object(APP, obj, namespace="default", uid="u1", now=NOW)
    assert obj["metadata"] == {
        "name": "web",
        "namespace": "default",
        "uid": "u1",
        "creationTimestamp": NOW,
        "generation": 1,
    }
    assert "status" not in obj


def test_data_kinds_have_no_generation_and_cluster_kinds_no_namespace() -> None:
    data: Object = {"metadata": {"name": "x"}, "data": {}}
    metadata.start_object(CONFIG_MAP, data, namespace="default", uid="u1", now=NOW)
    assert "generation" not in data["metadata"]
    space: Object = {"metadata": {"name": "x", "namespace": "y"}}
    metadata.start_object(NAMESPACE, space, namespace="", uid="u1", now=NOW)
    assert "namespace" not in space["metadata"]


def test_name_is_generated_when_there_is_none() -> None:
    obj = app(metadata={"generateName": "web-"})
    metadata.start_object(APP, obj, namespace="default", uid="u1", now=NOW)
    assert re.fullmatch(r"web-[bcdfghjklmnpqrstvwxz2-9]{5}", obj["metadata"]["name"])


@given(st.from_regex(r"[a-z]([-a-z0-9]{0,80}[a-z0-9])?-?", fullmatch=True))
def test_generated_names_are_labels(prefix: str) -> None:
    assert names.check_label_name(metadata.make_name(prefix)) == []


def test_update_keeps_the_servers_fields_and_the_status() -> None:
    new = app(metadata={"name": "web", "labels": {"a": "b"}}, spec={"image": "a"}, status={"phase": "Failed"})
    metadata.keep_server_fields(APP, new, stored())
    assert new["status"] == {"phase": "Running"}
    assert new["metadata"] == {
        "name": "web",
        "namespace": "default",
        "uid": "u1",
        "creationTimestamp": NOW,
        "generation": 2,
        "labels": {"a": "b"},
    }


@pytest.mark.parametrize(
    ("change", "generation"),
    [
        ({}, 2),
        ({"spec": {"image": "b"}}, 3),
        ({"status": {"phase": "x"}}, 2),
        ({"metadata": {"labels": {"a": "b"}}}, 2),
    ],
)
def test_generation_counts_changes_of_what_is_desired(change: Object, generation: int) -> None:
    new = {**stored(), **change}
    metadata.keep_server_fields(APP, new, stored())
    assert new["metadata"]["generation"] == generation


def test_deletion_can_neither_be_set_nor_taken_back_by_an_update() -> None:
    new = stored(deletionTimestamp=NOW)
    metadata.keep_server_fields(APP, new, stored())
    assert "deletionTimestamp" not in new["metadata"]
    new = stored()
    metadata.keep_server_fields(APP, new, stored(deletionTimestamp=NOW, deletionGracePeriodSeconds=0))
    assert new["metadata"]["deletionTimestamp"] == NOW


def test_wrong_uid_is_kept_so_that_it_can_be_refused() -> None:
    new = stored(uid="other")
    metadata.keep_server_fields(APP, new, stored())
    (fault,) = metadata.check_metadata_update(new, stored())
    assert render_field_error(fault) == 'metadata.uid: Invalid value: "other": field is immutable'


def test_status_write_changes_the_status_alone() -> None:
    new = app(
        metadata={"name": "web", "labels": {"a": "b"}, "finalizers": ["a/b"], "managedFields": [{"manager": "m"}]},
        spec={"image": "b"},
        status={"phase": "Failed"},
    )
    merged = metadata.keep_main_fields(BY_KIND["App"], new, stored())
    expected = stored(managedFields=[{"manager": "m"}])
    expected["status"] = {"phase": "Failed"}
    assert merged == expected


def test_status_can_be_removed() -> None:
    assert "status" not in metadata.keep_main_fields(BY_KIND["App"], app(), stored())


def test_deleting_object_takes_no_new_finalizers() -> None:
    old = stored(deletionTimestamp=NOW, finalizers=["a/b"])
    assert list(metadata.check_metadata_update(stored(deletionTimestamp=NOW, finalizers=[]), old)) == []
    (fault,) = metadata.check_metadata_update(stored(deletionTimestamp=NOW, finalizers=["x/y", "a/b", "c/d"]), old)
    assert render_field_error(fault) == (
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
        'found new finalizers []string{"c/d", "x/y"}'
    )


@pytest.mark.parametrize("kind", sorted(BY_KIND))
def test_every_kind_has_the_whole_metadata(kind: str) -> None:
    meta = {
        "labels": {"a": "b"},
        "ownerReferences": [OWNER],
        "managedFields": [{"manager": "m", "fieldsV1": {"f:a": {}}}],
    }
    assert list(find_unknown(BY_KIND[kind].schema, {"apiVersion": "v1", "kind": kind, "metadata": meta})) == []
