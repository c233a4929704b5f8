"""The helper process: reads its set-up, then requests, each of which it serves in a thread of its own."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import msgspec

from eaves.kit.errors import EavesError
from eaves.node.images.download.blob import BlobFetch
from eaves.node.images.download.errors import FetchError
from eaves.node.images.download.pace import Pace
from eaves.node.images.download.protocol import Answer, BlobRequest, Failure, RateRequest, Request, Setup
from eaves.node.images.download.sources import Source, want_source

TELL_EVERY_S = 0.3


class Helper:
    def __init__(self, setup: Setup, source: Source) -> None:
        self._setup = setup
        self._source = source
        self._pace = Pace(setup.rate_bytes_per_s)
        self._lock = threading.Lock()

    def serve(self) -> None:
        """Until the input ends, which is how the daemon's end shows."""
        for line in sys.stdin.buffer:
            request = msgspec.json.decode(line, type=Request)
            if isinstance(request, RateRequest):
                self._pace.set_rate(request.bytes_per_s)
            else:
                threading.Thread(target=self._serve, args=(request,), daemon=True).start()

    def _serve(self, request: Request) -> None:
        assert not isinstance(request, RateRequest)
        try:
            if isinstance(request, BlobRequest):
                self._say(self._fetch(request))
            else:
                text = self._source.manifest(request.repository, request.reference)
                self._say(Answer(request.id, done=True, text=text))
        except EavesError as error:
            after_s = error.retry_after_s if isinstance(error, FetchError) else 0.0
            failure = Failure(error.code, error.message, error.resolution, error.retryable, after_s)
            self._say(Answer(request.id, failure=failure))
        except OSError as error:
            code = "StorageFull" if error.errno in (28, 122) else "DownloadFailed"
            self._say(Answer(request.id, failure=Failure(code, f"{error.strerror or error}")))
        except Exception as error:  # noqa: BLE001 - a defect must end the request, not leave its daemon waiting
            self._say(Answer(request.id, failure=Failure("InternalError", f"{type(error).__name__}: {error}")))

    def _fetch(self, request: BlobRequest) -> Answer:
        told_at = 0.0
        last = Answer(request.id)

        def tell(have: int, size: int) -> None:
            nonlocal told_at, last
            last = Answer(request.id, received=fetch.received, have=have, size=size)
            now = time.monotonic()
            if now - told_at >= TELL_EVERY_S:
                told_at = now
                self._say(last)

        fetch = BlobFetch(
            Path(self._setup.folder),
            request,
            f"{self._setup.base} {request.path}",
            lambda headers: self._source.blob(request, headers),
            self._pace,
            tell,
            boot_id=self._setup.boot_id,
            max_cuts=self._setup.max_cuts,
            has_credentials=bool(self._setup.username),
        )
        try:
            fetch.run()
        finally:
            # What was received counts against the budget, however it ended.
            self._say(last)
        return msgspec.structs.replace(last, done=True)

    def _say(self, answer: Answer) -> None:
        with self._lock:
            sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
            sys.stdout.buffer.flush()


def main() -> None:
    setup = msgspec.json.decode(sys.stdin.buffer.readline(), type=Setup)
    try:
        source = want_source(setup)
    except EavesError as error:
        failure = Failure(error.code, error.message, error.resolution, error.retryable)
        sys.stdout.buffer.write(msgspec.json.encode(Answer(0, failure=failure)) + b"\n")
        sys.stdout.buffer.flush()
        return
    Helper(setup, source).serve()
    # Threads may be in the middle of a read that takes minutes; partial files bear it.
    os._exit(0)


if __name__ == "__main__":
    main()
