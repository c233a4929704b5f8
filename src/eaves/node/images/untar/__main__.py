"""The program; see the package."""

from __future__ import annotations

import errno
import gzip
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from eaves.node.images.untar import MISSING, SEVERAL, TOO_LARGE, UNREADABLE

_BLOCK = 1 << 20
_ZEROS = bytes(_BLOCK)


def take(layer: Path, member: str, target: Path, limit: int) -> int:
    """Exit status as above, 0 when ``target`` holds the file."""
    found = 0
    with _open(layer) as file, tarfile.open(fileobj=file, mode="r|") as archive:
        for entry in _list(archive):
            if not entry.isreg() or not _fits(entry.name, member):
                continue
            found += 1
            if found > 1:
                return SEVERAL
            if entry.size > limit:
                return TOO_LARGE
            content = archive.extractfile(entry)
            assert content is not None
            _copy(content, target, entry.size)
    return 0 if found else MISSING


def _open(layer: Path) -> IO[bytes]:
    """Gzip of one member or several, or a plain archive."""
    with layer.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(layer)) if is_gzip else layer.open("rb")


def _list(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Some tools leave out the padding at the end, which after the first file is no fault: the layer's digest is right."""
    is_first = True
    while True:
        try:
            entry = archive.next()
        except tarfile.ReadError:
            if is_first:
                raise
            return
        if entry is None:
            return
        is_first = False
        yield entry


def _fits(name: str, member: str) -> bool:
    name = name.removeprefix("./").lstrip("/")
    if not member.endswith("/"):
        return name == member.lstrip("/")
    folder, _, file = name.rpartition("/")
    return folder == member.rstrip("/") and not file.startswith((".wh.", "."))


def _copy(content: IO[bytes], target: Path, size: int) -> None:
    left = size
    with target.open("wb") as file:
        while block := content.read(_BLOCK):
            left -= len(block)
            if block == _ZEROS[: len(block)]:
                file.seek(len(block), 1)
            else:
                file.write(block)
        file.truncate(size)
    if left:
        raise EOFError


def main() -> int:
    layer, member, target, limit = sys.argv[1:]
    try:
        return take(Path(layer), member, Path(target), int(limit))
    except (tarfile.TarError, EOFError, zlib.error):
        return UNREADABLE
    except OSError as error:
        # gzip's own errors are OSErrors without a number.
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            print("No space left on device", file=sys.stderr)
            return 1
        return UNREADABLE if error.errno is None else 1


if __name__ == "__main__":
    sys.exit(main())
