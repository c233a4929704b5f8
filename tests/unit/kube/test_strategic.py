"""Strategic merge patch: the worked examples of the Kubernetes documentation, on the schema of a deployment's pod template."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.kube.errors import ApiError
from eaves.kube.schema import Schema
from eaves.kube.strategic import apply_strategic_patch

TEXT = Schema(type="string")
CONTAINER = Schema(
    type="object",
    properties={
        "name": TEXT,
        "image": TEXT,
        "args": Schema(type="array", items=TEXT),
    },
)
SPEC = Schema(
    type="object",
    properties={
        "containers": Schema(type="array", items=CONTAINER, patch_strategy="merge", patch_merge_key="name"),
        "tolerations": Schema(type="array", items=Schema(type="object")),
        "finalizers": Schema(type="array", items=TEXT, patch_strategy="merge"),
        "strategy": Schema(type="object", patch_strategy="retainKeys", preserve_unknown=True),
        "labels": Schema(type="object", additional=TEXT),
    },
)


def names(result: Any) -> list[str]:
    return [item["name"] for item in result["containers"]]


def containers(*listed: str) -> list[dict[str, Any]]:
    return [{"name": name, "image": f"{name}:1"} for name in listed]


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        ({"labels": {"a": "1", "b": "2"}}, {"labels": {"b": None, "c": "3"}}, {"labels": {"a": "1", "c": "3"}}),
        ({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "b"}]}, {"tolerations": [{"key": "b"}]}),
        ({"finalizers": ["a", "b"]}, {"$deleteFromPrimitiveList/finalizers": ["a"]}, {"finalizers": ["b"]}),
        ({"labels": {"a": "1"}}, {"labels": {"$patch": "replace", "b": "2"}}, {"labels": {"b": "2"}}),
        ({"labels": {"a": "1"}}, {"labels": {"$patch": "delete"}}, {"labels": {}}),
        (
            {"strategy": {"type": "Rolling", "rolling": {"max": 1}}},
            {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}},
            {"strategy": {"type": "Recreate"}},
        ),
        ({}, {"labels": {"a": None, "b": "2"}}, {"labels": {"b": "2"}}),
        ({"finalizers": ["a"]}, {"finalizers": []}, {"finalizers": ["a"]}),
        ({}, {"tolerations": [{"key": "b"}, {"$patch": "replace"}]}, {"tolerations": [{"key": "b"}]}),
    ],
)
def test_merges_by_the_schema(target: Any, patch: Any, expected: Any) -> None:
    assert apply_strategic_patch(SPEC, patch, target) == expected


def test_items_merge_by_key_and_new_ones_come_first() -> None:
    patch = {"containers": [{"name": "new", "image": "new:1"}, {"name": "b", "image": "b:2"}]}
    result = apply_strategic_patch(SPEC, patch, {"containers": containers("a", "b")})
    assert names(result) == ["new", "a", "b"]
    assert result["containers"][2] == {"name": "b", "image": "b:2"}


def test_delete_directive_removes_one_item() -> None:
    patch = {"containers": [{"$patch": "delete", "name": "a"}]}
    assert names(apply_strategic_patch(SPEC, patch, {"containers": containers("a", "b")})) == ["b"]


def test_what_is_deleted_may_be_put_there_anew() -> None:
    patch = {"containers": [{"name": "a", "image": "new"}, {"$patch": "delete", "name": "a"}]}
    result = apply_strategic_patch(SPEC, patch, {"containers": containers("a", "b")})
    assert result == {"containers": [{"name": "a", "image": "new"}, *containers("b")]}


def test_replace_directive_replaces_the_list() -> None:
    patch = {"containers": [{"name": "c"}, {"$patch": "replace"}]}
    assert names(apply_strategic_patch(SPEC, patch, {"containers": containers("a", "b")})) == ["c"]


@pytest.mark.parametrize(
    ("order", "patched", "expected"),
    [
        (["b", "a"], None, ["b", "a"]),
        (["new", "a", "b"], ["new"], ["new", "a", "b"]),
        (["b", "new"], ["new"], ["a", "b", "new"]),
    ],
)
def test_element_order_arranges_the_list(order: list[str], patched: list[str] | None, expected: list[str]) -> None:
    patch: dict[str, Any] = {"$setElementOrder/containers": [{"name": name} for name in order]}
    if patched:
        patch["containers"] = containers(*patched)
    assert names(apply_strategic_patch(SPEC, patch, {"containers": containers("a", "b")})) == expected


def test_element_order_of_scalars_with_a_deletion() -> None:
    patch = {
        "$setElementOrder/finalizers": ["c", "b"],
        "$deleteFromPrimitiveList/finalizers": ["a"],
        "finalizers": ["c"],
    }
    assert apply_strategic_patch(SPEC, patch, {"finalizers": ["a", "b"]}) == {"finalizers": ["c", "b"]}


@pytest.mark.parametrize(
    "patch",
    [
        {"labels": {"$patch": "spam"}},
        {"containers": [{"image": "without key"}]},
        {"containers": [{"$patch": "delete"}]},
        {"strategy": {"$retainKeys": ["a"], "b": 1}},
    ],
)
def test_senseless_patches_are_refused(patch: Any) -> None:
    target = {"labels": {"a": "1"}, "containers": containers("a"), "strategy": {"type": "Rolling"}, "finalizers": ["a"]}
    with pytest.raises(ApiError) as caught:
        apply_strategic_patch(SPEC, patch, target)
    assert caught.value.status_code == 400


def test_arguments_stay_as_they_are() -> None:
    target = {"containers": containers("a", "b"), "labels": {"a": "1"}}
    patch = {"containers": [{"name": "b", "image": "x"}], "labels": {"$patch": "replace"}}
    before = repr((target, patch))
    apply_strategic_patch(SPEC, patch, target)
    assert repr((target, patch)) == before
