"""How much of the disk a volume takes. Blocking; run in a thread."""

from __future__ import annotations

import os
from pathlib import Path


def observe_folders(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()}


def observe_used_bytes(folder: Path) -> int:
    """Blocks taken by everything below ``folder``; a file with several names counts once, holes count nothing."""
    total = 0
    seen: set[tuple[int, int]] = set()
    stack = [folder]
    while stack:
        try:
            entries = list(os.scandir(stack.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if entry.is_dir(follow_symlinks=False):
                stack.append(Path(entry.path))
            elif status.st_nlink > 1:
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
            total += status.st_blocks * 512
    return total
