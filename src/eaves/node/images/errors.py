"""Errors of images.

::

    EngineError
    └── ImageError
        ├── ImageUnsupportedError     this node cannot use what was asked
        ├── RegistryError             code says why: RegistryUnreachable, AuthenticationFailed, ImageNotFound, …
        ├── DigestMismatchError       the registry served something else than was asked for
        ├── DownloadStalledError      nothing came for too long
        ├── DownloadError             the same, told by the download program
        ├── ImageRefusedError         the file is not what it shall be, or not safe to open
        ├── ConversionError           a disk image could not be converted
        └── ImageTooLargeError
"""

from __future__ import annotations

from eaves.kit import process
from eaves.node.errors import EngineError
from eaves.node.images.download.protocol import Failure


class ImageError(EngineError):
    code = "ImageError"
    retryable = True


class ImageUnsupportedError(ImageError):
    code = "ImageUnsupported"
    retryable = False


class RegistryError(ImageError):
    code = "DownloadFailed"


class DigestMismatchError(ImageError):
    code = "DigestMismatch"


class DownloadStalledError(ImageError):
    code = "DownloadStalled"


class ImageTooLargeError(ImageError):
    code = "ImageTooLarge"
    retryable = False


class DownloadError(ImageError):
    """``retry_after_s``: the server asked not to come back before; 0 = it did not say."""

    code = "DownloadFailed"
    retry_after_s = 0.0


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


_SIGNS = (
    (("no space left on device",), "StorageFull", "free space on the node's disk"),
    (("digest did not match", "digest mismatch", "does not match"), "DigestMismatch", "check what the registry serves"),
    (
        ("unauthorized", "authentication required", "denied", "403 (forbidden)", "401 (unauthorized)"),
        "AuthenticationFailed",
        "check user name and password of the datastore",
    ),
    (
        ("manifest unknown", "name unknown", "not found", "404"),
        "ImageNotFound",
        "check the image's name and tag, and that the registry has it",
    ),
    (
        ("x509:", "certificate", "tls:"),
        "CertificateUntrusted",
        "give the datastore the registry's CA certificate, and check the node's clock",
    ),
    (
        ("server gave http response to https client",),
        "RegistryWithoutTls",
        "name the registry with http:// if it is meant to speak without TLS",
    ),
    (
        ("connection refused", "no such host", "i/o timeout", "no route to host", "unreachable", "did not end within"),
        "RegistryUnreachable",
        "check the registry's address and the node's network",
    ),
    (
        ("unexpected eof", "connection reset", "broken pipe", "timeout"),
        "DownloadCut",
        "the download goes on by itself; check the link if this persists",
    ),
)


def as_registry_error(error: process.ProcessError, reference: str) -> ImageError:
    """Tell a failure of the download program by its words."""
    text = error.stderr.decode(errors="replace")
    lowered = (text + error.message).lower()
    last = text.strip().splitlines()[-1] if text.strip() else error.message
    for signs, code, resolution in _SIGNS:
        if any(sign in lowered for sign in signs):
            kind = DigestMismatchError if code == "DigestMismatch" else RegistryError
            return kind(_shorten(last), code=code, element=f"image {reference}", resolution=resolution)
    return RegistryError(_shorten(last), element=f"image {reference}")


def _shorten(line: str) -> str:
    """The message inside of the program's log line."""
    if 'msg="' in line:
        line = line.split('msg="', 1)[1].rstrip('"').replace('\\"', '"')
    return line[:500]
