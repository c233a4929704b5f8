"""Errors between the node and its controller.

LinkError
├── UnreachableError            no answer came
│   ├── DialError                   name, TCP connection or proxy failed
│   ├── TlsError                    the controller's server certificate is not trusted, or TLS failed
│   │   └── CertificateTimeError        it is expired or not yet valid: by this machine's clock
│   └── TransferError               cut, too slow, too large or not HTTP
├── AnswerError                 an answer came but cannot be used
│   └── RefusedError                its status code says no; ``status`` holds it
├── IdentityError               this node's own keys cannot be used
└── CheckpointError             a saved config or certificate set cannot be used
"""

from __future__ import annotations

from eaves.kit.errors import EavesError


class LinkError(EavesError):
    """Something between this node and its controller failed."""

    code = "LinkError"


class UnreachableError(LinkError):
    """No answer from the controller; the same attempt may succeed later."""

    code = "ControllerUnreachable"
    retryable = True


class DialError(UnreachableError):
    """No connection: name resolution, TCP or the proxy failed."""

    code = "DialFailed"


class TlsError(UnreachableError):
    """The connection is not the controller's, or TLS failed otherwise."""

    code = "TlsFailed"


class CertificateTimeError(TlsError):
    """The server certificate is outside its validity by this machine's clock: one of the two is wrong."""

    code = "CertificateTime"


class TransferError(UnreachableError):
    """The connection was there but no complete answer came over it."""

    code = "TransferFailed"


class AnswerError(LinkError):
    """An answer that cannot be used."""

    code = "BadAnswer"


class RefusedError(AnswerError):
    """The controller answered with a status code that is no success."""

    code = "Refused"

    def __init__(self, status: int, element: str, resolution: str = "") -> None:
        super().__init__(
            f"the controller answers {status}", element=element, resolution=resolution, retryable=status >= 500
        )
        self.status = status


class IdentityError(LinkError):
    """The node's own keys or certificates cannot be used."""

    code = "BadIdentity"


class CheckpointError(LinkError):
    """What was saved from an earlier exchange cannot be used."""

    code = "BadCheckpoint"
