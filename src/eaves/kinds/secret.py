"""Secret: small confidential data. Values are base64 in ``data``; ``stringData`` takes text and becomes ``data``."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from eaves.kinds import rules
from eaves.kinds.columns import at, count
from eaves.kinds.fields import about
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
_NEEDED_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    DOCKER_CONFIG_JSON: (".dockerconfigjson",),
}
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
        if key not in data:
            yield required(f"data[{key}]")
    if kind == _BASIC_AUTH and not {"username", "password"} & data.keys():
        yield required("data[username]")
        yield required("data[password]")
    if kind == DOCKER_CONFIG_JSON and ".dockerconfigjson" in data:
        try:
            parsed = json.loads(base64.b64decode(data[".dockerconfigjson"]))
        except (ValueError, binascii.Error):
            parsed = None
        if not isinstance(parsed, dict):
            yield invalid("data[.dockerconfigjson]", REDACTED, "must be a JSON object")


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
)
