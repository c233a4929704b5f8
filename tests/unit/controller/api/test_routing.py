"""Paths and methods mean what a kube-apiserver takes them for."""

from __future__ import annotations

import pytest

from eaves.controller.api.routing import Target, is_true, parse_query, parse_target, verb_of


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/api/v1/nodes", Target("", "v1", "nodes")),
        ("/api/v1/namespaces", Target("", "v1", "namespaces")),
        ("/api/v1/namespaces/a", Target("", "v1", "namespaces", "", "a")),
        ("/api/v1/namespaces/a/status", Target("", "v1", "namespaces", "", "a", "status")),
        ("/api/v1/namespaces/a/finalize", Target("", "v1", "namespaces", "", "a", "finalize")),
        ("/api/v1/namespaces/a/pods", Target("", "v1", "pods", "a")),
        ("/api/v1/namespaces/a/pods/b/log", Target("", "v1", "pods", "a", "b", "log")),
        ("/apis/eaves.dev/v1alpha1/apps", Target("eaves.dev", "v1alpha1", "apps")),
        ("/apis/eaves.dev/v1alpha1/namespaces/a/apps/b", Target("eaves.dev", "v1alpha1", "apps", "a", "b")),
        ("/api/v1/watch/namespaces/a/pods", Target("", "v1", "pods", "a", is_watch_path=True)),
        ("/api/v1/watch/nodes/b", Target("", "v1", "nodes", "", "b", is_watch_path=True)),
    ],
)
def test_resource_paths(path: str, target: Target) -> None:
    assert parse_target(path) == target


@pytest.mark.parametrize(
    "path", ["/", "/api", "/apis", "/apis/eaves.dev", "/apis/a/v1", "/api/v1", "/api/v1/pods/a/b/c/d"]
)
def test_paths_that_name_no_resource(path: str) -> None:
    assert parse_target(path) is None


@pytest.mark.parametrize(
    ("method", "path", "query", "verb"),
    [
        ("GET", "/api/v1/nodes", b"", "list"),
        ("GET", "/api/v1/nodes", b"watch=", "watch"),
        ("GET", "/api/v1/nodes", b"watch=nope", "watch"),
        ("GET", "/api/v1/nodes", b"watch=0", "list"),
        ("GET", "/api/v1/nodes", b"watch=false", "list"),
        ("GET", "/api/v1/nodes/a", b"watch=1", "get"),
        ("HEAD", "/api/v1/nodes/a", b"", "get"),
        ("POST", "/api/v1/nodes", b"", "create"),
        ("PUT", "/api/v1/nodes/a", b"", "update"),
        ("PATCH", "/api/v1/nodes/a", b"", "patch"),
        ("DELETE", "/api/v1/nodes/a", b"", "delete"),
        ("DELETE", "/api/v1/nodes", b"", "deletecollection"),
        ("TRACE", "/api/v1/nodes", b"", None),
    ],
)
def test_verbs(method: str, path: str, query: bytes, verb: str | None) -> None:
    target = parse_target(path)
    assert target is not None
    assert verb_of(method, target, parse_query(query)) == verb


def test_of_a_repeated_parameter_the_first_counts() -> None:
    assert parse_query(b"limit=1&limit=2&labelSelector=a%3Db") == {"limit": "1", "labelSelector": "a=b"}
    assert not is_true({}, "watch")
