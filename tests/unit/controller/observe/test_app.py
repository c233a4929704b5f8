"""App status from what Eaves nodes and EVE devices report."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.kinds import app as app_kind
from eaves.kube.resource import Object
from eaves.testing.objects import make_app, make_edgenode, uid_of
from eaves.testing.observed_objects import ObservedObjects
from eaves.wire.pb.info import common_pb2, info_pb2
from eaves.wire.pb.info.common_pb2 import ErrorInfo
from eaves.wire.pb.info.info_pb2 import ZInfoMsg, ZInfoNetwork

NOW = 1795543200
DIGEST = "sha256:" + "ab" * 32


def app_message(state: info_pb2.ZSwState.ValueType, *, error: str = "", **extension: Any) -> ZInfoMsg:
    """A message about the app web; ``extension`` are fields that only an Eaves node fills (times in seconds after NOW)."""
    message = ZInfoMsg(ztype=info_pb2.ZiApp)
    info = message.ainfo
    info.AppID, info.AppName, info.appVersion, info.state = uid_of("App", "web"), "web", "1", state
    if error:
        info.appErr.append(ErrorInfo(description=error, severity=common_pb2.SEVERITY_ERROR))
    for name, value in extension.items():
        if name.endswith("_at"):
            getattr(info.eaves, name).seconds = NOW + value
        else:
            setattr(info.eaves, name, value)
    return message


def observed(**spec: Any) -> ObservedObjects:
    return ObservedObjects(make_edgenode(), make_app(**spec))


def reasons(objects: ObservedObjects) -> list[str]:
    return [event.reason for event in objects.events]


def test_the_life_of_an_app_on_an_eaves_node() -> None:
    objects = observed(networks=[{"name": "default", "ports": [{"port": 80, "nodePort": 8080}]}])
    objects.tell(app_message(info_pb2.INITIAL, waiting_for="image shop/web:1.4"), NOW)
    assert objects.status("App", "web")["phase"] == "Pending"
    assert objects.status("App", "web")["message"] == "waits for image shop/web:1.4"
    objects.tell(app_message(info_pb2.DOWNLOAD_STARTED), NOW)
    objects.tell(app_message(info_pb2.CREATING_VOLUME, image_digest=DIGEST), NOW)
    objects.tell(app_message(info_pb2.BOOTING, image_digest=DIGEST), NOW)
    running = app_message(info_pb2.RUNNING, image_digest=DIGEST, container_id="c0ffee", started_at=5)
    running.ainfo.network.append(ZInfoNetwork(devName="default", IPAddrs=["10.160.1.64"], macAddr="02:00:00:00:00:02"))
    objects.tell(running, NOW + 5)
    status = objects.status("App", "web")
    assert status["phase"] == "Running"
    assert status["state"] == {"running": {"startedAt": "2026-11-24T18:00:05Z"}}
    assert status["addresses"] == [
        {"network": "default", "addresses": ["10.160.1.64"], "macAddress": "02:00:00:00:00:02"}
    ]
    assert status["ports"] == ["8080->80/tcp"]
    assert status["image"] == {"reference": "registry.example/shop/web:1.4", "digest": DIGEST}
    assert status["observedGeneration"] == 1
    assert objects.condition("App", "web", "Ready")["status"] == "True"
    assert "message" not in status
    assert reasons(objects) == ["Pulling", "Pulled", "Started"]


def test_the_life_of_an_app_on_an_eve_device() -> None:
    objects = observed()
    for state in (
        info_pb2.RESOLVING_TAG,
        info_pb2.DOWNLOAD_STARTED,
        info_pb2.LOADED,
        info_pb2.INSTALLED,
        info_pb2.BOOTING,
    ):
        objects.tell(app_message(state), NOW)
    running = app_message(info_pb2.RUNNING)
    running.ainfo.bootTime.seconds = NOW
    objects.tell(running, NOW)
    assert objects.status("App", "web")["state"] == {"running": {"startedAt": "2026-11-24T18:00:00Z"}}
    assert reasons(objects) == ["Pulling", "Pulled", "Started"]


def test_the_same_again_is_no_write_and_no_event() -> None:
    objects = observed()
    message = app_message(info_pb2.RUNNING, started_at=1)
    objects.tell(message, NOW)
    assert objects.tell(message, NOW + 600) == []
    assert objects.writes == 1


def test_a_crashing_app_backs_off_and_says_when_it_starts_next() -> None:
    objects = observed()
    objects.tell(app_message(info_pb2.RUNNING, started_at=0), NOW)
    objects.tell(
        app_message(
            info_pb2.RESTARTING, exit_code=3, reason="Error", started_at=0, finished_at=2, next_start_at=12, restarts=0
        ),
        NOW + 2,
    )
    status = objects.status("App", "web")
    assert status["phase"] == "BackOff"
    assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert status["message"] == "ended with exit code 3 (Error); next start at 2026-11-24T18:00:12Z"
    objects.tell(
        app_message(
            info_pb2.RUNNING,
            started_at=12,
            restarts=1,
            last_exit_code=3,
            last_reason="Error",
            last_started_at=0,
            last_finished_at=2,
        ),
        NOW + 12,
    )
    status = objects.status("App", "web")
    assert status["restarts"] == 1
    assert status["lastState"]["terminated"] == {
        "exitCode": 3,
        "reason": "Error",
        "startedAt": "2026-11-24T18:00:00Z",
        "finishedAt": "2026-11-24T18:00:02Z",
    }
    assert reasons(objects) == ["Pulled", "Started", "BackOff", "Started"]


@pytest.mark.parametrize(
    ("exit_code", "reason", "phase", "event"),
    [
        (0, "Completed", "Completed", "Completed"),
        (7, "Error", "Failed", "Failed"),
        (137, "OOMKilled", "Failed", "OOMKilled"),
    ],
)
def test_an_app_that_is_not_started_again_has_ended(exit_code: int, reason: str, phase: str, event: str) -> None:
    objects = observed(restartPolicy="Never")
    objects.tell(app_message(info_pb2.RUNNING, started_at=0), NOW)
    objects.tell(app_message(info_pb2.HALTED, exit_code=exit_code, reason=reason, started_at=0, finished_at=9), NOW + 9)
    status = objects.status("App", "web")
    assert status["phase"] == phase
    assert status["state"]["terminated"]["exitCode"] == exit_code
    assert status["state"]["terminated"]["reason"] == reason
    assert reasons(objects)[-1] == event
    assert objects.condition("App", "web", "Ready")["status"] == "False"


def test_a_stopped_app_is_halted() -> None:
    objects = observed(running=False)
    objects.tell(app_message(info_pb2.HALTING), NOW)
    assert objects.status("App", "web")["message"] == "is being stopped"
    objects.tell(app_message(info_pb2.HALTED, exit_code=143, reason="Stopped", started_at=0, finished_at=9), NOW)
    assert objects.status("App", "web")["phase"] == "Halted"


def test_an_app_that_shall_not_run_is_halted_before_its_first_start_too() -> None:
    objects = observed(running=False)
    objects.tell(app_message(info_pb2.INSTALLED), NOW)
    status = objects.status("App", "web")
    assert (status["phase"], status["message"]) == ("Halted", "stopped, since spec.running is false")


def test_faults_of_the_device_are_told_in_its_words() -> None:
    objects = observed()
    objects.tell(app_message(info_pb2.ERROR, error="no space left on device"), NOW)
    status = objects.status("App", "web")
    assert (status["phase"], status["message"]) == ("Failed", "no space left on device")
    assert [(event.type, event.reason) for event in objects.events] == [("Warning", "Failed")]
    assert objects.tell(app_message(info_pb2.ERROR, error="no space left on device"), NOW) == []


def test_a_fault_while_pulling_is_err_image_pull() -> None:
    objects = observed()
    objects.tell(app_message(info_pb2.DOWNLOAD_STARTED, error="manifest unknown"), NOW)
    assert objects.status("App", "web")["state"]["waiting"] == {"reason": "ErrImagePull", "message": "manifest unknown"}


def test_an_app_runs_on_while_its_next_image_cannot_be_had() -> None:
    objects = observed()
    objects.tell(app_message(info_pb2.RUNNING, image_digest=DIGEST, started_at=5), NOW)
    app = objects.find("App", "web")
    app["spec"]["image"], app["metadata"]["generation"] = "registry.example/shop/web:2", 2
    waiting = app_message(
        info_pb2.RUNNING,
        error="manifest unknown",
        image_digest=DIGEST,
        started_at=5,
        waiting_for="image shop/web:2: manifest unknown",
    )
    waiting.ainfo.appVersion = "2"
    objects.tell(waiting, NOW)
    status = objects.status("App", "web")
    assert (status["phase"], status["observedGeneration"]) == ("Running", 2)
    assert status["message"] == "runs as before and waits for image shop/web:2: manifest unknown"
    assert status["image"] == {"reference": "registry.example/shop/web:1.4", "digest": DIGEST}
    assert objects.condition("App", "web", "Ready")["status"] == "True"
    assert objects.condition("App", "web", "ImageReady")["reason"] == "ErrImagePull"
    assert _phase_cell(app) == "Running (ErrImagePull)"
    objects.tell(app_message(info_pb2.RESTARTING, image_digest=DIGEST), NOW)
    assert objects.condition("App", "web", "ImageReady")["status"] == "True"
    assert _phase_cell(app) == "Starting"


def test_a_restart_that_goes_on_says_that_the_next_image_cannot_be_had() -> None:
    objects = observed()
    objects.tell(app_message(info_pb2.RUNNING, image_digest=DIGEST, started_at=5), NOW)
    waiting_for = "image shop/web:2: manifest unknown"
    objects.tell(app_message(info_pb2.RESTARTING, error="manifest unknown", waiting_for=waiting_for), NOW)
    assert objects.status("App", "web")["message"] == "manifest unknown"
    assert _phase_cell(objects.find("App", "web")) == "Starting (ErrImagePull)"


def _phase_cell(app: Object) -> str:
    return str(next(column.value(app, NOW) for column in app_kind.RESOURCE.columns if column.name == "Phase"))


def test_memory_that_was_not_enough_is_told_also_when_it_runs_again() -> None:
    objects = observed()
    objects.tell(app_message(info_pb2.RUNNING, started_at=0, restarts=0), NOW)
    objects.tell(
        app_message(
            info_pb2.RUNNING, started_at=3, restarts=1, last_reason="OOMKilled", last_exit_code=137, last_finished_at=2
        ),
        NOW,
    )
    assert reasons(objects) == ["Pulled", "Started", "Started", "OOMKilled"]


def test_the_last_word_about_an_app() -> None:
    objects = observed()
    objects.tell(app_message(info_pb2.RUNNING, started_at=0, container_id="c"), NOW)
    gone = ZInfoMsg(ztype=info_pb2.ZiApp)
    gone.ainfo.AppID = uid_of("App", "web")
    objects.tell(gone, NOW)
    status = objects.status("App", "web")
    assert (status["phase"], "containerID" in status) == ("Pending", False)
    assert objects.condition("App", "web", "Ready")["status"] == "False"


def test_words_about_apps_of_other_nodes_are_dropped() -> None:
    objects = observed(nodeName="elsewhere")
    objects.tell(app_message(info_pb2.RUNNING), NOW)
    assert objects.writes == 0
    stranger = app_message(info_pb2.RUNNING)
    stranger.ainfo.AppID = "00000000-0000-4000-8000-000000000000"
    objects.tell(stranger, NOW)
    assert objects.writes == 0


@pytest.mark.parametrize("state", info_pb2.ZSwState.values())
def test_every_state_of_the_device_api_is_understood(state: info_pb2.ZSwState.ValueType) -> None:
    objects = observed()
    objects.tell(app_message(state), NOW)
    known = state != info_pb2.INVALID
    assert (objects.status("App", "web")["phase"] != "Unknown") is known


def test_what_an_app_says_of_itself_is_shown_and_its_kubeconfig_is_not() -> None:
    objects = observed()
    objects.tell(app_message(info_pb2.RUNNING), NOW)
    for kind, data in (
        (info_pb2.APP_INST_META_DATA_TYPE_CUSTOM_STATUS, b'{"queue": 7}'),
        (info_pb2.APP_INST_META_DATA_TYPE_KUBE_CONFIG, b'{"users": "secret"}'),
    ):
        message = ZInfoMsg(ztype=info_pb2.ZiAppInstMetaData)
        message.amdinfo.uuid, message.amdinfo.type, message.amdinfo.data = uid_of("App", "web"), kind, data
        objects.tell(message, NOW)
    objects.tell(app_message(info_pb2.RUNNING, restarts=1), NOW + 1)
    assert objects.status("App", "web")["customStatus"] == '{"queue": 7}'
    assert "secret" not in str(objects.status("App", "web"))


def test_what_eve_tries_again_shows_though_it_calls_it_a_notice() -> None:
    objects = observed()
    message = app_message(info_pb2.RESOLVING_TAG)
    text = "error getting manifest:\n\nMANIFEST_UNKNOWN"
    message.ainfo.appErr.append(
        ErrorInfo(description=text, severity=common_pb2.SEVERITY_NOTICE, retry_condition="Will retry in 1m0s")
    )
    objects.tell(message, NOW)
    status = objects.status("App", "web")
    assert status["message"] == "error getting manifest: MANIFEST_UNKNOWN (Will retry in 1m0s)"
    assert status["state"]["waiting"]["reason"] == "ErrImagePull"


def test_an_app_that_crashed_on_an_eve_device_has_failed() -> None:
    objects = observed()
    objects.tell(app_message(info_pb2.RUNNING), NOW)
    objects.tell(app_message(info_pb2.HALTING, error="one of the application's tasks has crashed"), NOW)
    status = objects.status("App", "web")
    assert (status["phase"], status["message"]) == ("Failed", "one of the application's tasks has crashed")


def test_an_app_that_ended_on_an_eve_device_is_not_said_to_be_unwanted() -> None:
    objects = observed()
    objects.tell(app_message(info_pb2.HALTED), NOW)
    status = objects.status("App", "web")
    assert (status["phase"], status["message"]) == ("Halted", "has ended; raise spec.restartCounter to start it again")
