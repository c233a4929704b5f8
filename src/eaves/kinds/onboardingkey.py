"""OnboardingKey: a public certificate by which devices may register, and under what terms."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from eaves.kinds.fields import Conditions, Time, about, unique
from eaves.kinds.metadata import ObjectMeta
from eaves.kube.resource import Object

PositiveCount = Annotated[int, Meta(ge=1, le=1_000_000)]


class Approval(StrEnum):
    MANUAL = "Manual"
    AUTOMATIC = "Automatic"


class OnboardingKeySpec(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Who may register with the key."""

    certificate: Annotated[
        str,
        about("The public certificate as PEM; its private key stays with the devices.", min_length=1, max_length=16384),
    ]
    allowed_serials: Annotated[list[str], unique(description="Serial numbers that may register; any when empty.")] = []
    expiration_timestamp: Annotated[Time | None, about("No registration after this time.")] = None
    max_uses: Annotated[PositiveCount | None, about("How many devices may register; no limit when absent.")] = None
    approval: Annotated[
        Approval, about("Manual: an operator approves each device. Automatic: devices are approved at once.")
    ] = Approval.MANUAL
    node_labels: Annotated[dict[str, str], about("Labels put on the nodes that it admits.")] = {}
    revoked: Annotated[bool, about("No registration any more; admitted nodes stay.")] = False


class OnboardingKeyStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """How the key was used."""

    uses: Annotated[int, about("Devices that registered with it.")] = 0
    remaining: Annotated[int | None, about("Devices that still may; absent when there is no limit.")] = None
    last_used: Annotated[Time | None, about("When a device last registered.")] = None
    fingerprint: Annotated[str, about("SHA-256 of the certificate in hexadecimal digits.")] = ""
    conditions: Conditions = []


class OnboardingKey(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Admits devices: whoever holds the private key of its certificate may register."""

    api_version: str = field(name="apiVersion", default="eaves.dev/v1alpha1")
    kind: str = "OnboardingKey"
    metadata: ObjectMeta = ObjectMeta()
    spec: OnboardingKeySpec
    status: OnboardingKeyStatus = OnboardingKeyStatus()


def decode(obj: Object) -> OnboardingKey:
    """Typed view of a stored object. Raises ``msgspec.ValidationError`` when it does not fit the schema."""
    return msgspec.convert(obj, OnboardingKey)
