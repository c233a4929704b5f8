"""Turns errors of every layer below into the ``Status`` answers that clients know."""

from __future__ import annotations

import logging

import msgspec

from eaves.controller.api.forms import render_yaml
from eaves.controller.api.http import Response
from eaves.kit.errors import EavesError
from eaves.kube import negotiate, status
from eaves.kube.errors import ApiError
from eaves.store.errors import CompactedError, DiskFullError, FutureRevisionError, StoreUnavailableError

log = logging.getLogger(__name__)


def error_response(error: EavesError, accept: str = "") -> Response:
    """The answer for ``error``: an ApiError as it is, an error of the store as what it means to a client. In YAML for those who ``accept``
    that and no JSON.
    """
    fault = error if isinstance(error, ApiError) else _translate(error)
    body = msgspec.json.encode(status.render_status(fault))
    if negotiate.YAML in accept and not negotiate.accepts(accept, negotiate.JSON):
        return Response(render_yaml(body), fault.status_code, negotiate.YAML, fault.headers)
    return Response(body, fault.status_code, headers=fault.headers)


def _translate(error: EavesError) -> ApiError:
    match error:
        case CompactedError():
            return status.expired(error.message)
        case FutureRevisionError():
            return status.future_version(error.asked, error.current)
        case DiskFullError():
            return status.service_unavailable(
                "the controller's disk is full: nothing can be changed until there is space in its data folder", 30
            )
        case StoreUnavailableError():
            return status.service_unavailable(f"the store does not answer: {error.message}")
    log.error("request failed: code=%s error=%s details=%s", error.code, error, error.details)
    return status.internal(f"{error.code}: {error.message}")
