"""Errors inside the helper process.

::

    EavesError
    └── FetchError       what the daemon is told; ``code`` says what it was
        └── CutError     the connection broke in the middle: going on may help at once
"""

from __future__ import annotations

from eaves.kit.errors import EavesError


class FetchError(EavesError):
    code = "DownloadFailed"
    retryable = True

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        retryable: bool | None = None,
        resolution: str = "",
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(message, code=code, retryable=retryable, resolution=resolution)
        self.retry_after_s = retry_after_s


class CutError(FetchError):
    code = "DownloadCut"

    def __init__(self, message: str) -> None:
        super().__init__(message, resolution="the download goes on by itself; check the link if this persists")
