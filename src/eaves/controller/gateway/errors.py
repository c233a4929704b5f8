"""Errors of the gateway: each is an answer to a device, and its status code is what the device acts on.

GatewayError
├── MalformedError          400  not readable; also "this UUID is not yours", which makes a device ask /uuid again
├── UnauthenticatedError    401  nobody we know signed this; devices keep the message and try again
├── ForbiddenError          403  known but not allowed; on /config it makes the device attest again
├── UnknownPathError        404  no such endpoint
├── MethodError             405  endpoint exists, method does not
├── SlowSenderError         408  the body did not arrive in time
├── ConflictError           409  this serial number already belongs to another device certificate
├── TooLargeError           413  body beyond the endpoint's bound
├── UnsupportedMediaError   415  said to be something else than an envelope, or compressed
├── UnprocessableError      422  signed well, but its content makes no sense; devices drop the message
├── TooManyError            429  the sender exceeds its rate
└── BusyError               503  not now, for everybody; devices retry

The code travels to the device in the header ``eaves-reason``; bodies of refusals stay empty, since a device takes every body for a
signed envelope.
"""

from __future__ import annotations

from eaves.kit.errors import EavesError


class GatewayError(EavesError):
    """A refusal. ``status`` is the HTTP code, ``retry_after_s`` goes out as Retry-After when above 0."""

    code = "Refused"
    status = 500
    retry_after_s = 0


class MalformedError(GatewayError):
    code = "Malformed"
    status = 400


class UnauthenticatedError(GatewayError):
    code = "Unauthenticated"
    status = 401
    retryable = True


class ForbiddenError(GatewayError):
    code = "Forbidden"
    status = 403
    retryable = True


class UnknownPathError(GatewayError):
    code = "UnknownPath"
    status = 404


class MethodError(GatewayError):
    """``allowed`` goes out as Allow."""

    code = "MethodNotAllowed"
    status = 405

    def __init__(self, allowed: str) -> None:
        super().__init__(f"only {allowed} is served here")
        self.allowed = allowed


class SlowSenderError(GatewayError):
    code = "SlowSender"
    status = 408
    retryable = True


class ConflictError(GatewayError):
    code = "DeviceConflict"
    status = 409


class TooLargeError(GatewayError):
    code = "TooLarge"
    status = 413


class UnsupportedMediaError(GatewayError):
    code = "UnsupportedMediaType"
    status = 415


class UnprocessableError(GatewayError):
    code = "Unprocessable"
    status = 422


class TooManyError(GatewayError):
    code = "TooManyRequests"
    status = 429
    retryable = True

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = max(1, retry_after_s)


class BusyError(GatewayError):
    code = "Busy"
    status = 503
    retryable = True
    retry_after_s = 5
