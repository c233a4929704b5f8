"""JSON patch and merge patch: the examples of RFC 6902 and RFC 7396, limits, and properties."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.kube.errors import ApiError
from eaves.kube.json_patch import apply_json_patch
from eaves.kube.patch import apply_merge_patch

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab~/", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab~/", max_size=2), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text("abc~/", max_size=2), JSON, max_size=4)


@pytest.mark.parametrize(
    ("target", "operations", "expected"),
    [
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
        ({"foo": ["a", "b"]}, [{"op": "add", "path": "/foo/1", "value": "x"}], {"foo": ["a", "x", "b"]}),
        ({"foo": ["a"]}, [{"op": "add", "path": "/foo/-", "value": ["b"]}], {"foo": ["a", ["b"]]}),
        ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
        ({"foo": ["a", "b", "c"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["a", "c"]}),
        ({"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": None}], {"baz": None}),
        (
            {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
            [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
            {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
        ),
        (
            {"foo": ["all", "grass", "cows", "eat"]},
            [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
            {"foo": ["all", "cows", "eat", "grass"]},
        ),
        ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1], "b": [1]}),
        ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
        # From here on as a kube-apiserver does it, beside the RFC.
        ({}, [{"op": "replace", "path": "/a", "value": 1}], {"a": 1}),
        ({}, [{"op": "add", "path": "/a"}], {"a": None}),
        ({}, [{"op": "copy", "from": "/b", "path": "/a"}], {"a": None}),
        ({"a": 1}, [{"op": "test", "path": "/b", "value": None}, {"op": "test", "path": "/b"}], {"a": 1}),
        ({}, [{"op": "add", "path": "spec/a", "value": 1}], {"a": 1}),
        ({"a": [1, 2]}, [{"op": "add", "path": "/a/-1", "value": 3}], {"a": [1, 2, 3]}),
        ({"a": [1, 2]}, [{"op": "replace", "path": "/a/-1", "value": 3}], {"a": [1, 3]}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/-2"}], {"a": [2]}),
        ({"a": 1}, None, {"a": 1}),
    ],
)
def test_json_patch_applies_every_operation(target: Any, operations: Any, expected: Any) -> None:
    assert apply_json_patch(operations, target) == expected


@pytest.mark.parametrize(
    ("operations", "code"),
    [
        ({"op": "add"}, 400),
        (["add"], 400),
        ([{"op": "spam", "path": "/a"}], 422),
        ([{"op": "move", "path": "/a"}], 422),
        ([{"op": "test", "path": "/a", "value": True}], 422),
        ([{"op": "remove", "path": "/missing"}], 422),
        ([{"op": "add", "path": "/missing/x", "value": 1}], 422),
        ([{"op": "add", "path": "/list/3", "value": 1}], 422),
        ([{"op": "add", "path": "/list/x", "value": 1}], 422),
        ([{"op": "add", "path": "/list/-9", "value": 1}], 422),
        ([{"op": "add", "path": "a", "value": 1}], 422),
        ([{"op": "move", "from": "/map", "path": "/map/x"}], 422),
        ([{"op": "remove", "path": ""}], 422),
        ([{"op": "test", "path": "/a", "value": 1}] * 10_001, 413),
    ],
)
def test_json_patch_refuses(operations: Any, code: int) -> None:
    with pytest.raises(ApiError) as caught:
        apply_json_patch(operations, {"a": 1, "list": [1, 2], "map": {}})
    assert caught.value.status_code == code


def test_a_json_patch_can_be_done_again() -> None:
    operations: list[dict[str, Any]] = [
        {"op": "add", "path": "/labels", "value": {}},
        {"op": "add", "path": "/labels/a", "value": "1"},
        {"op": "add", "path": "/labels/b", "value": "1"},
    ]
    first = apply_json_patch(operations, {})
    assert operations[0]["value"] == {}
    assert apply_json_patch(operations, {}) == first == {"labels": {"a": "1", "b": "1"}}


def test_json_patch_that_fails_changes_nothing() -> None:
    target = {"a": {"b": 1}}
    with pytest.raises(ApiError, match="rejected our request"):
        apply_json_patch(
            [{"op": "add", "path": "/a/c", "value": 1}, {"op": "test", "path": "/a/b", "value": 2}], target
        )
    assert target == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": "text"}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_merge_patch_merges(target: Any, patch: Any, expected: Any) -> None:
    assert apply_merge_patch(patch, target) == expected


@given(OBJECTS, OBJECTS)
def test_merge_patch_is_idempotent_and_leaves_its_arguments_alone(target: Any, patch: Any) -> None:
    before = (repr(target), repr(patch))
    once = apply_merge_patch(patch, target)
    assert apply_merge_patch(patch, once) == once
    assert (repr(target), repr(patch)) == before


@given(OBJECTS, OBJECTS)
def test_replacing_each_member_by_json_patch_gives_the_wanted_object(target: Any, wanted: Any) -> None:
    def escape(key: str) -> str:
        return "/" + key.replace("~", "~0").replace("/", "~1")

    operations = [{"op": "remove", "path": escape(key)} for key in target if key not in wanted]
    operations += [{"op": "add", "path": escape(key), "value": value} for key, value in wanted.items()]
    operations += [{"op": "test", "path": escape(key), "value": value} for key, value in wanted.items()]
    assert apply_json_patch(operations, target) == wanted


def test_a_failed_operation_is_named_without_showing_the_object() -> None:
    operations = [{"op": "add", "path": "/b", "value": 1}, {"op": "test", "path": "/a", "value": "guess"}]

    with pytest.raises(ApiError) as caught:
        apply_json_patch(operations, {"a": "hidden"})

    assert "operation 1 (test /a) cannot be done" in caught.value.message
    assert "hidden" not in caught.value.message


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]) | JSON,
                "path": st.sampled_from(["", "/", "/a", "/a/-", "/a/0", "/b/a"]) | JSON,
                "from": st.sampled_from(["", "/a", "/a/0"]) | JSON,
                "value": JSON,
            },
        ),
        max_size=3,
    ),
    OBJECTS,
)
def test_any_list_of_operations_is_done_or_refused(operations: Any, target: Any) -> None:
    with contextlib.suppress(ApiError):
        apply_json_patch(operations, target)
