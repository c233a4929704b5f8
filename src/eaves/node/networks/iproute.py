"""Changes of links, addresses and routes by iproute2's batch mode: all of one thing in one process."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from eaves.kit import process
from eaves.node.networks.errors import NetworkError


async def run_batch(lines: Iterable[str], *, netns: Path | None = None) -> None:
    """Feed ``lines`` to ``ip -batch``, inside ``netns`` if given. Raises NetworkError with the failing line."""
    inside = ["nsenter", f"--net={netns}"] if netns else []
    batch = "".join(f"{line}\n" for line in lines)
    if not batch:
        return
    try:
        await process.run([*inside, "ip", "-batch", "-"], stdin=batch.encode(), timeout_s=20)
    except process.ProcessError as error:
        raise NetworkError("the kernel refused a change of interfaces", details=first_line(error)) from error


async def remove_link(link: str) -> None:
    await process.run(["ip", "link", "delete", link], timeout_s=20, check=False)


def first_line(error: process.ProcessError) -> str:
    """nft and ip say first what is wrong and then show where."""
    lines = error.stderr.decode(errors="replace").strip().splitlines()
    return lines[0] if lines else error.message
