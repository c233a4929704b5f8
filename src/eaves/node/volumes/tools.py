"""How the programs of volumes are run: they end with the daemon, whatever ends it."""

from __future__ import annotations

from collections.abc import Sequence

from eaves.kit import process

LONG_S = 6 * 3600.0
"""For copies of whole disks."""


async def run(
    argv: Sequence[str], *, timeout_s: float = 120.0, check: bool = True, stdin: bytes | None = None
) -> process.Completed:
    """A program that must not outlive this process: its half-made file will be taken for garbage by the next daemon."""
    return await process.run(
        ["setpriv", "--pdeathsig=KILL", "--", *argv], timeout_s=timeout_s, check=check, stdin=stdin
    )
