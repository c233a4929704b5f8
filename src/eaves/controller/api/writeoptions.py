"""Query parameters of writes, checked by a kube-apiserver's rules. Pure."""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec import Struct

from eaves.controller.api.http import Request
from eaves.controller.api.identity import ANONYMOUS, Identity
from eaves.controller.api.routing import Query, is_true
from eaves.kube import status
from eaves.kube.errors import CauseType, FieldError

MANAGER_LIMIT_BYTES = 128


class FieldValidation(StrEnum):
    """What becomes of fields that a kind does not have."""

    IGNORE = "Ignore"
    WARN = "Warn"
    STRICT = "Strict"


class WriteOptions(Struct, frozen=True):
    """A create, update or patch as asked."""

    dry_run: bool = False
    manager: str = ""
    validation: FieldValidation = FieldValidation.WARN
    force: bool = False
    is_manager_given: bool = False
    """Whether the request named its manager; apply must."""
    identity: Identity = ANONYMOUS
    """Who writes, for what depends on that: only what one has may be granted."""


def load_write_options(kind: str, request: Request) -> WriteOptions:
    """The options of a request, with its caller. Raises ApiError 422."""
    options = parse_write_options(kind, request.query, request.header(b"user-agent"))
    return msgspec.structs.replace(options, identity=request.identity)


def parse_write_options(kind: str, query: Query, user_agent: str) -> WriteOptions:
    """``kind`` names the options in faults: CreateOptions, UpdateOptions, PatchOptions. Raises ApiError 422."""
    faults = list(_check_dry_run(query))
    validation = query.get("fieldValidation", "") or FieldValidation.WARN
    if validation not in set(FieldValidation):
        faults.append(_unsupported("fieldValidation", validation, ("", *sorted(FieldValidation))))
    manager = query.get("fieldManager", "")
    if len(manager.encode()) > MANAGER_LIMIT_BYTES:
        detail = f"may not be more than {MANAGER_LIMIT_BYTES} bytes"
        faults.append(FieldError("fieldManager", CauseType.TOO_LONG, detail, manager))
    elif not manager.isprintable():
        at, letter = next((i, letter) for i, letter in enumerate(manager) if not letter.isprintable())
        detail = f"invalid character U+{ord(letter):04X} (at position {len(manager[:at].encode())})"
        faults.append(FieldError("fieldManager", CauseType.INVALID, detail, manager))
    if faults:
        raise status.invalid("meta.k8s.io", kind, "", faults)
    return WriteOptions(
        dry_run="dryRun" in query,
        manager=manager or _default_manager(user_agent),
        validation=FieldValidation(validation),
        force=is_true(query, "force"),
        is_manager_given=bool(manager),
    )


def check_no_force(options: WriteOptions) -> None:
    """Only an apply can take fields over. Raises ApiError 422."""
    if options.force:
        fault = FieldError("force", CauseType.FORBIDDEN, "may not be specified for non-apply patch")
        raise status.invalid("meta.k8s.io", "PatchOptions", "", [fault])


def is_dry_run(kind: str, query: Query) -> bool:
    """For deletes. Raises ApiError 422 for anything but ``All``."""
    faults = list(_check_dry_run(query))
    if faults:
        raise status.invalid("meta.k8s.io", kind, "", faults)
    return "dryRun" in query


def _check_dry_run(query: Query) -> list[FieldError]:
    value = query.get("dryRun")
    return [] if value in (None, "All") else [_unsupported("dryRun", [value], ("All",))]


def _unsupported(field: str, value: object, supported: tuple[str, ...]) -> FieldError:
    listed = ", ".join(f'"{each}"' for each in supported)
    return FieldError(field, CauseType.NOT_SUPPORTED, f"supported values: {listed}", value)


def _default_manager(user_agent: str) -> str:
    """A client that names no manager is known by its program: the User-Agent up to the first slash."""
    name = user_agent.partition("/")[0]
    printable = "".join(character for character in name if character.isprintable())
    return printable.encode()[:MANAGER_LIMIT_BYTES].decode(errors="ignore") or "unknown"
