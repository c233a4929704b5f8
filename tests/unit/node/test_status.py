"""The status that ``eaves node status`` shows."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from eaves.node.observed import (
    AppState,
    AppStatus,
    Fault,
    ImageState,
    ImageStatus,
    InterfaceStatus,
    NetworkStatus,
    TreePortStatus,
    TreeStatus,
    VolumeState,
    VolumeStatus,
)
from eaves.node.status import (
    NotRunningError,
    ProblemLine,
    ServiceLine,
    Snapshot,
    StatusSocket,
    fetch_snapshot,
    render_snapshot,
)

SNAPSHOT = Snapshot(
    version="0.1.0", pid=7, started_at=1.0, server="edge.example", device_id="d-1", serial="S-1", waiting_for="",
    attestation="complete", notify_channel="open", last_contact=990.0, last_failure=0.0, last_error="",
    last_error_remedy="", config_hash="0123456789abcdef0123", config_applied_at=900.0, config_problem="",
    queued_messages=0, waiting_log_files=2, apps=[], networks=[], volumes=[], images=[], problems=[], services=[],
)  # fmt: skip


async def test_snapshot_comes_over_the_socket(tmp_path: Path) -> None:
    snapshot = replace(SNAPSHOT, apps=[AppStatus("a", "1", "web", "shop", AppState.RUNNING)])

    async def take() -> Snapshot:
        return snapshot

    service = StatusSocket(tmp_path / "run" / "node.sock", take)
    task = asyncio.create_task(service.run())
    try:
        async with asyncio.timeout(60):
            await service.listening.wait()
        assert await asyncio.to_thread(fetch_snapshot, tmp_path / "run" / "node.sock") == snapshot
        mode = (await asyncio.to_thread((tmp_path / "run" / "node.sock").stat)).st_mode
        assert mode & 0o777 == 0o600
    finally:
        task.cancel()
        await asyncio.wait([task])


def test_daemon_that_does_not_run_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError) as caught:
        fetch_snapshot(tmp_path / "node.sock")
    assert "eaves node run" in caught.value.resolution


def test_healthy_node_is_a_few_lines() -> None:
    app = AppStatus(
        "a", "1", "web", "shop", AppState.RUNNING, restarts=2,
        interfaces=(InterfaceStatus("eth0", "n", "m", ("10.1.0.2",)),),
    )  # fmt: skip
    text = render_snapshot(replace(SNAPSHOT, apps=[app]), 1000.0)
    assert "last contact 10 s ago" in text
    assert "shop/web: Running, 2 restarts, 10.1.0.2" in text
    assert "waits" not in text
    assert "error" not in text


def test_everything_that_waits_or_fails_says_for_what() -> None:
    tree = TreeStatus("8000020000000001", False, 0, (TreePortStatus("left", "Root", "Forwarding"),))
    snapshot = replace(
        SNAPSHOT,
        device_id="",
        waiting_for="/uuid: the controller answers 401",
        last_failure=995.0,
        last_error="no connection",
        last_error_remedy="check DNS",
        config_problem="the config is for device x",
        apps=[
            AppStatus("a", "1", "web", "", AppState.INITIAL, waiting_for="image shop/web:1.4"),
            AppStatus(
                "b",
                "1",
                "job",
                "",
                AppState.BACK_OFF,
                next_start_at=1030.0,
                fault=Fault("X", "exit 1", "see log", 0, 1030.0),
            ),
        ],
        images=[
            ImageStatus("i", "web", ImageState.DOWNLOADING, size_bytes=100, downloaded_bytes=40),
            ImageStatus("j", "old", ImageState.LOADED),
        ],
        networks=[
            NetworkStatus("n", "1", "default", "Local", active=False, fault=Fault("X", "no bridge")),
            NetworkStatus("s", "1", "floor", "Switch", active=True, tree=tree),
        ],
        volumes=[VolumeStatus("v", 1, "data", VolumeState.FAILED, fault=Fault("Full", "disk full"))],
        problems=[ProblemLine("app bad", "too little memory", "give it more")],
        services=[ServiceLine("engine", "waiting", 3, "HostError: no podman"), ServiceLine("config", "running", 0, "")],
    )
    text = render_snapshot(snapshot, 1000.0)
    for words in (
        "not onboarded yet",
        "waits for    /uuid: the controller answers 401",
        "last error 5 s ago: no connection",
        "check DNS",
        "refused: the config is for device x",
        "web: Initial, waits for image shop/web:1.4",
        "job: BackOff, starts again in 30 s: exit 1; see log; tried again in 30 s",
        "web: Downloading 40 %",
        "default: not active: no bridge",
        "floor: active, left Root Forwarding",
        "data: Failed: disk full",
        "app bad: too little memory (give it more)",
        "engine waiting: HostError: no podman",
    ):
        assert words in text
    assert "old" not in text
    assert "service      config" not in text
