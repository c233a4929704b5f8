"""Processes that go into the background: they are ready or say why not, and there is one for a thing."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eaves.kit.daemonizing import want_argv

PROGRAM = """
import os, signal, sys
from eaves.kit.daemonizing import daemonize

def main(folder, *words):
    def begin():
        with open(os.path.join(folder, "pid"), "w") as file:
            file.write(str(os.getpid()))
        if "broken" in words:
            raise KeyError("port")
        if "killed" in words:
            os.kill(os.getpid(), signal.SIGKILL)
        return signal.pause
    return daemonize(os.path.join(folder, "lock"), begin)
"""
SMALL = ("eaves.node.vms.monitor.main", "eaves.node.clusters.monitor.main", "eaves.node.networks.rstp.main")
LARGE = {"asyncio", "inspect", "logging", "pathlib", "subprocess", "tempfile", "threading", "urllib"}


@pytest.fixture(autouse=True)
def clean(tmp_path: Path) -> Iterator[None]:
    yield
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def start(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Ends although the process goes on: nothing that it holds keeps our pipes open."""
    (folder / "program.py").write_text(PROGRAM)
    argv = want_argv("program", str(folder), *words)
    argv[argv.index("-c") + 1] = f"import sys; sys.path.append({str(folder)!r}); " + argv[argv.index("-c") + 1]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)


def test_it_goes_on_in_a_session_of_its_own_when_it_is_ready(tmp_path: Path) -> None:
    done = start(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pid = int((tmp_path / "pid").read_text())
    assert os.getsid(pid) == pid != os.getsid(0)
    assert {Path(f"/proc/{pid}/fd/{number}").readlink() for number in (0, 1, 2)} == {Path(os.devnull)}


def test_a_second_one_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    start(tmp_path)
    pid = int((tmp_path / "pid").read_text())
    done = start(tmp_path)
    assert done.returncode == 1
    assert f"another process holds {tmp_path}/lock" in done.stderr
    assert int((tmp_path / "pid").read_text()) == pid
    ended = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert select.select([ended], [], [], 20)[0]
    os.close(ended)
    assert start(tmp_path).returncode == 0


def test_why_it_cannot_begin_is_told(tmp_path: Path) -> None:
    done = start(tmp_path, "broken")
    assert (done.returncode, done.stderr) == (1, "'port' is missing")


def test_one_that_dies_while_it_begins_is_not_taken_for_ready(tmp_path: Path) -> None:
    assert start(tmp_path, "killed").returncode == 1


@pytest.mark.parametrize("module", SMALL)
def test_such_processes_import_little(module: str) -> None:
    argv = want_argv(module)
    argv[argv.index("-c") + 1] = f"import sys; sys.path.append(sys.argv[1]); import {module}; print(*sys.modules)"
    loaded = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True).stdout.split()
    assert module in loaded
    assert not LARGE & set(loaded)
    assert not [
        name for name in loaded if name.partition(".")[0] not in {*sys.stdlib_module_names, "eaves", "__main__", "org"}
    ]
