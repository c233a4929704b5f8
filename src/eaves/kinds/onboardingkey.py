"""OnboardingKey: a public certificate by which devices may register, and under what terms."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Meta, Struct

from eaves.kinds.columns import at
from eaves.kinds.fields import Conditions, Time, about, unique
from eaves.kinds.metadata import ObjectMeta
from eaves.kinds.pem import check_certificates, split_certificates
from eaves.kinds.rules import invalid
from eaves.kinds.serving import eaves_resource
from eaves.kinds.times import parse_time
from eaves.kube import names
from eaves.kube.errors import FieldError
from eaves.kube.resource import Column, Object

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

    api_version: Annotated[str, about("Version of the schema of this object.")] = ""
    kind: Annotated[str, about("Kind of this object.")] = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: OnboardingKeySpec
    status: OnboardingKeyStatus = OnboardingKeyStatus()


def decode(obj: Object) -> OnboardingKey:
    """Typed view of a stored object. Raises ``msgspec.ValidationError`` when it does not fit the schema."""
    return msgspec.convert(obj, OnboardingKey)


def fingerprint_of(certificate: str) -> str:
    """SHA-256 of the certificate's DER in hexadecimal digits. Raises ``ValueError`` when the PEM holds no certificate."""
    blocks = split_certificates(certificate)
    if not blocks:
        raise ValueError("no PEM certificate")
    return hashlib.sha256(x509.load_pem_x509_certificate(blocks[0].encode()).public_bytes(Encoding.DER)).hexdigest()


def check_onboarding_key(new: Object, _old: Object | None) -> Sequence[FieldError]:
    """Every fault of an OnboardingKey. Its certificate may be exchanged: nodes that it admitted stay."""
    spec = msgspec.convert(new["spec"], OnboardingKeySpec)
    return [*check_certificates("spec.certificate", spec.certificate, single=True), *_check_terms(spec)]


def _check_terms(spec: OnboardingKeySpec) -> Iterator[FieldError]:
    if spec.expiration_timestamp is not None:
        try:
            parse_time(spec.expiration_timestamp)
        except ValueError:
            yield invalid(
                "spec.expirationTimestamp", spec.expiration_timestamp, "must be a time such as 2026-12-31T23:59:59Z"
            )
    for index, serial in enumerate(spec.allowed_serials):
        if not serial or serial != serial.strip() or len(serial) > 256:
            yield invalid(
                f"spec.allowedSerials[{index}]", serial, "must be 1 to 256 characters without blanks at the ends"
            )
    for key, value in sorted(spec.node_labels.items()):
        faults = [*names.check_qualified_name(key), *names.check_label_value(value)]
        yield from (invalid(f"spec.nodeLabels[{key}]", value, text) for text in faults)


RESOURCE = eaves_resource(
    OnboardingKey,
    "onboardingkeys",
    namespaced=False,
    short_names=("ok",),
    columns=(
        Column("Approval", "string", at("spec.approval"), "Manual or Automatic."),
        Column("Uses", "integer", at("status.uses", 0), "Devices that registered with it."),
        Column("Remaining", "string", at("status.remaining", "unlimited"), "Devices that still may."),
        Column("Expires", "string", at("spec.expirationTimestamp", "never"), "When it ends."),
        Column("Revoked", "boolean", at("spec.revoked", False), "Whether it was withdrawn.", priority=1),
        Column("Fingerprint", "string", at("status.fingerprint"), "SHA-256 of the certificate.", priority=1),
    ),
    validate=check_onboarding_key,
)
