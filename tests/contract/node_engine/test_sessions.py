"""Sessions with containers against real podman and its runtime, and with small guests: commands, terminals, ends, many at once."""

from __future__ import annotations

import asyncio

import pytest

from eaves.node.desired.model import Secret
from eaves.node.desired.vm_model import Isolation
from eaves.node.observed import AppStatus
from eaves.node.workloads.errors import NotRunningError
from eaves.node.workloads.sessions import Command, Output, SessionError
from eaves.testing.engine_host import EngineHost
from eaves.testing.guest.kernel import offer_kernel
from eaves.testing.registry import Registry
from eaves.testing.talk import Talk

pytestmark = pytest.mark.contract

GUEST_LIMIT_S = 150.0


@pytest.fixture(params=list(Isolation))
async def shell(host: EngineHost, registry: Registry, request: pytest.FixtureRequest) -> None:
    """The app ``shell`` runs, with either isolation."""
    if request.param is Isolation.VM:
        await asyncio.to_thread(offer_kernel, host.instance.data_dir)
    await start_app(host, registry, request.param)


async def start_app(host: EngineHost, registry: Registry, isolation: Isolation) -> None:
    image = host.image(registry.datastore(), "shop/shell:1")
    env = {"COLOUR": Secret("blue green"), "TERM": Secret("dumb")}
    script = "while true; do echo tick; sleep 0.1; done"
    # Commands are counted to their app's memory.
    memory = 512 << 20
    app = host.app(
        "shell",
        image,
        command=("/bin/sh", "-c"),
        args=(script,),
        working_dir="/data",
        env=env,
        memory_bytes=memory,
        isolation=isolation,
    )
    await host.apply(images=(image,), apps=(app,))
    await host.wait_app("shell", limit_s=GUEST_LIMIT_S)


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


async def check_attach(host: EngineHost) -> None:
    assert host.manager is not None
    talk = Talk(await host.manager.attach("app-shell", stdin=False))
    await talk.wait(b"tick\ntick\n")
    await host.apply(apps=())
    assert await talk.end() == 0
    await host.wait_gone(AppStatus, "app-shell")
    with pytest.raises(NotRunningError):
        await run(host, "id")


async def test_commands_run_as_the_app_does(host: EngineHost, shell: None) -> None:
    await check_command(host)


async def test_a_terminal_is_one(host: EngineHost, shell: None) -> None:
    await check_terminal(host)


async def test_a_command_ends_with_its_user(host: EngineHost, shell: None) -> None:
    await check_end_with_user(host)


async def test_many_commands_at_once(host: EngineHost, shell: None) -> None:
    talks = [await run(host, "cat", stdin=b"%d\n" % number) for number in range(100)]
    for number, talk in enumerate(talks):
        await talk.wait(b"%d\n" % number)
    for talk in talks:
        await talk.session.close_input()
        assert await talk.end() == 0
    assert list(host.instance.sessions_dir.iterdir()) == []


async def test_attach_begins_with_what_is_written_now_and_ends_with_the_container(
    host: EngineHost, shell: None
) -> None:
    await check_attach(host)
