"""Sessions with containers against real podman and its runtime: commands, terminals, ends, many at once."""

from __future__ import annotations

import asyncio

import pytest

from eaves.node.desired.model import Secret
from eaves.node.observed import AppStatus
from eaves.node.workloads.errors import NotRunningError
from eaves.node.workloads.sessions import Command, Output, Session, SessionError
from eaves.testing import chroot
from eaves.testing.engine_host import EngineHost
from eaves.testing.registry import Registry

pytestmark = [pytest.mark.contract, pytest.mark.skipif(chroot.is_chroot(), reason=chroot.REASON)]

WAIT_S = 90.0


class Talk:
    """What a session says."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.said = {Output.STDOUT: b"", Output.STDERR: b""}
        self._heard = asyncio.Event()
        self.pumping = asyncio.create_task(session.pump(self._take))

    async def _take(self, output: Output, data: bytes) -> None:
        self.said[output] += data
        self._heard.set()

    async def wait(self, text: bytes) -> None:
        async with asyncio.timeout(WAIT_S):
            while text not in self.said[Output.STDOUT]:
                self._heard.clear()
                await self._heard.wait()

    async def end(self) -> int:
        async with asyncio.timeout(WAIT_S):
            code = await self.pumping
        await self.session.close()
        return code


async def start_app(host: EngineHost, registry: Registry) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    env = {"COLOUR": Secret("blue green"), "TERM": Secret("dumb")}
    script = "while true; do echo tick; sleep 0.1; done"
    # Commands are counted to their app's memory.
    memory = 512 << 20
    app = host.app(
        "shell", image, command=("/bin/sh", "-c"), args=(script,), working_dir="/data", env=env, memory_bytes=memory
    )
    await host.apply(images=(image,), apps=(app,))
    await host.wait_app("shell")


async def run(host: EngineHost, *argv: str, stdin: bytes | None = None, tty: bool = False) -> Talk:
    assert host.manager is not None
    command = Command(argv, stdin=stdin is not None, tty=tty)
    talk = Talk(await host.manager.exec("app-shell", command))
    if stdin:
        await talk.session.write(stdin)
    return talk


async def check_command(host: EngineHost) -> None:
    """Its outputs, variables, folder, user, input and exit codes."""
    talk = await run(host, "sh", "-c", "echo $COLOUR; pwd; id -u; echo err >&2; exit 7")
    assert await talk.end() == 7
    assert talk.said == {Output.STDOUT: b"blue green\n/data\n0\n", Output.STDERR: b"err\n"}
    typed = await run(host, "cat", stdin=b"typed")
    await typed.session.close_input()
    assert await typed.end() == 0
    assert typed.said[Output.STDOUT] == b"typed"
    killed = await run(host, "sh", "-c", "kill -9 $$")
    assert await killed.end() == 137
    missing = await run(host, "no-such-program")
    with pytest.raises(SessionError, match="no-such-program"):
        await missing.end()


async def check_terminal(host: EngineHost) -> None:
    talk = await run(host, "sh", "-c", "tty; echo $TERM $COLOUR; read x; stty size; exit $x", stdin=b"", tty=True)
    await talk.wait(b"xterm blue green")
    assert b"/dev/pts/0" in talk.said[Output.STDOUT]
    await talk.session.resize(123, 45)
    sizes = await run(host, "sh", "-c", "until stty size </dev/pts/0 | grep -q '45 123'; do sleep 0.05; done")
    assert await sizes.end() == 0
    await talk.session.write(b"5\n")
    assert await talk.end() == 5
    assert b"45 123" in talk.said[Output.STDOUT]


async def check_end_with_user(host: EngineHost) -> None:
    """With all that belongs to it, also when it does not want to."""
    script = "trap '' HUP TERM; sleep 100001 & echo ready; while true; do sleep 100002; done"
    stubborn = await run(host, "sh", "-c", script)
    await stubborn.wait(b"ready")
    stubborn.pumping.cancel()
    await asyncio.wait([stubborn.pumping])
    await stubborn.session.close()
    left = await run(host, "ps")
    assert await left.end() == 0
    assert b"10000" not in left.said[Output.STDOUT]
    assert list(host.instance.sessions_dir.iterdir()) == []


async def test_commands_run_as_the_app_does(host: EngineHost, registry: Registry) -> None:
    await start_app(host, registry)
    await check_command(host)


async def test_a_terminal_is_one(host: EngineHost, registry: Registry) -> None:
    await start_app(host, registry)
    await check_terminal(host)


async def test_a_command_ends_with_its_user(host: EngineHost, registry: Registry) -> None:
    await start_app(host, registry)
    await check_end_with_user(host)


async def test_many_commands_at_once(host: EngineHost, registry: Registry) -> None:
    await start_app(host, registry)
    talks = [await run(host, "cat", stdin=b"%d\n" % number) for number in range(100)]
    for number, talk in enumerate(talks):
        await talk.wait(b"%d\n" % number)
    for talk in talks:
        await talk.session.close_input()
        assert await talk.end() == 0
    assert list(host.instance.sessions_dir.iterdir()) == []


async def test_attach_begins_with_what_is_written_now_and_ends_with_the_container(
    host: EngineHost, registry: Registry
) -> None:
    await start_app(host, registry)
    assert host.manager is not None
    talk = Talk(await host.manager.attach("app-shell", stdin=False))
    await talk.wait(b"tick\ntick\n")
    await host.apply(apps=())
    assert await talk.end() == 0
    await host.wait_gone(AppStatus, "app-shell")
    with pytest.raises(NotRunningError):
        await run(host, "id")
