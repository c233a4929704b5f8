"""API errors as Kubernetes clients expect them: a ``Status`` with reason, code and causes.

ApiError                    any answer that is a Status failure
└── (made by the functions below, one a reason)

Handlers raise :class:`ApiError`; the HTTP layer turns it into the response. Texts follow what a kube-apiserver answers, because
kubectl and client-go print or parse them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from eaves.kit.errors import EavesError

if TYPE_CHECKING:
    from collections.abc import Mapping


class CauseType(StrEnum):
    """``reason`` of one cause in ``details.causes``."""

    REQUIRED = "FieldValueRequired"
    DUPLICATE = "FieldValueDuplicate"
    INVALID = "FieldValueInvalid"
    NOT_SUPPORTED = "FieldValueNotSupported"
    FORBIDDEN = "FieldValueForbidden"
    TOO_LONG = "FieldValueTooLong"
    TOO_MANY = "FieldValueTooMany"
    TYPE_INVALID = "FieldValueTypeInvalid"
    CONFLICT = "FieldManagerConflict"


class FieldError(Struct, frozen=True):
    """One fault of one field. ``path`` is ``spec.networks[0].ports[1].nodePort``."""

    path: str
    type: CauseType
    detail: str
    value: Any = None
    """The offending value; shown except for REQUIRED, FORBIDDEN and where it would reveal a secret."""


class ApiError(EavesError):
    """A failure to answer with ``status_code`` and the Status object ``status``."""

    def __init__(
        self,
        status_code: int,
        reason: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, code=reason or "Unknown")
        self.status_code = status_code
        self.reason = reason
        self.status_details: dict[str, Any] | None = None if details is None else dict(details)
        self.headers = dict(headers or {})
        self.continue_token = ""
        """Goes into ``metadata.continue`` of an Expired status."""
