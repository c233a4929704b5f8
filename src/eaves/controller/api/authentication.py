"""Finds out who calls, from the request's headers.

:class:`TokenAuthenticator` looks bearer tokens up by their hash, and verifies those of service accounts. Other ways (client certificates,
OIDC) will be further implementations of :class:`Authenticator`.
"""

from __future__ import annotations

import base64
import binascii
import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from eaves.controller.api.accounts import Accounts
from eaves.controller.api.http import Request
from eaves.controller.api.identity import ANONYMOUS, GROUP_AUTHENTICATED, Identity
from eaves.controller.tokens import PREFIX, encode_token_hash
from eaves.kube import status
from eaves.kube.jwt import JwtError

log = logging.getLogger(__name__)

CACHE_S = 10.0
"""How long a revoked token may still work."""
CACHE_SIZE = 1024
_WEBSOCKET_TOKEN_PREFIX = "base64url.bearer.authorization.k8s.io."  # noqa: S105 - a protocol's name, no secret


class KnownToken(Protocol):
    """What the store keeps of a token."""

    @property
    def user(self) -> str: ...
    @property
    def groups(self) -> Sequence[str]: ...
    @property
    def expires_at(self) -> float | None:
        """Unix seconds; None = never."""
        ...


class TokenLookup(Protocol):
    """Finds tokens by their hash."""

    async def find_token(self, token_hash: bytes) -> KnownToken | None: ...


class Authenticator(Protocol):
    """Names the caller of a request, ANONYMOUS for one without credentials. Raises ApiError 401 for credentials that are wrong."""

    async def authenticate(self, request: Request) -> Identity: ...


class _Cached(Struct, frozen=True):
    identity: Identity
    until: float


class TokenAuthenticator:
    """Bearer tokens against the store or the keys of accounts, with a small cache so that a known caller costs no look-up."""

    def __init__(
        self, tokens: TokenLookup, accounts: Accounts | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._tokens = tokens
        self._accounts = accounts
        self._clock = clock
        self._cache: dict[str, _Cached] = {}

    async def authenticate(self, request: Request) -> Identity:
        text = _bearer_token(request)
        return await self.find(text) if text else ANONYMOUS

    def is_opaque(self, text: str) -> bool:
        """Whether a token says nothing by itself; others are signed and tell whose they are."""
        return self._accounts is None or text.startswith(PREFIX) or text.count(".") != 2

    async def find(self, text: str) -> Identity:
        """Whose token it is. Raises ApiError 401."""
        cached = self._cache.get(text)
        if cached is not None and cached.until > self._clock():
            return cached.identity
        self._cache.pop(text, None)
        return await self._look_up(text) if self.is_opaque(text) else await self._verify(text)

    async def _verify(self, text: str) -> Identity:
        assert self._accounts is not None
        try:
            account = await self._accounts.find(text)
        except JwtError as error:
            log.debug("token refused: error=%s", error)
            raise status.unauthorized() from error
        self._keep(text, account.identity, account.expires_at)
        return account.identity

    async def _look_up(self, text: str) -> Identity:
        known = await self._tokens.find_token(encode_token_hash(text))
        now = self._clock()
        if known is None or (known.expires_at is not None and known.expires_at <= now):
            # Wrong tokens are not remembered: a flood of them must not push good ones out.
            raise status.unauthorized()
        groups = known.groups if GROUP_AUTHENTICATED in known.groups else (*known.groups, GROUP_AUTHENTICATED)
        identity = Identity(known.user, tuple(groups))
        self._keep(text, identity, known.expires_at)
        return identity

    def _keep(self, text: str, identity: Identity, expires_at: float | None) -> None:
        now = self._clock()
        until = now + CACHE_S if expires_at is None else min(now + CACHE_S, expires_at)
        if len(self._cache) >= CACHE_SIZE:
            self._cache.pop(next(iter(self._cache)))
        self._cache[text] = _Cached(identity, until)


def _bearer_token(request: Request) -> str:
    """The token of the Authorization header or, for browsers, of a WebSocket subprotocol; empty = none, as with other schemes."""
    scheme, _, token = request.header(b"authorization").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    if request.is_websocket:
        for offered in request.scope.get("subprotocols", ()):
            if offered.startswith(_WEBSOCKET_TOKEN_PREFIX):
                return _decode_token(offered[len(_WEBSOCKET_TOKEN_PREFIX) :])
    return ""


def _decode_token(encoded: str) -> str:
    try:
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise status.unauthorized() from error
