"""``tokenreviews``: whose token is this. Created and answered, never stored; asked by programs that are called with tokens of this API."""

from __future__ import annotations

from collections.abc import Sequence

from eaves.controller.api.accounts import Accounts
from eaves.controller.api.app import Answer
from eaves.controller.api.authentication import TokenAuthenticator
from eaves.controller.api.http import Request, Response
from eaves.controller.api.identity import Identity
from eaves.controller.api.reviews import make_review, render_identity
from eaves.controller.api.routing import Target
from eaves.kube import decode, encode, status
from eaves.kube.errors import ApiError, CauseType, FieldError
from eaves.kube.jwt import JwtError
from eaves.kube.resource import Object

TOKEN_REVIEW = make_review(
    "authentication.k8s.io", "tokenreviews", "TokenReview", "TokenReview tells whose a token is."
)


class TokenReviewKind:
    """Serves the review."""

    resource = TOKEN_REVIEW

    def __init__(self, tokens: TokenAuthenticator, accounts: Accounts) -> None:
        self._tokens = tokens
        self._accounts = accounts

    async def serve(self, request: Request, _target: Target) -> Answer:
        """Raises ApiError 400, 422."""
        body, _ = decode.decode_object(await request.body(), request.header(b"content-type"))
        spec = body.get("spec") if isinstance(body.get("spec"), dict) else {}
        token, audiences = (spec or {}).get("token") or "", (spec or {}).get("audiences") or []
        if not token or not isinstance(token, str):
            fault = FieldError("spec.token", CauseType.REQUIRED, "", "")
            raise status.invalid("authentication.k8s.io", "TokenReview", "", [fault])
        document: Object = {
            "kind": "TokenReview",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"creationTimestamp": None},
            # The token is in the question and need not be said again.
            "spec": {"audiences": audiences} if audiences else {},
            "status": await self._review(token, audiences),
        }
        return Response(encode.encode_json(document), 201)

    async def _review(self, token: str, audiences: Sequence[str]) -> Object:
        try:
            identity, common = await self._find(token, audiences)
        except (ApiError, JwtError) as error:
            return {"authenticated": False, "user": {}, "error": f"invalid bearer token: {error.message}"}
        return {"authenticated": True, "user": render_identity(identity), "audiences": list(common)}

    async def _find(self, token: str, audiences: Sequence[str]) -> tuple[Identity, Sequence[str]]:
        if not self._tokens.is_opaque(token):
            known = await self._accounts.find(token, audiences)
            return known.identity, known.audiences
        if audiences and self._accounts.issuer not in audiences:
            raise JwtError("the token is meant for somebody else")
        return await self._tokens.find(token), (self._accounts.issuer,)
