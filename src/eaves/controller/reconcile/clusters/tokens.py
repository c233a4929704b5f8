"""Join tokens of clusters: random, made once a generation, kept encrypted among the controller's settings.

The store holds them under a key that is not in it (the key folder has what that is derived from); nodes get them by CipherBlock. They are
in no object, so nobody reads one through the API, and in no log.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from eaves.controller.compile.model import token_name
from eaves.store.credentials import SettingStore

_PREFIX = "k3s-token/"
_NONCE_BYTES = 12
_TOKEN_BYTES = 32


class ClusterTokens:
    """``secret`` gives the controller's own secret, 32 bytes."""

    def __init__(self, settings: SettingStore, secret: Callable[[], bytes]) -> None:
        self._settings = settings
        self._secret = secret

    async def want(self, cluster_id: str, generation: int, given: str = "") -> str:
        """The token of a generation, made at the first call: ``given``, or a random one."""
        name = _PREFIX + token_name(cluster_id, generation)
        known = await self._settings.load_setting(name)
        if known is None:
            made = given or secrets.token_hex(_TOKEN_BYTES)
            known = await self._settings.want_setting(name, self._seal(name, made))
        return self._open(name, known)

    async def find(self, cluster_id: str, generation: int) -> str | None:
        """The token of a generation; None while there is none."""
        name = _PREFIX + token_name(cluster_id, generation)
        known = await self._settings.load_setting(name)
        return None if known is None else self._open(name, known)

    async def remove(self, cluster_id: str, generation: int) -> None:
        """Forget a token that no node has any more."""
        await self._settings.remove_setting(_PREFIX + token_name(cluster_id, generation))

    def _seal(self, name: str, token: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher().encrypt(nonce, token.encode(), name.encode())

    def _open(self, name: str, sealed: bytes) -> str:
        nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        return self._cipher().decrypt(nonce, text, name.encode()).decode()

    def _cipher(self) -> AESGCM:
        kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"eaves join tokens of clusters")
        return AESGCM(kdf.derive(self._secret()))
