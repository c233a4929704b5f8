"""The certificates that a device published, as the registry keeps them, and encryption to the device by one of them."""

from __future__ import annotations

from collections.abc import Sequence

from eaves.controller.compile.model import NodeCipher
from eaves.controller.identity import Credentials, EcdhKey
from eaves.wire import certificates, cipher
from eaves.wire.errors import WireError
from eaves.wire.identifiers import DeviceId
from eaves.wire.pb.certs import certs_pb2
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock

QUOTE = certs_pb2.CERT_TYPE_DEVICE_RESTRICTED_SIGNING
ENDORSEMENT = certs_pb2.CERT_TYPE_DEVICE_ENDORSEMENT_RSA
"""Only a TPM has one."""
ECDH = certs_pb2.CERT_TYPE_DEVICE_ECDH_EXCHANGE


def parse_certs(encoded: Sequence[bytes]) -> dict[int, certs_pb2.ZCert]:
    """The stored certificates of a device by type."""
    certs = [certs_pb2.ZCert.FromString(data) for data in encoded]
    return {cert.type: cert for cert in certs}


class Encryptor:
    """Makes the :class:`NodeCipher` of each device, with the controller's current key."""

    def __init__(self) -> None:
        self._ring: cipher.KeyRing | None = None
        self._key: EcdhKey | None = None

    def want_cipher(self, credentials: Credentials, device_id: DeviceId, certs: Sequence[bytes]) -> NodeCipher | None:
        """How to encrypt to the device; None while it has published no certificate that can be used."""
        published = parse_certs(certs).get(ECDH)
        if published is None:
            return None
        own = credentials.ecdh[0]
        if self._ring is None or self._key is not own:
            self._ring, self._key = cipher.KeyRing(own.private_key), own
        try:
            key = self._ring.key_for_certificate(certificates.parse_certificate_pem(published.cert))
        except WireError:
            return None
        context = cipher.want_context(published.certHash, own.cert_hash)

        def encrypt(plaintext: bytes) -> CipherBlock:
            iv = cipher.derive_iv(credentials.iv_secret, device_id, plaintext)
            return cipher.encrypt_block(key, context.contextId, iv, plaintext)

        return NodeCipher(context, encrypt)
