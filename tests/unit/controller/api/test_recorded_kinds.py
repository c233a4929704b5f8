"""Answers of a kube-apiserver 1.37.2 about kinds of Kubernetes itself: what is refused, told by warnings, kept, and owned by whom."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from eaves.kinds.pem import find_pair_faults
from eaves.testing.asgi import Answer, AsgiClient

NAMESPACES = "/api/v1/namespaces"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"
CORE_EVENTS = "/api/v1/namespaces/default/events"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
APPS = "/apis/eaves.dev/v1alpha1/namespaces/default/apps"
MERGE = "application/merge-patch+json"
PROTOBUF = "application/vnd.kubernetes.protobuf"


async def patch(admin: AsgiClient, path: str, body: Any, manager: str = "two", kind: str = MERGE) -> Answer:
    return await admin.call("PATCH", path, body, content_type=kind, fieldManager=manager)


@pytest.mark.parametrize("phase", ["Foo", "Terminating"])
async def test_a_namespace_that_stays_is_active(admin: AsgiClient, phase: str) -> None:
    answer = await patch(admin, f"{NAMESPACES}/default/status", {"status": {"phase": phase}})
    (cause,) = answer.json()["details"]["causes"]
    assert (answer.status, cause["field"]) == (422, "status.Phase")
    assert cause["message"] == f"Invalid value: \"{phase}\": may only be 'Active' if `deletionTimestamp` is empty"


EVENT = {
    "metadata": {"name": "e"},
    "regarding": {"namespace": "default", "kind": "App", "name": "x"},
    "eventTime": "2026-01-01T00:00:00.000000Z",
    "type": "Normal",
    "action": "a",
    "reason": "b",
    "note": "n",
    "reportingController": "a.b/c",
    "reportingInstance": "x",
}


async def test_an_event_of_the_newer_form_says_for_ever_what_it_said(admin: AsgiClient) -> None:
    await admin.call("POST", EVENTS, EVENT)
    changed = {
        "metadata": {"name": "e"},
        "regarding": {"namespace": "default", "kind": "App", "name": "y"},
        "eventTime": "2026-01-01T00:00:01.000000Z",
        "type": "Warning",
        "action": "z",
        "reason": "z",
        "note": "z",
        "reportingController": "a.b/d",
        "reportingInstance": "y",
        "related": {"kind": "App"},
        "deprecatedSource": {"component": "x"},
        "deprecatedFirstTimestamp": "2026-01-01T00:00:00Z",
        "deprecatedLastTimestamp": "2026-01-01T00:00:00Z",
        "deprecatedCount": 3,
        "series": {"count": 1},
    }
    answer = await admin.call("PUT", f"{EVENTS}/e", changed)
    causes = answer.json()["details"]["causes"]
    assert answer.status == 422
    assert [each["field"] for each in causes] == [
        "series.count",
        "series.lastObservedTime",
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingController",
        "reportingInstance",
    ]
    assert causes[0]["message"] == 'Invalid value: "": should be at least 2'
    assert causes[3]["message"] == 'Invalid value: "z": field is immutable'
    # By the older group it is changed like any object.
    assert (await patch(admin, f"{CORE_EVENTS}/e", {"message": "z"})).status == 200


async def test_an_event_of_the_newer_form_has_a_series_and_labels(admin: AsgiClient) -> None:
    await admin.call("POST", EVENTS, EVENT)
    series = {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}
    for body in ({"series": series}, {"metadata": {"labels": {"a": "b"}}}, {"series": None}):
        assert (await patch(admin, f"{EVENTS}/e", body)).status == 200


async def test_a_view_that_was_not_stored_has_no_version(admin: AsgiClient) -> None:
    answer = await admin.call("POST", EVENTS, EVENT, dryRun="All")
    assert (answer.status, answer.json()["metadata"].get("resourceVersion")) == (201, None)


async def test_coordinated_election_is_off(admin: AsgiClient) -> None:
    body = {
        "metadata": {"name": "l"},
        "spec": {"holderIdentity": "x", "strategy": "OldestEmulationVersion", "preferredHolder": "y"},
    }
    answer = await admin.call("POST", LEASES, body, fieldValidation="Strict")
    assert (answer.status, answer.json()["spec"]) == (201, {"holderIdentity": "x"})


@pytest.mark.parametrize("path", [f"{CONFIGMAPS}/x", CONFIGMAPS, NAMESPACES, f"{LEASES}/x", "/api/v1/nodes"])
async def test_kinds_of_kubernetes_have_no_head(admin: AsgiClient, path: str) -> None:
    assert (await admin.call("HEAD", path)).status == 405


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("zz", 'invalid duration "zz"'),
        (".", 'invalid duration "."'),
        ("-", 'invalid duration "-"'),
        ("1.5", 'missing unit in duration "1.5"'),
        ("1m5", 'missing unit in duration "1m5"'),
        ("1 s", 'unknown unit " s" in duration "1 s"'),
        ("1x", 'unknown unit "x" in duration "1x"'),
        ("5s", ""),
        ("0s", ""),
        ("-5s", ""),
        ("1m30.5s", ""),
        ("0", ""),
        ("", ""),
    ],
)
async def test_the_time_that_a_client_waits_is_a_duration(admin: AsgiClient, text: str, why: str) -> None:
    answer = await admin.call("GET", CONFIGMAPS, timeout=text)
    assert answer.status == (400 if why else 200)
    if why:
        assert answer.json()["message"] == f"invalid timeout specified in the request URL - time: {why}"


@pytest.mark.parametrize("kind", ["application/x-yaml", "text/yaml", "text/json", "text/plain"])
async def test_a_body_is_of_a_known_type(admin: AsgiClient, kind: str) -> None:
    answer = await admin.call("POST", CONFIGMAPS, b"metadata: {name: x}", content_type=kind)
    assert (answer.status, answer.json()["reason"]) == (415, "UnsupportedMediaType")


@pytest.mark.parametrize("path", ["/openapi/v2", "/openapi/v3/api/v1", "/version"])
@pytest.mark.parametrize(
    ("accept", "code"),
    [
        (PROTOBUF, 406),
        ("text/html", 406),
        (f"{PROTOBUF};q=0.5", 406),
        ("application/json;q=0", 406),
        (f"{PROTOBUF},application/json", 200),
        ("text/html,*/*;q=0.1", 200),
        ("application/*", 200),
        ("", 200),
    ],
)
async def test_documents_are_in_json_for_those_who_take_it(
    admin: AsgiClient, path: str, accept: str, code: int
) -> None:
    answer = await admin.call("GET", path, headers={"accept": accept})
    assert answer.status == code


@pytest.mark.parametrize(
    ("kind", "key", "value", "fault"),
    [
        ("kubernetes.io/ssh-auth", "ssh-privatekey", "", "Required value"),
        ("kubernetes.io/dockercfg", ".dockercfg", "x", "Invalid value"),
        ("kubernetes.io/dockercfg", ".dockercfg", "[]", "Invalid value"),
        ("kubernetes.io/dockerconfigjson", ".dockerconfigjson", "3", "Invalid value"),
        ("kubernetes.io/dockerconfigjson", ".dockerconfigjson", "null", ""),
        ("kubernetes.io/dockercfg", ".dockercfg", "{}", ""),
    ],
)
async def test_secrets_of_known_types_have_what_the_types_say(
    admin: AsgiClient, kind: str, key: str, value: str, fault: str
) -> None:
    body = {"metadata": {"name": "s"}, "type": kind, "stringData": {key: value}}
    answer = await admin.call("POST", SECRETS, body)
    assert answer.status == (422 if fault else 201)
    if fault:
        (cause,) = answer.json()["details"]["causes"]
        assert cause["field"] == f"data[{key}]"
        assert cause["message"].startswith(fault)


class Pair:
    """A certificate and its key, and keys that are not."""

    def __init__(self) -> None:
        own = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
        start, end = (datetime(year, 1, 1, tzinfo=UTC) for year in (2026, 2027))
        builder = x509.CertificateBuilder(name, name, own.public_key(), 1, start, end)
        self.certificate = builder.sign(own, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        self.key = pem_of(own)
        self.other_key = pem_of(ec.generate_private_key(ec.SECP256R1()))
        self.rsa_key = pem_of(rsa.generate_private_key(65537, 2048))


def pem_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair()


BROKEN = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
BROKEN_KEY = b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"
NO_CERTIFICATE = "tls: failed to find any PEM data in certificate input"
NO_KEY = "tls: failed to find any PEM data in key input"


def test_a_pair_that_no_server_could_use(pair: Pair) -> None:
    good, key = pair.certificate, pair.key
    switched = (
        "tls: failed to find certificate PEM data in certificate input, but did find a private key; "
        "PEM inputs may have been switched"
    )
    for certificate, secret, fault in [
        (good, key, ""),
        (good + good, key, ""),
        (key + good, key, ""),
        (good, pair.other_key, "tls: private key does not match public key"),
        (good, pair.rsa_key, "tls: private key type does not match public key type"),
        (key, good, switched),
        (good, b"", NO_KEY),
        (good, b"x", NO_KEY),
        (b"", key, NO_CERTIFICATE),
        (b"x", b"x", NO_CERTIFICATE),
        (BROKEN, key, "x509: malformed certificate"),
        (good, good, "tls: found a certificate rather than a key in the PEM for the private key"),
        (good, BROKEN_KEY, "tls: failed to parse private key"),
    ]:
        assert list(find_pair_faults(certificate, secret)) == ([fault] if fault else [])


async def test_such_a_pair_is_kept_and_told_of_each_time(admin: AsgiClient, pair: Pair) -> None:
    data = {
        "tls.crt": base64.b64encode(pair.certificate).decode(),
        "tls.key": base64.b64encode(pair.other_key).decode(),
    }
    answer = await admin.call("POST", SECRETS, {"metadata": {"name": "t"}, "type": "kubernetes.io/tls", "data": data})
    assert answer.status == 201
    assert answer.warnings == ['299 - "tls: private key does not match public key"']
    answer = await patch(admin, f"{SECRETS}/t", {"metadata": {"labels": {"a": "b"}}})
    assert answer.warnings == ['299 - "tls: private key does not match public key"']


async def test_a_token_that_is_none_is_not_said_to_be_for_others(admin: AsgiClient) -> None:
    spec = {"token": "zzz", "audiences": ["a"]}
    answer = await admin.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": spec})
    assert answer.json()["status"] == {"user": {}, "error": "invalid bearer token"}


TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


async def test_a_write_whose_outcome_could_not_be_told_is_not_done(admin: AsgiClient) -> None:
    path, text = f"{CONFIGMAPS}/c", {"accept": "text/plain"}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "labels": {"a": "b"}}}
    assert (await admin.call("POST", CONFIGMAPS, body, headers=text)).status == 406
    assert (await admin.call("GET", path)).status == 404
    await admin.call("POST", CONFIGMAPS, body)
    changed = {"metadata": {"name": "c", "labels": {"a": "z"}}}
    assert (await admin.call("PUT", path, changed, headers=text)).status == 406
    assert (await admin.call("PATCH", path, changed, content_type=MERGE, headers=text)).status == 406
    assert (await admin.call("DELETE", path, headers=text)).status == 406
    # A collection is a list, which has no shape of an object.
    one = {"accept": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"}
    assert (await admin.call("DELETE", CONFIGMAPS, headers=one)).status == 406
    answer = await admin.call("GET", path)
    assert (answer.status, answer.json()["metadata"]["labels"]) == (200, {"a": "b"})
    assert (
        await admin.call("PATCH", f"{NAMESPACES}/default/status", {}, content_type=MERGE, headers=text)
    ).status == 406
    assert (await admin.call("DELETE", path, headers={"accept": TABLE})).status == 200


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/yaml", "application/yaml"),
        ("application/yaml,application/json", "application/json"),
        ("text/plain,application/yaml;q=0.5", "application/yaml"),
        (TABLE, "application/json"),
    ],
)
async def test_faults_are_in_yaml_for_those_who_read_yaml(admin: AsgiClient, accept: str, kind: str) -> None:
    answer = await admin.call("GET", f"{CONFIGMAPS}/c", headers={"accept": accept})
    assert (answer.status, answer.headers["content-type"]) == (404, kind)
    if kind == "application/yaml":
        assert b"\nreason: NotFound\n" in answer.body


async def test_faults_of_options_say_what_is_wrong(admin: AsgiClient) -> None:
    answer = await admin.call("POST", CONFIGMAPS, {"metadata": {"name": "c"}}, fieldManager="\u00e9a\nb")
    (cause,) = answer.json()["details"]["causes"]
    assert cause["message"] == 'Invalid value: "\u00e9a\\nb": invalid character U+000A (at position 3)'
    answer = await admin.call("DELETE", f"{CONFIGMAPS}/c", propagationPolicy="")
    assert (answer.status, answer.json()["details"]["causes"][0]["field"]) == (422, "propagationPolicy")
    answer = await admin.call("GET", CONFIGMAPS, watch="1", resourceVersionMatch="Exact")
    assert [each["reason"] for each in answer.json()["details"]["causes"]] == [
        "FieldValueForbidden",
        "FieldValueNotSupported",
    ]
    answer = await admin.call("GET", CONFIGMAPS, labelSelector="n>99999999999999999999")
    assert answer.status == 400


async def test_what_is_being_deleted_is_said_to_be(admin: AsgiClient) -> None:
    body = {"metadata": {"name": "c", "finalizers": ["x.y/z"]}}
    await admin.call("POST", CONFIGMAPS, body)
    assert (await admin.call("POST", CONFIGMAPS, body)).json()["message"] == 'configmaps "c" already exists'
    await admin.call("DELETE", f"{CONFIGMAPS}/c")
    answer = await admin.call("POST", CONFIGMAPS, body)
    assert answer.json()["message"] == 'object is being deleted: configmaps "c" already exists'


async def test_faults_of_a_changed_custom_objects_metadata_are_told_twice(admin: AsgiClient) -> None:
    spec = {"image": "r.example/x:1", "nodeName": "n"}
    await admin.call(
        "POST", APPS, {"apiVersion": "eaves.dev/v1alpha1", "kind": "App", "metadata": {"name": "a"}, "spec": spec}
    )
    answer = await patch(admin, f"{APPS}/a", {"metadata": {"finalizers": ["a b"]}})
    assert [each["field"] for each in answer.json()["details"]["causes"]] == ["metadata.finalizers"]
    wrong = {"metadata": {"labels": {"a b": "c d"}}}
    answer = await patch(admin, f"{APPS}/a", wrong)
    values = [each["message"].split(": ")[1] for each in answer.json()["details"]["causes"]]
    assert values == ['"a b"', '"c d"', '"a b"', '"c d"']
    assert answer.json()["message"].count('"a b"') == 1


async def test_conditions_of_a_namespace_merge_by_type(admin: AsgiClient) -> None:
    path = f"{NAMESPACES}/default/status"
    for name in ("A", "B"):
        body = {"status": {"conditions": [{"type": name, "status": "True"}]}}
        answer = await patch(admin, path, body, kind="application/strategic-merge-patch+json")
    assert [each["type"] for each in answer.json()["status"]["conditions"]] == ["B", "A"]
    body = {"status": {"conditions": [{"$patch": "delete", "type": "A"}, {"$patch": "delete", "type": "C"}]}}
    answer = await patch(admin, path, body, kind="application/strategic-merge-patch+json")
    assert [each["type"] for each in answer.json()["status"]["conditions"]] == ["B"]


async def test_a_deletion_that_is_only_tried_shows_what_it_would_mark(admin: AsgiClient) -> None:
    await admin.call("POST", CONFIGMAPS, {"metadata": {"name": "c", "finalizers": ["x.y/z"]}})
    shown = (await admin.call("DELETE", f"{CONFIGMAPS}/c", dryRun="All")).json()
    assert shown["metadata"]["deletionGracePeriodSeconds"] == 0
    assert shown["metadata"]["deletionTimestamp"]
    there = (await admin.call("GET", f"{CONFIGMAPS}/c")).json()["metadata"]
    assert "deletionTimestamp" not in there
    assert there["resourceVersion"] == shown["metadata"]["resourceVersion"]


async def test_unknown_fields_of_a_configuration_are_told_with_its_own_namespace(admin: AsgiClient) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "zz": 1}
    said = "failed to create typed patch object ({}/c; /v1, Kind=ConfigMap): .zz: field not declared in schema"
    answer = await patch(admin, f"{CONFIGMAPS}/c", body, kind="application/apply-patch+yaml")
    assert answer.json()["message"] == said.format("")
    body["metadata"] = {"name": "c", "namespace": "default"}
    answer = await patch(admin, f"{CONFIGMAPS}/c", body, kind="application/apply-patch+yaml")
    assert answer.json()["message"] == said.format("default")
