"""The agent of small guests, as a process of this machine behind a socket instead of a virtio port."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import eaves
from eaves.node.vms.isolation.guest import frames
from eaves.node.vms.isolation.link import GuestLink
from eaves.node.vms.isolation.session import GuestLinks, GuestSession
from eaves.node.workloads.sessions import Command, Output, SessionError
from eaves.testing.talk import Talk

pytestmark = pytest.mark.contract

_RUN = """
import signal, sys; sys.path.append(sys.argv[1])
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what it starts in the background
from eaves.node.vms.isolation.guest.agent import Agent
from eaves.node.vms.isolation.guest.commands import Identity
Agent(int(sys.argv[2]), Identity.load(sys.argv[3])).run()
"""


class Guest:
    """Serves its agent to one connection after another, as QEMU does. ``raw`` is the newest connection's end of the guest."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "exec.sock"
        self.identity = folder / "identity"
        words = (
            str(os.getuid()),
            str(os.getgid()),
            "/",
            f"PATH={os.environ['PATH']}",
            "COLOUR=blue green",
            "TERM=dumb",
        )
        self.identity.write_bytes("\0".join(words).encode())
        self.links = GuestLinks()
        self.processes: list[asyncio.subprocess.Process] = []

    async def serve(self) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        listener.bind(str(self.path))
        listener.listen()
        try:
            while True:
                connection, _ = await asyncio.get_running_loop().sock_accept(listener)
                source = str(Path(eaves.__file__).parents[1])
                argv = [sys.executable, "-I", "-S", "-c", _RUN, source, str(connection.fileno()), str(self.identity)]
                process = await asyncio.create_subprocess_exec(*argv, pass_fds=(connection.fileno(),))
                connection.close()
                self.processes.append(process)
        finally:
            listener.close()

    async def run(self, *argv: str, stdin: bytes | None = None, tty: bool = False) -> Talk:
        command = Command(argv, stdin=stdin is not None, tty=tty)
        talk = Talk(GuestSession(self.links, "app", self.path, command))
        if stdin:
            await talk.session.write(stdin)
        return talk


@pytest.fixture
async def guest(tmp_path: Path) -> AsyncIterator[Guest]:
    made = Guest(tmp_path)
    serving = asyncio.create_task(made.serve())
    yield made
    await made.links.forget("app")
    serving.cancel()
    await asyncio.wait((serving,))
    for process in made.processes:
        assert await process.wait() == 0


async def test_commands_have_their_own_outputs_input_and_exit_codes(guest: Guest) -> None:
    talk = await guest.run("sh", "-c", "echo $COLOUR $TERM; pwd; echo err >&2; exit 7")
    assert await talk.end() == 7
    assert talk.said == {Output.STDOUT: b"blue green dumb\n/\n", Output.STDERR: b"err\n"}
    typed = await guest.run("cat", stdin=b"typed")
    await typed.session.close_input()
    assert await typed.end() == 0
    assert typed.said[Output.STDOUT] == b"typed"
    unread = await guest.run("cat")
    assert await unread.end() == 0
    assert await (await guest.run("sh", "-c", "kill -9 $$")).end() == 137
    assert await (await guest.run("sh", "-c", "kill -PIPE $$")).end() == 141


async def test_what_cannot_run_says_why(guest: Guest) -> None:
    missing = await guest.run("no-such-program")
    with pytest.raises(SessionError, match=r'exec: "no-such-program": executable file not found in \$PATH'):
        await missing.end()
    folder = await guest.run("/etc")
    with pytest.raises(SessionError, match="permission denied"):
        await folder.end()


async def test_a_terminal_is_one(guest: Guest) -> None:
    talk = await guest.run("sh", "-c", "echo $TERM; read x; stty size; exit $x", stdin=b"", tty=True)
    await talk.wait(b"xterm\r\n")
    await talk.session.resize(123, 45)
    await talk.session.write(b"5\n")
    assert await talk.end() == 5
    assert b"45 123" in talk.said[Output.STDOUT]
    ended = await guest.run("cat", stdin=b"", tty=True)
    await ended.session.close_input()
    assert await ended.end() == 0
    killed = await guest.run("sh", "-c", "echo ready; exec sleep 1000", stdin=b"", tty=True)
    await killed.wait(b"ready")
    await killed.session.write(b"\x03")
    assert await killed.end() == 130


async def test_it_ends_when_the_last_one_has_closed_its_output(guest: Guest) -> None:
    talk = await guest.run("sh", "-c", "(sleep 0.3; echo late) & exit 3")
    assert await talk.end() == 3
    assert talk.said[Output.STDOUT] == b"late\n"


async def test_large_data_pass_whole_both_ways(guest: Guest) -> None:
    data = os.urandom(3 << 20) + b"\x7d\x7e\x7d\x5d" * 9000
    talk = await guest.run("cat", stdin=b"")
    await talk.session.write(data)
    await talk.session.close_input()
    assert await talk.end() == 0
    assert bytes(talk.said[Output.STDOUT]) == data


async def test_a_session_that_nobody_reads_holds_up_no_other(guest: Guest) -> None:
    link = await guest.links.want("app", guest.path)
    flood = await link.start(Command(("cat", "/dev/zero")))
    deaf = await link.start(Command(("sleep", "1000"), stdin=True))
    typing = asyncio.create_task(deaf.write(bytes(4 << 20)))
    for _ in range(5):
        assert await (await guest.run("true")).end() == 0
    assert not typing.done()
    typing.cancel()
    await flood.close()
    await deaf.close()


async def test_a_command_ends_with_its_user_and_all_its_session(guest: Guest) -> None:
    script = "trap '' HUP TERM; sleep 100071 & echo ready; while true; do sleep 100072; done"
    stubborn = await guest.run("sh", "-c", script)
    await stubborn.wait(b"ready")
    stubborn.pumping.cancel()
    await asyncio.wait([stubborn.pumping])
    await stubborn.session.close()
    await wait_gone("10007[12]")


async def test_who_comes_next_finds_nothing_of_the_one_before(guest: Guest) -> None:
    """Also when the one before was cut off in the middle of a frame."""
    link = await guest.links.want("app", guest.path)
    channel = await link.start(Command(("sh", "-c", "sleep 100073 & cat"), stdin=True))
    await channel.write(b"x" * 1000)
    await link.close()
    assert channel.result() == 137
    await wait_gone("100073")
    assert await (await guest.run("sh", "-c", "exit 4")).end() == 4


async def test_many_at_once(guest: Guest) -> None:
    talks = [await guest.run("cat", stdin=b"%d\n" % number) for number in range(60)]
    for number, talk in enumerate(talks):
        await talk.wait(b"%d\n" % number)
    for talk in talks:
        await talk.session.close_input()
        assert await talk.end() == 0


async def test_a_cut_order_is_not_run(tmp_path: Path, guest: Guest) -> None:
    """An order of which a part was sent before the node's end came back belongs to nobody."""
    reader, writer = await asyncio.open_unix_connection(guest.path)
    mark = tmp_path / "mark"
    order = frames.encode_frame(frames.OPEN, 1, frames.encode_order([b"touch", str(mark).encode(), b"more"], 0))
    writer.write(order[:-3] + frames.ABORT + frames.encode_frame(frames.HELLO, 0, b"n" * 16))
    decoder = frames.Decoder()
    while (frames.HELLO, 0, b"n" * 16) not in decoder.feed(await reader.read(1 << 16)):
        continue
    writer.write(frames.encode_frame(frames.OPEN, 2, frames.encode_order([b"true"], 0)))
    while not any(kind == frames.EXIT for kind, _, _ in decoder.feed(await reader.read(1 << 16))):
        continue
    assert not mark.exists()
    writer.close()
    await writer.wait_closed()


async def test_a_guest_that_keeps_to_no_bound_loses_its_line(tmp_path: Path) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = frames.Decoder()
        while True:
            data = await reader.read(1 << 16)
            for kind, number, payload in decoder.feed(data):
                if kind == frames.HELLO:
                    writer.write(b"old rubbish" + frames.ABORT + frames.encode_frame(kind, number, payload))
                if kind == frames.OPEN:
                    writer.write(frames.encode_frame(frames.OUTPUT, number, bytes(frames.DATA_BYTES)) * 20)
            if not data:
                writer.close()
                return

    server = await asyncio.start_unix_server(flood, tmp_path / "exec.sock")
    link = await GuestLink.open(tmp_path / "exec.sock")
    channel = await link.start(Command(("true",)))
    while await channel.receive() is not None:
        continue
    assert channel.result() == 137
    assert link.is_closed
    await link.close()
    server.close()


async def wait_gone(pattern: str) -> None:
    def is_there() -> bool:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if re.fullmatch(f"sleep\0{pattern}\0", path.read_bytes().decode(errors="replace")):
                    return True
            except OSError:
                continue
        return False

    async with asyncio.timeout(60):
        while await asyncio.to_thread(is_there):  # noqa: ASYNC110 - nobody tells of the end of a stranger's process
            await asyncio.sleep(0.05)
