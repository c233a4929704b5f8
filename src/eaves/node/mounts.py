"""Mounts that killed programs left below our folders.

A podman that is killed in the middle of a check or a start cannot undo its mounts. Teardown asks here, because a folder with a mount in
it cannot be removed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

from eaves.kit import process

_MOUNT_TABLE = Path("/proc/self/mountinfo")


def parse_mounts(table: str, folders: Sequence[Path]) -> list[str]:
    """Mount points below ``folders`` in a ``mountinfo`` table, the innermost first."""
    points = [_unescape(line.split(" ")[4]) for line in table.splitlines()]
    return sorted((point for point in points if any(folder in Path(point).parents for folder in folders)), reverse=True)


def load_sources() -> dict[str, str]:
    """Mount point → what is mounted there, such as a device; the newest where several lie on each other. Blocking, short."""
    table = _MOUNT_TABLE.read_text(encoding="utf-8", errors="surrogateescape")
    return parse_sources(table)


def parse_sources(table: str) -> dict[str, str]:
    """Of a ``mountinfo`` table: its lines are ``ID … POINT OPTIONS … - TYPE SOURCE OPTIONS``, see proc(5)."""
    found: dict[str, str] = {}
    for line in table.splitlines():
        head, _, tail = line.partition(" - ")
        found[_unescape(head.split(" ")[4])] = _unescape(tail.split(" ")[1])
    return found


async def remove_mounts(folders: Sequence[Path]) -> None:
    """Take everything down that is mounted below ``folders``. Lazily: it goes from view now, even while somebody holds it."""
    table = await asyncio.to_thread(_MOUNT_TABLE.read_text, encoding="utf-8", errors="surrogateescape")
    for point in parse_mounts(table, folders):
        await process.run(["umount", "--lazy", point], timeout_s=20, check=False)


def _unescape(text: str) -> str:
    """The kernel writes blanks and backslashes as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)
