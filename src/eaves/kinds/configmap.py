"""ConfigMap: small data that is not confidential."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Annotated

from msgspec import Struct

from eaves.kinds import rules
from eaves.kinds.columns import get
from eaves.kinds.fields import about
from eaves.kinds.rules import invalid
from eaves.kinds.secret import MAX_BYTES, Base64, check_frozen
from eaves.kinds.serving import core_resource
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.resource import Column, Object
from eaves.kube.tables import age_column, name_column


class ConfigMap(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """ConfigMap holds configuration data for apps to consume."""

    data: Annotated[dict[str, str], about("Texts by key.")] = {}
    binary_data: Annotated[dict[str, Base64], about("Values in base64 by key; keys must not be in data too.")] = {}
    immutable: Annotated[bool | None, about("When true, the data can never change again.")] = None


def check_configmap(new: Object, old: Object | None) -> Sequence[FieldError]:
    """Every fault of a ConfigMap, and of a change of one."""
    faults = list(_check_data(new))
    if old is not None:
        faults.extend(check_frozen(new, old, ("data", "binaryData")))
    return faults


def _check_data(obj: Object) -> Iterator[FieldError]:
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    total = 0
    for key, value in data.items():
        yield from rules.check_data_key(f"data[{key}]", key)
        if key in binary:
            yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
        total += len((value or "").encode())
    for key, value in binary.items():
        yield from rules.check_data_key(f"binaryData[{key}]", key)
        try:
            total += len(base64.b64decode(value or "", validate=True))
        except (binascii.Error, ValueError):
            yield invalid(f"binaryData[{key}]", key, "must be base64")
    if total > MAX_BYTES:
        yield FieldError("[]", CauseType.TOO_LONG, f"may not be more than {MAX_BYTES} bytes", "")


def _count(obj: Object, _now: float) -> int:
    return len(get(obj, ["data"], ())) + len(get(obj, ["binaryData"], ()))


RESOURCE = core_resource(
    ConfigMap,
    "configmaps",
    namespaced=True,
    short_names=("cm",),
    columns=(name_column(), Column("Data", "string", _count, "Number of values."), age_column()),
    validate=check_configmap,
)
