"""Joining and resetting a machine, with folders of the test's own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from eaves.kit.errors import EavesError
from eaves.node import joining
from eaves.node.lock import AlreadyRunningError, InstanceLock, load_holder
from eaves.node.reset import reset_node
from eaves.node.settings import NodeSettings, load_node_settings
from eaves.testing.engine import PretendEngines
from eaves.testing.foreign_controller import ForeignController
from eaves.wire.join import JoinToken

HOLDER = """
import signal
from pathlib import Path
from eaves.node.lock import InstanceLock
lock = InstanceLock(Path({path!r}))
print("held", flush=True)
signal.pause()
"""


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def want_token(folder: Path, server: str = "edge.example:8443") -> JoinToken:
    folder.mkdir(exist_ok=True)
    return joining.load_join_files(server, *ForeignController().want_join_files(folder))


def test_join_writes_settings_that_the_daemon_can_use(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    joining.save_join(want_token(tmp_path / "given"), folder, NodeSettings(name="store-17"))
    settings = load_node_settings(folder / "node.toml", {})
    assert (settings.server, settings.name) == ("edge.example:8443", "store-17")
    assert Path(settings.root_certificate_file).read_text().startswith("-----BEGIN CERTIFICATE")
    assert (folder / "onboard.key.pem").stat().st_mode & 0o777 == 0o600
    assert not (folder / ".joining").exists()


def test_second_join_that_is_bad_leaves_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    joining.save_join(want_token(tmp_path / "given"), folder, NodeSettings())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    good, other = want_token(tmp_path / "a", "b.example"), want_token(tmp_path / "b", "b.example")
    bad = [
        replace(good, onboarding_key=other.onboarding_key),
        replace(good, onboarding_certificate="nonsense"),
        replace(good, root_certificates="nonsense"),
        replace(good, server="http://b.example"),
    ]
    for token in bad:
        with pytest.raises(EavesError):
            joining.save_join(token, folder, NodeSettings())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EavesError, match="nowhere"):
        joining.load_join_files("x", tmp_path / "nowhere", tmp_path, tmp_path)


def test_only_one_daemon_at_a_time(tmp_path: Path) -> None:
    lock = InstanceLock(tmp_path / "node.lock")
    with pytest.raises(AlreadyRunningError, match=str(os.getpid())):
        InstanceLock(tmp_path / "node.lock")
    lock.release()
    InstanceLock(tmp_path / "node.lock").release()


async def test_reset_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    given = NodeSettings(state_dir=str(tmp_path / "state"), run_dir=str(tmp_path / "run"))
    settings = joining.save_join(want_token(tmp_path / "given"), folder, given)
    (tmp_path / "state" / "identity").mkdir(parents=True)
    engines = PretendEngines()
    said: list[str] = []
    await reset_node(settings, folder, said.append, open_engine=engines.open)
    assert engines.last.is_torn_down
    assert list_names(tmp_path) == ["given"]
    assert said[0].startswith("removing apps")


async def test_reset_keeps_settings_and_foreign_files_when_asked(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    given = NodeSettings(state_dir=str(tmp_path / "state"), run_dir=str(tmp_path / "run"))
    settings = joining.save_join(want_token(tmp_path / "given"), folder, given)
    await reset_node(settings, None, lambda _: None, open_engine=PretendEngines().open)
    assert (folder / "node.toml").exists()
    (folder / "controller.toml").write_text("")
    await reset_node(settings, folder, lambda _: None, open_engine=PretendEngines().open)
    assert list_names(folder) == ["controller.toml"]


async def test_reset_stops_a_running_daemon_first(tmp_path: Path) -> None:
    path = tmp_path / "run" / "node.lock"
    code = HOLDER.format(path=str(path))
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    assert load_holder(path) == holder.pid
    said: list[str] = []
    settings = NodeSettings(state_dir=str(tmp_path / "state"), run_dir=str(tmp_path / "run"))
    await reset_node(settings, None, said.append, open_engine=PretendEngines().open)
    assert await holder.wait() == -15
    assert "stopping the daemon" in said[0]
