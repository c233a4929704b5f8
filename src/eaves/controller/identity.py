"""Who the controller is: its authority, its server certificate, and the keys by which devices trust and are told secrets.

Bootstrap makes one :class:`Identity`; the gateway signs with it, the config reconciler encrypts with it, and
``eaves controller rotate-certs`` adds a generation that a running controller takes up within seconds.

A device notices a new signing key as an answer signed by an unknown certificate, fetches ``/certs`` and goes on. Only one signing
certificate may be in ``/certs``, so the new one is used at once. Former ECDH certificates stay in ``/certs`` for
:data:`ECDH_OVERLAP`, because a device that was away decrypts its saved config with them.
"""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct

from eaves.controller.keyfolder import KeyFolder, KeyPair, KeyVault, Role, parse_pair, render_pair
from eaves.kit.files import load_file, save_file
from eaves.wire import certificates, controller_certs
from eaves.wire.certificates import Profile
from eaves.wire.controller_certs import ControllerCert
from eaves.wire.envelope import Signer

CA_LIFETIME = datetime.timedelta(days=20 * 365)
SERVER_LIFETIME = datetime.timedelta(days=365)
SERVER_RENEWAL = datetime.timedelta(days=120)
DEVICE_KEY_LIFETIME = datetime.timedelta(days=4 * 365)
DEVICE_KEY_RENEWAL = datetime.timedelta(days=2 * 365)
"""A device cannot load its saved config once the signing certificate in it expired, so at least two years are always left."""
ECDH_OVERLAP = datetime.timedelta(days=365)

_AUTHORITY_NAME = "Eaves controller CA"


class GivenFiles(Struct, frozen=True):
    """Certificates that the operator brings. An empty path means: make and renew our own."""

    server_certificate: Path | None = None
    """PEM chain for TLS; its key in ``server_key``."""
    server_key: Path | None = None
    authority: Path | None = None
    """PEM authorities that clients need in order to trust the server certificate; none for a publicly trusted one."""
    signing: Path | None = None
    """One PEM file: signing certificate, intermediates, private key."""
    ecdh: Path | None = None
    """The same for key agreement; P-256."""


class EcdhKey(Struct, frozen=True):
    """A key agreement key and the hash by which devices look its certificate up."""

    cert_hash: bytes
    certificate_pem: bytes
    private_key: ec.EllipticCurvePrivateKey


class Credentials(Struct, frozen=True):
    """One consistent state of all keys."""

    root_pem: bytes
    """What devices verify ``/certs`` with: their ``root-certificate.pem``."""
    authority_pem: bytes | None
    """What clients of the TLS ports need; None when the system's authorities do."""
    server_file: Path
    """PEM chain and key for TLS, in one file."""
    signer: Signer
    ecdh: tuple[EcdhKey, ...]
    """The one to encrypt with first, then former ones that devices may still need."""
    certs_payload: bytes
    """ZControllerCert as served in ``/certs``."""
    certs_hash: str
    """``controllercert_confighash``."""
    account_keys: tuple[ec.EllipticCurvePrivateKey, ...]
    """Sign and verify tokens of service accounts, newest last."""
    iv_secret: bytes
    """Key from which the IVs of encrypted fields are derived."""


class Identity:
    """Holds the current :class:`Credentials`, makes what is missing, renews what expires."""

    def __init__(
        self,
        vault: KeyVault,
        tls_file: Path,
        hosts: Sequence[str],
        given: GivenFiles,
        now: Callable[[], datetime.datetime],
    ) -> None:
        self._vault = vault
        self._tls_file = tls_file
        self._hosts = tuple(hosts)
        self._given = given
        self._now = now
        self._current = self._load()

    @property
    def current(self) -> Credentials:
        return self._current

    def reload(self) -> bool:
        """Renew what is due and take up what others wrote; True when something differs. Blocking: call it in a thread."""
        before = self._current
        fresh = self._load()
        self._current = fresh
        return (fresh.certs_hash, fresh.signer.cert_hash) != (before.certs_hash, before.signer.cert_hash)

    def rotate(self) -> None:
        """Make a new generation of our signing and ECDH keys; a running controller takes it up by :meth:`reload`."""
        authority = self._want_authority()
        for role in (Role.SIGNING, Role.ECDH, Role.ACCOUNTS):
            if self._given_file(role) is None:
                self._issue(role, authority)
        self._current = self._load()

    def _load(self) -> Credentials:
        authority = self._want_authority()
        signing = self._want_device_key(Role.SIGNING, authority)[-1]
        ecdh = list(reversed(self._want_device_key(Role.ECDH, authority)))
        certs = _served_certs(signing, ecdh)
        return Credentials(
            root_pem=self._load_root(authority),
            authority_pem=self._load_authority(authority),
            server_file=self._want_server_file(authority),
            signer=Signer(signing.private_key, signing.certificate_pem.strip() + b"\n"),
            ecdh=tuple(_ecdh_key(pair) for pair in ecdh),
            certs_payload=controller_certs.encode_controller_certs(certs),
            certs_hash=controller_certs.hash_of_controller_certs(certs),
            account_keys=tuple(pair.elliptic_key for pair in self._want_device_key(Role.ACCOUNTS, authority)),
            iv_secret=self._vault.want_secret("iv", secrets.token_bytes(32)),
        )

    def _want_authority(self) -> KeyPair:
        known = self._vault.load_pairs(Role.CA)
        if known:
            return known[-1]
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = certificates.make_ca(key, _AUTHORITY_NAME, self._now(), CA_LIFETIME)
        pair = KeyPair(Role.CA, 1, certificates.encode_certificate_pem(certificate), key)
        self._vault.save_pair(pair)
        return pair

    def _load_root(self, authority: KeyPair) -> bytes:
        if self._given.signing is not None and self._given.authority is not None:
            return self._given.authority.read_bytes()
        return authority.certificate_pem

    def _load_authority(self, authority: KeyPair) -> bytes | None:
        if self._given.server_certificate is None:
            return authority.certificate_pem
        return self._given.authority.read_bytes() if self._given.authority is not None else None

    def _given_file(self, role: Role) -> Path | None:
        return {Role.SIGNING: self._given.signing, Role.ECDH: self._given.ecdh}.get(role)

    def _want_device_key(self, role: Role, authority: KeyPair) -> list[KeyPair]:
        """The generations in use, newest last. Former signing keys are dropped, others after their overlap."""
        if (given := self._given_file(role)) is not None:
            return [parse_pair(given.read_bytes(), role, 0, str(given))]
        pairs = self._vault.load_pairs(role)
        if not pairs or self._is_due(pairs[-1], DEVICE_KEY_RENEWAL):
            pairs = [*pairs, self._issue(role, authority)]
        newest = pairs[-1]
        for pair in pairs[:-1]:
            if role is Role.SIGNING or self._now() - _issued_at(newest) > ECDH_OVERLAP:
                self._vault.drop_pair(role, pair.generation)
        return self._vault.load_pairs(role)

    def _issue(self, role: Role, authority: KeyPair) -> KeyPair:
        pairs = self._vault.load_pairs(role)
        generation = pairs[-1].generation + 1 if pairs else 1
        key = ec.generate_private_key(ec.SECP256R1())
        is_server = role is Role.SERVER
        # Nobody asks for the certificate of a key that signs tokens; it has one so that all keys are kept in one way.
        profile = {Role.SERVER: Profile.SERVER, Role.ECDH: Profile.ECDH}.get(role, Profile.SIGNING)
        certificate = certificates.issue_certificate(
            authority.certificate,
            authority.elliptic_key,
            key.public_key(),
            profile,
            f"eaves controller {role}",
            self._now(),
            SERVER_LIFETIME if is_server else DEVICE_KEY_LIFETIME,
            hosts=self._hosts if is_server else (),
        )
        pair = KeyPair(role, generation, certificates.encode_certificate_pem(certificate), key)
        self._vault.save_pair(pair)
        return pair

    def _want_server_file(self, authority: KeyPair) -> Path:
        """One file with chain and key for the TLS library, kept equal to what it is made from."""
        if self._given.server_certificate is not None:
            text = self._given.server_certificate.read_bytes()
            if self._given.server_key is not None:
                text += b"\n" + self._given.server_key.read_bytes()
            pair = parse_pair(text, Role.SERVER, 0, str(self._given.server_certificate))
        else:
            pair = self._want_server(authority)
        wanted = render_pair(pair)
        if load_file(self._tls_file) != wanted:
            save_file(self._tls_file, wanted)
        return self._tls_file

    def _want_server(self, authority: KeyPair) -> KeyPair:
        pairs = self._vault.load_pairs(Role.SERVER)
        if pairs and not self._is_due(pairs[-1], SERVER_RENEWAL) and _hosts_of(pairs[-1]) == set(self._hosts):
            return pairs[-1]
        fresh = self._issue(Role.SERVER, authority)
        for pair in pairs:
            self._vault.drop_pair(Role.SERVER, pair.generation)
        return fresh

    def _is_due(self, pair: KeyPair, renewal: datetime.timedelta) -> bool:
        """Whether a new generation is needed: too little time left, or made while the clock was ahead."""
        certificate = pair.certificate
        now = self._now()
        return certificate.not_valid_after_utc - now < renewal or certificate.not_valid_before_utc > now


def open_identity(
    folder: Path, hosts: Sequence[str], given: GivenFiles, now: Callable[[], datetime.datetime]
) -> Identity:
    """The identity kept in ``folder``, made there at the first start. Raises KeyFileError, OSError."""
    vault = KeyFolder(folder)
    return Identity(vault, folder / "tls.pem", hosts, given, now)


def _served_certs(signing: KeyPair, ecdh: Sequence[KeyPair]) -> list[ControllerCert]:
    certs = [controller_certs.want_controller_cert(controller_certs.SIGNING, signing.certificate_pem)]
    certs += [controller_certs.want_controller_cert(controller_certs.ECDH, pair.certificate_pem) for pair in ecdh]
    chain = dict.fromkeys(pem for pair in (signing, *ecdh) for pem in pair.chain_pem)
    certs += [controller_certs.want_controller_cert(controller_certs.INTERMEDIATE, pem) for pem in chain]
    return certs


def _ecdh_key(pair: KeyPair) -> EcdhKey:
    served = controller_certs.want_controller_cert(controller_certs.ECDH, pair.certificate_pem)
    return EcdhKey(served.cert_hash, served.pem, pair.elliptic_key)


def _issued_at(pair: KeyPair) -> datetime.datetime:
    return pair.certificate.not_valid_before_utc + certificates.BACKDATE


def _hosts_of(pair: KeyPair) -> set[str]:
    try:
        names = pair.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return set(names.get_values_for_type(x509.DNSName)) | {
        str(address) for address in names.get_values_for_type(x509.IPAddress)
    }
