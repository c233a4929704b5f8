"""Contact and approval: what silence and an operator's word make of a node and its apps."""

from __future__ import annotations

import pytest

from eaves.controller.observe.contact import observe_contact, silence_limit_s
from eaves.testing.objects import make_app, make_edgenode
from eaves.testing.observed_objects import ObservedObjects

NOW = 1795543200.0

READY_APP = {
    "phase": "Running",
    "nodeName": "store-17",
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Running",
            "message": "the app runs",
            "lastTransitionTime": "2026-11-24T17:00:00Z",
        }
    ],
}
REPORTED = {"versions": {"daemon": "0.1.0"}}


@pytest.mark.parametrize(
    ("interval", "limit_s"), [(None, 180.0), ("60", 180.0), ("5", 40.0), ("3600", 10800.0), ("soon", 180.0)]
)
def test_three_missed_polls_are_silence(interval: str | None, limit_s: float) -> None:
    properties = {} if interval is None else {"timer.config.interval": interval}
    assert silence_limit_s(make_edgenode(properties=properties)) == limit_s


def test_a_silent_node_is_not_ready_and_its_apps_are_unknown_until_it_calls_again() -> None:
    objects = ObservedObjects(make_edgenode(status=REPORTED), make_app(status=READY_APP))
    objects.take(observe_contact(objects.objects, NOW, NOW + 1))
    assert objects.condition("EdgeNode", "", "Ready")["status"] == "True"
    writes = objects.writes
    assert objects.take(observe_contact(objects.objects, NOW + 60, NOW + 61)) == []
    assert objects.writes == writes

    events = objects.take(observe_contact(objects.objects, NOW, NOW + 200))
    assert [event.reason for event in events] == ["NodeNotReady"]
    assert objects.condition("EdgeNode", "", "Ready")["status"] == "Unknown"
    assert objects.condition("EdgeNode", "", "Connected")["reason"] == "ContactLost"
    assert objects.status("EdgeNode")["phase"] == "NotReady"
    assert objects.status("EdgeNode")["lastSeen"] == "2026-11-24T18:00:00Z"
    assert objects.condition("App", "web", "Ready")["status"] == "Unknown"
    assert objects.status("App", "web")["phase"] == "Running"

    events = objects.take(observe_contact(objects.objects, NOW + 300, NOW + 300))
    assert [event.reason for event in events] == ["NodeReady"]
    assert objects.condition("App", "web", "Ready")["status"] == "True"


def test_a_device_that_never_called() -> None:
    objects = ObservedObjects(make_edgenode(approved=False))
    objects.take(observe_contact(objects.objects, 0, NOW))
    assert objects.condition("EdgeNode", "", "Connected")["reason"] == "NeverSeen"
    assert objects.status("EdgeNode")["phase"] == "Pending"
    assert "lastSeen" not in objects.status("EdgeNode")


def test_conditions_are_of_the_spec_that_they_were_made_from() -> None:
    objects = ObservedObjects(make_edgenode(approved=False, status=REPORTED))
    objects.take(observe_contact(objects.objects, NOW, NOW))
    assert objects.status("EdgeNode")["observedGeneration"] == 1
    # The device tells nothing new, and kubectl wait must believe the conditions all the same.
    objects.edgenode["metadata"]["generation"] = 2
    objects.edgenode["spec"]["approved"] = True
    objects.take(observe_contact(objects.objects, NOW, NOW))
    assert objects.condition("EdgeNode", "", "Ready")["status"] == "True"
    assert objects.status("EdgeNode")["observedGeneration"] == 2


@pytest.mark.parametrize("is_approved_at_once", [True, False])
def test_a_node_that_joins_gives_no_warning(is_approved_at_once: bool) -> None:
    objects = ObservedObjects(make_edgenode(approved=is_approved_at_once))
    events = objects.take(observe_contact(objects.objects, 0, NOW))
    events += objects.take(observe_contact(objects.objects, NOW, NOW))
    assert objects.condition("EdgeNode", "", "Ready")["status"] == "False"
    objects.edgenode["spec"]["approved"] = True
    events += objects.take(observe_contact(objects.objects, NOW + 1, NOW + 1))
    assert objects.condition("EdgeNode", "", "Ready")["reason"] == "AwaitingReport"
    objects.edgenode["status"] |= REPORTED
    events += objects.take(observe_contact(objects.objects, NOW + 2, NOW + 2))
    assert [event.reason for event in events] == ["NodeReady"]


def test_trust_that_is_taken_back_is_a_warning() -> None:
    objects = ObservedObjects(make_edgenode(status=REPORTED))
    objects.take(observe_contact(objects.objects, NOW, NOW))
    objects.edgenode["spec"]["approved"] = False
    events = objects.take(observe_contact(objects.objects, NOW + 1, NOW + 1))
    assert [event.reason for event in events] == ["NodeNotReady"]


def test_apps_that_the_node_never_reported_are_left_alone() -> None:
    objects = ObservedObjects(make_edgenode(status=REPORTED), make_app())
    objects.take(observe_contact(objects.objects, NOW, NOW + 1000))
    assert objects.status("App", "web") == {}
