"""K3s's keeper over programs that are not K3s: it needs none to be held to what it promises."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eaves.node import pids
from eaves.node.clusters import running
from eaves.node.clusters.errors import ClusterError
from eaves.node.clusters.model import ClusterFolders
from eaves.node.clusters.running import K3sSeen
from eaves.node.clusters.spec import K3sSpec
from eaves.node.workloads.logs import current_log

pytestmark = pytest.mark.contract


def shell(script: str) -> K3sSpec:
    return K3sSpec(("/bin/sh", "-c", script), {"PATH": "/bin:/usr/bin"}, {}, "", "secret", {}, "1")


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[ClusterFolders]:
    made = ClusterFolders(tmp_path / "root", tmp_path / "run")
    running.save_files(made, shell(""))
    yield made
    with contextlib.suppress(ProcessLookupError):
        if pid := running.load_seen(made).pid:
            os.kill(pid, signal.SIGKILL)


async def wait_seen(folders: ClusterFolders, fits: Callable[[K3sSeen], object]) -> K3sSeen:
    async with asyncio.timeout(20):
        while not fits(seen := await running.observe(folders)):  # noqa: ASYNC110 - reads files
            await asyncio.sleep(0.02)
    return seen


async def test_how_it_ended_and_what_it_said_are_kept(folders: ClusterFolders) -> None:
    await running.start(folders, shell('echo starting; echo level=fatal msg=\\"no etcd\\" >&2; exit 3'), [])
    seen = await wait_seen(folders, lambda seen: seen.end is not None)
    assert running.explain_end(seen.end) == "K3s ended with exit status 3: no etcd"
    log = current_log(folders.logs).read_text()
    assert "starting" in log
    assert "no etcd" in log


async def test_the_keeper_hears_no_signal_that_a_stop_of_the_daemon_might_send(folders: ClusterFolders) -> None:
    up = folders.run / "up"
    await running.start(folders, shell(f"trap 'exit 0' TERM; : >'{up}'; while :; do sleep 0.05; done"), [])
    seen = await wait_seen(folders, lambda _: up.exists())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        pids.send_signal(seen.monitor_pid, number)
    pids.send_signal(seen.monitor_pid, signal.SIGUSR1)
    with pytest.raises(ClusterError, match="has not ended yet"):
        await running.start(folders, shell("exit 0"), [])
    assert await running.observe(folders) == seen
    # K3s itself hears them: what its keeper does not hear would else be ignored by both.
    await pids.stop(seen.pid, 10)
    ended = await wait_seen(folders, lambda seen: seen.end is not None)
    assert ended.end is not None
    assert ended.end.status == 0


async def test_a_program_that_is_not_there_is_named(folders: ClusterFolders) -> None:
    await running.start(folders, K3sSpec(("/nowhere/k3s",), {}, {}, "", "secret", {}, "1"), [])
    seen = await wait_seen(folders, lambda seen: seen.end is not None)
    assert "/nowhere/k3s" in running.explain_end(seen.end)


async def test_k3s_never_runs_outside_its_control_group(folders: ClusterFolders) -> None:
    ran = folders.run / "ran"
    await running.start(folders, shell(f": >'{ran}'"), [str(folders.run / "no-group")])
    seen = await wait_seen(folders, lambda seen: seen.end is not None)
    assert "no-group/cgroup.procs" in running.explain_end(seen.end)
    assert not ran.exists()
