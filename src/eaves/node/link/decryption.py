"""Opens the encrypted fields of one config: finds the context, the controller's certificate and the shared key.

Made anew for each config, since contexts come with it. A context that names an unknown controller certificate is remembered in
``has_unknown_certificate``: after a fetch of ``/certs`` the same config may be readable.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable

from msgspec import Struct

from eaves.node.link.certs import CertificateKeeper
from eaves.node.link.identity import DeviceKeys
from eaves.wire import cipher
from eaves.wire.errors import CipherContextError, CipherError
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock, CipherContext


class CipherFigures(Struct):
    """How encrypted fields fared since the daemon started; times are Unix seconds, 0 = never."""

    successes: int = 0
    not_ready: int = 0
    """Their context, or the controller's certificate, was not known."""
    failed: int = 0
    last_success: float = 0.0
    last_failure: float = 0.0


class Decryptor:
    """Decrypts blocks of one config; ``figures`` counts."""

    def __init__(
        self,
        contexts: Iterable[CipherContext],
        keys: DeviceKeys,
        certs: CertificateKeeper,
        figures: CipherFigures | None = None,
    ) -> None:
        self._figures = figures or CipherFigures()
        self._contexts = {context.contextId: context for context in contexts}
        self._keys = keys
        self._certs = certs
        self._own_hash = hashlib.sha256(keys.ecdh_certificate_pem).digest()
        self.has_unknown_certificate = False

    def decrypt(self, block: CipherBlock) -> bytes:
        """The plaintext. Raises CipherError."""
        figures = self._figures
        try:
            plain = self._decrypt(block)
        except CipherError as error:
            if isinstance(error, CipherContextError):
                figures.not_ready += 1
            else:
                figures.failed += 1
            figures.last_failure = time.time()
            raise
        figures.successes += 1
        figures.last_success = time.time()
        return plain

    def _decrypt(self, block: CipherBlock) -> bytes:
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
