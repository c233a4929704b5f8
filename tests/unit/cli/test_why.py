"""``why`` names the first station where an object stops, with a remedy where a person can help."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.cli import why
from eaves.cli.why import Mark
from eaves.kit.errors import EavesError


def condition(kind: str, status: str = "True", reason: str = "", message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def node(*, approved: bool = True, connected: str = "True", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "n1", "uid": "u1"},
        "spec": {"approved": approved},
        "status": {"conditions": [condition("Connected", connected)], **status},
    }


def app(*conditions: dict[str, str], spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "generation": 2},
        "spec": {"nodeName": "n1", "image": "r/web:1", **(spec or {})},
        "status": {"conditions": list(conditions), **status},
    }


RUNNING: dict[str, Any] = {"phase": "Running", "observedGeneration": 2}
MACHINE = {"type": "VirtualMachine"}
GOOD = (condition("Configured"), condition("ImageReady"))


@pytest.mark.parametrize(
    ("app_object", "node_object", "station", "mark", "remedy"),
    [
        (app(spec={"nodeName": ""}), None, "node", Mark.WAITING, "spec.nodeName"),
        (app(), None, "node", Mark.WAITING, "kubectl get edgenodes"),
        (app(), node(approved=False), "node", Mark.WAITING, "kubectl eaves approve n1"),
        (app(), node(), "config sent", Mark.WAITING, ""),
        (
            app(condition("Configured", "False", "SecretMissing", "secret a is missing")),
            node(),
            "config sent",
            Mark.WAITING,
            "",
        ),
        (
            app(condition("Configured")),
            node(connected="False", lastSeen="2026-01-01T00:00:00Z"),
            "contact",
            Mark.WAITING,
            "its power",
        ),
        (app(condition("Configured"), observedGeneration=1), node(), "config applied", Mark.WAITING, ""),
        (app(condition("Configured"), observedGeneration=2), node(), "image", Mark.OPEN, ""),
        (
            app(
                condition("Configured"),
                condition("ImageReady", "False", "PullFailed", "no such tag"),
                observedGeneration=2,
            ),
            node(),
            "image",
            Mark.FAILED,
            "",
        ),
        (
            app(*GOOD, phase="BackOff", observedGeneration=2, message="exit code 1"),
            node(),
            "container",
            Mark.FAILED,
            "logs --previous web",
        ),
        (app(*GOOD, spec={"running": False}, **RUNNING), node(), "container", Mark.WAITING, ""),
        (
            app(*GOOD, spec=MACHINE, **RUNNING, vm={"pausedReason": "the disk is full"}),
            node(),
            "virtual machine",
            Mark.FAILED,
            "free space",
        ),
    ],
)
def test_the_first_station_that_is_not_done_is_named(
    app_object: dict[str, Any], node_object: dict[str, Any] | None, station: str, mark: Mark, remedy: str
) -> None:
    report = why.Report("app/web", tuple(why.app_steps(app_object, node_object)))
    stop = next(step for step in report.steps if step.mark is not Mark.DONE)
    assert (stop.title, stop.mark) == (station, mark)
    assert remedy in stop.remedy
    assert station in report.verdict
    assert stop.text in why.render(report)


def test_a_running_app_is_as_asked() -> None:
    report = why.Report("app/web", tuple(why.app_steps(app(*GOOD, **RUNNING), node())))
    assert report.verdict == "app/web is as asked"


def test_a_machine_without_hardware_virtualisation_says_so() -> None:
    steps = list(why.app_steps(app(*GOOD, spec=MACHINE, **RUNNING, vm={"accelerator": "TCG"}), node()))
    assert (steps[-1].title, "TCG" in steps[-1].text) == ("virtual machine", True)


def test_a_node_is_explained_by_its_conditions() -> None:
    steps = list(why.node_steps(node(config={"wanted": "abc", "applied": "abd"})))
    assert next(step for step in steps if step.mark is not Mark.DONE).text == "made abc, the node has abd"


def test_a_cluster_is_explained_by_its_members_and_conditions() -> None:
    members = [
        {"role": "Server", "nodeName": "n1", "ready": True, "runningVersion": "v1.34.2+k3s1"},
        {"role": "Agent", "nodeName": "n2", "state": "Downloading", "message": "waits for image k3s"},
        {"role": "Agent", "nodeName": "n3", "state": "Failed", "message": "the port is taken"},
    ]
    conditions = [
        condition("Progressing", message="agent n2 joins"),
        condition("Upgrading", "False"),
        condition("Degraded", "False"),
        condition("APIAvailable"),
        condition("BackupHealthy", "Unknown"),
    ]
    cluster = {"metadata": {"name": "shop"}, "status": {"members": members, "conditions": conditions}}
    assert [(step.title, step.mark) for step in why.cluster_steps(cluster)] == [
        ("cluster", Mark.DONE),
        ("progress", Mark.WAITING),
        ("server n1", Mark.DONE),
        ("agent n2", Mark.WAITING),
        ("agent n3", Mark.FAILED),
        ("API", Mark.DONE),
    ]


def test_what_members_of_eve_do_not_heed_is_no_stop() -> None:
    text = "a (v1.32.3+k3s1) bring K3s with EVE, for which these have no effect: spec.version"
    conditions = [condition("SpecSupported", "False", message=text), condition("APIAvailable")]
    members = [{"role": "Server", "nodeName": "a", "ready": True, "runningVersion": "v1.32.3+k3s1", "runsEVE": True}]
    steps = tuple(
        why.cluster_steps({"metadata": {"name": "shop"}, "status": {"members": members, "conditions": conditions}})
    )
    assert [(step.title, step.mark) for step in steps][-2:] == [("EVE members", Mark.DONE), ("API", Mark.DONE)]
    assert why.Report("k3scluster/shop", steps, ()).verdict == "k3scluster/shop is as asked"


@pytest.mark.parametrize("target", ["secret/a", "app/", "", "k3scluster", "edgenode"])
def test_other_kinds_are_refused_with_a_remedy(target: str) -> None:
    with pytest.raises(EavesError) as caught:
        why.explain(None, target)  # type: ignore[arg-type] # refused before anything is read
    assert "app/NAME" in caught.value.resolution
