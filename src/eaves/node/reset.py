"""What ``eaves node reset`` does: stop the daemon, remove apps, networks, volumes and images, then every file of this node."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from eaves.kit.errors import EavesError
from eaves.node.engine import OpenEngine, open_manager
from eaves.node.joining import stop_service
from eaves.node.lock import AlreadyRunningError, InstanceLock, load_holder
from eaves.node.observed import LogLine, Observations
from eaves.node.portlink import STATE_FILE
from eaves.node.ports.service import remove_profiles
from eaves.node.ports.timeservers import TimeService
from eaves.node.settings import NodeSettings

STOP_TIMEOUT_S = 60.0
_JOIN_FILES = ("node.toml", "root-certificate.pem", "onboard.cert.pem", "onboard.key.pem")


class ResetError(EavesError):
    """Something is still there."""

    code = "ResetIncomplete"


async def reset_node(
    settings: NodeSettings,
    settings_folder: Path | None,
    say: Callable[[str], None],
    *,
    open_engine: OpenEngine = open_manager,
) -> None:
    """Remove every trace. ``settings_folder`` None keeps the settings and the join files.

    Raises EavesError when the engine cannot remove its things; then nothing that it needs for another try is removed either.
    """
    await stop_service()
    lock_path = Path(settings.run_dir) / "node.lock"
    lock = await _stop_daemon(lock_path, say)
    try:
        if await asyncio.to_thread(Path(settings.state_dir).exists):
            say("removing apps, networks, volumes and images")
            await asyncio.to_thread(_make_room, settings)
            await _remove_engine(settings, open_engine)
            if await asyncio.to_thread((Path(settings.state_dir) / STATE_FILE).exists):
                say("removing connection profiles of the ports")
                await remove_profiles(settings.instance)
                await TimeService(settings.instance).remove()
        say("removing files")
        await asyncio.to_thread(_remove_files, settings, settings_folder)
    finally:
        lock.release()


async def _remove_engine(settings: NodeSettings, open_engine: OpenEngine) -> None:
    try:
        engine = await open_engine(settings, Observations(), _drop_lines)
        await engine.teardown()
    except OSError as error:
        raise ResetError(
            f"cannot work in the state folder: {error.strerror}",
            element=settings.state_dir,
            resolution="free some space on its disk, then run the reset again",
        ) from error


def _make_room(settings: NodeSettings) -> None:
    """The engine's tools write while they remove; on a full disk they need what waiting logs and downloads take."""
    engine = settings.engine
    for folder in (Path(settings.state_dir) / "newlog", engine.downloads_dir, engine.blobs_dir):
        shutil.rmtree(folder, ignore_errors=True)


async def _stop_daemon(lock_path: Path, say: Callable[[str], None]) -> InstanceLock:
    """The lock, once no daemon holds it."""
    deadline = asyncio.get_running_loop().time() + STOP_TIMEOUT_S
    is_told = False
    while True:
        try:
            return await asyncio.to_thread(InstanceLock, lock_path)
        except AlreadyRunningError as error:
            pid = await asyncio.to_thread(load_holder, lock_path)
            if asyncio.get_running_loop().time() > deadline or not pid:
                raise ResetError(
                    f"the running daemon (pid {pid}) does not stop", resolution="stop it, then run the reset again"
                ) from error
            if not is_told:
                say(f"stopping the daemon (pid {pid})")
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                is_told = True
        await asyncio.sleep(0.1)


def _remove_files(settings: NodeSettings, settings_folder: Path | None) -> None:
    left: list[str] = []
    for folder in (settings.state_dir, settings.run_dir):
        shutil.rmtree(folder, onerror=lambda _call, path, _error: left.append(str(path)))
    left = [path for path in left if Path(path).exists()]
    if left:
        raise ResetError(
            f"cannot remove {left[0]}" + (f" and {len(left) - 1} more" if len(left) > 1 else ""),
            resolution="see what still uses it (findmnt, fuser), then run the reset again",
        )
    if settings_folder is not None:
        for name in _JOIN_FILES:
            (settings_folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            # Only when nothing of anyone else is in it.
            settings_folder.rmdir()


async def _drop_lines(_lines: list[LogLine]) -> None:
    """Logs of apps that are being removed have no reader."""
