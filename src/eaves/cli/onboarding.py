"""Onboarding keys from the operator's side: the pair is made on the operator's machine, only its public half is stored."""

from __future__ import annotations

import datetime
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct

from eaves.cli.kubectl import Kubectl, KubectlError
from eaves.kit.errors import EavesError
from eaves.wire import certificates
from eaves.wire.join import JoinToken, encode_join_token

EXAMPLES = """Examples:

\b
  kubectl eaves onboarding-key create shops --expires 30d --label tier=shop
  kubectl eaves onboarding-key create lab --approval automatic --max-uses 1
"""

ANNOUNCEMENT_NAMESPACE = "kube-public"
ANNOUNCEMENT_NAME = "eaves-gateway"
"""ConfigMap in which the controller tells how devices reach it: keys ``server`` and ``root-certificate.pem``."""


class Gateway(Struct, frozen=True):
    """How devices reach the controller."""

    server: str
    root_certificates: str


class OnboardingPair(Struct, frozen=True):
    """Certificate and private key as PEM text."""

    certificate: str
    key: str

    def __repr__(self) -> str:
        return "OnboardingPair(…)"


def make_key(name: str, now: datetime.datetime, lifetime: datetime.timedelta) -> OnboardingPair:
    """A fresh P-256 pair; the certificate's end is the key's expiry, so that a forgotten object cannot outlive it."""
    private = ec.generate_private_key(ec.SECP256R1())
    certificate = certificates.make_onboarding_certificate(private, f"eaves onboarding {name}"[:64], now, lifetime)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return OnboardingPair(certificates.encode_certificate_pem(certificate).decode(), pem)


def load_gateway(kubectl: Kubectl, server: str | None) -> Gateway:
    """What the controller announces; ``server`` replaces its address."""
    try:
        data = kubectl.get("configmap", ANNOUNCEMENT_NAME, ANNOUNCEMENT_NAMESPACE)["data"]
    except KubectlError as error:
        if not error.not_found:
            raise
        raise EavesError(
            "the controller does not announce its device gateway",
            resolution=f"look at ConfigMap {ANNOUNCEMENT_NAMESPACE}/{ANNOUNCEMENT_NAME}; is this an Eaves controller?",
        ) from error
    return Gateway(server or data["server"], data["root-certificate.pem"])


def render_object(name: str, pair: OnboardingPair, expires: datetime.datetime, terms: dict[str, Any]) -> dict[str, Any]:
    """The OnboardingKey object. ``terms`` are the command's options approval, max_uses, serials, labels."""
    spec: dict[str, Any] = {
        "certificate": pair.certificate,
        "approval": str(terms["approval"]).capitalize(),
        "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if terms["max_uses"]:
        spec["maxUses"] = terms["max_uses"]
    if terms["serials"]:
        spec["allowedSerials"] = list(terms["serials"])
    if terms["labels"]:
        spec["nodeLabels"] = dict(_parse_label(label) for label in terms["labels"])
    return {"apiVersion": "eaves.dev/v1alpha1", "kind": "OnboardingKey", "metadata": {"name": name}, "spec": spec}


def render_command(gateway: Gateway, pair: OnboardingPair) -> str:
    """The command for the new machine. The token goes by standard input: arguments can be read by every user of a machine."""
    token = encode_join_token(JoinToken(gateway.server, gateway.root_certificates, pair.certificate, pair.key))
    return f"eaves node join - <<< {token}"


def _parse_label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise EavesError(f"{text!r} is not KEY=VALUE", resolution="write a label such as tier=shop")
    return key, value
