"""Secret: small confidential data. Values are base64 in ``data``; ``stringData`` takes text and becomes ``data``."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType
from typing import Annotated, Any

from msgspec import Meta, Struct

from eaves.kinds import rules
from eaves.kinds.columns import at, count
from eaves.kinds.fields import about
from eaves.kinds.pem import find_pair_faults
from eaves.kinds.rules import forbidden, invalid, required
from eaves.kinds.serving import core_resource, text_at
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.resource import Column, Object
from eaves.kube.tables import age_column, name_column

MAX_BYTES = 1024 * 1024

REDACTED = "<secret contents redacted>"

DOCKER_CONFIG_JSON = "kubernetes.io/dockerconfigjson"
SERVICE_ACCOUNT_TOKEN = "kubernetes.io/service-account-token"  # noqa: S105 - a type, no secret
ACCOUNT_NAME = "kubernetes.io/service-account.name"
_TLS = "kubernetes.io/tls"
_SSH_AUTH = "kubernetes.io/ssh-auth"
_JSON_KEYS = {"kubernetes.io/dockercfg": (".dockercfg",), DOCKER_CONFIG_JSON: (".dockerconfigjson",)}
_NEEDED_KEYS = {_TLS: ("tls.crt", "tls.key"), _SSH_AUTH: ("ssh-privatekey",), **_JSON_KEYS}
_BASIC_AUTH = "kubernetes.io/basic-auth"

Base64 = Annotated[str, Meta(extra_json_schema={"format": "byte"})]


class Secret(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Secret holds secret data of a certain type. The total bytes of the values must be less than 1 MiB."""

    data: Annotated[dict[str, Base64], about("Values in base64 by key.")] = {}
    string_data: Annotated[
        dict[str, str], about("Values as text by key, for writing: they go into data and are never read back.")
    ] = {}
    type: Annotated[str, about("Tells programs what to find in data; cannot be changed.")] = "Opaque"
    immutable: Annotated[bool | None, about("When true, the data can never change again.")] = None


def default_secret(obj: Object) -> None:
    """Moves ``stringData`` into ``data``, where it wins."""
    texts = obj.pop("stringData", None)
    if texts:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in texts.items()}
        obj["data"] = {**(obj.get("data") or {}), **encoded}


def check_secret(new: Object, old: Object | None) -> Sequence[FieldError]:
    """Every fault of a Secret, and of a change of one. Values are never repeated in a fault."""
    data = new.get("data") or {}
    faults = [*_check_data(data), *_check_type(new.get("type", ""), data)]
    if new.get("type") == SERVICE_ACCOUNT_TOKEN and not (new["metadata"].get("annotations") or {}).get(ACCOUNT_NAME):
        faults.append(required(f"metadata.annotations[{ACCOUNT_NAME}]"))
    if old is not None:
        faults.extend(rules.check_immutable("type", new.get("type", ""), old.get("type", "")))
        faults.extend(check_frozen(new, old, ("data",)))
    return faults


def _check_data(data: Mapping[str, Any]) -> Iterator[FieldError]:
    total = 0
    for key, value in data.items():
        yield from rules.check_data_key(f"data[{key}]", key)
        try:
            total += len(base64.b64decode(value or "", validate=True))
        except (binascii.Error, ValueError):
            yield FieldError(
                f"data[{key}]",
                CauseType.INVALID,
                "must be base64 (write text in stringData instead)",
                REDACTED,
            )
    if total > MAX_BYTES:
        yield FieldError("data", CauseType.TOO_LONG, f"may not be more than {MAX_BYTES} bytes", "")


def _check_type(kind: str, data: Mapping[str, Any]) -> Iterator[FieldError]:
    for key in _NEEDED_KEYS.get(kind, ()):
        if key not in data or (kind == _SSH_AUTH and not data[key]):
            yield required(f"data[{key}]")
    if kind == _BASIC_AUTH and not {"username", "password"} & data.keys():
        yield required("data[username]")
        yield required("data[password]")
    for key in _JSON_KEYS.get(kind, ()):
        if key in data and not _is_json_object(data[key]):
            yield invalid(f"data[{key}]", REDACTED, "must be a JSON object")


def _is_json_object(value: str) -> bool:
    try:
        return isinstance(json.loads(base64.b64decode(value)), dict | NoneType)
    except (ValueError, binascii.Error):
        return False


def find_warnings(obj: Object) -> Iterator[str]:
    """A pair of certificate and key that no server could use is kept, and told of."""
    data = obj.get("data") or {}
    if obj.get("type") == _TLS:
        try:
            certificate, key = (base64.b64decode(data.get(name) or "") for name in ("tls.crt", "tls.key"))
        except (binascii.Error, ValueError):
            return
        yield from find_pair_faults(certificate, key)


def check_frozen(new: Object, old: Object, fields: Sequence[str]) -> Iterator[FieldError]:
    """What ``immutable: true`` forbids; shared with ConfigMap."""
    if not old.get("immutable"):
        return
    if not new.get("immutable"):
        yield forbidden("immutable", "field is immutable when `immutable` is set")
    for field in fields:
        if (new.get(field) or {}) != (old.get(field) or {}):
            yield forbidden(field, "field is immutable when `immutable` is set")


RESOURCE = core_resource(
    Secret,
    "secrets",
    namespaced=True,
    columns=(
        name_column(),
        Column("Type", "string", at("type"), "Used to facilitate programmatic handling of secret data."),
        Column("Data", "string", count("data"), "Number of values."),
        age_column(),
    ),
    selectable_fields={"type": text_at("type")},
    default=default_secret,
    validate=check_secret,
    warn=find_warnings,
)
