"""Bodies in Kubernetes' protobuf form become the JSON that the same client would have sent otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.kinds.registry import FACES, RESOURCES
from eaves.kube import protobuf, protowire
from eaves.kube.errors import ApiError
from eaves.kube.protowire import encode_bytes, encode_text, encode_varint
from eaves.kube.resource import Verb

KUBECTL_CONFIG_MAP = (
    b'k8s\x00\n\x0f\n\x02v1\x12\tConfigMap\x12\x1b\n\x11\n\x01x\x12\x00\x1a\x00"\x00*\x002\x008\x00B\x00'
    b'\x12\x06\n\x01a\x12\x01b\x1a\x00"\x00'
)
"""What ``kubectl create configmap x --from-literal=a=b`` sends."""


def envelope(version: str, kind: str, message: bytes) -> bytes:
    meta = encode_text(1, version) + encode_text(2, kind)
    return b"k8s\0" + encode_bytes(1, meta) + encode_bytes(2, message) + encode_text(3, "") + encode_text(4, "")


def entry(key: str, value: bytes) -> bytes:
    return encode_text(1, key) + encode_bytes(2, value)


NAMED = encode_bytes(1, encode_text(1, "x"))


def test_body_of_stock_kubectl_is_read() -> None:
    assert protobuf.decode_object(KUBECTL_CONFIG_MAP) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "x"},
        "data": {"a": "b"},
    }


def test_secret_values_become_base64() -> None:
    body = envelope("v1", "Secret", NAMED + encode_bytes(2, entry("password", b"\x00\xff")) + encode_text(3, "Opaque"))
    assert protobuf.decode_object(body)["data"] == {"password": "AP8="}


def test_empty_value_of_a_map_stays() -> None:
    body = envelope("v1", "ConfigMap", NAMED + encode_bytes(2, encode_text(1, "empty")))
    assert protobuf.decode_object(body)["data"] == {"empty": ""}


def test_false_that_differs_from_absent_stays() -> None:
    assert protobuf.decode_object(envelope("v1", "ConfigMap", NAMED + encode_varint(4, 0)))["immutable"] is False
    assert "immutable" not in protobuf.decode_object(envelope("v1", "ConfigMap", NAMED))


def test_times_are_rfc_3339_and_the_zero_time_is_absent() -> None:
    moment = encode_varint(1, 1_700_000_000) + encode_varint(2, 123_456_789)
    message = NAMED + encode_bytes(6, moment) + encode_bytes(7, b"") + encode_bytes(10, moment) + encode_varint(8, 3)
    event = protobuf.decode_object(envelope("v1", "Event", message))
    assert event["firstTimestamp"] == "2023-11-14T22:13:20Z"
    assert event["eventTime"] == "2023-11-14T22:13:20.123456Z"
    assert "lastTimestamp" not in event
    assert event["count"] == 3


def test_lease_that_is_released_has_an_empty_holder() -> None:
    moment = encode_varint(1, 1_700_000_000) + encode_varint(2, 123_456_789)
    spec = encode_text(1, "") + encode_varint(2, 1) + encode_bytes(4, moment) + encode_varint(5, 0)
    lease = protobuf.decode_object(envelope("coordination.k8s.io/v1", "Lease", NAMED + encode_bytes(2, spec)))
    assert lease["spec"] == {
        "holderIdentity": "",
        "leaseDurationSeconds": 1,
        "renewTime": "2023-11-14T22:13:20.123456Z",
        "leaseTransitions": 0,
    }


def test_event_of_the_newer_group_has_fields_of_its_own() -> None:
    message = NAMED + encode_text(4, "me") + encode_bytes(8, encode_text(1, "App")) + encode_text(10, "told")
    event = protobuf.decode_object(envelope("events.k8s.io/v1", "Event", message))
    assert (event["reportingController"], event["regarding"], event["note"]) == ("me", {"kind": "App"}, "told")


def test_whatever_clients_of_kubernetes_may_write_can_come_in_this_form() -> None:
    missing = []
    for resource in (*RESOURCES, *FACES):
        if resource.is_custom or Verb.CREATE not in resource.verbs:
            continue
        version = resource.gvr.version if not resource.gvr.group else f"{resource.gvr.group}/{resource.gvr.version}"
        try:
            protobuf.decode_object(envelope(version, resource.kind, NAMED))
        except ApiError:
            missing.append(f"{version} {resource.kind}")
    assert missing == []


def test_owner_and_field_manager_of_metadata_are_read() -> None:
    owner = encode_text(1, "App") + encode_text(3, "web") + encode_text(4, "u") + encode_text(5, "eaves.dev/v1alpha1")
    managed = encode_text(1, "me") + encode_bytes(7, encode_bytes(1, b'{"f:data":{}}'))
    meta = encode_text(1, "x") + encode_bytes(13, owner + encode_varint(6, 1)) + encode_bytes(17, managed)
    decoded = protobuf.decode_object(envelope("v1", "ConfigMap", encode_bytes(1, meta)))
    assert decoded["metadata"]["ownerReferences"] == [
        {"kind": "App", "name": "web", "uid": "u", "apiVersion": "eaves.dev/v1alpha1", "controller": True}
    ]
    assert decoded["metadata"]["managedFields"] == [{"manager": "me", "fieldsV1": {"f:data": {}}}]


def test_access_review_is_read() -> None:
    attributes = encode_text(1, "default") + encode_text(2, "get") + encode_text(5, "pods")
    extra = encode_bytes(5, entry("scope", encode_text(1, "a") + encode_text(1, "b")))
    spec = encode_bytes(1, attributes) + encode_text(3, "me") + encode_text(4, "g1") + encode_text(4, "g2") + extra
    body = envelope("authorization.k8s.io/v1", "SubjectAccessReview", encode_bytes(2, spec))
    assert protobuf.decode_object(body)["spec"] == {
        "resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"},
        "user": "me",
        "groups": ["g1", "g2"],
        "extra": {"scope": ["a", "b"]},
    }


def test_token_request_keeps_its_seconds() -> None:
    spec = encode_text(1, "api") + encode_varint(4, 600)
    body = envelope("authentication.k8s.io/v1", "TokenRequest", encode_bytes(2, spec))
    assert protobuf.decode_object(body)["spec"] == {"audiences": ["api"], "expirationSeconds": 600}


def test_negative_number_is_read() -> None:
    options = encode_varint(1, -1)
    assert protobuf.decode_object(envelope("v1", "DeleteOptions", options))["gracePeriodSeconds"] == -1


def test_field_of_a_later_version_is_passed_over() -> None:
    message = NAMED + encode_text(99, "new") + protowire.encode_double(98, 1.5)
    assert protobuf.decode_object(envelope("v1", "ConfigMap", message))["metadata"] == {"name": "x"}


def test_kind_without_protobuf_form_is_415_and_names_what_is_taken() -> None:
    with pytest.raises(ApiError) as caught:
        protobuf.decode_object(envelope("eaves.dev/v1alpha1", "App", b""))
    assert caught.value.status_code == 415
    assert "application/json" in caught.value.message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"k8s\0\xff",
        b"k8s\0\x0a\xff\x01",
        b"k8s\0" + encode_varint(1, 4),
        envelope("v1", "ConfigMap", encode_varint(1, 4)),
        envelope("v1", "ConfigMap", encode_text(4, "x")),
        envelope("v1", "ConfigMap", b"\x0b"),
        envelope("v1", "ConfigMap", b"\x00\x00"),
        envelope("v1", "ConfigMap", encode_bytes(1, encode_bytes(1, b"\xff"))),
        envelope("v1", "Event", encode_bytes(6, encode_varint(1, 1 << 60))),
    ],
)
def test_what_is_no_message_is_400(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        protobuf.decode_object(body)
    assert caught.value.status_code in (400, 415)
    assert body.startswith(b"k8s\0") or caught.value.status_code == 400


@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_a_refusal(message: bytes) -> None:
    code, kind = 400, "Secret"
    try:
        kind = protobuf.decode_object(envelope("v1", "Secret", message))["kind"]
    except ApiError as error:
        code = error.status_code
    assert (code, kind) == (400, "Secret")


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.binary(max_size=20))
def test_encoded_fields_are_read_back(number: int, blob: bytes) -> None:
    message = encode_varint(3, number) + encode_bytes(16, blob)
    (first, value), second = protowire.decode_fields(message)
    assert isinstance(value, int)
    assert (first, protowire.decode_signed(value)) == (3, number)
    assert second == (16, blob)
