"""Onboarding keys: certificates only, and never a word of a private key."""

from __future__ import annotations

import hashlib
import ssl

import pytest
import trustme

from eaves.kinds.onboardingkey import RESOURCE, fingerprint_of
from eaves.testing.objects import make_object


@pytest.fixture(scope="module")
def certificate() -> str:
    return trustme.CA().cert_pem.bytes().decode()


def paths(**spec: object) -> list[str]:
    key = make_object("OnboardingKey", "stores", spec, namespace="")
    return [fault.path for fault in RESOURCE.validate(key, None)]


def test_a_good_key(certificate: str) -> None:
    assert (
        paths(
            certificate=certificate,
            allowedSerials=["A-1"],
            expirationTimestamp="2030-01-01T00:00:00Z",
            nodeLabels={"a/b": "c"},
        )
        == []
    )


def test_faults(certificate: str) -> None:
    assert paths(certificate="x") == ["spec.certificate"]
    assert paths(certificate=certificate + certificate) == ["spec.certificate"]
    assert paths(certificate=certificate, expirationTimestamp="tomorrow") == ["spec.expirationTimestamp"]
    assert paths(certificate=certificate, allowedSerials=[" a"]) == ["spec.allowedSerials[0]"]
    assert paths(certificate=certificate, nodeLabels={"a b": "c"}) == ["spec.nodeLabels[a b]"]


def test_a_private_key_is_refused_and_never_repeated() -> None:
    text = "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n"
    key = make_object("OnboardingKey", "stores", {"certificate": text}, namespace="")
    faults = RESOURCE.validate(key, None)
    assert [fault.path for fault in faults] == ["spec.certificate"]
    assert "c2VjcmV0" not in repr(faults)


def test_fingerprint_is_the_hash_of_the_der(certificate: str) -> None:
    assert fingerprint_of(certificate) == hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()
    with pytest.raises(ValueError):
        fingerprint_of("x")
