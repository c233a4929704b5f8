"""Which ``/certs`` answers a device believes."""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from eaves.wire import certificates, controller_certs
from eaves.wire.certificates import Profile
from eaves.wire.controller_certs import ECDH, INTERMEDIATE, SIGNING, ControllerCert
from eaves.wire.errors import CertificateError, CertificateSetError, ChainError, MalformedCertificateError
from eaves.wire.pb.certs import certs_pb2

NOW = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
YEAR = datetime.timedelta(days=365)
ROOT_KEY, MIDDLE_KEY, LEAF_KEY = (ec.derive_private_key(number, ec.SECP256R1()) for number in (11, 12, 13))
ROOT = certificates.make_ca(ROOT_KEY, "root", NOW, 10 * YEAR)
ROOT_PEM = certificates.encode_certificate_pem(ROOT)
MIDDLE = certificates.issue_certificate(
    ROOT, ROOT_KEY, MIDDLE_KEY.public_key(), Profile.INTERMEDIATE, "middle", NOW, 5 * YEAR
)


def leaf(profile: Profile, issuer: x509.Certificate = MIDDLE, key: ec.EllipticCurvePrivateKey = MIDDLE_KEY) -> bytes:
    issued = certificates.issue_certificate(issuer, key, LEAF_KEY.public_key(), profile, profile.value, NOW, YEAR)
    return certificates.encode_certificate_pem(issued)


SIGNING_CERT = controller_certs.want_controller_cert(SIGNING, leaf(Profile.SIGNING))
ECDH_CERT = controller_certs.want_controller_cert(ECDH, leaf(Profile.ECDH))
MIDDLE_CERT = controller_certs.want_controller_cert(INTERMEDIATE, certificates.encode_certificate_pem(MIDDLE))
GOOD = [SIGNING_CERT, ECDH_CERT, MIDDLE_CERT]


def check(
    certs: Iterable[ControllerCert], root_pem: bytes = ROOT_PEM, now: datetime.datetime = NOW
) -> controller_certs.ControllerCerts:
    return controller_certs.check_controller_certs(controller_certs.encode_controller_certs(certs), root_pem, now)


def odd_leaf(*extensions: tuple[x509.ExtensionType, bool], issuer: x509.Certificate = ROOT) -> x509.Certificate:
    """A leaf below the root with exactly these extensions."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "odd")])
    builder = x509.CertificateBuilder(issuer.subject, name, LEAF_KEY.public_key(), 5, NOW, NOW + YEAR)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(ROOT_KEY, hashes.SHA256())


def accepts(
    certificate: x509.Certificate, *pool: x509.Certificate, roots: tuple[x509.Certificate, ...] = (ROOT,)
) -> bool:
    try:
        controller_certs.check_chain(certificate, pool, roots, NOW, "x")
    except ChainError:
        return False
    return True


def test_good_set_is_taken_apart_by_role() -> None:
    found = check(GOOD)
    assert (found.signing, found.ecdh, found.intermediates) == (SIGNING_CERT, (ECDH_CERT,), (MIDDLE_CERT,))
    assert found.signing_key == LEAF_KEY.public_key()
    assert found.signing_sha256 == certificates.hash_of_pem(SIGNING_CERT.pem)
    assert found.signing_sha256[:16] == SIGNING_CERT.cert_hash


def test_order_of_certificates_does_not_matter() -> None:
    assert check(GOOD).hashes == check(reversed(GOOD)).hashes
    assert controller_certs.hash_of_controller_certs(GOOD) == controller_certs.hash_of_controller_certs(GOOD[::-1])


def test_changed_key_agreement_certificate_changes_both_hashes() -> None:
    new = controller_certs.want_controller_cert(ECDH, leaf(Profile.SIGNING))
    changed = [SIGNING_CERT, new, MIDDLE_CERT]
    assert check(changed).hashes != check(GOOD).hashes
    assert controller_certs.hash_of_controller_certs(changed) != controller_certs.hash_of_controller_certs(GOOD)


@pytest.mark.parametrize("size_bytes", [16, 32])
def test_hash_algorithm_fits_the_length_of_the_hash(size_bytes: int) -> None:
    cert = controller_certs.want_controller_cert(SIGNING, b"\n" + SIGNING_CERT.pem + b"\n\n", size_bytes)
    message = certs_pb2.ZControllerCert.FromString(controller_certs.encode_controller_certs([cert]))
    assert len(message.certs[0].certHash) == size_bytes
    assert message.certs[0].hashAlgo == {16: 1, 32: 2}[size_bytes]
    assert message.certs[0].certHash == certificates.hash_of_pem(message.certs[0].cert, size_bytes)


@pytest.mark.parametrize(
    ("certs", "message"),
    [
        ([ECDH_CERT, MIDDLE_CERT], "0 signing"),
        ([SIGNING_CERT, SIGNING_CERT, ECDH_CERT, MIDDLE_CERT], "2 signing"),
        ([SIGNING_CERT, MIDDLE_CERT], "no certificate for key agreement"),
        ([*GOOD, ControllerCert(certs_pb2.CERT_TYPE_DEVICE_ONBOARDING, ECDH_CERT.pem, b"h" * 16)], "wrong type"),
        ([*GOOD, ControllerCert(certs_pb2.CERT_TYPE_CONTROLLER_NONE, ECDH_CERT.pem, b"h" * 16)], "wrong type"),
        ([], "0 signing"),
        ([SIGNING_CERT, *[ECDH_CERT] * 40], "most is"),
    ],
)
def test_set_that_lacks_or_exceeds_is_refused_whole(certs: list[ControllerCert], message: str) -> None:
    with pytest.raises(CertificateSetError, match=message):
        check(certs)


def test_missing_intermediate_breaks_the_path_and_the_error_names_the_issuer() -> None:
    with pytest.raises(ChainError) as caught:
        check([SIGNING_CERT, ECDH_CERT])
    assert caught.value.element == "signing certificate"
    assert "CN=middle" in caught.value.details


def test_bad_key_agreement_certificate_is_refused_though_signing_is_good() -> None:
    stranger = ec.derive_private_key(99, ec.SECP256R1())
    false_root = certificates.make_ca(stranger, "middle", NOW, YEAR)
    cert = controller_certs.want_controller_cert(ECDH, leaf(Profile.ECDH, false_root, stranger))
    with pytest.raises(ChainError, match="key agreement") as caught:
        check([SIGNING_CERT, cert, MIDDLE_CERT])
    assert "not signed by the key" in caught.value.details


@pytest.mark.parametrize(("moment", "word"), [(NOW - YEAR, "not valid before"), (NOW + 2 * YEAR, "expired")])
def test_dates_count_at_the_given_moment(moment: datetime.datetime, word: str) -> None:
    with pytest.raises(ChainError) as caught:
        check(GOOD, now=moment)
    assert word in caught.value.details


def test_expired_intermediate_breaks_the_path() -> None:
    old = certificates.issue_certificate(
        ROOT, ROOT_KEY, MIDDLE_KEY.public_key(), Profile.INTERMEDIATE, "middle", NOW - 2 * YEAR, YEAR
    )
    cert = controller_certs.want_controller_cert(INTERMEDIATE, certificates.encode_certificate_pem(old))
    with pytest.raises(ChainError, match="root"):
        check([SIGNING_CERT, ECDH_CERT, cert])
    assert check([SIGNING_CERT, ECDH_CERT, cert, MIDDLE_CERT]).signing == SIGNING_CERT


def test_any_of_several_roots_will_do() -> None:
    other = certificates.make_ca(LEAF_KEY, "other root", NOW, YEAR)
    assert check(GOOD, certificates.encode_certificate_pem(other) + ROOT_PEM).signing == SIGNING_CERT


def test_leaf_that_is_itself_the_root_is_trusted() -> None:
    own = odd_leaf()
    assert accepts(own, roots=(own,))


@pytest.mark.parametrize(
    ("usages", "accepted"),
    [
        ([ExtendedKeyUsageOID.SERVER_AUTH], True),
        ([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], True),
        ([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH], True),
        ([ExtendedKeyUsageOID.CLIENT_AUTH], False),
        ([ExtendedKeyUsageOID.CODE_SIGNING], False),
    ],
)
def test_extended_key_usage_must_allow_server_authentication(usages: list[ObjectIdentifier], accepted: bool) -> None:
    assert accepts(odd_leaf((x509.ExtendedKeyUsage(usages), False))) is accepted


def test_unknown_critical_extension_is_refused_and_an_uncritical_one_is_not() -> None:
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    assert accepts(odd_leaf((unknown, False)))
    assert not accepts(odd_leaf((unknown, True)))


def test_leaf_may_not_issue() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "below")])
    for extensions in ([], [(x509.BasicConstraints(ca=False, path_length=None), True)]):
        issuer = odd_leaf(*extensions)
        builder = x509.CertificateBuilder(issuer.subject, name, MIDDLE_KEY.public_key(), 6, NOW, NOW + YEAR)
        assert not accepts(builder.sign(LEAF_KEY, hashes.SHA256()), issuer)


def test_path_longer_than_an_issuer_allows_is_refused() -> None:
    third_key = ec.derive_private_key(14, ec.SECP256R1())
    third = certificates.issue_certificate(
        MIDDLE, MIDDLE_KEY, third_key.public_key(), Profile.INTERMEDIATE, "third", NOW, YEAR
    )
    pem = leaf(Profile.SIGNING, third, third_key)
    assert not accepts(certificates.parse_certificate_pem(pem), third, MIDDLE)


def test_circle_of_issuers_ends() -> None:
    keys = [ec.derive_private_key(number, ec.SECP256R1()) for number in (21, 22)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in "ab"]
    ca = x509.BasicConstraints(ca=True, path_length=None)
    circle = [
        x509.CertificateBuilder(names[1 - i], names[i], keys[i].public_key(), 1, NOW, NOW + YEAR)
        .add_extension(ca, critical=True)
        .sign(keys[1 - i], hashes.SHA256())
        for i in (0, 1)
    ]
    assert not accepts(circle[0], *circle)


def test_openssl_agrees_about_the_whole_set(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_bytes(ROOT_PEM)
    (tmp_path / "middle.pem").write_bytes(MIDDLE_CERT.pem)
    for cert in (SIGNING_CERT, ECDH_CERT):
        (tmp_path / "leaf.pem").write_bytes(cert.pem)
        command = ["openssl", "verify", "-x509_strict", "-attime", str(int(NOW.timestamp()))]
        command += ["-CAfile", str(tmp_path / "root.pem"), "-untrusted", str(tmp_path / "middle.pem")]
        subprocess.run([*command, str(tmp_path / "leaf.pem")], check=True, capture_output=True, timeout=30)


def test_root_that_is_no_certificate_is_refused() -> None:
    with pytest.raises(MalformedCertificateError):
        check(GOOD, b"nothing")


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_an_own_error(payload: bytes) -> None:
    with pytest.raises(CertificateError):
        controller_certs.check_controller_certs(payload, ROOT_PEM, NOW)


@given(st.data())
def test_damaged_answer_is_refused_or_means_the_same(data: st.DataObject) -> None:
    payload = bytearray(controller_certs.encode_controller_certs(GOOD))
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = controller_certs.check_controller_certs(bytes(payload), ROOT_PEM, NOW)
    except CertificateError:
        return
    assert certificates.parse_certificate_pem(found.signing.pem) == certificates.parse_certificate_pem(SIGNING_CERT.pem)
