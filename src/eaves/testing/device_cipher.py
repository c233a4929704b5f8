"""Encryption to a device whose keys a test holds: what compile encrypts can be read back."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec

from eaves.controller.compile.model import NodeCipher
from eaves.testing.objects import DEVICE_ID
from eaves.wire import cipher
from eaves.wire.identifiers import DeviceId
from eaves.wire.pb.config.appconfig_pb2 import AppInstanceConfig
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock, EncryptionBlock


class DeviceCipher:
    """Both ends of one cipher context."""

    def __init__(self) -> None:
        device, controller = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        self._key = cipher.derive_key(controller, device.public_key())
        self._context = cipher.want_context(b"d" * 16, b"c" * 16)

    @property
    def node_cipher(self) -> NodeCipher:
        return NodeCipher(self._context, self._encrypt)

    def _encrypt(self, plaintext: bytes) -> CipherBlock:
        iv = cipher.derive_iv(b"secret", DeviceId(DEVICE_ID), plaintext)
        return cipher.encrypt_block(self._key, self._context.contextId, iv, plaintext)

    def plaintext(self, block: CipherBlock) -> bytes:
        return cipher.decrypt_block(self._key, block)

    def decrypt(self, block: CipherBlock) -> EncryptionBlock:
        return EncryptionBlock.FromString(self.plaintext(block))

    def user_data(self, app: AppInstanceConfig) -> str:
        """The app's user data in base64."""
        return self.decrypt(app.cipherData).protectedUserData
