"""``tokenreviews``: whose token is this. Created and answered, never stored; asked by programs that are called with tokens of this API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Struct

from eaves.controller.api.accounts import Accounts
from eaves.controller.api.app import Answer
from eaves.controller.api.authentication import TokenAuthenticator
from eaves.controller.api.http import Request, Response
from eaves.controller.api.identity import Identity
from eaves.controller.api.questions import UserInfo, load_question, make_question
from eaves.controller.api.reviews import render_identity
from eaves.controller.api.routing import Target
from eaves.kinds.fields import about
from eaves.kube import encode, status
from eaves.kube.errors import ApiError
from eaves.kube.jwt import JwtError
from eaves.kube.resource import Object


class TokenSpec(Struct, frozen=True, rename="camel"):
    """The question."""

    token: Annotated[str, about("The token.")] = ""
    audiences: Annotated[tuple[str, ...], about("For whom it must be meant; for this API when empty.")] = ()


class TokenStatus(Struct, frozen=True, rename="camel"):
    """The answer."""

    authenticated: Annotated[bool, about("Whether it is a good token.")] = False
    user: Annotated[UserInfo | None, about("Whose it is.")] = None
    audiences: Annotated[tuple[str, ...], about("Those of the question for whom it is meant.")] = ()
    error: Annotated[str, about("Why it is no good.")] = ""


TOKEN_REVIEW = make_question(
    "authentication.k8s.io",
    "tokenreviews",
    "TokenReview",
    "TokenReview tells whose a token is.",
    spec=TokenSpec,
    answer=TokenStatus,
)


class TokenReviewKind:
    """Serves the review."""

    resource = TOKEN_REVIEW

    def __init__(self, tokens: TokenAuthenticator, accounts: Accounts) -> None:
        self._tokens = tokens
        self._accounts = accounts

    async def serve(self, request: Request, _target: Target) -> Answer:
        """Raises ApiError 400."""
        obj = await load_question(TOKEN_REVIEW, request, "")
        spec = obj.get("spec") or {}
        token, audiences = spec.get("token") or "", spec.get("audiences") or []
        if not token:
            raise status.bad_request("token is required for TokenReview in authentication")
        document: Object = {
            "kind": "TokenReview",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": obj["metadata"],
            # The token is in the question and need not be said again.
            "spec": {"audiences": audiences} if audiences else {},
            "status": await self._review(token, audiences),
        }
        return Response(encode.encode_json(document), 201)

    async def _review(self, token: str, audiences: Sequence[str]) -> Object:
        try:
            identity, common = await self._find(token, audiences)
        except ApiError:
            return {"user": {}, "error": "invalid bearer token"}
        except JwtError as error:
            return {"user": {}, "error": f"invalid bearer token, {error.message}"}
        return {"authenticated": True, "user": render_identity(identity), "audiences": list(common)}

    async def _find(self, token: str, audiences: Sequence[str]) -> tuple[Identity, Sequence[str]]:
        if not self._tokens.is_opaque(token):
            known = await self._accounts.find(token, audiences)
            return known.identity, known.audiences
        identity = await self._tokens.find(token)
        if audiences and self._accounts.issuer not in audiences:
            raise JwtError("the token is meant for somebody else")
        return identity, (self._accounts.issuer,)
