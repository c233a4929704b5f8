"""One blob: bytes into a partial file, hashed on the way, renamed when the digest is right. Resumes across everything.

Only the digest at the end says whether bytes are right. When they are not, what a mirror had a hand in is thrown away: a mirror that lies
costs its own bytes and no others.
"""

from __future__ import annotations

import contextlib
import http.client
import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from eaves.kit import files
from eaves.node.images.download.errors import CutError, FetchError
from eaves.node.images.download.http import as_status_error
from eaves.node.images.download.pace import Pace
from eaves.node.images.download.partial import BlobFile, PartialWriter
from eaves.node.images.download.protocol import BlobRequest

Open = Callable[[dict[str, str]], contextlib.AbstractContextManager[http.client.HTTPResponse]]
"""GET of the blob with additional headers."""
Tell = Callable[[int, int], None]
"""Called with the bytes on disk and the blob's size (0 = not known)."""


class BlobFetch:
    """Fetches one blob. ``source`` names it for ``If-Range``."""

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
            writer = PartialWriter(self._blob, file, record, self._boot_id, is_trusted=self._request.is_trusted)
            writer.resume()
            try:
                self._complete(writer)
            except BaseException:
                # Whatever ends this: what came is kept for the next attempt.
                with contextlib.suppress(OSError):
                    writer.sync()
                raise
            self._accept(file)

    def _complete(self, writer: PartialWriter) -> None:
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

    def _bring(self, writer: PartialWriter) -> None:
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

    def _read(self, writer: PartialWriter) -> None:
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

    def _want_headers(self, writer: PartialWriter) -> dict[str, str]:
        if not writer.size:
            return {}
        headers = {"Range": f"bytes={writer.size}-"}
        if writer.record.validator and writer.record.source == self._source:
            headers["If-Range"] = writer.record.validator
        return headers

    def _begin(self, writer: PartialWriter, answer: http.client.HTTPResponse) -> None:
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

    def _copy(self, writer: PartialWriter, answer: http.client.HTTPResponse) -> None:
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
