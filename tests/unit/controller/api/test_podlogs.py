"""Logs of pods: which run, which lines, waiting for what the node holds, following over restarts."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.kinds.times import render_time
from eaves.store.telemetry import LogLine
from eaves.testing.asgi import AsgiClient
from eaves.testing.objects import DEVICE_ID, make_app, make_edgenode, uid_of
from eaves.testing.operator_api import ApiBench

LOG = "/api/v1/namespaces/default/pods/web/log"
SECOND_NS = 1_000_000_000
START_NS = 1_795_550_400 * SECOND_NS
UID = uid_of("App", "web")


async def write(bench: ApiBench, run: str, *texts: str, at_s: int = 0) -> None:
    lines = [
        LogLine(START_NS + (at_s + n) * SECOND_NS, "stdout", "app", text, at_s + n, run) for n, text in enumerate(texts)
    ]
    await bench.telemetry.append_logs(DEVICE_ID, UID, lines)


@pytest.fixture
async def admin(bench: ApiBench) -> AsgiClient:
    from eaves.testing.operator_api import ADMIN_TOKEN

    await bench.put(make_edgenode())
    await bench.put(make_app("web"))
    return AsgiClient(bench.api, ADMIN_TOKEN)


async def text(admin: AsgiClient, **query: Any) -> str:
    answer = await admin.call("GET", LOG, **query)
    assert answer.status == 200, answer.body.decode()
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.body.decode()


async def test_the_current_run_and_the_previous_one(bench: ApiBench, admin: AsgiClient) -> None:
    await write(bench, "r1", "a", "b")
    assert (await admin.call("GET", LOG, previous="true")).status == 400
    await write(bench, "r2", "c", "d", at_s=10)
    assert await text(admin) == "c\nd\n"
    assert await text(admin, previous="true") == "a\nb\n"


async def test_a_run_that_has_written_nothing_yet_is_not_the_one_before(bench: ApiBench, admin: AsgiClient) -> None:
    await write(bench, "r1", "a")
    await write(bench, "r2", "b", at_s=10)
    running = {"running": {"startedAt": render_time(START_NS / SECOND_NS + 20)}}
    await bench.put(make_app("web", status={"phase": "Running", "state": running}))
    assert await text(admin) == ""
    assert await text(admin, previous="true") == "b\n"
    await write(bench, "r3", "c", at_s=20)
    assert await text(admin) == "c\n"
    assert await text(admin, previous="true") == "b\n"


async def test_lines_without_a_run_are_shown_too(bench: ApiBench, admin: AsgiClient) -> None:
    await write(bench, "", "a", "b")
    assert await text(admin) == "a\nb\n"


async def test_tail_since_limit_and_timestamps(bench: ApiBench, admin: AsgiClient) -> None:
    await write(bench, "r1", *(f"line {n}" for n in range(1500)))
    assert (await text(admin)).count("\n") == 1500
    assert await text(admin, tailLines=2) == "line 1498\nline 1499\n"
    assert (await text(admin, tailLines=1200)).count("\n") == 1200
    assert await text(admin, tailLines=0) == ""
    assert await text(admin, limitBytes=8) == "line 0\nl"
    since = await text(admin, sinceTime="2026-11-24T20:24:58Z")
    assert since == "line 1498\nline 1499\n"
    assert await text(admin, tailLines=1, timestamps="true") == "2026-11-24T20:24:59.000000000Z line 1499\n"


async def test_since_seconds_counts_from_now(bench: ApiBench, admin: AsgiClient) -> None:
    await write(bench, "r1", "old")
    assert await text(admin, sinceSeconds=1 << 40) == "old\n"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"container": "other"}, 400),
        ({"sinceSeconds": 5, "sinceTime": "2026-11-24T18:00:00Z"}, 422),
        ({"sinceSeconds": 0}, 422),
        ({"sinceTime": "yesterday"}, 422),
        ({"tailLines": -1}, 422),
        ({"limitBytes": 0}, 422),
        ({"tailLines": "x"}, 400),
    ],
)
async def test_options_that_make_no_sense(admin: AsgiClient, query: dict[str, Any], code: int) -> None:
    assert (await admin.call("GET", LOG, None, **query)).status == code


async def test_an_app_that_has_not_started_says_what_it_waits_for(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.set_status("App", "default", "web", {"phase": "Downloading", "message": "pulled 5 of 20 MB"})
    answer = await admin.call("GET", LOG)
    assert answer.status == 400
    assert answer.json()["message"] == (
        'container "app" in pod "web" is waiting to start: Downloading: pulled 5 of 20 MB'
    )


async def test_an_app_that_runs_without_a_word_has_an_empty_log(bench: ApiBench, admin: AsgiClient) -> None:
    running = {"phase": "Running", "state": {"running": {"startedAt": "2026-11-24T18:00:00Z"}}}
    await bench.set_status("App", "default", "web", running)
    assert await text(admin) == ""
    assert (await admin.call("GET", LOG.replace("web", "none"))).status == 404


async def test_a_follow_goes_on_over_restarts_and_ends_with_the_app(
    bench: ApiBench, admin: AsgiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eaves.controller.api.podlogs.FOLLOW_WAIT_S", 0.1)
    await write(bench, "r1", "a")
    stream = admin.open("GET", LOG, follow="true")
    assert await stream.read_line() == b"a"
    await write(bench, "r1", "b", at_s=1)
    assert await stream.read_line() == b"b"
    await write(bench, "r2", "c", at_s=2)
    assert await stream.read_line() == b"c"
    assert bench.interest.wanted[0] == (DEVICE_ID, UID, 60)
    await admin.call("DELETE", "/apis/eaves.dev/v1alpha1/namespaces/default/apps/web")
    assert (await stream.read_all()).body == b""


async def test_a_plain_read_waits_for_what_the_node_holds(bench: ApiBench, admin: AsgiClient) -> None:
    bench.interest.is_connected = True
    await write(bench, "r1", "a")
    stream = admin.open("GET", LOG)
    await bench.interest.is_asked.wait()
    await write(bench, "r1", "fresh", at_s=5)
    assert (await stream.read_all()).body == b"a\nfresh\n"
