"""Opens the encrypted fields of one config: finds the context, the controller's certificate and the shared key.

Made anew for each config, since contexts come with it. A context that names an unknown controller certificate is remembered in
``has_unknown_certificate``: after a fetch of ``/certs`` the same config may be readable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from eaves.node.link.certs import CertificateKeeper
from eaves.node.link.identity import DeviceKeys
from eaves.wire import cipher
from eaves.wire.errors import CipherContextError
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock, CipherContext


class Decryptor:
    """Decrypts blocks of one config."""

    def __init__(self, contexts: Iterable[CipherContext], keys: DeviceKeys, certs: CertificateKeeper) -> None:
        self._contexts = {context.contextId: context for context in contexts}
        self._keys = keys
        self._certs = certs
        self._own_hash = hashlib.sha256(keys.ecdh_certificate_pem).digest()
        self.has_unknown_certificate = False

    def decrypt(self, block: CipherBlock) -> bytes:
        """The plaintext. Raises CipherError."""
        context = self._contexts.get(block.cipherContextId)
        if context is None:
            raise CipherContextError(f"cipher context {block.cipherContextId[:64]!r} is not in the config")
        cipher.check_context(context, self._own_hash[: len(context.deviceCertHash) or cipher.HASH_BYTES])
        certificate = self._certs.find_ecdh(context.controllerCertHash)
        if certificate is None:
            self.has_unknown_certificate = True
            raise CipherContextError(
                "the controller's key agreement certificate is not known yet",
                details=f"controllerCertHash {context.controllerCertHash.hex()}",
                resolution="it is fetched by itself",
            )
        return cipher.decrypt_block(self._keys.agree_key(certificate), block)
