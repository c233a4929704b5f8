"""``make demo`` as a user meets it: what is missing is one line and its remedy, Ctrl-C leaves nothing behind."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eaves.node.settings import load_node_settings
from eaves.testing import power
from eaves.testing.daemons import find_ports

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ANSWERED = re.compile(r"demo: app web answered HTTP 200 after \d+\.\d s")


def run_demo(prelude: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The demo once, after ``prelude`` changed what it finds of the machine."""
    code = f"import os, runpy, sys\n{prelude}\nrunpy.run_module('tools.demo', run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "DEMO_ONCE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def check_refusal(done: subprocess.CompletedProcess[str], what: str, remedy: str) -> None:
    assert done.returncode == 1
    assert done.stdout == ""
    first, *_, last = done.stderr.splitlines()
    assert first.startswith("demo: ")
    assert what in first
    assert remedy in last
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        check_refusal(run_demo(DEMO_PORT=str(port)), f"port {port} is in use", "DEMO_PORT=")


def test_without_root_it_says_so() -> None:
    check_refusal(run_demo("os.geteuid = lambda: 1000"), "needs root", "sudo make demo")


def test_a_missing_program_is_named_with_its_package(tmp_path: Path) -> None:
    check_refusal(run_demo(PATH=str(tmp_path)), "nft", "apt-get install")


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal: the user's, the program's."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


def test_on_a_terminal_it_stays_until_ctrl_c_and_leaves_nothing(terminal: tuple[int, int]) -> None:
    user, program = terminal
    port = find_ports(1)[0]
    demo = subprocess.Popen(
        [sys.executable, "-m", "tools.demo"],
        cwd=ROOT,
        stdin=program,
        stdout=program,
        stderr=program,
        env={**{k: v for k, v in os.environ.items() if k != "DEMO_ONCE"}, "DEMO_PORT": str(port)},
        start_new_session=True,
    )
    try:
        shown = read_until(user, "Ctrl-C here stops", demo)
        assert ANSWERED.search(shown), shown
        lines = re.findall(r"^  (\S.*?)\r?$", shown, re.MULTILINE)
        setting = next(line for line in lines if line.startswith("export KUBECONFIG="))
        folder = Path(setting.removeprefix("export KUBECONFIG=").split()[0]).parents[1]
        settings = load_node_settings(folder / "edge-1" / "node.toml", {})
        for line in lines[lines.index(setting) + 1 :]:
            paste(setting, line)
        demo.send_signal(signal.SIGINT)
        read_until(user, "stopping and cleaning up", demo)
        assert demo.wait(60) == 0
    finally:
        demo.terminate()
        demo.wait(60)
    assert not folder.exists()
    assert not any(power.list_traces(settings.engine).values())
    with socket.create_server(("0.0.0.0", port)):
        pass


def paste(setting: str, line: str) -> None:
    """A printed line does what it says, in a shell like the user's. One that follows a log is cut off once it works."""
    follows = " -f " in line
    command = f"timeout 3 {line}" if follows else line
    done = subprocess.run(
        ["bash", "-c", f"{setting}; {command}"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode in ((0, 124) if follows else (0,)), (line, done.stdout, done.stderr)
    assert done.stdout.strip(), line


def read_until(terminal: int, text: str, demo: subprocess.Popen[bytes]) -> str:
    """What the demo showed up to ``text``. The test's own limit bounds the wait."""
    shown = ""
    while text not in shown:
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 4096).decode(errors="replace")
        else:
            assert demo.poll() is None, shown
    return shown
