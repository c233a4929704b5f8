"""cpio archives in the format that kernels unpack at boot ("newc", see initramfs-buffer-format.rst of Linux). Pure."""

from __future__ import annotations

from collections.abc import Iterable

_DIRECTORY, _FILE = 0o040755, 0o100755
_TRAILER = "TRAILER!!!"


def pack_archive(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Files as (path, content), executable, owned by root; folders on the way are made."""
    made: list[bytes] = []
    folders: set[str] = set()
    for path, content in files:
        parts = path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            if folder not in folders:
                folders.add(folder)
                made.append(_pack(len(made) + 1, folder, _DIRECTORY, b""))
        made.append(_pack(len(made) + 1, path, _FILE, content))
    made.append(_pack(0, _TRAILER, 0, b""))
    return b"".join(made)


def _pack(number: int, name: str, mode: int, content: bytes) -> bytes:
    raw = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(raw), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + raw
    return _pad(head) + _pad(content)


def _pad(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
