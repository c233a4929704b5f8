"""The audit log: what is written, in which shape, within its bounds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from eaves.controller import auditlog
from eaves.controller.api.audit import Record
from eaves.controller.auditlog import AuditLog
from eaves.testing.asgi import AsgiClient
from eaves.testing.operator_api import ADMIN_TOKEN, USER_TOKEN, open_api

SECRETS = "/api/v1/namespaces/default/secrets"


def make_log(path: Path, *, max_bytes: int = 1 << 20, reads: bool = False) -> AuditLog:
    return AuditLog(path, max_bytes=max_bytes, backups=2, reads=reads)


@contextlib.asynccontextmanager
async def running(log: AuditLog) -> AsyncIterator[None]:
    task = asyncio.create_task(log.run())
    try:
        await asyncio.sleep(0)
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def record(name: str = "x") -> Record:
    return Record("id", "ann", ("g",), "create", "/p", "g", "v1", "apps", "", "ns", name, 201, 0.5, "curl", "::1", 1e9)


async def test_requests_are_written_in_the_known_shape(tmp_path: Path) -> None:
    path = tmp_path / "audit" / "audit.log"
    log = make_log(path)
    async with running(log), open_api(tmp_path, auditor=log) as bench:
        admin, jane = AsgiClient(bench.api, ADMIN_TOKEN), AsgiClient(bench.api, USER_TOKEN)
        secret = {"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}}
        assert (await admin.call("POST", SECRETS, secret, headers={"user-agent": "kubectl/1"})).status == 201
        await admin.call("GET", f"{SECRETS}/s")
        await admin.call("GET", "/api/v1/namespaces/default/configmaps")
        await admin.call("GET", "/healthz")
        assert (await jane.call("GET", "/api/v1/nodes")).status == 403
        assert (await AsgiClient(bench.api, "wrong").call("GET", "/api/v1/nodes")).status == 401
        await admin.call("POST", SECRETS, {"metadata": {"name": "t"}}, headers={"impersonate-user": "bob"})
    events = lines_of(path)
    seen = [(event["verb"], event["responseStatus"]["code"], event["user"]["username"]) for event in events]
    assert seen == [
        ("create", 201, "admin"),
        ("get", 200, "admin"),
        ("list", 403, "jane"),
        ("get", 401, "system:anonymous"),
        ("create", 403, "admin"),
    ]
    first = events[0]
    assert (first["kind"], first["apiVersion"]) == ("Event", "audit.k8s.io/v1")
    assert (first["level"], first["stage"], first["requestURI"]) == ("Metadata", "ResponseComplete", SECRETS)
    assert first["objectRef"] == {"resource": "secrets", "namespace": "default", "apiVersion": "v1"}
    assert (first["userAgent"], first["sourceIPs"]) == ("kubectl/1", ["192.0.2.1"])
    assert first["annotations"]["authorization.k8s.io/decision"] == "allow"
    assert events[1]["objectRef"]["name"] == "s"
    assert events[4]["impersonatedUser"]["username"] == "bob"
    assert "hunter2" not in path.read_text()
    assert ADMIN_TOKEN not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_reads_are_written_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = make_log(path, reads=True)
    async with running(log), open_api(tmp_path, auditor=log) as bench:
        await AsgiClient(bench.api, ADMIN_TOKEN).call("GET", "/api/v1/nodes")
    assert [event["verb"] for event in lines_of(path)] == ["list"]


async def test_files_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = make_log(path, max_bytes=2000)
    for number in range(30):
        async with running(log):
            log.note(record(str(number)))
    files = await asyncio.to_thread(lambda: sorted(tmp_path.iterdir()))
    assert [file.name for file in files] == ["audit.log", "audit.log.1", "audit.log.2"]
    assert all(file.stat().st_size <= 2000 for file in files)
    assert lines_of(path)[-1]["objectRef"]["name"] == "29"
    newest, oldest = lines_of(path)[0], lines_of(tmp_path / "audit.log.1")[-1]
    assert int(newest["objectRef"]["name"]) == int(oldest["objectRef"]["name"]) + 1


async def test_a_disk_that_takes_nothing_costs_lines_and_no_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditlog, "QUEUE_LIMIT", 3)
    (tmp_path / "file").write_text("")
    log = make_log(tmp_path / "file" / "audit.log")
    for _ in range(5):
        log.note(record())
    assert log.dropped == 2
    async with running(log):
        pass
    assert log.dropped == 5
