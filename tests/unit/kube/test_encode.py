"""Objects as bytes around their resourceVersion."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from eaves.kube import encode
from eaves.kube.resource import Object


def test_version_goes_between_the_parts() -> None:
    encoded = encode.encode_object({"kind": "App", "metadata": {"name": "web", "resourceVersion": "old"}, "spec": {}})
    assert json.loads(encoded.join(7))["metadata"] == {"name": "web", "resourceVersion": "7"}
    assert json.loads(encoded.join(12345))["metadata"]["resourceVersion"] == "12345"


def test_kind_comes_first_and_metadata_in_the_usual_order() -> None:
    obj = {
        "spec": {"b": 1, "a": 2},
        "metadata": {"labels": {}, "creationTimestamp": "t", "uid": "u", "name": "web"},
        "kind": "App",
        "apiVersion": "eaves.dev/v1alpha1",
    }
    assert encode.encode_object(obj).join(3) == (
        b'{"apiVersion":"eaves.dev/v1alpha1","kind":"App","metadata":{"name":"web","uid":"u","creationTimestamp":"t",'
        b'"resourceVersion":"3","labels":{}},"spec":{"b":1,"a":2}}'
    )


def test_list_is_made_of_its_items_bytes() -> None:
    listed = encode.encode_list("v1", "SecretList", [b'{"a":1}', b'{"b":2}'], 9, next_token="t", remaining=4)
    assert json.loads(listed) == {
        "apiVersion": "v1",
        "kind": "SecretList",
        "metadata": {"resourceVersion": "9", "continue": "t", "remainingItemCount": 4},
        "items": [{"a": 1}, {"b": 2}],
    }
    assert json.loads(encode.encode_list("v1", "SecretList", [], 9)) == {
        "apiVersion": "v1",
        "kind": "SecretList",
        "metadata": {"resourceVersion": "9"},
        "items": [],
    }


def test_items_of_core_lists_lose_their_kind() -> None:
    secret = encode.encode_object({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}).join(1)
    other = b'{"kind":"Secret","metadata":{}}'
    stripped = encode.strip_kind([secret, other], "v1", "Secret")
    assert json.loads(stripped[0]) == {"metadata": {"name": "x", "resourceVersion": "1"}}
    assert stripped[1] == other


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=6), JSON_VALUES, max_size=4), st.integers(0, 1 << 62))
def test_any_object_is_read_back_with_its_version(fields: Object, version: int) -> None:
    obj = {**fields, "metadata": {"name": "web", "annotations": {"resourceVersion": "5"}}}
    decoded = json.loads(encode.encode_object(obj).join(version))
    assert decoded == {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(version)}}
