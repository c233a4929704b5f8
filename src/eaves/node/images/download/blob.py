"""One blob: bytes into a partial file, hashed on the way, renamed when the digest is right. Resumes across everything.

A partial file is named by the digest that it shall have, so bytes of any datastore continue it: only the digest at the end says
whether they are right, and when they are not the file is thrown away. A record beside it says from which source and version of it the
bytes came (for ``If-Range``), how many of them are surely on the disk (after a power cut the file may be longer than what was written,
and only that part counts), and how many at its start no mirror had a hand in: a mirror that lies costs its own bytes and no others.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path

import msgspec
from msgspec import Struct

from eaves.kit import files
from eaves.node.images.download.errors import CutError, FetchError
from eaves.node.images.download.http import as_status_error
from eaves.node.images.download.pace import READ_BYTES, Pace
from eaves.node.images.download.protocol import BlobRequest

SYNC_EVERY_BYTES = 64 << 20
_ZEROS = bytes(READ_BYTES)
_LOCK_WAIT_S = 10.0

Open = Callable[[dict[str, str]], contextlib.AbstractContextManager[http.client.HTTPResponse]]
"""GET of the blob with additional headers."""
Tell = Callable[[int, int], None]
"""Called with the bytes on disk and the blob's size (0 = not known)."""


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


class _Writer:
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


class BlobFetch:
    """Fetches one blob. ``source`` names it for ``If-Range``; ``spare_bytes`` are left free on the disk."""

    def __init__(
        self,
        folder: Path,
        request: BlobRequest,
        source: str,
        open_: Open,
        pace: Pace,
        tell: Tell,
        *,
        boot_id: str,
        max_cuts: int,
        has_credentials: bool,
    ) -> None:
        self._request = request
        self._source = source
        self._open = open_
        self._pace = pace
        self._tell = tell
        self._boot_id = boot_id
        self._max_cuts = max_cuts
        self._has_credentials = has_credentials
        self._blob = BlobFile(folder, request.digest)
        self._total = request.size_bytes
        self.received = 0

    def run(self) -> None:
        """Raises FetchError, OSError (disk full)."""
        if self._blob.path.exists():
            size = self._blob.path.stat().st_size
            self._tell(size, size)
            return
        with self._blob.locked() as file:
            record = self._blob.load_record()
            writer = _Writer(self._blob, file, record, self._boot_id, is_trusted=self._request.is_trusted)
            writer.resume()
            try:
                self._complete(writer)
            except BaseException:
                # Whatever ends this: what came is kept for the next attempt.
                with contextlib.suppress(OSError):
                    writer.sync()
                raise
            self._accept(file)

    def _complete(self, writer: _Writer) -> None:
        """Until the bytes are there and right."""
        while True:
            start = writer.size
            self._bring(writer)
            digest = f"sha256:{writer.hash.hexdigest()}"
            if digest == self._request.digest:
                return
            # What no mirror had a hand in is kept, unless it is all there is: then it is wrong itself.
            kept = writer.trusted if writer.trusted < writer.size else 0
            writer.cut_back(kept)
            # Bytes of an earlier attempt may be to blame; judged by its own ones alone this source gets no other chance.
            may_try_again = start > 0 if self._request.is_trusted else start > kept
            if not may_try_again:
                raise FetchError(
                    f"what was served has the digest {digest}, not {self._request.digest}",
                    code="DigestMismatch",
                    resolution="check what the datastore serves, or the digest that was asked for",
                )

    def _bring(self, writer: _Writer) -> None:
        """Read until the end; a cut connection is taken up again at once as long as each brings something."""
        cuts = 0
        while True:
            before = writer.size
            if self._total and writer.size == self._total:
                return
            try:
                self._read(writer)
            except CutError:
                cuts = cuts + 1 if writer.size > before else self._max_cuts + 1
                if cuts > self._max_cuts:
                    raise
            else:
                return

    def _read(self, writer: _Writer) -> None:
        """One answer."""
        with self._open(self._want_headers(writer)) as answer:
            if answer.status == 416:
                # There is nothing after what we have: it is whole, or not of this source. The digest tells.
                if not writer.size or (self._total and writer.size < self._total):
                    raise FetchError("the server has fewer bytes than it should", code="SizeMismatch")
                return
            if answer.status not in (200, 206):
                raise as_status_error(answer, self._request.path, has_credentials=self._has_credentials)
            self._begin(writer, answer)
            self._copy(writer, answer)

    def _want_headers(self, writer: _Writer) -> dict[str, str]:
        if not writer.size:
            return {}
        headers = {"Range": f"bytes={writer.size}-"}
        if writer.record.validator and writer.record.source == self._source:
            headers["If-Range"] = writer.record.validator
        return headers

    def _begin(self, writer: _Writer, answer: http.client.HTTPResponse) -> None:
        """Find out what this answer continues, and whether it may be so big."""
        start = writer.size
        if answer.status == 200 and start:
            if writer.trusted and not self._request.is_trusted:
                raise FetchError("the mirror cannot go on where others stopped", code="DownloadFailed")
            writer.cut_back(0)
            start = 0
        elif answer.status == 206 and not _starts_at(answer.headers.get("Content-Range"), start):
            raise FetchError("the server sends another part than was asked for", code="DownloadFailed")
        length = answer.headers.get("Content-Length")
        is_known = length is not None and length.isascii() and length.isdecimal()
        total = start + int(length or 0) if is_known else 0
        if total and self._request.size_bytes and total != self._request.size_bytes:
            raise FetchError(
                f"the server has {total} bytes, {self._request.size_bytes} are expected",
                code="SizeMismatch",
                resolution="check what the datastore serves",
            )
        self._total = self._request.size_bytes or total
        self._check_limit(self._total)
        _check_space(self._blob.partial.parent, self._total - start)
        validator = answer.headers.get("ETag") or ""
        if validator.startswith("W/"):
            validator = ""
        writer.note_source(self._source, validator or answer.headers.get("Last-Modified") or "")

    def _copy(self, writer: _Writer, answer: http.client.HTTPResponse) -> None:
        while chunk := self._next(answer):
            self._check_limit(writer.size + len(chunk))
            writer.write(chunk)
            self.received += len(chunk)
            self._tell(writer.size, self._total)
            self._pace.wait(len(chunk))
        if self._total and writer.size < self._total:
            raise CutError(f"the connection broke after {writer.size} of {self._total} bytes")

    def _next(self, answer: http.client.HTTPResponse) -> bytes:
        try:
            return answer.read1(self._pace.read_bytes)
        except TimeoutError as error:
            raise FetchError(
                "nothing came for too long",
                code="DownloadStalled",
                resolution="the download is tried again; check the link and the datastore if this persists",
            ) from error
        except (http.client.HTTPException, OSError) as error:
            raise CutError(f"the connection broke: {getattr(error, 'strerror', None) or error}") from error

    def _check_limit(self, size: int) -> None:
        limit = self._request.max_bytes
        if limit and size > limit:
            if self._request.is_trusted:
                self._blob.discard()
            raise FetchError(
                f"it has {size} bytes or more, at most {limit} are allowed",
                code="ImageTooLarge",
                retryable=False,
                resolution="raise the allowed size",
            )

    def _accept(self, file: FileIO) -> None:
        """Durable before it has its name: a blob that is there is whole."""
        os.fsync(file.fileno())
        self._blob.partial.rename(self._blob.path)
        self._blob.record_path.unlink(missing_ok=True)
        files.sync_folder(self._blob.path.parent)


def _starts_at(text: str | None, start: int) -> bool:
    """Whether a Content-Range (``bytes 100-199/200``) begins at ``start``."""
    unit, _, rest = (text or "").partition(" ")
    return unit == "bytes" and rest.partition("-")[0].strip() == str(start)


def _write_all(descriptor: int, chunk: bytes, offset: int) -> None:
    view = memoryview(chunk)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written


SPARE_BYTES = 64 << 20
"""Left free by downloads: a full disk stops everything, an image that waits stops one app."""


def _check_space(folder: Path, needed_bytes: int) -> None:
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    if needed_bytes + SPARE_BYTES > free:
        raise FetchError(
            f"{needed_bytes >> 20} MiB are needed, {free >> 20} MiB are free",
            code="StorageFull",
            resolution="free space on the node's disk or remove apps, volumes or images",
        )
