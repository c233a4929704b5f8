"""An app that runs goes on with what it has when its inputs vanish."""

from __future__ import annotations

from typing import Any

from eaves.controller.compile.model import Effect, NodeInputs
from eaves.controller.compile.node import compile_node
from eaves.testing.device_cipher import DeviceCipher
from eaves.testing.objects import make_app, make_datastore, make_edgenode, make_network, make_secret
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig

DEVICE = DeviceCipher()
APP = make_app(
    env=[{"name": "T", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
    datastoreRef={"name": "registry"},
    networks=[{"name": "default", "ports": [{"port": 80, "nodePort": 8080}]}],
)
STORE = make_datastore(credentialsSecretRef={"name": "creds"})
CREDS = make_secret("creds", username="u", password="p")


def inputs(**changes: Any) -> NodeInputs:
    given: dict[str, Any] = {
        "edgenode": make_edgenode(),
        "apps": [APP],
        "networks": [make_network()],
        "datastores": [STORE],
        "secrets": [make_secret("s", k="v"), CREDS],
        "cipher": DEVICE.node_cipher,
    }
    return NodeInputs(**(given | changes))


def test_a_deleted_secret_changes_nothing_on_the_device() -> None:
    good = compile_node(inputs())
    assert good.problems == ()
    kept = compile_node(inputs(secrets=[], previous=good.config))
    assert [(problem.reason, problem.effect) for problem in kept.problems] == [("SecretNotFound", Effect.KEPT)]
    assert kept.hash == good.hash


def test_it_stays_kept_over_many_compilations() -> None:
    first = compile_node(inputs())
    second = compile_node(inputs(secrets=[], previous=first.config))
    third = compile_node(inputs(secrets=[], previous=second.config))
    assert third.hash == first.hash


def test_a_deleted_network_and_datastore_stay_on_the_device_too() -> None:
    good = compile_node(inputs())
    kept = compile_node(inputs(networks=[], datastores=[], previous=good.config))
    assert kept.hash == good.hash


def test_a_kept_app_can_be_stopped() -> None:
    good = compile_node(inputs())
    stopped = {**APP, "spec": {**APP["spec"], "running": False}}
    kept = compile_node(inputs(apps=[stopped], secrets=[], previous=good.config))
    assert [app.activate for app in kept.config.apps] == [False]


def test_a_kept_app_keeps_its_port_too() -> None:
    good = compile_node(inputs())
    late = make_app("late", networks=APP["spec"]["networks"], metadata={"creationTimestamp": "2026-11-24T19:00:00Z"})
    kept = compile_node(inputs(apps=[APP, late], secrets=[CREDS], previous=good.config))
    assert sorted((problem.name, problem.reason) for problem in kept.problems) == [
        ("late", "Clash"),
        ("web", "SecretNotFound"),
    ]


def test_a_deleted_app_is_not_kept() -> None:
    good = compile_node(inputs())
    gone = {**APP, "metadata": {**APP["metadata"], "deletionTimestamp": "2026-11-24T19:00:00Z"}}
    assert not compile_node(inputs(apps=[gone], secrets=[], previous=good.config)).config.apps


def test_an_app_of_a_node_that_lost_its_approval_is_not_kept() -> None:
    good = compile_node(inputs())
    result = compile_node(inputs(edgenode=make_edgenode(approved=False), previous=good.config))
    assert not result.config.apps
    assert not result.config.cipherContexts


def test_a_torn_previous_config_keeps_nothing() -> None:
    good = compile_node(inputs())
    torn = EdgeDevConfig()
    torn.CopyFrom(good.config)
    del torn.volumes[:]
    result = compile_node(inputs(secrets=[], previous=torn))
    assert [problem.effect for problem in result.problems] == [Effect.OMITTED]
    assert not result.config.apps
