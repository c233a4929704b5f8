"""What the controller itself does: compiled, polled, attested, placed."""

from __future__ import annotations

from typing import Any

from eaves.controller.compile.model import Effect, Problem
from eaves.controller.observe.compiled import (
    observe_attestation,
    observe_compiled,
    observe_config_poll,
    observe_placement,
)
from eaves.testing.objects import make_app, make_edgenode, make_volume, uid_of
from eaves.testing.observed_objects import ObservedObjects

NOW = 1795543200.0


def problem(effect: Effect = Effect.OMITTED, **changes: Any) -> Problem:
    fields: dict[str, Any] = {
        "kind": "App",
        "namespace": "default",
        "name": "web",
        "reason": "SecretNotFound",
        "message": "env T needs Secret s, which does not exist; create it",
        "uid": uid_of("App", "web"),
    }
    return Problem(**(fields | changes), effect=effect)


def test_an_app_on_its_way_says_so() -> None:
    objects = ObservedObjects(make_edgenode(), make_app(), make_volume())
    objects.take(observe_compiled(objects.objects, "h1", [], NOW))
    assert objects.status("EdgeNode")["config"] == {"wanted": "h1"}
    assert objects.condition("EdgeNode", "", "ConfigApplied")["reason"] == "NotFetched"
    assert objects.condition("App", "web", "Configured")["status"] == "True"
    assert objects.condition("App", "web", "Scheduled")["status"] == "True"
    assert objects.condition("Volume", "data", "Configured")["status"] == "True"
    assert objects.status("App", "web")["message"] == "waits for the node to take its config"
    writes = objects.writes
    assert objects.take(observe_compiled(objects.objects, "h1", [], NOW + 60)) == []
    assert objects.writes == writes


def test_an_app_that_is_held_back_says_why_once_and_recovers() -> None:
    objects = ObservedObjects(make_edgenode(), make_app())
    events = objects.take(observe_compiled(objects.objects, "h1", [problem()], NOW))
    assert [(event.type, event.reason) for event in events] == [("Warning", "SecretNotFound")]
    status = objects.status("App", "web")
    assert (status["phase"], status["message"]) == ("Pending", problem().message)
    assert status["state"]["waiting"]["reason"] == "SecretNotFound"
    assert objects.take(observe_compiled(objects.objects, "h1", [problem()], NOW)) == []
    objects.take(observe_compiled(objects.objects, "h2", [], NOW))
    assert objects.status("App", "web")["message"] == "waits for the node to take its config"
    assert objects.condition("App", "web", "Configured")["status"] == "True"


def test_a_kept_app_goes_on_running() -> None:
    running = make_app(status={"phase": "Running", "nodeName": "store-17", "state": {"running": {}}})
    objects = ObservedObjects(make_edgenode(), running)
    events = objects.take(observe_compiled(objects.objects, "h1", [problem(Effect.KEPT)], NOW))
    assert "the version on the node stays" in events[0].message
    assert objects.status("App", "web")["phase"] == "Running"
    assert objects.condition("App", "web", "Configured")["status"] == "False"


def test_a_change_of_a_volume_that_its_node_does_not_feel_counts_as_seen() -> None:
    changed = make_volume(reclaimPolicy="Delete")
    changed["metadata"]["generation"] = 2
    objects = ObservedObjects(make_edgenode(), {**changed, "status": {"phase": "Ready", "observedGeneration": 1}})
    objects.take(observe_compiled(objects.objects, "h1", [], NOW))
    assert objects.status("Volume", "data")["observedGeneration"] == 2


def test_what_was_left_out_of_an_app_is_told() -> None:
    objects = ObservedObjects(make_edgenode(), make_app())
    partial = problem(Effect.PARTIAL, reason="InvalidVariableNames", message="left out: 1st")
    objects.take(observe_compiled(objects.objects, "h1", [partial], NOW))
    assert objects.condition("App", "web", "Configured") | {"lastTransitionTime": ""} == {
        "type": "Configured",
        "status": "True",
        "reason": "InConfig",
        "message": "left out: 1st",
        "lastTransitionTime": "",
    }


def test_apps_of_a_node_that_is_not_approved_say_so() -> None:
    objects = ObservedObjects(make_edgenode(approved=False), make_app())
    objects.take(observe_compiled(objects.objects, "h1", [], NOW))
    assert "kubectl eaves approve store-17" in objects.status("App", "web")["message"]


def test_an_app_that_moved_forgets_its_former_node() -> None:
    moved = make_app(
        status={"phase": "Running", "nodeName": "store-16", "restarts": 3, "containerID": "c", "state": {"running": {}}}
    )
    objects = ObservedObjects(make_edgenode(), moved)
    objects.take(observe_compiled(objects.objects, "h1", [], NOW))
    status = objects.status("App", "web")
    assert status["phase"] == "Pending"
    assert not {"nodeName", "restarts", "containerID"} & status.keys()


def test_a_poll_tells_which_config_an_eve_device_has() -> None:
    objects = ObservedObjects(make_edgenode(status={"versions": {"eve": "14"}, "config": {"wanted": "h1"}}))
    objects.take([observe_config_poll(objects.edgenode, "h0", NOW)])
    assert objects.condition("EdgeNode", "", "ConfigApplied")["reason"] == "Pending"
    objects.take([observe_config_poll(objects.edgenode, "h1", NOW)])
    assert objects.condition("EdgeNode", "", "ConfigApplied")["status"] == "True"
    assert observe_config_poll(objects.edgenode, "h1", NOW + 60) is None
    assert observe_config_poll(make_edgenode(status={"versions": {"daemon": "0.1.0"}}), "h1", NOW) is None


def test_attestation() -> None:
    objects = ObservedObjects(make_edgenode(status={"versions": {"daemon": "0.1.0"}}))
    objects.take([observe_attestation(objects.edgenode, is_good=None, message="", now=NOW)])
    assert objects.condition("EdgeNode", "", "Attested")["status"] == "Unknown"
    objects.take([observe_attestation(objects.edgenode, is_good=False, message="PCR 4 differs", now=NOW)])
    assert [event.reason for event in objects.events] == ["AttestationFailed"]
    objects.take([observe_attestation(objects.edgenode, is_good=True, message="without TPM", now=NOW)])
    assert objects.condition("EdgeNode", "", "Attested")["status"] == "True"
    assert observe_attestation(objects.edgenode, is_good=True, message="without TPM", now=NOW + 60) is None


def test_apps_without_a_node_say_what_is_missing() -> None:
    objects = ObservedObjects(make_edgenode(), make_app("lost", nodeName="gone"), make_app("free", nodeName=""))
    objects.take([observe_placement(app, None, NOW) for app in objects.objects.apps])
    assert "EdgeNode gone does not exist" in objects.status("App", "lost")["message"]
    assert objects.condition("App", "free", "Scheduled")["reason"] == "NoNode"
    assert observe_placement(make_app(), objects.edgenode, NOW) is None
