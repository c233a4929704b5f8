"""The partial file of a blob: named by the digest that it shall have, so bytes of any datastore continue it.

A record beside it says from which source and version of it the bytes came (for ``If-Range``), how many of them are surely on the disk
(after a power cut the file may be longer than what was written, and only that part counts), and where the first bytes of a mirror begin.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import msgspec
from msgspec import Struct

from eaves.kit import files
from eaves.node.images.download.errors import FetchError
from eaves.node.images.download.pace import READ_BYTES

SYNC_EVERY_BYTES = 64 << 20
_ZEROS = bytes(READ_BYTES)
_LOCK_WAIT_S = 10.0


class PartialRecord(Struct):
    """``synced_bytes`` are surely on the disk; more of the file counts only while ``boot_id`` is this boot's.

    ``untrusted_from``: where the first bytes of a mirror begin, -1 = there are none. It is written down before they are.
    """

    source: str = ""
    validator: str = ""
    synced_bytes: int = 0
    boot_id: str = ""
    untrusted_from: int = -1


class BlobFile:
    """Where a blob is, or will be, in the store ``folder``."""

    def __init__(self, folder: Path, digest: str) -> None:
        name = digest.removeprefix("sha256:")
        self.path = folder / "sha256" / name
        self.partial = folder / "partial" / name
        self.record_path = folder / "partial" / f"{name}.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[FileIO]:
        """The partial file, ours alone. A helper whose daemon was killed may hold it for another moment."""
        descriptor = os.open(self.partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            deadline = time.monotonic() + _LOCK_WAIT_S
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise FetchError("another download of the same blob is under way") from error
                    time.sleep(0.05)
            yield file

    def load_record(self) -> PartialRecord:
        raw = files.load_file(self.record_path)
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(raw, type=PartialRecord) if raw else PartialRecord()
        return PartialRecord()

    def save_record(self, record: PartialRecord) -> None:
        files.save_file(self.record_path, msgspec.json.encode(record))

    def discard(self) -> None:
        self.partial.unlink(missing_ok=True)
        self.record_path.unlink(missing_ok=True)


class PartialWriter:
    """Appends to the partial file what belongs to ``record``'s source, with its hash up to date."""

    def __init__(self, blob: BlobFile, file: FileIO, record: PartialRecord, boot_id: str, *, is_trusted: bool) -> None:
        self._blob = blob
        self._file = file
        self.record = record
        self._boot_id = boot_id
        self._is_trusted = is_trusted
        self.size = 0
        self.hash = hashlib.sha256()
        self._unsynced = 0
        self._untrusted_from = record.untrusted_from

    @property
    def trusted(self) -> int:
        """How many bytes from the start are of datastores themselves."""
        return self.size if self._untrusted_from < 0 else self._untrusted_from

    def resume(self) -> None:
        """Take up what is there; drop what may not have reached the disk."""
        length = os.fstat(self._file.fileno()).st_size
        self.cut_back(length if self.record.boot_id == self._boot_id else min(length, self.record.synced_bytes))

    def cut_back(self, length: int) -> None:
        """Keep the first ``length`` bytes and hash them."""
        os.ftruncate(self._file.fileno(), length)
        if length <= self._untrusted_from:
            self._untrusted_from = -1
        self.hash = hashlib.sha256()
        self.size = 0
        self._unsynced = 0
        self._file.seek(0)
        while chunk := self._file.read(READ_BYTES):
            self.hash.update(chunk)
            self.size += len(chunk)

    def note_source(self, source: str, validator: str) -> None:
        """Before the first byte of ``source`` is written."""
        if not self._is_trusted and self._untrusted_from < 0:
            self._untrusted_from = self.size
        self._save(source, validator, min(self.record.synced_bytes, self.size))

    def write(self, chunk: bytes) -> None:
        """Blocks of zeros become holes: disk images are full of them."""
        if chunk == _ZEROS[: len(chunk)]:
            os.ftruncate(self._file.fileno(), self.size + len(chunk))
        else:
            _write_all(self._file.fileno(), chunk, self.size)
        self.hash.update(chunk)
        self.size += len(chunk)
        self._unsynced += len(chunk)
        if self._unsynced >= SYNC_EVERY_BYTES:
            self.sync()

    def sync(self) -> None:
        os.fdatasync(self._file.fileno())
        self._unsynced = 0
        self._save(self.record.source, self.record.validator, self.size)

    def _save(self, source: str, validator: str, synced_bytes: int) -> None:
        self.record = PartialRecord(source, validator, synced_bytes, self._boot_id, self._untrusted_from)
        self._blob.save_record(self.record)


def _write_all(descriptor: int, chunk: bytes, offset: int) -> None:
    view = memoryview(chunk)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written
