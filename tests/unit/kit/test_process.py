"""The process runner: what a caller is told about programs that fail, hang or are not there."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from eaves.kit import process
from eaves.kit.errors import EavesError


async def test_output_and_input_are_passed() -> None:
    done = await process.run(["cat"], stdin=b"hello")
    assert done.stdout == b"hello"
    assert done.returncode == 0


async def test_a_failure_says_the_program_and_its_last_words() -> None:
    with pytest.raises(process.ProcessError) as caught:
        await process.run(["sh", "-c", "echo first >&2; echo no such image >&2; exit 3"])
    assert str(caught.value) == "sh: command failed, exit status 3: no such image"
    assert caught.value.details == "first\nno such image"
    assert caught.value.returncode == 3


async def test_a_signal_is_named() -> None:
    with pytest.raises(process.ProcessError, match="killed by SIGTERM"):
        await process.run(["sh", "-c", "kill -TERM $$"])


async def test_an_unchecked_failure_is_an_answer() -> None:
    assert (await process.run(["false"], check=False)).returncode == 1


async def test_a_missing_program_is_told_apart() -> None:
    with pytest.raises(process.ProgramMissingError) as caught:
        await process.run(["eaves-no-such-program"])
    assert caught.value.program == "eaves-no-such-program"


async def test_a_missing_folder_is_not_a_missing_program() -> None:
    with pytest.raises(FileNotFoundError):
        await process.run(["true"], cwd="/no/such/folder")


async def test_a_hanging_program_and_its_children_are_killed() -> None:
    # Each process holds the pipe's write end: end of file on the other side proves that the last of them is gone.
    read_end, write_end = os.pipe()
    with pytest.raises(process.ProcessTimeoutError, match=r"within 0\.2 s"):
        await process.run(["sh", "-c", "sleep 60 & sleep 60"], timeout_s=0.2, pass_fds=[write_end])
    os.close(write_end)
    assert await read_pipe(read_end) == b""
    os.close(read_end)


async def test_cancelling_kills_the_program() -> None:
    read_end, write_end = os.pipe()
    script = f"import os, time; os.write({write_end}, b'x'); time.sleep(60)"
    task = asyncio.create_task(process.run([sys.executable, "-c", script], pass_fds=[write_end]))
    assert await read_pipe(read_end) == b"x"
    os.close(write_end)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await read_pipe(read_end) == b""
    os.close(read_end)


def test_missing_programs_are_named_with_their_packages() -> None:
    with pytest.raises(EavesError) as caught:
        process.check_programs({"sh": "dash", "no-such-a": "pkg-a", "no-such-b": "pkg-b"})
    assert "no-such-a, no-such-b" in str(caught.value)
    assert caught.value.resolution == "apt-get install --no-install-recommends pkg-a pkg-b"


async def read_pipe(descriptor: int) -> bytes:
    """The next bytes of a pipe, b"" at its end; bounded, and without a thread that could outlive the test."""
    os.set_blocking(descriptor, False)
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await asyncio.wait_for(readable.wait(), 20)
    finally:
        loop.remove_reader(descriptor)
    return os.read(descriptor, 64)
