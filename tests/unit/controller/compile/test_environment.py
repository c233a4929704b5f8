"""Environment and files of an app, gathered from ConfigMaps and Secrets."""

from __future__ import annotations

from typing import Any

from eaves.controller.compile.environment import want_environment, want_files
from eaves.controller.compile.lookup import Lookup
from eaves.controller.compile.model import NodeInputs
from eaves.kinds import app as app_kind
from eaves.testing.objects import make_app, make_configmap, make_edgenode, make_secret

LOOKUP = Lookup(
    NodeInputs(
        edgenode=make_edgenode(),
        secrets=[make_secret("s", A="secret-a", B="secret-b")],
        configmaps=[make_configmap("c", B="config-b", C="config-c"), make_configmap("other", namespace="shop", D="d")],
    )
)


def environment(**spec: Any) -> dict[str, str]:
    return want_environment(app_kind.decode(make_app(**spec)), LOOKUP)[0]


def test_later_sources_win_and_env_wins_over_all() -> None:
    sources = [{"secretRef": {"name": "s"}}, {"configMapRef": {"name": "c"}}]
    assert environment(envFrom=sources, env=[{"name": "C", "value": "own"}]) == {
        "A": "secret-a",
        "B": "config-b",
        "C": "own",
    }


def test_prefix_and_literal_values() -> None:
    assert environment(
        envFrom=[{"prefix": "X_", "configMapRef": {"name": "c"}}], env=[{"name": "D", "value": "$(C) $$"}]
    ) == {
        "X_B": "config-b",
        "X_C": "config-c",
        "D": "$(C) $$",
    }


def test_missing_optional_sources_are_left_out() -> None:
    optional: list[dict[str, Any]] = [
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": True}}},
        {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "none", "optional": True}}},
        {"name": "C"},
    ]
    assert environment(env=optional, envFrom=[{"secretRef": {"name": "none", "optional": True}}]) == {"C": ""}


def test_other_namespaces_are_out_of_reach() -> None:
    assert environment(envFrom=[{"configMapRef": {"name": "other", "optional": True}}]) == {}


def test_files_come_from_text_secrets_and_configmaps_in_order_of_their_paths() -> None:
    files: list[dict[str, Any]] = [
        {"path": "/z", "content": "text"},
        {"path": "/a", "secretKeyRef": {"name": "s", "key": "A"}, "mode": "600"},
        {"path": "/m", "configMapKeyRef": {"name": "c", "key": "B"}},
        {"path": "/n", "configMapKeyRef": {"name": "c", "key": "none", "optional": True}},
    ]
    found = want_files(app_kind.decode(make_app(files=files)), LOOKUP)
    assert [(file.path, file.content, file.mode) for file in found] == [
        ("/a", b"secret-a", "0600"),
        ("/m", b"config-b", "0644"),
        ("/z", b"text", "0644"),
    ]
