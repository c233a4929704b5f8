"""Whether a chart is installed, by what the cluster tells of its job and that job's pods."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.node.clusters.helmcharts import judge_job

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
CHART: dict[str, Any] = {
    "metadata": {
        "name": "shop",
        "namespace": "kube-system",
        "managedFields": [
            {"time": "2025-12-31T23:59:30Z", "fieldsV1": {"f:spec": {"f:chart": {}}}},
            {"time": "2025-12-31T23:59:59Z", "fieldsV1": {"f:metadata": {}}},
            {"time": "2025-12-31T23:59:59Z", "fieldsV1": {"f:spec": {}}, "subresource": "status"},
        ],
    },
    "spec": {},
}
COMPLETE = [{"type": "Complete", "status": "True"}]


def job(*conditions: dict[str, str], made: str = "2025-12-31T23:59:31Z") -> dict[str, Any]:
    return {"metadata": {"creationTimestamp": made}, "status": {"conditions": list(conditions)}}


def pod(**state: Any) -> dict[str, Any]:
    return {"status": {"containerStatuses": [state]}}


def ended(message: str, at: str = "2025-12-31T23:59:50Z", code: int = 1) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "message": message, "finishedAt": at}}


def test_a_chart_is_installed_when_the_job_of_its_present_form_has_ended_well() -> None:
    assert judge_job(CHART, None, [], NOW) == "is not installed yet"
    assert judge_job(CHART, job(*COMPLETE), [], NOW) == ""
    assert judge_job(CHART, job(), [], NOW) == "is being installed"


def test_a_job_from_before_the_last_change_proves_nothing_for_a_while() -> None:
    old = job(*COMPLETE, made="2025-12-31T23:59:29Z")
    assert judge_job(CHART, old, [], NOW) == "is not upgraded yet"
    # A change that asks for nothing new leaves the job as it is.
    assert judge_job(CHART, old, [], NOW + 60) == ""


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"state": ended("pulling\nError: chart not found\n")}, "failed: chart not found"),
        ({"lastState": ended("no chart"), "state": {"waiting": {"reason": "CrashLoopBackOff"}}}, "failed: no chart"),
        ({"state": ended("", code=137)}, "failed: its job ended with status 137"),
        ({"state": {"terminated": {"exitCode": 0}}}, "is being installed"),
        ({"state": {"waiting": {"reason": "ContainerCreating"}}}, "is being installed"),
        (
            {"state": {"waiting": {"reason": "ErrImagePull", "message": "no such host"}}},
            "is being installed: ErrImagePull: no such host",
        ),
    ],
)
def test_what_holds_a_job_up_is_told_by_its_pods(state: dict[str, Any], expected: str) -> None:
    assert judge_job(CHART, job(), [pod(**state)], NOW) == expected


def test_the_newest_failure_is_told() -> None:
    pods = [pod(state=ended("Error: second", "2025-12-31T23:59:55Z"), lastState=ended("Error: first"))]
    assert judge_job(CHART, job(), pods, NOW) == "failed: second"


def test_a_pod_that_finds_no_node_says_so() -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}
    assert (
        judge_job(CHART, job(), [{"status": {"conditions": [condition]}}], NOW)
        == "is being installed: 0/1 nodes are available"
    )


def test_a_chart_that_was_given_up_has_failed() -> None:
    failed = {**CHART, "status": {"conditions": [{"type": "Failed", "status": "True", "message": "Job failed"}]}}
    assert judge_job(failed, job(), [], NOW) == "failed: Job failed"
    assert judge_job(CHART, job({"type": "Failed", "status": "True", "message": "late"}), [], NOW) == "failed: late"
