"""Errors of images.

::

    EngineError
    └── ImageError
        ├── ImageUnsupportedError     this node cannot use what was asked
        ├── DigestMismatchError       the registry served something else than was asked for
        ├── DownloadError             told by the download helper; code says why: RegistryUnreachable, AuthenticationFailed, …
        │   └── BudgetError           the node's download budget is used up
        ├── ImageRefusedError         the file is not what it shall be, or not safe to open
        ├── ConversionError           a disk image could not be converted
        └── ImageTooLargeError
"""

from __future__ import annotations

from collections.abc import Sequence

from eaves.node.errors import EngineError
from eaves.node.images.download.protocol import Failure


class ImageError(EngineError):
    code = "ImageError"
    retryable = True


class ImageUnsupportedError(ImageError):
    code = "ImageUnsupported"
    retryable = False


class DigestMismatchError(ImageError):
    code = "DigestMismatch"


class ImageTooLargeError(ImageError):
    code = "ImageTooLarge"
    retryable = False


class DownloadError(ImageError):
    """``retry_after_s``: the server asked not to come back before; 0 = it did not say."""

    code = "DownloadFailed"
    retry_after_s = 0.0


class BudgetError(DownloadError):
    """``retry_after_s``: until the next day or month of the budget."""

    code = "DownloadBudgetUsed"
    retryable = True


class ImageRefusedError(ImageError):
    code = "ImageRefused"
    retryable = False


class ConversionError(ImageError):
    code = "ConversionFailed"


def as_download_error(failure: Failure, element: str) -> DownloadError:
    """The error for what the download program told."""
    error = DownloadError(
        failure.message,
        code=failure.code,
        element=element,
        retryable=failure.retryable,
        resolution=failure.resolution,
    )
    error.retry_after_s = failure.retry_after_s
    return error


def join_failures(main: Exception, failures: Sequence[tuple[str, Exception]], element: str) -> Exception:
    """One error for several datastores that failed, with the reason of each; ``main`` gives code and remedy."""
    if len(failures) == 1:
        return main
    reasons = "; ".join(
        dict.fromkeys(f"{name}: {getattr(error, 'message', None) or error}" for name, error in failures)
    )
    joined = DownloadError(
        f"none of its datastores gives it: {reasons}",
        code=getattr(main, "code", DownloadError.code),
        element=element,
        retryable=any(getattr(error, "retryable", True) for _, error in failures),
        resolution=getattr(main, "resolution", ""),
    )
    joined.retry_after_s = getattr(main, "retry_after_s", 0.0)
    return joined
